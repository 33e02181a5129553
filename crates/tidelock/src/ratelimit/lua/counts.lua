-- part: reads the counts of KEYS[1]. Gives counts, a list of {algorithm, window, at, used, before, lapses}; unreadable;
-- and moves now: time never runs back behind something counted.
local counts, unreadable = {}, false
local stored = redis.pcall('GET', KEYS[1])
if stored then
  -- Format 1: a byte that says so, then 41 bytes for each of up to 16 counts.
  local size = type(stored) == 'string' and #stored or 0
  local good = size > 41 and size <= 657 and size % 41 == 1 and stored:byte() == 1
  for offset = 2, good and size or 0, 41 do
    local algorithm, window, at, used, before, lapses = struct.unpack('<Bddddd', stored, offset)
    good = good and algorithm >= 1 and algorithm <= 3 and window >= 1 and window <= 315360000000 and at >= 0
      and lapses > at and lapses <= 9007199254740992 and used >= 0 and used <= 2e12 and before >= 0 and before <= 1e12
      and window % 1 + at % 1 + used % 1 + before % 1 + lapses % 1 == 0
    counts[#counts + 1] = {algorithm, window, at, used, before, lapses}
    if at > now then
      now = at
    end
  end
  unreadable = not good
end
