-- reset: removes all counts of an identifier, even unreadable ones.
-- KEYS[1]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: all counts of the identifier
-- ARGV[1]  pinned time in ms, or empty
-- Reply: 1 if there was anything that had not lapsed, else 0
local stored, size, latest = open(KEYS[1], now)
local found = not size
for offset = 2, size or 0, 41 do
  found = found or read('<d', stored, offset + 33) > latest
end
call('DEL', KEYS[1])
return found and 1 or 0
