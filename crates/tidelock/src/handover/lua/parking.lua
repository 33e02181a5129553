-- part: processes that wait, and who of them is woken. PARKED holds their channels; scores: remembered until, plus KEEPS
-- for the one that keeps the next deadline. A mirror of handover/parking.rs.
local KEEPS = 4000000000000000

-- Publishes to a process; false if nobody listens there.
local function ring(process, detail)
  local tag = RECORD:match('{(.*)}')
  return redis.call('PUBLISH', process, detail and tag .. '\n' .. detail or tag) > 0
end

-- Ends a step: wakes one parked process for each that may be handed out, and the one that keeps the next deadline if
-- this step added an earlier one.
local function wake()
  local deliverable = is_paused() and 0 or r.ready
  while deliverable > 0 do
    local popped = redis.call('ZPOPMIN', PARKED)
    if #popped == 0 then
      return
    end
    if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
      deliverable = deliverable - 1
    end
  end
  -- What was told and has passed is kept by nobody: whoever kept it may have found enough and not have parked since.
  if soonest and (r.told <= now or soonest < r.told) then
    while true do
      local popped = redis.call('ZPOPMAX', PARKED)
      if #popped == 0 then
        return
      end
      if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
        -- Nobody keeps anything until it parks anew, or another one does because it finds enough.
        r.told = 0
        return
      end
    end
  end
end

-- Takes a process out of those that wait; answers whether another one keeps the next deadline.
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

-- The first of the deadlines that `next_deadline()` gives and the end of the pause; 0 for none.
local function first_told(next_deadline)
  local told = next_deadline()
  return r.paused > 0 and (told == 0 or r.paused < told) and r.paused or told
end

-- Notes that the process waits no more. If nobody keeps the next deadline then, this step has to find somebody.
local function leave(process, next_deadline)
  if not unpark(process) then
    local told = first_told(next_deadline)
    r.told, soonest = 0, told > 0 and told or nil
  end
end

-- Notes that the process waits. One of those that wait keeps the next deadline, which `next_deadline()` gives; answers
-- it to that one, else 0.
local function park(process, next_deadline)
  local kept = unpark(process)
  local until_time = now + 10000
  redis.call('ZADD', PARKED, kept and until_time or until_time + KEEPS, process)
  redis.call('PEXPIRE', PARKED, pinned and HOUR or 20000)
  if kept then
    return 0
  end
  r.told = first_told(next_deadline)
  -- What this very step added is part of what was told.
  soonest = nil
  return r.told
end

-- What a process that parked is told, as the time from now: clocks of callers may be off. 8 bytes, 0 for nothing.
local function told_after(told)
  return pack8(told > 0 and math.max(told - now, 1) or 0)
end
