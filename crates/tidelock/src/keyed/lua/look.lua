-- look: carries out a step of what is overdue, then shows a page of records, the numbers of the object, or events.
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
-- ARGV[3]   what: `list`, `stats`, `read`; `sweep` shows nothing, and does nothing if some process swept within the
--           last second, unless it continues a sweep (`on`)
-- ARGV[4..] list: lowest and highest key as bounds of a range, number of records, 1 for expired ones
--           stats: 1 to show them even if more is overdue
--           read: incarnation, revision and last event of the place, number of events, 1 to park, channel of the
--                 process
--           sweep: `on`, or empty
-- Reply: 1 if more is overdue; next deadline in ms (0: none); incarnation, revision and last event of the end of the
--        log; then
--        list, once nothing is overdue: 1 if there are more, then key, state and value of each
--        stats: numbers in the order of the fields in redis/look.rs
--        read: after an overflow: revision and last event of the oldest place that can be read, or of the end; else 0,
--              next deadline of a live record, now, number of events, events, then key, revision and state of touches
local what, place = ARGV[3], 6

-- How many of the page's records fit the reply: at least one, with values of at most MAX_BYTES in total.
local function fitting(states, most)
  local bytes, fits = 0, 0
  for i = 1, math.min(#states, most) do
    bytes = bytes + states[i].size
    if i > 1 and bytes > MAX_BYTES then
      break
    end
    fits = i
  end
  return fits
end

local function list(reply)
  local low, high, limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
  local names = redis.call('ZRANGEBYLEX', ARGV[7] == '1' and EXPIRED or NAMES, low, high, 'LIMIT', 0, limit + 1)
  if #names == 0 then
    reply[place] = 0
    return
  end
  local stored, states = redis.call('HMGET', STATES, unpack(names)), {}
  for i = 1, #names do
    states[i] = stored[i] and parse(stored[i]) or { size = 0 }
  end
  local fits = fitting(states, limit)
  local values = redis.call('HMGET', VALUES, unpack(names, 1, fits))
  reply[place] = fits < #names and 1 or 0
  for i = 1, fits do
    reply[#reply + 1] = names[i]
    reply[#reply + 1] = stored[i] or ''
    reply[#reply + 1] = values[i] or ''
  end
end

local function stats(reply)
  local newest = compacted()
  local first = first_behind(newest)
  local _, before = event_at(first)
  local late = redis.call('ZCOUNT', DEADLINES, '-inf', now)
  local kept = now - r.tombstone_retention
  local expired = ephemeral and 0 or redis.call('ZCOUNT', BURIED, '(' .. text(kept), '+inf')
    + redis.call('ZCOUNT', DEADLINES, '(' .. text(kept), now)
  local next = redis.call('ZRANGEBYSCORE', DEADLINES, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local numbers = { r.live - late, r.permanent, math.min(expired, r.max_entries), r.count - first,
    first < r.count and r.bytes - before or 0, redis.call('ZCOUNT', TOUCHES, '(' .. text(newest), '+inf'), newest,
    tonumber(next or 0), r.max_entries, r.event_retention, r.max_events, r.max_event_bytes, r.tombstone_retention }
  for i = 1, #numbers do
    reply[#reply + 1] = numbers[i]
  end
end

-- The index after the last event that fits the reply: at most `most` events from `first` on, with values of at most
-- MAX_BYTES in total, but at least one event with a value.
local function fitting_from(first, most)
  local last, _, start = math.min(first + most, r.count), event_at(first)
  local function bytes_up_to(index)
    local _, before = event_at(index)
    return (index < r.count and before or r.bytes) - start
  end
  if first >= last or r.bytes - start <= MAX_BYTES or bytes_up_to(last) <= MAX_BYTES then
    return last
  end
  -- Up to `low` they fit, up to `high` they do not. Large values mean few events, so look near the first one.
  local low, high, width, fits = first, last, 1, 0
  while low + 1 < high do
    local middle = math.min(low + width, math.floor((low + high) / 2))
    local bytes = bytes_up_to(middle)
    if bytes <= MAX_BYTES then
      low, width, fits = middle, width * 2, bytes
    else
      high = middle
    end
  end
  return fits == 0 and low + 1 or low
end

local function oldest_behind(revision)
  local event = event_at(first_behind(revision))
  local touch = redis.call('ZRANGEBYSCORE', TOUCHES, '(' .. text(revision), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local oldest = math.min(event ~= 0 and event or math.huge, tonumber(touch) or math.huge)
  return oldest == math.huge and latest() or oldest
end

local function park(channel)
  redis.call('ZREMRANGEBYSCORE', PARKED, '-inf', now)
  redis.call('ZADD', PARKED, now + 10000, channel)
  redis.call('PEXPIRE', PARKED, pinned and HOUR or 20000)
  if r.incarnation ~= 0 then
    -- A waiting process keeps the object alive, and so the position at which it waits.
    live_until(now + 20000)
  end
end

local function read(reply)
  local incarnation, revision, event, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local newest, known, first = compacted(), event_up_to(revision)
  local foreign = incarnation ~= 0 and incarnation ~= r.incarnation
  local elsewhere = foreign or (r.incarnation ~= 0 and event ~= 0 and event ~= known)
  if elsewhere or (r.incarnation ~= 0 and (revision < newest or revision > r.revision)) then
    reply[place] = oldest_behind(newest)
    reply[place + 1] = event_up_to(reply[place])
    return
  end
  local behind = fitting_from(first, most)
  local found = behind > first and redis.call('LRANGE', LOG, first, behind - 1) or {}
  -- A touch must not come before events that precede it.
  local before = behind < r.count and '(' .. text((event_at(behind))) or '+inf'
  local touched = redis.call('ZRANGEBYSCORE', TOUCHES, '(' .. text(revision), before, 'WITHSCORES', 'LIMIT', 0, most)
  local nothing = #found == 0 and #touched == 0
  if nothing and ARGV[8] == '1' then
    park(ARGV[9])
  end
  reply[place], reply[place + 1], reply[place + 2] = 0, nothing and lowest(DEADLINES) or 0, now
  reply[place + 3] = #found
  for i = 1, #found do
    reply[#reply + 1] = found[i]
  end
  for i = 1, #touched, 2 do
    reply[#reply + 1] = touched[i]
    reply[#reply + 1] = touched[i + 1]
    reply[#reply + 1] = redis.call('HGET', STATES, touched[i]) or ''
  end
end

if what == 'sweep' then
  if ARGV[4] == '' and now >= r.swept and now - r.swept < 1000 then
    return { 0, next_deadline(), r.incarnation, latest(), r.last }
  end
  r.swept = r.incarnation ~= 0 and now or 0
end
settle()
if is_broken then
  return not_understood()
end
local settling = is_settling()
local reply = { settling and 1 or 0, next_deadline(), r.incarnation, latest(), r.last }
if what == 'list' and not settling then
  list(reply)
elseif what == 'stats' and (not settling or ARGV[4] == '1') then
  stats(reply)
elseif what == 'read' then
  read(reply)
end
wake()
finish()
return reply
