-- leave: removes a token from the queue; its grant or offer, if it has one, goes to the next waiter.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  token, 16 bytes
-- ARGV[3]  channel of the process that asks
-- ARGV[4]  lease in ms, as when it joined; 0 if the process no longer knows it
-- ARGV[5]  owner, as when it joined
-- Reply: {}, or, if this step gave the resource to a waiter of the same process: its token, fence, lease in ms; if it
--        offered it to another process: 1
local here = ARGV[3]
settle(here)

if state ~= FREE and token == ARGV[2] then
  next_holder(here)
elseif waiting > 0 then
  local member = struct.pack(WAITER, ARGV[2], tonumber(ARGV[4]), #here, here, #ARGV[5], ARGV[5])
  if ARGV[4] == '0' then
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '1', '+inf')) do
      if string.sub(other, 1, 16) == ARGV[2] then
        member = other
      end
    end
  end
  local was_first = first_waiter() == member
  if redis.call('ZREM', QUEUE, member) == 1 then
    waiting, changed = waiting - 1, true
    forget_queue()
    if was_first then
      -- The new first waiter assumes that others ask before it does.
      tell(math.huge, here)
    end
  end
end
if state == FREE then
  -- A request of this token that is still in flight will arrive too late.
  token, changed = ARGV[2], true
end
if changed then
  write()
end
return with_next({})
