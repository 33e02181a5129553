-- release: ends a grant and gives the resource to the next waiter.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  token, 16 bytes
-- ARGV[3]  fence
-- ARGV[4]  channel of the process that asks
-- Reply: {1} released, now or by an earlier call; {0} it was lost. Then, if this step gave the resource to a waiter of
--        the same process: its token, fence, lease in ms; if it offered it to another process: 1
local given = tonumber(ARGV[3])
settle(ARGV[4])

local released = 0
if state == HELD and token == ARGV[2] and fence == given then
  released = 1
  releases = releases .. struct.pack('>I8', fence)
  if #releases > 512 then
    releases = string.sub(releases, -512)
  end
  next_holder(ARGV[4])
else
  local sought = struct.pack('>I8', given)
  for at = 1, #releases, 8 do
    if string.sub(releases, at, at + 7) == sought then
      released = 1
    end
  end
end
if changed then
  write()
end
return with_next({ released })
