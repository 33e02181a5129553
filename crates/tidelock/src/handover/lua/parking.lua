-- part: parked processes, and which of them are woken. PARKED holds their channels; scores: remembered until, plus
-- KEEPS for the keeper, which waits for the next deadline. A mirror of handover/parking.rs.
local KEEPS = 4000000000000000

-- Publishes to a process. Returns false if it does not listen.
local function ring(process, detail)
  local tag = RECORD:match('{(.*)}')
  return redis.call('PUBLISH', process, detail and tag .. '\n' .. detail or tag) > 0
end

-- Ends a step: wakes one parked process for each deliverable item, and the keeper if this step added an earlier
-- deadline.
local function wake()
  local left = deliverable()
  while left > 0 do
    local popped = redis.call('ZPOPMIN', PARKED)
    if #popped == 0 then
      return
    end
    if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
      left = left - 1
    end
  end
  -- Nobody keeps a deadline that was told and has passed: its keeper may have found enough and not have parked again.
  if soonest and (r.told <= now or soonest < r.told) then
    while true do
      local popped = redis.call('ZPOPMAX', PARKED)
      if #popped == 0 then
        return
      end
      if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
        -- There is no keeper until this process parks again, or until another one becomes keeper because this one
        -- finds enough and does not park.
        r.told = 0
        return
      end
    end
  end
end

-- Removes a process from those that wait. Returns whether another one is the keeper.
local function unpark(process)
  redis.call('ZREM', PARKED, process)
  redis.call('ZREMRANGEBYSCORE', PARKED, '-inf', now)
  local keeper = redis.call('ZRANGE', PARKED, -1, -1, 'WITHSCORES')
  local kept = keeper[2] and tonumber(keeper[2]) > KEEPS and tonumber(keeper[2]) - KEEPS > now
  if keeper[2] and tonumber(keeper[2]) > KEEPS and not kept then
    redis.call('ZREM', PARKED, keeper[1])
  end
  return kept
end

-- The earlier of the deadline that `next_deadline()` gives and the end of what holds items back; 0 for none.
local function first_told(next_deadline)
  local told, opens = next_deadline(), limits.opens()
  return opens > 0 and (told == 0 or opens < told) and opens or told
end

-- Registers that the process waits no more. If there is no keeper after that, this step has to wake a process for the
-- next deadline.
local function leave(process, next_deadline)
  if not unpark(process) then
    local told = first_told(next_deadline)
    r.told, soonest = 0, told > 0 and told or nil
  end
end

-- Registers the process as waiting. If it becomes the keeper, returns the next deadline, which `next_deadline()`
-- gives, else 0.
local function park(process, next_deadline)
  local kept = unpark(process)
  local until_time = now + 10000
  redis.call('ZADD', PARKED, kept and until_time or until_time + KEEPS, process)
  redis.call('PEXPIRE', PARKED, pinned and HOUR or 20000)
  if kept then
    return 0
  end
  r.told = first_told(next_deadline)
  -- A deadline that this step added is included in what was told.
  soonest = nil
  return r.told
end

-- The deadline for a parked process, as the time from now, because callers' clocks may be wrong. 8 bytes, 0 for none.
local function told_after(told)
  return pack8(told > 0 and math.max(told - now, 1) or 0)
end
