-- extend: sets a new deadline for a grant.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  token, 16 bytes
-- ARGV[3]  fence
-- ARGV[4]  lease in ms
-- ARGV[5]  channel of the process that asks
-- ARGV[6]  number of this change of the grant; an earlier change that arrives after a later one has no effect
-- Reply: {1, lease left in ms} extended; {0} it is not held under this fence. Then, if this step gave the resource to a
--        waiter of the same process: its token, fence, lease in ms; if it offered it to another process: 1
local here = ARGV[5]
settle(here)

local reply = { 0 }
if state == HELD and token == ARGV[2] and fence == tonumber(ARGV[3]) then
  local number, before = tonumber(ARGV[6]), deadline
  if number >= changes then
    deadline, changes, changed = now + tonumber(ARGV[4]), number, true
    tell(before, here)
  end
  reply = { 1, left() }
end
if changed then
  write()
end
return with_next(reply)
