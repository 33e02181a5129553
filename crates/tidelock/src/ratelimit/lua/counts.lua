-- part: the counts of an identifier: a byte 1 for the format, then for each of up to 16 counts 41 bytes.
local read, pack, call, pcall = struct.unpack, struct.pack, redis.call, redis.pcall

-- Returns the value of key, its size, and now, which is never before an instant at which something was counted; then
-- algorithm and window of the last count. An absent key has size 0, a value that cannot be read has none.
local function open(key, now)
  local stored = pcall('GET', key)
  if not stored then
    return '', 0, now
  end
  local size = type(stored) == 'string' and #stored or 0
  if size < 42 or size > 657 or size % 41 ~= 1 or stored:byte() ~= 1 then
    return stored
  end
  local algorithm, window, at, used, before, lapses
  for offset = 2, size, 41 do
    algorithm, window, at, used, before, lapses = read('<Bddddd', stored, offset)
    -- Stated positively, so that NaN fails too.
    if not (algorithm >= 1 and algorithm <= 3 and window >= 1 and window <= 315360000000 and at >= 0 and lapses > at
      and lapses <= 9007199254740992 and used >= 0 and used <= 2e12 and before >= 0 and before <= 1e12
      and window % 1 + at % 1 + used % 1 + before % 1 + lapses % 1 == 0) then
      return stored
    end
    if at > now then
      now = at
    end
  end
  return stored, size, now, algorithm, window
end
