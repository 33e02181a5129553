-- lock: takes the resource if it is free or offered to this token; else joins the queue or answers who is ahead.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  token, 16 bytes
-- ARGV[3]  channel of the process that asks
-- ARGV[4]  lease in ms
-- ARGV[5]  owner
-- ARGV[6]  1 to wait in the queue, 0 to ask only
-- Reply: {1, fence, lease left in ms} granted; {2, place, lease left in ms, waiters} waits; {0, lease left in ms,
--        waiters} no; {3, waiters} the queue is full. Then, if this step gave the resource to another waiter of the
--        same process: its token, fence, lease in ms; if it offered it to another process: 1
local here, lease = ARGV[3], tonumber(ARGV[4])
settle(here)

if state == FREE then
  draw_fence()
  state, token, owner, deadline = HELD, ARGV[2], ARGV[5], now + lease
  write()
  return { 1, fence, lease }
end
if token == ARGV[2] then
  if state == OFFERED then
    state, process, owner, deadline, changed = HELD, '', ARGV[5], now + lease, true
  end
  if changed then
    write()
  end
  return { 1, fence, left() }
end
if ARGV[6] == '0' then
  if changed then
    write()
  end
  return with_next({ 0, left(), waiting })
end

local member = struct.pack(WAITER, ARGV[2], lease, #here, here, #ARGV[5], ARGV[5])
local place = waiting
if waiting >= 10000 and not redis.call('ZSCORE', KEYS[2], member) then
  if changed then
    write()
  end
  return with_next({ 3, waiting })
end
if redis.call('ZADD', KEYS[2], 'NX', places + 1, member) == 1 then
  places, waiting = places + 1, waiting + 1
else
  place = redis.call('ZRANK', KEYS[2], member) - redis.call('ZCOUNT', KEYS[2], '-inf', '0')
end
keep_alive(here)
write()
return with_next({ 2, place, left(), waiting })
