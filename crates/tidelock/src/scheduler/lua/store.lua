-- part: the keys of a scheduler, its record, and how schedules are stored.
local RECORD, STATES, DEFINITIONS, NAMES, KINDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DUE, AGAIN, BEHIND, ENDED = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local PLANS, SNAPSHOTS, HISTORY = KEYS[10], KEYS[11], KEYS[12]
local UNSERVED, AWAKENING = KEYS[13], KEYS[14]
local TRIGGERS, WAITING, NAMED, NAMED_ENDS = KEYS[15], KEYS[16], KEYS[17], KEYS[18]
local LETTERS, NUMBERS, OWNED, BURIED = KEYS[19], KEYS[20], KEYS[21], KEYS[22]
local INSTANCES, ALIVE, SERVED = KEYS[23], KEYS[24], KEYS[25]
local ALL = 25

local HOUR = 3600000
local ANNOUNCED, PATIENCE, KEPT = 15000, 1000, 604800000
local STEP, MAX_BYTES = 200, 4 * 1024 * 1024
-- Added to the instant of a plan that begins with a catch-up run. Also stands for no instant at all.
local LATE = 4503599627370496

-- A whole number as text. Concatenation would round it.
local WHOLE = string.format('%d', LATE) == '4503599627370496' and '%d' or '%.0f'
local function text(number)
  return string.format(WHOLE, number)
end

-- The record. The instance `leader` (empty for none) with `process` leads until `lease_end` with `epoch`, which its
-- beat `taken` acquired; it checks again by `told`. `next`: no overdue transition is earlier; 0 for none. `ends`:
-- when the last lease or instance ends. `lasts`: 1 if no key has an expiry.
local FIELDS = { 'epoch', 'revision', 'told', 'lease_end', 'taken', 'max_letters', 'letters_lost', 'next', 'ends', 'lasts',
  'swept' }
local TEXTS = { 'leader', 'process', 'zones' }
local DEFAULTS = { told = LATE, max_letters = 5000 }
local r, known = {}, {}
do
  local stored = redis.call('HMGET', RECORD, unpack(FIELDS))
  for i = 1, #FIELDS do
    local number = tonumber(stored[i] or DEFAULTS[FIELDS[i]] or 0)
    if not number then
      return redis.error_reply('TIDELOCK the record of the object holds ' .. FIELDS[i] .. ' that is no number')
    end
    r[FIELDS[i]], known[FIELDS[i]] = number, number
  end
  stored = redis.call('HMGET', RECORD, unpack(TEXTS))
  for i = 1, #TEXTS do
    r[TEXTS[i]], known[TEXTS[i]] = stored[i] or '', stored[i] or ''
  end
end

local function next_revision()
  r.revision = math.max(r.revision + 1, now_us)
  return r.revision
end

local function is_led()
  return r.leader ~= '' and now < r.lease_end
end

local function pack8(number)
  return struct.pack('>I8', number)
end

local function unpack8(bytes)
  return struct.unpack('>I8', bytes)
end

-- The next timed transition may be as early as `at`.
local function note(at)
  if r.next == 0 or at < r.next then
    r.next = at
  end
end

-- State of a schedule: everything except for its definition, the slots of its plan and its history.
local STATE = '>I8I8I8I8I8I8I8I8c1I8I8I4I8I8I8I8I4I4I8I8I8I8c1c1I4I2I2'
local STATE_SIZE = struct.size(STATE)
local STATE_KINDS = { a = 0, p = 1, u = 2, f = 3, q = 4, x = 5 }

local function parse(bytes)
  if #bytes < STATE_SIZE then
    return false
  end
  local s, handler, note_length = {}, 0, 0
  s.born, s.revision, s.timing_revision, s.created, s.updated, s.run, s.slot, s.due, s.kind, s.at, s.until_time, s.rounds,
    s.last_slot, s.last_job, s.lateness, s.first_run, s.taken, s.count, s.missed, s.decided_at, s.plan_timing,
    s.first_due, s.on_time, s.snapshot, s.size, handler, note_length = struct.unpack(STATE, bytes)
  local rest = STATE_SIZE + math.max(handler - 1, 0)
  if not STATE_KINDS[s.kind] or #bytes ~= rest + math.max(note_length - 1, 0) then
    return false
  end
  s.handler = handler > 0 and bytes:sub(STATE_SIZE + 1, rest)
  s.note = note_length > 0 and bytes:sub(rest + 1)
  return s
end

local function length(optional)
  return optional and #optional + 1 or 0
end

local function build(s)
  return struct.pack(STATE, s.born, s.revision, s.timing_revision, s.created, s.updated, s.run, s.slot, s.due, s.kind, s.at,
    s.until_time, s.rounds, s.last_slot, s.last_job, s.lateness, s.first_run, s.taken, s.count, s.missed, s.decided_at,
    s.plan_timing, s.first_due, s.on_time, s.snapshot, s.size, length(s.handler), length(s.note))
    .. (s.handler or '') .. (s.note or '')
end

local function new_state(id)
  return { id = id, born = 0, revision = 0, timing_revision = 0, created = now, updated = now, run = 0, slot = 0, due = 0,
    kind = 'a', at = 0, until_time = 0, rounds = 0, last_slot = 0, last_job = 0, lateness = 0, first_run = 0, taken = 0,
    count = 0, missed = 0, decided_at = 0, plan_timing = 0, first_due = 0, on_time = '0', snapshot = '0', size = 0,
    handler = false, note = false }
end

local function has_plan(s)
  return s.taken < s.count
end

-- The instant of a schedule in each index; false if it is not in the index.
local function places(s)
  local kind, plan, next = s.kind, has_plan(s), s.slot ~= 0 and s.due
  local due = kind == 'a' and not plan and next
  local again = false
  if kind == 'a' and plan then
    again = s.on_time == '1' and s.first_due or LATE + s.decided_at
  elseif kind == 'f' then
    again = s.at
  elseif kind == 'p' and s.until_time ~= 0 then
    again = s.until_time
  end
  local behind = ((kind == 'a' and plan) or kind == 'f' or kind == 'u') and next
  local waits = kind == 'u' and s.handler and s.handler .. '\0' .. s.id
  return { due = due, again = again, behind = behind, ended = kind == 'x' and s.at + KEPT, waits = waits, kind = kind }
end

local earliest = LATE
local INDEXES = { due = DUE, again = AGAIN, behind = BEHIND, ended = ENDED }

-- Writes a schedule and its index entries.
local function save(s)
  local old, new = s.was, places(s)
  for name, key in pairs(INDEXES) do
    if old[name] ~= new[name] then
      if new[name] then
        redis.call('ZADD', key, text(new[name]), s.id)
      else
        redis.call('ZREM', key, s.id)
      end
    end
  end
  if old.kind ~= new.kind then
    if new.kind == 'a' then
      redis.call('ZREM', KINDS, s.id)
    else
      redis.call('ZADD', KINDS, STATE_KINDS[new.kind], s.id)
    end
  end
  if old.waits ~= new.waits then
    if old.waits then
      redis.call('ZREM', UNSERVED, old.waits)
    end
    if new.waits then
      redis.call('ZADD', UNSERVED, 0, new.waits)
    end
  end
  if new.ended then
    note(new.ended)
  end
  earliest = math.min(earliest, new.due or LATE, new.again and (new.again < LATE and new.again or 0) or LATE)
  s.was = new
  redis.call('HSET', STATES, s.id, build(s))
end

local loaded = {}

-- The schedule with this id, or false. If its stored state cannot be read, it becomes quarantined.
local function load(id)
  local s = loaded[id]
  if s ~= nil then
    return s
  end
  local bytes = redis.call('HGET', STATES, id)
  s = bytes and parse(bytes)
  if s then
    s.id = id
    s.was = places(s)
  elseif bytes then
    s = new_state(id)
    s.born = next_revision()
    s.revision, s.timing_revision, s.kind, s.at = s.born, s.born, 'q', now
    s.note = 'the stored state is not of this version\'s format'
    s.size = redis.call('HSTRLEN', DEFINITIONS, id)
    s.was = { due = 0, again = 0, behind = 0, ended = 0, waits = false, kind = '' }
    redis.call('HDEL', PLANS, id)
    redis.call('HDEL', SNAPSHOTS, id)
    save(s)
  end
  loaded[id] = s
  return s
end

local function drop_plan(s)
  if s.count > 0 then
    redis.call('HDEL', PLANS, s.id)
    if s.snapshot == '1' then
      redis.call('HDEL', SNAPSHOTS, s.id)
    end
    s.first_run, s.taken, s.count, s.missed, s.decided_at, s.plan_timing = 0, 0, 0, 0, 0, 0
    s.first_due, s.on_time, s.snapshot = 0, '0', '0'
  end
end

-- Marks the schedule as finished if it has nothing left to do.
local function rest(s)
  if s.kind == 'a' and not has_plan(s) and s.slot == 0 then
    s.kind, s.at = 'x', now
  end
end

-- Sets a state. `note`: reason or error, or false.
local function set_kind(s, kind, at, until_time, rounds, note_text)
  s.kind, s.at, s.until_time, s.rounds, s.note = kind, at or 0, until_time or 0, rounds or 0, note_text or false
end

-- Appends what an answer shows of a schedule: id, state, definition, slots of its plan, what the plan was decided
-- with.
local function show(reply, s)
  local slots, snapshot = '', ''
  if has_plan(s) then
    slots = (redis.call('HGET', PLANS, s.id) or ''):sub(s.taken * 17 + 1)
    snapshot = s.snapshot == '1' and redis.call('HGET', SNAPSHOTS, s.id) or ''
  end
  reply[#reply + 1] = s.id
  reply[#reply + 1] = build(s)
  reply[#reply + 1] = redis.call('HGET', DEFINITIONS, s.id) or ''
  reply[#reply + 1] = slots
  reply[#reply + 1] = snapshot
end

local function shown_size(s)
  return s.size + (s.snapshot == '1' and redis.call('HSTRLEN', SNAPSHOTS, s.id) or 0)
end

-- The lowest score of a sorted set; nil if it is empty.
local function lowest(key, from)
  if from then
    return tonumber(redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2])
  end
  return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

-- Appends to the history of a schedule, which keeps the last `keep` entries: for each its length, its instant, and
-- what happened.
local function remember(id, keep, what)
  local entry = struct.pack('>I4I8', #what + 8, now) .. what
  local history, from, count, starts = (redis.call('HGET', HISTORY, id) or '') .. entry, 1, 0, {}
  while from + 3 <= #history do
    count = count + 1
    starts[count] = from
    from = from + 4 + struct.unpack('>I4', history, from)
  end
  if from ~= #history + 1 then
    -- The stored history cannot be read, so it starts anew.
    history, count, starts = entry, 1, { 1 }
  end
  if keep == 0 then
    redis.call('HDEL', HISTORY, id)
  else
    redis.call('HSET', HISTORY, id, count > keep and history:sub(starts[count - keep + 1]) or history)
  end
end
