-- delete: removes a topic with its groups, if the named groups are all there are.
-- KEYS[1]   record: newest place, beginning, settings (hash)
-- KEYS[2]   log: elements in order (list)
-- KEYS[3]   dedup: by key, place of the event and end of the window (hash)
-- KEYS[4]   groups: books by name (hash)
-- KEYS[5]   parked: processes that wait, by group (hash)
-- KEYS[6]   answers: the last change of this sender and its answer (string)
-- KEYS[n..] all keys of the groups that are named
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this change in its sender's series
-- ARGV[n..] names of groups
-- Reply: a word: yes, no (there was nothing), or more (and the names of all groups: nothing was removed)
local _ = PARKED
local trip = tonumber(ARGV[2])
local before = remembered(KEYS[6], trip)
if before then
  return before
end
local names = redis.call('HKEYS', GROUPS)
local named = {}
for i = 3, #ARGV do
  named[ARGV[i]] = true
end
for i = 1, #names do
  if not named[names[i]] then
    return { 'more', unpack(names) }
  end
end
local existed = r.life > 0 or #names > 0
for i = 7, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('UNLINK', LOG, DEDUP, GROUPS)
-- The counters continue, so that no position or fence repeats.
local kept = { at = r.at, fence = r.fence }
for i = 1, #FIELDS do
  r[FIELDS[i]] = kept[FIELDS[i]] or 0
end
local reply = { existed and 'yes' or 'no' }
remember(KEYS[6], trip, reply)
finish()
return reply
