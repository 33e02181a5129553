-- part: where reading the log begins, and how a gap is reported. A mirror of topic/model/log.rs.

-- The gap before the event `start` as 57 bytes: 1, from, to, missed (2^53 if unknown). NO_GAP is as many zeros.
local UNKNOWN = 9007199254740992
local function gap_before(start, at, from, missed)
  return '\1' .. from .. place(r.life, at - 1, start - 1) .. pack8(missed < 0 and UNKNOWN or missed)
end

-- The position that a start stands for, as its three numbers. `begin`: e earliest, l latest, a after, t at; then 24
-- bytes: the position, or the instant in ms in the first eight.
local function resolve(begin)
  local what = begin:sub(1, 1)
  if what == 'a' then
    return struct.unpack('>I8I8I8', begin, 2)
  end
  local start = r.ordinal + 1
  if what == 'e' then
    start = first_retained()
  elseif what == 't' then
    local instant = unpack8(begin, 2)
    start = first_not(first_retained(), function(at) return math.floor(at / 1000) < instant end)
  end
  local element = element_of(start)
  if element then
    return r.life, unpack8(element) - 1, start - 1
  end
  return r.life, r.at, r.ordinal
end

-- The size of an element that counts towards limits: payload and meta.
local function size_of(element)
  local key, trace = struct.unpack('>I2I2', element, 9)
  return #element - HEAD - key - trace
end
