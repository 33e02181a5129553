-- get: reads records by key, or the two ends of the log; writes nothing.
-- KEYS[1]   record: numbers, bounds, deadlines (hash)
-- KEYS[2]   states: all of a record but its value, by key (hash)
-- KEYS[3]   values: by key (hash)
-- KEYS[4]   names: keys of live records, in byte order (sorted set)
-- KEYS[5]   deadlines: of live records (sorted set)
-- KEYS[6]   expired: keys of tombstones, in byte order (sorted set)
-- KEYS[7]   buried: tombstones by their deadline (sorted set)
-- KEYS[8]   log: events (list)
-- KEYS[9]   touches: the latest touch of each live record, by revision (sorted set)
-- KEYS[10]  parked: processes that wait for events, by when they are forgotten (sorted set)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   registry or ephemeral
-- ARGV[3]   `places` for the ends of the log; else for each key 1 if an expired record is wanted too, 0 if not
-- ARGV[4..] keys
-- Reply: of places: incarnation, revision and last event of the end of the log, and of the place after what can no
--        longer be read; else per key nothing, `!` (the stored value is not understood), `+` (ask again: the answer has
--        become too large), or `l` (live) or `x` (expired), state, value
if ARGV[3] == 'places' then
  local first = r.incarnation == 0 and latest() or compacted()
  return { r.incarnation, latest(), r.last, first, (event_up_to(first)) }
end

-- Whether a key comes after another in byte order. Lua compares strings by the server's locale.
local function stands_behind(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = one:byte(i), other:byte(i)
    if a ~= b then
      return a > b
    end
  end
  return #one > #other
end

-- Whether an expired record can still be inspected, swept or not.
local function is_kept(key, m)
  if ephemeral or m.deadline + r.tombstone_retention <= now then
    return false
  end
  local at = m.deadline
  local later = redis.call('ZCOUNT', BURIED, '(' .. text(at), '+inf')
    + redis.call('ZCOUNT', DEADLINES, '(' .. text(at), now)
  local level = redis.call('ZCOUNT', BURIED, at, at) + redis.call('ZCOUNT', DEADLINES, at, at)
  if later >= r.max_entries or later + level <= r.max_entries then
    return later < r.max_entries
  end
  for _, set_key in ipairs({ BURIED, DEADLINES }) do
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', set_key, at, at)) do
      later = later + (stands_behind(other, key) and 1 or 0)
    end
  end
  return later < r.max_entries
end

local keys = { unpack(ARGV, 4) }
-- Without a record, anything left over belongs to an object that is gone.
local states = r.incarnation == 0 and {} or redis.call('HMGET', STATES, unpack(keys))
local wanted, found, reply, bytes = {}, {}, {}, 0
for i = 1, #keys do
  reply[i] = ''
  local m = states[i] and parse(states[i])
  if states[i] and not m then
    reply[i] = '!'
  end
  local over = m and is_over(m)
  if m and (not over or (ARGV[3]:byte(i) == 49 and is_kept(keys[i], m))) then
    if bytes > 0 and bytes + m.size > MAX_BYTES then
      reply[i] = '+'
    else
      bytes = bytes + m.size
      wanted[#wanted + 1] = keys[i]
      found[#found + 1] = i
      reply[i] = (over and 'x' or 'l') .. states[i]
    end
  end
end
if #wanted > 0 then
  local values = redis.call('HMGET', VALUES, unpack(wanted))
  for i = 1, #found do
    reply[found[i]] = reply[found[i]] .. (values[i] or '')
  end
end
return reply
