-- part: the waiters for the resource, and the choice of the next holder. Needs record.lua, which describes the keys.
local WAITER_LEASE, REFRESH, CLAIM_WINDOW, WAITER = 15000, 5000, 500, '>c16I8Hc0Hc0'
local changed, handed, offered = false, nil, false

local function left()
  return state == FREE and 0 or deadline - now
end

-- How long the keys must live: an hour beyond the last deadline or waiter lease.
local function lifetime()
  local last = left()
  if waiting > 0 and last < WAITER_LEASE then
    last = WAITER_LEASE
  end
  return last + KEEP
end

local function draw_fence()
  fence, changes = math.max(fence + 1, now_us), 0
end

local function forget_queue()
  if waiting == 0 then
    places = 0
    redis.call('DEL', QUEUE)
  end
end

local function first_waiter()
  return redis.call('ZRANGEBYSCORE', QUEUE, '1', '+inf', 'LIMIT', '0', '1')[1]
end

-- Wakes the first waiter if it belongs to another process and would ask too late. It plans to ask at `before`. It
-- needs no wake-up if that is not after the deadline, or if its regular refresh comes before the deadline. When it
-- asks, it learns its place and the deadline.
local function tell(before, here)
  if waiting == 0 or deadline >= before or deadline - now >= REFRESH then
    return
  end
  local member = first_waiter()
  if member then
    local waiter, _, channel = struct.unpack(WAITER, member)
    if channel ~= here then
      redis.call('PUBLISH', channel, 'mutex\n' .. waiter .. LOCK)
    end
  end
end

-- Gives the resource to the first waiter that is alive. `here` is the channel of the process that runs this step.
local function next_holder(here)
  -- No waiter was told about an offer.
  local before = state == OFFERED and math.huge or deadline
  state, token, process, owner = FREE, NOBODY, '', ''
  handed, offered, changed = nil, false, true
  if waiting == 0 then
    return
  end
  while waiting > 0 do
    local member = first_waiter()
    if not member then
      waiting = 0
      break
    end
    redis.call('ZREM', QUEUE, member)
    waiting = waiting - 1
    local waiter, lease, channel, name = struct.unpack(WAITER, member)
    local alive = redis.call('ZSCORE', QUEUE, channel)
    if alive and -alive > now then
      if channel == here then
        draw_fence()
        state, token, owner, deadline = HELD, waiter, name, now + lease
        handed = { waiter, fence, lease }
        tell(before, here)
        break
      elseif redis.call('PUBLISH', channel, 'mutex\n' .. waiter .. LOCK) > 0 then
        draw_fence()
        state, token, process, owner, deadline = OFFERED, waiter, channel, name, now + CLAIM_WINDOW
        offered = true
        break
      end
    end
  end
  forget_queue()
end

-- Ends what has expired. Every step begins with this.
local function settle(here)
  if state == FREE then
    if waiting > 0 then
      next_holder(here)
    end
    return
  end
  if now < deadline then
    return
  end
  if state == OFFERED then
    -- A process that let an offer lapse is slow in all its tasks: none of them may delay the queue again.
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '1', '+inf')) do
      local _, _, channel = struct.unpack(WAITER, member)
      if channel == process then
        waiting = waiting - redis.call('ZREM', QUEUE, member)
      end
    end
    forget_queue()
  end
  next_holder(here)
end

-- Keeps the waiters of the process alive for another waiter lease.
local function keep_alive(here)
  redis.call('ZREMRANGEBYSCORE', QUEUE, -now, '0')
  redis.call('ZADD', QUEUE, -(now + WAITER_LEASE), here)
  redis.call('PEXPIRE', QUEUE, lifetime())
end

local function write()
  local record = struct.pack(
    RECORD, state, fence, deadline, waiting, places, token, freed, turn, changes, #process, process, #owner, owner
  )
  redis.call('SET', LOCK, '\1' .. record, 'PX', lifetime())
end
