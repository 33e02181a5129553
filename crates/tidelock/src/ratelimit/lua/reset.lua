-- reset: forgets all counts of an identifier, also those that cannot be read.
-- KEYS[1]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: all counts of the identifier
-- ARGV[1]  pinned time in ms, or empty
-- Reply: 1 if there was anything that had not lapsed, else 0
local found = unreadable
for offset = 2, unreadable and 0 or size, 41 do
  found = found or read('<d', stored, offset + 33) > now
end
if stored then
  call('DEL', KEYS[1])
end
return found and 1 or 0
