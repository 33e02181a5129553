-- part: keys, and the series of runs that schedules submit. A mirror of job/model/series.rs.

-- The binding of a key: id, until (0: until the terminal step), 1 if the job is gone.
local function binding_of(key)
  local bound = read_field(BOUND, key)
  if not bound then
    return nil
  end
  local until_time, gone = struct.unpack('>I6B', bound, 9)
  return bound:sub(1, 8), until_time, gone == 1
end

-- The id that a key is bound to now.
local function bound_to(key)
  local id, until_time, gone = binding_of(key)
  if not id or (gone and until_time <= now) then
    return nil
  end
  return id
end

local function write_binding(key, id, until_time, gone)
  write_field(BOUND, key, id .. struct.pack('>I6B', until_time, gone and 1 or 0))
end

local function bind(j)
  local life = struct.unpack('>I6', j.rules, 40)
  local until_time = life > 0 and now + life or 0
  local _, _, gone = binding_of(j.key)
  if gone then
    drop(KEY_ENDS, j.key)
  end
  write_binding(j.key, j.id, until_time, false)
  rest_until(until_time)
end

-- Releases the key of a job that has ended.
local function end_key(j)
  local id, until_time = binding_of(j.key)
  if id == j.id and until_time == 0 then
    erase_field(BOUND, j.key)
  end
end

-- The key of a job that is gone. It is kept as long as required.
local function outlive(j)
  local id, until_time = binding_of(j.key)
  if id ~= j.id then
    return
  end
  if until_time > now then
    write_binding(j.key, id, until_time, true)
    put(KEY_ENDS, until_time, j.key)
    deadline(until_time)
  else
    erase_field(BOUND, j.key)
  end
end

-- A series: forgotten at, how many of its runs are not over, how many are running; then the newest slots that were
-- judged, in order: for each, revision and slot (16 bytes) and the answer for its repeats (9 bytes). SLOTS of them
-- are remembered.
local SERIES_VALUE, SLOT_SIZE, SLOTS = '>I6I4I4', 25, 8
local NO_ID = string.rep('\0', 8)

local function series_of(name)
  local value = read_field(SERIES, name)
  if not value then
    return nil
  end
  local s = { name = name }
  s.until_time, s.active, s.running = struct.unpack(SERIES_VALUE, value)
  s.judged = value:sub(15)
  return s
end

local function new_series(name)
  return { name = name, until_time = 0, active = 0, running = 0, judged = '' }
end

local function write_series(s)
  write_field(SERIES, s.name, struct.pack(SERIES_VALUE, s.until_time, s.active, s.running) .. s.judged)
  if s.active == 0 then
    put(SERIES_ENDS, s.until_time, s.name)
    deadline(s.until_time)
  else
    drop(SERIES_ENDS, s.name)
  end
  rest_until(s.until_time)
end

-- Compares numbers of 16 bytes, which are too large for a number of Lua: -1, 0 or 1.
local function compare_slots(one, other)
  for at = 1, 16, 4 do
    local a, b = struct.unpack('>I4', one, at), struct.unpack('>I4', other, at)
    if a ~= b then
      return a < b and -1 or 1
    end
  end
  return 0
end

-- The origin of a job: 1 if it has a slot, the slot, overlap (a allow, s skip, q queue), how many may wait, how long
-- the series is remembered.
local function read_origin(bytes)
  local origin = {}
  origin.has_slot, origin.slot, origin.overlap, origin.most, origin.memory = struct.unpack('>Bc16c1I8I6', bytes)
  return origin
end

local function is_newer(s, slot)
  return s.judged == '' or compare_slots(slot, s.judged:sub(-SLOT_SIZE)) > 0
end

local function remember_slot(s, slot, answer)
  s.judged = (s.judged .. slot .. answer):sub(-SLOTS * SLOT_SIZE)
end

-- Why a run is refused: a letter and an id; nil if it is not. A late run, one with a key, is not refused because
-- there are newer slots or because it was refused before.
local function judge_series(name, origin, is_late)
  local s = series_of(name)
  if not s then
    return nil
  end
  if origin.has_slot == 1 and not is_newer(s, origin.slot) then
    local known
    for at = 1, #s.judged, SLOT_SIZE do
      if s.judged:sub(at, at + 15) == origin.slot then
        known = s.judged:sub(at + 16, at + 24)
        break
      end
    end
    if not is_late or (known and known:sub(1, 1) == 'D') then
      return known or 'D' .. NO_ID
    end
  end
  if s.active == 0 or origin.overlap == 'a' or (origin.overlap == 'q' and s.active - s.running < origin.most) then
    return nil
  end
  local oldest = redis.call('ZRANGEBYLEX', ACTIVE, '[' .. name .. '\0', '(' .. name .. '\1', 'LIMIT', 0, 1)[1]
  return 'O' .. oldest:sub(-8)
end

-- Records a use of the series, whatever its outcome.
local function use_series(name, origin)
  local s = series_of(name) or new_series(name)
  s.until_time = math.max(s.until_time, now + origin.memory)
  write_series(s)
end

-- Records that a run of the series was accepted, or will run again.
local function join_series(j, origin)
  local s = series_of(j.series) or new_series(j.series)
  if redis.call('ZADD', ACTIVE, 0, j.series .. '\0' .. j.id) == 1 then
    s.active = s.active + 1
  end
  fresh[ACTIVE] = true
  if origin and origin.has_slot == 1 and is_newer(s, origin.slot) then
    remember_slot(s, origin.slot, 'D' .. j.id)
  end
  write_series(s)
end

-- Records that a run was refused: that is the answer for its slot, unless it has one.
local function refuse_slot(name, origin, answer)
  local s = series_of(name)
  if s and origin.has_slot == 1 and is_newer(s, origin.slot) then
    remember_slot(s, origin.slot, answer)
    write_series(s)
  end
end

-- Counts one of its runs that started or stopped running.
local function count_running(j, by)
  local s = series_of(j.series)
  if s then
    s.running = s.running + by
    write_series(s)
  end
end

-- Records that a job of the series has ended or is gone.
local function leave_series(j, at)
  local s = series_of(j.series)
  if not s then
    return
  end
  s.active = s.active - redis.call('ZREM', ACTIVE, j.series .. '\0' .. j.id)
  if s.active == 0 then
    s.until_time = math.max(s.until_time, at)
  end
  write_series(s)
end

local function forget_some(ends, hash)
  write_set(ends)
  local names = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, STEP)
  for i = 1, #names do
    drop(ends, names[i])
    erase_field(hash, names[i])
  end
end
