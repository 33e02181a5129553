-- part: reads the counts of KEYS[1]. Gives stored, its size and whether it is unreadable; the last count in locals of
-- its own (the only one, as a rule); and moves now: time never runs back behind something counted.
local read, pack, call = struct.unpack, struct.pack, redis.call
local stored, size, unreadable = redis.pcall('GET', KEYS[1]), 0, false
local last_algorithm, last_window, last_at, last_used, last_before, last_lapses
if stored then
  -- Format 1: a byte that says so, then 41 bytes for each of up to 16 counts.
  size = type(stored) == 'string' and #stored or 0
  unreadable = size < 42 or size > 657 or size % 41 ~= 1 or stored:byte() ~= 1
  for offset = 2, unreadable and 0 or size, 41 do
    last_algorithm, last_window, last_at, last_used, last_before, last_lapses = read('<Bddddd', stored, offset)
    -- Said so that numbers which are none fail.
    if not (last_algorithm >= 1 and last_algorithm <= 3 and last_window >= 1 and last_window <= 315360000000
      and last_at >= 0 and last_lapses > last_at and last_lapses <= 9007199254740992 and last_used >= 0
      and last_used <= 2e12 and last_before >= 0 and last_before <= 1e12
      and last_window % 1 + last_at % 1 + last_used % 1 + last_before % 1 + last_lapses % 1 == 0) then
      unreadable = true
    end
    if last_at > now then
      now = last_at
    end
  end
end
