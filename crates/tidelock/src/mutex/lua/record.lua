-- part: the record of one resource, and who has it next. Needs time.lua.
-- KEYS[1]  prefix:{tag}:lock: version, state, last fence, deadline in ms, number of waiters, last place given, token of
--          the holder, channel of the process it is offered to, owner, fences of the last 64 releases
-- KEYS[2]  prefix:{tag}:queue: a waiter by its place (score >= 1: token, lease in ms, channel of its process, owner), or
--          a process by its channel (score < 0: minus the instant in ms until which its waiters live)
local FREE, HELD, OFFERED = 0, 1, 2
local KEEP, WAITER_LEASE, CLAIM_WINDOW = 3600000, 15000, 500
local RECORD, WAITER = '>BBI8I8I4I8c16Hc0Hc0', '>c16I8Hc0Hc0'
local NOBODY = string.rep('\0', 16)

local state, fence, deadline, waiting, places, token, process, owner = FREE, 0, 0, 0, 0, NOBODY, '', ''
local releases, changed, handed = '', false, nil
local stored = redis.call('GET', KEYS[1])
if stored then
  if string.byte(stored) ~= 1 then
    return redis.error_reply('TIDELOCK the record of this resource is of another format')
  end
  local _, rest
  _, state, fence, deadline, waiting, places, token, process, owner, rest = struct.unpack(RECORD, stored)
  releases = string.sub(stored, rest)
else
  -- A record that was evicted leaves its queue behind; the waiters in it still come first.
  waiting = redis.call('ZCOUNT', KEYS[2], '1', '+inf')
end

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
  fence = math.max(fence + 1, now_us)
end

local function forget_queue()
  if waiting == 0 then
    places = 0
    redis.call('DEL', KEYS[2])
  end
end

-- Gives the resource to the first waiter that is there. `here` is the channel of the process that runs this step.
local function next_holder(here)
  state, token, process, owner, handed, changed = FREE, NOBODY, '', '', nil, true
  if waiting == 0 then
    return
  end
  while waiting > 0 do
    local member = redis.call('ZRANGEBYSCORE', KEYS[2], '1', '+inf', 'LIMIT', '0', '1')[1]
    if not member then
      waiting = 0
      break
    end
    redis.call('ZREM', KEYS[2], member)
    waiting = waiting - 1
    local waiter, lease, channel, name = struct.unpack(WAITER, member)
    local alive = redis.call('ZSCORE', KEYS[2], channel)
    if alive and -alive > now then
      if channel == here then
        draw_fence()
        state, token, owner, deadline = HELD, waiter, name, now + lease
        handed = { waiter, fence, lease }
        break
      elseif redis.call('PUBLISH', channel, 'mutex\n' .. waiter .. KEYS[1]) > 0 then
        draw_fence()
        state, token, process, owner, deadline = OFFERED, waiter, channel, name, now + CLAIM_WINDOW
        break
      end
    end
  end
  forget_queue()
end

-- What every step begins with.
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
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '1', '+inf')) do
      local _, _, channel = struct.unpack(WAITER, member)
      if channel == process then
        waiting = waiting - redis.call('ZREM', KEYS[2], member)
      end
    end
    forget_queue()
  end
  next_holder(here)
end

-- The waiters of the process live for a while more.
local function keep_alive(here)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], -now, '0')
  redis.call('ZADD', KEYS[2], -(now + WAITER_LEASE), here)
  redis.call('PEXPIRE', KEYS[2], lifetime())
end

local function write()
  local record = struct.pack(RECORD, 1, state, fence, deadline, waiting, places, token, #process, process, #owner, owner)
  redis.call('SET', KEYS[1], record .. releases, 'PX', lifetime())
end

-- Adds the grant that this step gave to a waiter of the same process, which hears of it by the reply alone.
local function with_handed(reply)
  if handed then
    reply[#reply + 1] = handed[1]
    reply[#reply + 1] = handed[2]
    reply[#reply + 1] = handed[3]
  end
  return reply
end
