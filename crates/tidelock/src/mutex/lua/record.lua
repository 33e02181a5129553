-- part: the record of one resource as it is stored. Needs time.lua. Defines no functions, because the fast path, which
--       does not need queue.lua, would pay for them.
-- LOCK     prefix:{tag}:lock: version, state, last fence, deadline in ms, number of waiters, last place given, token of
--          the holder, or, while there is none, of the caller that released or left last, fence of the last release,
--          number of releases before that one modulo 63, number of the last change of the deadline, channel of the
--          process it is offered to, owner
-- QUEUE    prefix:{tag}:queue: a waiter by its place (score >= 1: token, lease in ms, channel of its process, owner),
--          or a process by its channel (score < 0: minus the instant in ms until which its waiters live)
local FREE, HELD, OFFERED = 0, 1, 2
local KEEP, RECORD = 3600000, '>BI8I8I4I8c16I8BI4Hc0Hc0'
local NOBODY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

local state, fence, deadline, waiting, places, token, freed, turn = FREE, 0, 0, 0, 0, NOBODY, 0, 0
local changes, process, owner = 0, '', ''
local stored = redis.call('GET', LOCK)
if stored then
  if string.byte(stored) ~= 1 then
    return redis.error_reply('TIDELOCK the record of this resource is of another format')
  end
  state, fence, deadline, waiting, places, token, freed, turn, changes, process, owner = struct.unpack(RECORD, stored, 2)
else
  -- If a record was evicted, its queue remains; the waiters in it still come first.
  waiting = redis.call('ZCOUNT', QUEUE, '1', '+inf')
  if waiting > 0 then
    places = tonumber(redis.call('ZREVRANGE', QUEUE, '0', '0', 'WITHSCORES')[2])
  end
end
