-- refresh: keeps the waiters of one process alive and returns those that still wait.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  channel of the process that asks
-- Reply: {tokens of its waiters in order, 16 bytes each, place of the first, lease left in ms, waiters}. Then, if this
--        step gave the resource to one of them: its token, fence, lease in ms; if it offered it to another process: 1
local here = ARGV[2]
settle(here)

local tokens, first = {}, 0
if waiting > 0 then
  for index, member in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '1', '+inf')) do
    local waiter, _, channel = struct.unpack(WAITER, member)
    if channel == here then
      tokens[#tokens + 1] = waiter
      if #tokens == 1 then
        first = index - 1
      end
    end
  end
end
if #tokens > 0 then
  keep_alive(here)
  changed = true
end
if changed then
  write()
end
return with_next({ table.concat(tokens), first, left(), waiting })
