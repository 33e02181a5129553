-- part: which events of the log can be read. The age of an event follows from its revision, an instant in microseconds.

-- Event: revision, total size of the values before it (8 bytes each), kind (`u` upsert, `d` delete, `e` expire), length
-- of the key (2), key. Then for an upsert, the stamp of the record and its value; for the others, when it happened and
-- the version that the record had (8 each); for a delete also `1` and the reason, or nothing.
local EVENT = '>I8I8c1I2'

-- The revision of an event, and the total size of the values before it.
local function event_at(index)
  local event = redis.call('LINDEX', LOG, index)
  if not event or #event < 16 then
    return 0, 0
  end
  return struct.unpack('>I8I8', event)
end

-- How many events of the log cannot be read any more at the instant `at`, looking at no more than `most` of them; and
-- the last revision that is too old then.
local function over_at(at, most)
  local aged = at >= r.event_retention and (at - r.event_retention) * 1000 + 999 or 0
  local last = math.min(r.count, most)
  local function is_unreadable(index)
    local revision, before = event_at(index)
    return revision <= aged or r.bytes - before > r.max_event_bytes
  end
  -- All events below `low` are over, the one before `high` is not. Usually few are over, so look near the head first.
  local low, high, width = math.min(math.max(r.count - r.max_events, 0), last), last + 1, 1
  while low < last and high > last do
    local index = math.min(low + width, last) - 1
    if is_unreadable(index) then
      low, width = index + 1, width * 2
    else
      high = index + 1
    end
  end
  while low < last and low < high - 1 do
    local middle = math.floor((low + high - 1) / 2)
    if is_unreadable(middle) then
      low = middle + 1
    else
      high = middle + 1
    end
  end
  return low, aged
end

-- The newest revision that can no longer be read.
local function compacted()
  local over, aged = over_at(now, r.count)
  local newest = r.sealed
  if over > 0 then
    newest = math.max(newest, (event_at(over - 1)))
  end
  if r.oldest ~= 0 and r.oldest <= aged then
    local touch = redis.call('ZREVRANGEBYSCORE', TOUCHES, aged, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    newest = math.max(newest, tonumber(touch[2] or 0))
  end
  return newest
end

-- The index of the first event after a revision. Usually it is near the tail.
local function first_behind(revision)
  local low, high, width = 0, r.count, 1
  while low < high and width > 0 do
    local index = math.max(high - width, 0)
    if event_at(index) > revision then
      high, width = index, width * 2
    else
      low, width = index + 1, 0
    end
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if event_at(middle) > revision then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- The revision of the last readable event up to `revision`, 0 for none; and the index after it.
local function event_up_to(revision)
  local index = first_behind(revision)
  return index > 0 and event_at(index - 1) or r.gone, index
end
