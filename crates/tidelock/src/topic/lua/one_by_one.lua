-- part: hand-over one by one, for events that have a key, came back, or are not next in the log. A mirror of
-- topic/model/take.rs.

local function fits(take, size)
  return #take.out == 0 or take.bytes == 0 or take.bytes + size <= MAX_BYTES
end

-- Records a delivery in the take; all of them are stored together at the end.
local function hand_over(take, e)
  r.fence = following(r.fence)
  e.kind, e.fence, e.attempts, e.number, e.retention, e.consumer =
    'l', r.fence, e.attempts + 1, take.max_deliveries, take.retention, take.consumer
  local count, value = #take.receipts + 1, build(e)
  take.out[count], take.receipts[count] = value, e.id .. pack8(r.fence)
  take.values[2 * count - 1], take.values[2 * count] = e.id, value
  g.leased = g.leased + 1
  take.bytes = take.bytes + size_of(e.element)
  if e.is_copy then
    count_copy(e)
    take.copies[e.id] = true
  end
end

-- An event of the log in the form of an open event.
local function opened(take, element, ordinal, keyed)
  local e = { kind = 's', flags = keyed and 2 or 0, fence = 0, attempts = 0, number = 0, retention = take.retention,
    ordinal = ordinal, consumer = '', note = '', failure = '', element = element, id = element:sub(1, 8) }
  e.at = unpack8(e.id)
  if keyed then
    e.key = element:sub(HEAD + 1, HEAD + struct.unpack('>I2', element, 9))
  end
  return e
end

-- The lowest position among the open events that may be handed out, and its id.
local function first_open(limited)
  local at, id
  for _, index in ipairs({ READY, FREED }) do
    if (index == READY and g.ready or not limited and g.freed or 0) > 0 then
      local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
      if first[1] and (not at or tonumber(first[2]) < at) then
        at, id = tonumber(first[2]), first[1]
      end
    end
  end
  return at, id
end

-- Hands out one open event; returns false if it may not be.
local function take_open(take, id)
  local e = load(id)
  -- Only while more is overdue than one step carries out. Such an event is never handed out.
  if (not e.is_copy and has_lost(e.at, e.ordinal)) or not fits(take, size_of(e.element)) then
    return false
  end
  remove(e)
  hand_over(take, e)
  return true
end

-- Advances to the next event of the log: hands it out, sets it aside, or skips it if it is open as a requeued copy.
-- Returns false if it may not be handed out.
local function read_on(take, ordinal, element)
  local id = element:sub(1, 8)
  local at = unpack8(id)
  if g.copies > 0 and (take.copies[id] or redis.call('HEXISTS', OPEN, id) == 1) then
    g.life, g.at, g.ordinal, g.sure = r.life, at, ordinal, 1
    return true
  end
  local keyed = take.ordered and element:sub(9, 10) ~= '\0\0'
  local e = opened(take, element, ordinal, keyed)
  if keyed and (take.busy[e.key] or redis.call('HEXISTS', BUSY, e.key) == 1) then
    g.life, g.at, g.ordinal, g.sure = r.life, at, ordinal, 1
    take.aside = take.aside + 1
    set_aside(e, 0)
    return true
  end
  if not fits(take, size_of(element)) then
    return false
  end
  g.life, g.at, g.ordinal, g.sure = r.life, at, ordinal, 1
  if keyed then
    redis.call('HSET', BUSY, e.key, '')
    take.busy[e.key] = true
  end
  hand_over(take, e)
  return true
end

-- Creates the group of a take. Returns false if it needs no storage yet, nil if there are too many groups.
local function find_group(take)
  -- The group was lost together with the log that this reader knew: continue with the log that replaced it.
  local lost = take.life and take.life ~= r.life
  if r.life == 0 and (lost or take.begin:sub(1, 1) == 'e') then
    return false
  end
  if r.groups >= MAX_GROUPS then
    return nil
  end
  if lost then
    create(take.life, take.at, take.ordinal)
  else
    create(resolve(take.begin))
  end
  return true
end
