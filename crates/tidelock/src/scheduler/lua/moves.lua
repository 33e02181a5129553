-- part: what schedules own, started instances, transitions that time causes, and the end of a step.

-- Removes a key (k), dead letter (l) or trigger (t) of the schedule with this birth.
local function disown(born8, owned)
  local kind, rest = owned:sub(1, 1), owned:sub(2)
  if kind == 'k' then
    redis.call('HDEL', NAMED, born8 .. rest)
    redis.call('ZREM', NAMED_ENDS, born8 .. rest)
  elseif kind == 'l' then
    redis.call('HDEL', LETTERS, rest)
    redis.call('ZREM', NUMBERS, rest)
  else
    redis.call('HDEL', TRIGGERS, born8 .. rest)
    redis.call('ZREM', WAITING, born8 .. rest)
  end
  redis.call('ZREM', OWNED, born8 .. owned)
end

local function own(born8, owned)
  redis.call('ZADD', OWNED, 0, born8 .. owned)
end

-- The range of members with this prefix.
local function beginning(prefix)
  return '[' .. prefix, '[' .. prefix .. string.rep('\255', 530)
end

local function waiting_for(handler, count)
  local low, high = '[' .. handler .. '\0', '(' .. handler .. '\1'
  return redis.call('ZRANGEBYLEX', UNSERVED, low, high, 'LIMIT', 0, count)
end

-- Makes schedules due again whose handler has appeared. Returns how many of `left` steps remain.
local function awaken(left)
  while left > 0 do
    local handler = redis.call('ZRANGE', AWAKENING, 0, 0)[1]
    if not handler then
      break
    end
    local found = waiting_for(handler, left)
    if #found < left then
      redis.call('ZREM', AWAKENING, handler)
    end
    left = left - #found
    for i = 1, #found do
      local s = load(found[i]:sub(#handler + 2))
      if s and s.was.waits == found[i] then
        set_kind(s, 'a')
        save(s)
      else
        redis.call('ZREM', UNSERVED, found[i])
      end
    end
  end
  return left
end

local function clear_buried(left)
  while left > 0 do
    local born8 = redis.call('ZRANGE', BURIED, 0, 0)[1]
    if not born8 then
      break
    end
    local low, high = beginning(born8)
    local found = redis.call('ZRANGEBYLEX', OWNED, low, high, 'LIMIT', 0, left)
    if #found < left then
      redis.call('ZREM', BURIED, born8)
    end
    left = left - #found
    for i = 1, #found do
      disown(born8, found[i]:sub(9))
    end
  end
  return left
end

-- Removes a schedule. Its further data is removed at once or in the next steps.
local function forget(id)
  local s = load(id)
  if not s then
    return false
  end
  for _, key in pairs(INDEXES) do
    redis.call('ZREM', key, id)
  end
  redis.call('ZREM', KINDS, id)
  redis.call('ZREM', NAMES, id)
  if s.was.waits then
    redis.call('ZREM', UNSERVED, s.was.waits)
  end
  for _, key in ipairs({ STATES, DEFINITIONS, PLANS, SNAPSHOTS, HISTORY }) do
    redis.call('HDEL', key, id)
  end
  redis.call('ZADD', BURIED, text(s.born), pack8(s.born))
  loaded[id] = false
  return true
end

-- A started instance: how long its handlers are announced, how long it is remembered, its process, its handlers.
local function read_instance(bytes)
  local instance, at = {}, 1
  instance.announced, instance.ends, instance.process, at = struct.unpack('>I8I8I2c0', bytes)
  instance.handlers, instance.list = {}, bytes:sub(at)
  while at <= #bytes do
    local handler
    handler, at = struct.unpack('>I2c0', bytes, at)
    instance.handlers[#instance.handlers + 1] = handler
  end
  return instance
end

-- Recomputes how long these handlers are announced, by the instances that remain. Reads all instances, so it is
-- called once for everything that a step removes.
local function withdraw(handlers)
  if #handlers == 0 then
    return
  end
  local latest, all = {}, redis.call('HVALS', INSTANCES)
  for i = 1, #all do
    local other = read_instance(all[i])
    for j = 1, #other.handlers do
      latest[other.handlers[j]] = math.max(latest[other.handlers[j]] or 0, other.announced)
    end
  end
  for i = 1, #handlers do
    local until_time = latest[handlers[i]] or 0
    if until_time > now then
      redis.call('HSET', SERVED, handlers[i], text(until_time))
    else
      redis.call('HDEL', SERVED, handlers[i])
    end
  end
end

-- Removes an instance, and appends its handlers to `handlers`. The caller withdraws them together with those of
-- others.
local function drop_instance(name, handlers)
  local bytes = redis.call('HGET', INSTANCES, name)
  redis.call('ZREM', ALIVE, name)
  if bytes then
    redis.call('HDEL', INSTANCES, name)
    local list = read_instance(bytes).handlers
    for i = 1, #list do
      handlers[#handlers + 1] = list[i]
    end
  end
  return handlers
end

local function is_served(handler)
  return tonumber(redis.call('HGET', SERVED, handler) or 0) > now
end

local function drop_finished(left)
  local found = redis.call('ZRANGEBYSCORE', ENDED, '-inf', now, 'LIMIT', 0, left)
  for i = 1, #found do
    if not forget(found[i]) then
      redis.call('ZREM', ENDED, found[i])
    end
  end
  return left - #found
end

-- The oldest dead letter: its number, the birth of its schedule, its instant.
local function oldest_letter()
  local number8 = redis.call('ZRANGE', NUMBERS, 0, 0)[1]
  if not number8 then
    return nil
  end
  local body = (redis.call('HGET', LETTERS, number8) or '') .. string.rep('\0', 16)
  return number8, body:sub(9, 16), unpack8(body)
end

local function drop_letters(left)
  while left > 0 do
    local number8, born8, at = oldest_letter()
    if not number8 or at + KEPT > now then
      break
    end
    disown(born8, 'l' .. number8)
    left = left - 1
  end
  return left
end

local function drop_named(left)
  local found = redis.call('ZRANGEBYSCORE', NAMED_ENDS, '-inf', now, 'LIMIT', 0, left)
  for i = 1, #found do
    disown(found[i]:sub(1, 8), 'k' .. found[i]:sub(9))
  end
  return left - #found
end

local function drop_instances(left)
  local found, handlers = redis.call('ZRANGEBYSCORE', ALIVE, '-inf', now, 'LIMIT', 0, left), {}
  for i = 1, #found do
    drop_instance(found[i], handlers)
  end
  withdraw(handlers)
end

-- The instant of the next timed transition; 0 for none.
local function find_next()
  if redis.call('EXISTS', AWAKENING, BURIED) > 0 then
    return 1
  end
  local _, _, at = oldest_letter()
  local next = math.min(lowest(ENDED) or LATE, at and at + KEPT or LATE, lowest(NAMED_ENDS) or LATE, lowest(ALIVE) or LATE)
  return next == LATE and 0 or next
end

-- Begins a step: carries out a bounded part of what is overdue.
local function advance()
  if r.next == 0 or r.next > now then
    return
  end
  local left = awaken(STEP)
  left = clear_buried(left)
  left = left > 0 and drop_finished(left) or left
  left = left > 0 and drop_letters(left) or left
  left = left > 0 and drop_named(left) or left
  if left > 0 then
    drop_instances(left)
  end
  r.next = find_next()
end

local function is_settling()
  if r.next ~= 0 and r.next <= now then
    r.next = find_next()
  end
  return r.next ~= 0 and r.next <= now
end

local TAG = RECORD:match('{(.*)}')

-- Ends a step that is not the leader's: rings for the leader if something is due earlier than it knows.
local function ring()
  if r.told <= earliest then
    return
  end
  r.told = earliest
  if is_led() then
    redis.call('PUBLISH', r.process, TAG)
  end
end

-- Rings for all known instances except for this one.
local function ring_others(name)
  local all, rung = redis.call('HGETALL', INSTANCES), {}
  for i = 1, #all, 2 do
    local process = read_instance(all[i + 1]).process
    if all[i] ~= name and not rung[process] then
      rung[process] = true
      redis.call('PUBLISH', process, TAG)
    end
  end
end

-- Ends a step: writes the record, and sets the lifetime of all keys.
local function finish()
  local lasts = redis.call('EXISTS', NAMES)
  local turned = lasts ~= r.lasts
  r.lasts = lasts
  local change, gone = {}, {}
  for name, value in pairs(r) do
    if value ~= known[name] then
      if value == '' then
        gone[#gone + 1] = name
      else
        change[#change + 1] = name
        change[#change + 1] = type(value) == 'number' and text(value) or value
      end
    end
  end
  if #change > 0 then
    redis.call('HSET', RECORD, unpack(change))
  end
  if #gone > 0 then
    redis.call('HDEL', RECORD, unpack(gone))
  end
  if lasts == 1 then
    if turned then
      for i = 1, ALL do
        redis.call('PERSIST', KEYS[i])
      end
    end
    return
  end
  local left = math.max(r.ends - now, 0) + HOUR
  if turned then
    for i = 1, ALL do
      redis.call('PEXPIRE', KEYS[i], left)
    end
  elseif #change > 0 then
    for _, key in ipairs({ RECORD, INSTANCES, ALIVE, SERVED }) do
      redis.call('PEXPIRE', key, left)
    end
  end
end
