-- part: changes of records. They are buffered and written together at the end, so that many changes need few commands.

-- The records as this step sees them, by key; false: none. `origin`: as they are stored. `values`: those to be written.
local records, origin, values = {}, {}, {}
-- Keys whose records were changed, in order; events to be appended.
local dirty, is_dirty, events = {}, {}, {}
-- Keys whose stored state cannot be parsed; whether there are any. This is known before anything is written.
local broken, is_broken = {}, false
local wrote = false
-- Keys of the object that this step may have created, and whose expiry has to be set.
local fresh = {}

if r.incarnation == 0 then
  -- Without a record, as after an eviction, anything left over belongs to an object that is gone.
  redis.call('UNLINK', STATES, VALUES, NAMES, DEADLINES, EXPIRED, BURIED, LOG, TOUCHES)
end

local function learn(keys)
  if #keys == 0 then
    return
  end
  local stored = redis.call('HMGET', STATES, unpack(keys))
  for i = 1, #keys do
    local key = keys[i]
    if origin[key] == nil then
      local m = stored[i] and parse(stored[i])
      if stored[i] and not m then
        broken[key], is_broken = true, true
      end
      records[key], origin[key] = m or false, m or false
    end
  end
end

-- Notes that stored data of the object matters until `at`.
local function live_until(at)
  if at > r.ends then
    r.ends = at
  end
end

local function is_live(m)
  return m and m.kind ~= 'x'
end

-- Adds a record to the counts (1) or removes it (-1).
local function count_in(m, by)
  if m.kind == 'x' then
    r.tombs = r.tombs + by
    return
  end
  r.live = r.live + by
  if m.deadline == 0 then
    r.permanent = r.permanent + by
  end
end

-- Replaces a record.
local function set(key, m)
  local old = records[key]
  if old then
    count_in(old, -1)
  end
  if m then
    count_in(m, 1)
  end
  records[key] = m
  if not is_dirty[key] then
    is_dirty[key] = true
    dirty[#dirty + 1] = key
  end
end

-- The next number of a series that never repeats, even if the previous number was lost.
local function next_revision()
  r.revision = math.max(r.revision + 1, now_us)
  if r.oldest == 0 then
    r.oldest = r.revision
  end
  live_until(now + r.event_retention)
  wrote = true
  return r.revision
end

local function append(revision, kind, key, about, rest)
  r.last = revision
  events[#events + 1] = struct.pack(EVENT, revision, r.bytes, kind, #key) .. key .. about .. rest
end

-- Expires a record whose deadline has passed.
local function expire(key)
  local m = records[key]
  append(next_revision(), 'e', key, struct.pack('>I8I8', m.deadline, m.version), '')
  if ephemeral or m.deadline + r.tombstone_retention <= now then
    return set(key, false)
  end
  if r.next_tomb == 0 or m.deadline < r.next_tomb then
    r.next_tomb = m.deadline
  end
  set(key, { kind = 'x', version = m.version, created = m.created, updated = m.updated, ttl = m.ttl,
    deadline = m.deadline, size = m.size })
end

-- The overdue records in order of their deadlines, at most `most`, and the number of all overdue records.
local due, due_at, overdue = {}, 1, 0
local function find_due(most)
  if r.next == 0 or r.next > now then
    return
  end
  due = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, most)
  overdue = #due < most and #due or redis.call('ZCOUNT', DEADLINES, '-inf', now)
  learn(due)
  for i = 1, is_broken and 0 or #due do
    if not is_live(origin[due[i]]) then
      -- The record is gone, as after an eviction: its deadline must not be waited for.
      redis.call('ZREM', DEADLINES, due[i])
    end
  end
end

-- Expires at most `count` of the records found. Returns how many.
local function expire_first(count)
  local expired = 0
  while expired < count and due_at <= #due do
    local m = records[due[due_at]]
    if is_live(m) and is_over(m) then
      expire(due[due_at])
      overdue = overdue - 1
      expired = expired + 1
    end
    due_at = due_at + 1
  end
  return expired
end

-- Calls a command with many arguments, in chunks that fit on the stack.
local function call(command, key, arguments, adds)
  for from = 1, #arguments, 2000 do
    redis.call(command, key, unpack(arguments, from, math.min(from + 1999, #arguments)))
  end
  if adds and #arguments > 0 then
    fresh[key] = true
  end
end

local function add(list, first, second)
  list[#list + 1] = first
  list[#list + 1] = second
end

-- The deadline of a live record; 0 for none.
local function deadline_of(m)
  return is_live(m) and m.deadline or 0
end

local function flush_indexes()
  local last, last_text = 0, '0'
  local named, unnamed, timed, untimed, buried, dug_up = {}, {}, {}, {}, {}, {}
  for i = 1, #dirty do
    local key = dirty[i]
    local old, m = origin[key], records[key]
    if is_live(m) and not is_live(old) then
      add(named, '0', key)
    elseif is_live(old) and not is_live(m) then
      unnamed[#unnamed + 1] = key
    end
    local before, after = deadline_of(old), deadline_of(m)
    if after ~= 0 and after ~= before then
      if after ~= last then
        last, last_text = after, text(after)
      end
      add(timed, last_text, key)
    elseif after == 0 and before ~= 0 then
      untimed[#untimed + 1] = key
    end
    if m and m.kind == 'x' then
      add(buried, text(m.deadline), key)
    elseif old and old.kind == 'x' then
      dug_up[#dug_up + 1] = key
    end
  end
  call('ZADD', NAMES, named, true)
  call('ZREM', NAMES, unnamed)
  call('ZADD', DEADLINES, timed, true)
  call('ZREM', DEADLINES, untimed)
  call('ZREM', BURIED, dug_up)
  call('ZREM', EXPIRED, dug_up)
  call('ZADD', BURIED, buried, true)
  for i = 1, #buried, 2 do
    buried[i] = '0'
  end
  call('ZADD', EXPIRED, buried, true)
end

-- Writes all pending changes.
local function flush()
  local states, stateless, stored, touched, untouched = {}, {}, {}, {}, {}
  for i = 1, #dirty do
    local key = dirty[i]
    local old, m = origin[key], records[key]
    if m then
      add(states, key, build(m))
    elseif old then
      stateless[#stateless + 1] = key
    end
    if m and values[key] then
      add(stored, key, values[key])
    end
    if m and m.touch then
      add(touched, text(m.touch), key)
    elseif old and old.kind == 't' and not (m and m.kind == 't') then
      untouched[#untouched + 1] = key
    end
  end
  call('HSET', STATES, states, true)
  call('HDEL', STATES, stateless)
  call('HSET', VALUES, stored, true)
  call('HDEL', VALUES, stateless)
  call('ZADD', TOUCHES, touched, true)
  call('ZREM', TOUCHES, untouched)
  call('RPUSH', LOG, events, true)
  flush_indexes()
  r.count = r.count + #events
  for i = 1, #dirty do
    origin[dirty[i]] = records[dirty[i]]
  end
  dirty, is_dirty, events, values = {}, {}, {}, {}
end

-- The lowest score of a sorted set; 0 if it is empty.
local function lowest(set_key)
  return tonumber(redis.call('ZRANGE', set_key, 0, 0, 'WITHSCORES')[2] or 0)
end

-- The highest score of a sorted set; 0 if it is empty.
local function highest(set_key)
  return tonumber(redis.call('ZRANGE', set_key, -1, -1, 'WITHSCORES')[2] or 0)
end
