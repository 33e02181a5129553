-- reset: forgets all counts of an identifier, also those that cannot be read.
-- KEYS[1]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: all counts of the identifier
-- ARGV[1]  pinned time in ms, or empty
-- Reply: 1 if there was anything that had not lapsed, else 0
local found = unreadable
for index = 1, #counts do
  found = found or counts[index][6] > now
end
if stored then
  redis.call('DEL', KEYS[1])
end
return found and 1 or 0
