-- change: changes that do not come from the leader.
-- KEYS[1]   record: numbers, leader, settings (hash)
-- KEYS[2]   states: all of a schedule but its definition, by id (hash)
-- KEYS[3]   definitions: timing and content, by id (hash)
-- KEYS[4]   names: ids, in byte order (sorted set)
-- KEYS[5]   kinds: states of schedules that are not active (sorted set)
-- KEYS[6]   due: active schedules without an open plan, by due instant of the next slot (sorted set)
-- KEYS[7]   again: schedules with an open plan, failing or paused with an end, by when they are handled (sorted set)
-- KEYS[8]   behind: schedules failing, unserved or with an open plan, by due instant of next slot (sorted set)
-- KEYS[9]   ended: finished schedules, by when they are removed (sorted set)
-- KEYS[10]  plans: slots of open plans, by id (hash)
-- KEYS[11]  snapshots: what open plans were decided with, if it was changed since, by id (hash)
-- KEYS[12]  history: entries, by id (hash)
-- KEYS[13]  unserved: handler and id of unserved schedules (sorted set)
-- KEYS[14]  awakening: handlers that appeared, while schedules still wait for them (sorted set)
-- KEYS[15]  triggers: accepted triggers, by birth and run (hash)
-- KEYS[16]  waiting: accepted triggers, by when a leader is to submit them (sorted set)
-- KEYS[17]  named: keys of triggers, by birth and key (hash)
-- KEYS[18]  named_ends: keys of triggers, by when they are forgotten (sorted set)
-- KEYS[19]  letters: dead letters, by number (hash)
-- KEYS[20]  numbers: numbers of dead letters (sorted set)
-- KEYS[21]  owned: keys, dead letters and triggers of schedules: birth, kind, name (sorted set)
-- KEYS[22]  buried: births of removed schedules that still own something (sorted set)
-- KEYS[23]  instances: started instances (hash)
-- KEYS[24]  alive: instances, by when they are forgotten (sorted set)
-- KEYS[25]  served: until when handlers are announced (hash)
-- KEYS[26]  answers: the last request of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this request in its sender's series
-- ARGV[3]   what: register, unregister, pause, resume, trigger, done, letter, purge, delete
-- ARGV[4..] register: id, timing, content, handler or empty, guess: from, until, slot and due instant (0: none),
--           max_schedules
--           unregister: id
--           pause: id, longest time in ms (-1: until resumed), 1 if there is a reason, reason
--           resume: id, revision, guess as above, slots in the pause, entries of history that are kept
--           trigger: id, 1 if there is a key, key, 1 if strict, memory of keys in ms
--           done: id, birth, run, outcome (s job lateness, o active -, g error rounds), entries of history that are
--           kept
--           letter: number
--           purge: newest number, 0 in the first step
-- Reply: next deadline in ms (0: none), a word, then its details
local number = tonumber(ARGV[2])
local memory = redis.call('GET', KEYS[26])
if memory then
  local last = unpack8(memory)
  if last == number then
    return cmsgpack.unpack(memory:sub(9))
  end
  if last > number then
    return redis.error_reply('LATE a later request of this sender was answered')
  end
end
advance()

local function is_right(from, until_time)
  return tonumber(from) <= now and now < tonumber(until_time)
end

-- A stored timing except for its jitter, which is last.
local function without_jitter(timing)
  return timing:match('^(.*),') or timing
end

local function register()
  local id, timing, content, handler = ARGV[4], ARGV[5], ARGV[6], ARGV[7] ~= '' and ARGV[7]
  local slot, due = tonumber(ARGV[10]), tonumber(ARGV[11])
  local definition = struct.pack('>I4', #timing) .. timing .. content
  local s = load(id)
  if not s then
    if redis.call('ZCARD', NAMES) >= tonumber(ARGV[12]) then
      return 'full'
    end
    if not is_right(ARGV[8], ARGV[9]) then
      return 'now', text(now)
    end
    s = new_state(id)
    s.born = next_revision()
    s.revision, s.timing_revision, s.slot, s.due, s.handler, s.size = s.born, s.born, slot, due, handler, #timing + #content
    s.was = { due = false, again = false, behind = false, ended = false, waits = false, kind = 'a' }
    rest(s)
    redis.call('ZADD', NAMES, 0, id)
    redis.call('HSET', DEFINITIONS, id, definition)
    loaded[id] = s
    save(s)
    return 'created'
  end
  local before = redis.call('HGET', DEFINITIONS, id) or ''
  local same = before == definition and s.handler == handler
  -- A schedule whose state could not be read has lost its slot.
  local lost = s.kind == 'q' and s.slot == 0 and not has_plan(s)
  -- A different jitter does not bring back the slots of a schedule that has had all of them.
  local over = s.kind == 'x' and #before >= 4
    and without_jitter(before:sub(5, 4 + struct.unpack('>I4', before))) == without_jitter(timing)
  local anew = lost or (before:sub(1, #timing + 4) ~= definition:sub(1, #timing + 4) and not over)
  if same and s.kind ~= 'q' then
    return 'unchanged'
  end
  if anew and not is_right(ARGV[8], ARGV[9]) then
    return 'now', text(now)
  end
  s.revision, s.updated = next_revision(), now
  if s.kind == 'u' or s.kind == 'q' then
    set_kind(s, 'a')
  end
  if anew then
    s.timing_revision, s.slot, s.due = s.revision, slot, due
    if s.kind == 'x' then
      set_kind(s, 'a')
    end
  end
  if not same then
    if has_plan(s) and s.snapshot == '0' and #before >= 4 then
      local content_at = 5 + struct.unpack('>I4', before)
      redis.call('HSET', SNAPSHOTS, id, struct.pack('>I2', length(s.handler)) .. (s.handler or '') .. before:sub(content_at))
      s.snapshot = '1'
    end
    redis.call('HSET', DEFINITIONS, id, definition)
    s.handler, s.size = handler, #timing + #content
  end
  rest(s)
  save(s)
  return 'updated'
end

local function unregister()
  local was_there = forget(ARGV[4])
  clear_buried(STEP)
  if redis.call('EXISTS', BURIED) == 1 then
    r.next = 1
  end
  return was_there and 'done' or 'absent'
end

local function pause()
  local s = load(ARGV[4])
  if not s then
    return 'absent'
  end
  local until_time = ARGV[5] == '-1' and 0 or now + tonumber(ARGV[5])
  local reason, since = ARGV[6] == '1' and ARGV[7], now
  if s.kind == 'x' or (s.kind == 'p' and s.until_time == until_time and s.note == reason) then
    return 'unchanged'
  end
  if s.kind == 'p' and not is_over(s) then
    since = s.at
  end
  s.revision = next_revision()
  drop_plan(s)
  set_kind(s, 'p', since, until_time, 0, reason)
  save(s)
  return 'done'
end

local function resume()
  local s = load(ARGV[4])
  if not s then
    return 'absent'
  elseif s.kind ~= 'p' or is_over(s) then
    -- If the pause has reached its own end, the leader decides how to continue.
    return 'unchanged'
  elseif s.revision ~= tonumber(ARGV[5]) then
    return 'conflict'
  elseif not is_right(ARGV[6], ARGV[7]) then
    return 'now', text(now)
  end
  go_on(s, tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]))
  return 'done'
end

-- Accepts a trigger and assigns a run number.
local function accept(s, key, memory)
  local definition = redis.call('HGET', DEFINITIONS, s.id) or ''
  if #definition < 4 then
    return 'invalid', 'the stored definition is not of this version\'s format'
  end
  local content = definition:sub(5 + struct.unpack('>I4', definition))
  s.run = s.run + 1
  redis.call('HSET', STATES, s.id, build(s))
  local born8, run8 = pack8(s.born), pack8(s.run)
  local body = struct.pack('>I8I8I8I2I2I2', s.born, s.run, now, length(key), length(s.handler), #s.id) .. s.id .. (key or '')
    .. (s.handler or '') .. content
  redis.call('HSET', TRIGGERS, born8 .. run8, body)
  redis.call('ZADD', WAITING, text(now + PATIENCE), born8 .. run8)
  earliest = math.min(earliest, now + PATIENCE)
  own(born8, 't' .. run8)
  if key then
    redis.call('ZREM', NAMED_ENDS, born8 .. key)
    own(born8, 'k' .. key)
    redis.call('HSET', NAMED, born8 .. key, struct.pack('>I8I8I8I8', s.run, memory, 0, 0))
  end
  return 'accepted', body
end

local function trigger()
  local s = load(ARGV[4])
  if not s then
    return 'absent'
  end
  local key, memory = ARGV[5] == '1' and ARGV[6], tonumber(ARGV[8])
  local known = key and redis.call('HGET', NAMED, pack8(s.born) .. key)
  if known then
    local run, _, job, ends = struct.unpack('>I8I8I8I8', known)
    local body = job == 0 and redis.call('HGET', TRIGGERS, pack8(s.born) .. pack8(run))
    if body then
      redis.call('HSET', NAMED, pack8(s.born) .. key, struct.pack('>I8I8I8I8', run, memory, 0, 0))
      return 'accepted', body
    elseif job ~= 0 and now < ends then
      redis.call('HSET', NAMED, pack8(s.born) .. key, struct.pack('>I8I8I8I8', run, memory, job, now + memory))
      redis.call('ZADD', NAMED_ENDS, text(now + memory), pack8(s.born) .. key)
      note(now + memory)
      return 'known', text(job)
    end
  end
  if s.kind == 'q' then
    return 'invalid', s.note or ''
  end
  if ARGV[7] ~= '1' and s.handler and not is_served(s.handler) then
    return 'missing'
  end
  return accept(s, key, memory)
end

local function done()
  local born, run = tonumber(ARGV[5]), tonumber(ARGV[6])
  return trigger_done(ARGV[4], born, run, 7, tonumber(ARGV[10])) and 'done' or 'absent'
end

local function remove_letter(number8)
  local body = redis.call('HGET', LETTERS, number8)
  if body then
    disown(body:sub(9, 16), 'l' .. number8)
  end
  return body
end

local function letter()
  return remove_letter(pack8(tonumber(ARGV[4]))) and 'done' or 'absent'
end

-- Returns how many were removed, the newest number, 1 when nothing is left of what was there.
local function purge()
  local newest = tonumber(ARGV[4])
  if newest == 0 then
    newest = unpack8(redis.call('ZRANGE', NUMBERS, -1, -1)[1] or pack8(0))
  end
  local found, count = redis.call('ZRANGEBYSCORE', NUMBERS, '-inf', text(newest), 'LIMIT', 0, STEP), 0
  for i = 1, #found do
    count = count + (remove_letter(found[i]) and 1 or 0)
  end
  return 'count', text(count), text(newest), #found < STEP and '1' or '0'
end

-- Keeps only the numbers, so that none of them repeats. Started instances beat again.
local function delete()
  local was_there = redis.call('EXISTS', NAMES, NUMBERS) > 0
  ring_others('')
  redis.call('UNLINK', unpack(KEYS, 1, ALL))
  local epoch, revision = r.epoch, r.revision
  for _, name in ipairs(FIELDS) do
    r[name], known[name] = DEFAULTS[name] or 0, DEFAULTS[name] or 0
  end
  for _, name in ipairs(TEXTS) do
    r[name], known[name] = '', ''
  end
  r.epoch, r.revision = epoch, revision
  return was_there and 'done' or 'unchanged'
end

local CHANGES = { register = register, unregister = unregister, pause = pause, resume = resume, trigger = trigger, done = done,
  letter = letter, purge = purge, delete = delete }
local answer = { '', CHANGES[ARGV[3]]() }
ring()
answer[1] = text(r.next)
redis.call('SET', KEYS[26], pack8(number) .. cmsgpack.pack(answer), 'PX', pinned and HOUR or 120000)
finish()
return answer
