-- part: the log: a list of elements, the event with ordinal n at index n - first. A mirror of topic/model/log.rs.
-- An element: position (8 bytes), lengths of ordering key and trace (2 each) and of meta (4); then key, trace, meta,
-- payload. The script writes the position; the rest comes from the sender.
local HEAD = 16

-- A stored event; nil if it is not stored.
local function element_of(ordinal)
  return ordinal >= r.first and ordinal <= r.ordinal and redis.call('LINDEX', LOG, text(ordinal - r.first)) or nil
end

-- The ordinal of the first event, from `from` on, that fails `test(position)`. `test` must hold for a prefix.
local function first_not(from, test)
  local function holds(ordinal)
    local element = element_of(ordinal)
    return not element or test(unpack8(element))
  end
  -- Doubling steps first: the result is usually near the beginning.
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

-- The ordinal of the first retained event; if none is retained, one past the newest.
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

-- Fixes the beginning of the log as of now.
local function fix_floor()
  local first = first_retained()
  if first ~= r.floor or (r.head_at == 0 and first <= r.ordinal) then
    local element = element_of(first)
    r.floor, r.head_at = first, element and unpack8(element) or 0
  end
end

-- Forgets all dedup records when none of them counts any more.
local function forget_all()
  redis.call('UNLINK', DEDUP)
  r.dedup_ends = 0
end

-- Frees at most `most` events that are no longer retained; if none is retained, unlinks the whole list at once. If the
-- list has expired by itself, nothing in it was retained.
local function trim(most)
  local count = math.min(most, r.floor - r.first)
  if r.first > r.ordinal or count <= 0 then
    return
  end
  if r.floor > r.ordinal then
    redis.call('UNLINK', LOG)
    forget_all()
    r.first = r.floor
  else
    redis.call('LTRIM', LOG, text(count), '-1')
    r.first = r.first + count
  end
end

-- The next instant at which something in the log is due; 0: none, 1: now.
local function next_of_log()
  if r.first < r.floor and r.first <= r.ordinal then
    return 1
  end
  local dedup_over = r.dedup_ends > 0 and r.dedup_ends + 1000 or 0
  if r.retention < 0 or r.head_at == 0 or r.floor > r.ordinal then
    return dedup_over
  end
  local head_over = math.floor(r.head_at / 1000) + r.retention
  return dedup_over > 0 and math.min(head_over, dedup_over) or head_over
end

-- A position as 24 bytes: life, position, ordinal.
local function place(life, at, ordinal)
  return struct.pack('>I8I8I8', life, at, ordinal)
end
