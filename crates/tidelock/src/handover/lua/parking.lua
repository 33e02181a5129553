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
  if soonest and (r.told == 0 or soonest < r.told) then
    while true do
      local popped = redis.call('ZPOPMAX', PARKED)
      if #popped == 0 then
        return
      end
      if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
        return
      end
    end
  end
end

-- Notes that the process waits. One of those that wait keeps the next deadline, which `next_deadline()` gives; answers
-- it to that one, else 0.
local function park(process, next_deadline)
  redis.call('ZREM', PARKED, process)
  redis.call('ZREMRANGEBYSCORE', PARKED, '-inf', now)
  local keeper = redis.call('ZRANGE', PARKED, -1, -1, 'WITHSCORES')
  local kept = keeper[2] and tonumber(keeper[2]) > KEEPS and tonumber(keeper[2]) - KEEPS > now
  if keeper[2] and tonumber(keeper[2]) > KEEPS and not kept then
    redis.call('ZREM', PARKED, keeper[1])
  end
  local until_time = now + 10000
  redis.call('ZADD', PARKED, kept and until_time or until_time + KEEPS, process)
  redis.call('PEXPIRE', PARKED, pinned and HOUR or 20000)
  if kept then
    return 0
  end
  r.told = next_deadline()
  if r.paused > 0 and (r.told == 0 or r.paused < r.told) then
    r.told = r.paused
  end
  -- What this very step added is part of what was told.
  soonest = nil
  return r.told
end

-- What a process that parked is told, as the time from now: clocks of callers may be off. 8 bytes, 0 for nothing.
local function told_after(told)
  return pack8(told > 0 and math.max(told - now, 1) or 0)
end
