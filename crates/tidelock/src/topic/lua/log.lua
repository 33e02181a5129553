-- part: the log: a list of elements, the event with ordinal n at index n - first. A mirror of topic/model/log.rs.
-- An element: position (8 bytes), lengths of ordering key and trace (2 each), of meta (4), then key, trace, meta,
-- payload. The position is written here, the rest comes from the sender.
local HEAD = 16

-- A stored event; nil where the list is gone: then its retention is over for all of it.
local function element_of(ordinal)
  return ordinal >= r.first and ordinal <= r.ordinal and redis.call('LINDEX', LOG, text(ordinal - r.first)) or nil
end

-- The ordinal of the first event from `from` on for which `test(position)` does not hold; it holds for a prefix.
local function first_not(from, test)
  local function holds(ordinal)
    local element = element_of(ordinal)
    return not element or test(unpack8(element))
  end
  -- Doubling steps first: what is looked for is near the beginning more often than not.
  local low, width = from, 1
  while low + width - 1 <= r.ordinal and holds(low + width - 1) do
    low, width = low + width, width * 2
  end
  local high = math.min(low + width - 1, r.ordinal + 1)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if holds(middle) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function is_over(at)
  return r.retention >= 0 and math.floor(at / 1000) + r.retention <= now
end

-- The ordinal of the first retained event; one behind the newest if none is.
local function first_retained()
  local first = math.max(r.floor, r.first)
  if r.max_len > 0 then
    first = math.max(first, r.ordinal + 1 - r.max_len)
  end
  if r.retention < 0 or first > r.ordinal or (first == r.floor and r.head_at > 0 and not is_over(r.head_at)) then
    return first
  end
  return first_not(first, is_over)
end

-- Fixes where the log begins as of now.
local function fix_floor()
  local first = first_retained()
  if first ~= r.floor or (r.head_at == 0 and first <= r.ordinal) then
    local element = element_of(first)
    r.floor, r.head_at = first, element and unpack8(element) or 0
  end
end

-- Frees what is not retained, a bounded number of events, or the whole list at once. Where the list has ended by itself
-- nothing in it was retained.
local function trim()
  local count = math.min(STEP, r.floor - r.first)
  if r.first > r.ordinal or count <= 0 then
    return
  end
  if r.floor > r.ordinal then
    redis.call('UNLINK', LOG)
    r.first = r.floor
  else
    redis.call('LPOP', LOG, text(count))
    r.first = r.first + count
  end
end

-- The next instant at which something of the log is overdue; 0 for none, 1 for now.
local function next_of_log()
  if r.first < r.floor and r.first <= r.ordinal then
    return 1
  end
  return r.retention >= 0 and r.head_at > 0 and r.floor <= r.ordinal and math.floor(r.head_at / 1000) + r.retention or 0
end

-- Where reading goes on behind a place: the ordinal of the next retained event; whether there is a gap before it; and
-- how many were missed, -1 for unknown. Nothing: there is no event yet, and so no gap. `sure`: the place is that of an
-- event of this log.
local function after(life, at, ordinal, sure)
  local first = first_retained()
  if first > r.ordinal then
    return nil
  end
  local same_life = life == r.life or life == 0
  if life == 0 then
    ordinal = 0
  end
  local start
  if same_life and ordinal < first then
    start = first
  elseif same_life and ordinal <= r.ordinal and (sure or unpack8(element_of(ordinal)) == at) then
    start = ordinal + 1
  else
    start = first_not(first, function(position) return position <= at end)
  end
  if start > r.ordinal then
    return nil
  end
  local missed = same_life and start > ordinal and start - ordinal - 1 or -1
  return start, missed ~= 0, missed
end

-- A place as 24 bytes: life, position, ordinal.
local function place(life, at, ordinal)
  return struct.pack('>I8I8I8', life, at, ordinal)
end

-- A gap before the event `start` as 57 bytes: 1, from, to, missed (2^53 for unknown); or 0 and as many zeros.
local NO_GAP = string.rep('\0', 57)
local UNKNOWN = 9007199254740992
local function gap_before(start, at, from, missed)
  return '\1' .. from .. place(r.life, at - 1, start - 1) .. pack8(missed < 0 and UNKNOWN or missed)
end

-- The place that a beginning stands for, as its three numbers. `begin`: e earliest, l latest, a after, t at; then
-- 24 bytes: the place, or the instant in ms in its first eight.
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

-- What counts of an element towards limits: payload and meta.
local function size_of(element)
  local key, trace = struct.unpack('>I2I2', element, 9)
  return #element - HEAD - key - trace
end

-- Publishes to a parked process; false if nobody listens there.
local TAG = RECORD:match('{(.*)}')
local function ring(process, detail)
  return redis.call('PUBLISH', process, TAG .. '\n' .. detail) > 0
end

-- How many elements may be fetched at once for an answer of so many bytes.
local function at_once(wanted, bytes)
  return math.max(1, math.min(wanted, 200, math.floor(bytes / math.max(r.widest, 1))))
end
