-- part: the keys of an object, its record, and how the state of a record is stored.
local RECORD, STATES, VALUES, NAMES, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local EXPIRED, BURIED, LOG, TOUCHES, PARKED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local ephemeral = ARGV[2] == 'ephemeral'

-- Data that is over by age stays stored for GRACE ms more, so that a clock that steps back slightly finds it again.
local HOUR, SLACK, GRACE = 3600000, 600000, 1000
local MAX_BYTES = 4 * 1024 * 1024
local STEP = 200

-- Record: all fields are numbers; an absent field is 0. `live`: stored records that are not tombstones, including
-- overdue ones; `permanent`: those without a deadline. `count`, `bytes`: number of events in the log, total size of all
-- values ever appended. `sealed`: no revision up to this one can be read. `last`, `gone`: revisions of the last event
-- appended and of the last one trimmed. `oldest`: no event or touch in the log is older. `next`, `next_tomb`: no
-- deadline of a live record, or of a tombstone, is earlier. `ends`: the latest instant at which stored data matters,
-- permanent records aside. `applied`: the `ends` that expiries were set for, -1: keys do not expire, 0: none set yet.
-- `swept`: the last sweep.
local FIELDS = { 'revision', 'incarnation', 'max_entries', 'event_retention', 'max_events', 'max_event_bytes',
  'tombstone_retention', 'live', 'permanent', 'tombs', 'count', 'bytes', 'sealed', 'last', 'gone', 'oldest',
  'next', 'next_tomb', 'ends', 'applied', 'swept' }
local r, known = {}, {}
do
  local stored = redis.call('HMGET', RECORD, unpack(FIELDS))
  for i = 1, #FIELDS do
    local number = tonumber(stored[i] or 0)
    if not number then
      return redis.error_reply('TIDELOCK the record of the object holds ' .. FIELDS[i] .. ' that is no number')
    end
    r[FIELDS[i]], known[i] = number, number
  end
end

-- A whole number as text. Concatenation would round it, and a number passed to a command is converted slowly.
local WHOLE = string.format('%d', 4503599627370496) == '4503599627370496' and '%d' or '%.0f'
local function text(number)
  return string.format(WHOLE, number)
end

-- State: kind (`l` live, `t` live and with a touch in the log, `x` tombstone), version, created, updated, ttl and
-- deadline (0 for none), size of the value.
local STATE, STATE_SIZE = '>c1I8I8I8I8I8I4', 45

-- Parses a state; false if the bytes are not one.
local function parse(bytes)
  if #bytes ~= STATE_SIZE then
    return false
  end
  local m = {}
  m.kind, m.version, m.created, m.updated, m.ttl, m.deadline, m.size = struct.unpack(STATE, bytes)
  return m
end

local function not_understood()
  return redis.error_reply('TIDELOCK a stored record is not of this version\'s format')
end

-- Everything in a state but kind and size; replies and events contain it in this form too.
local function stamp(m)
  m.stamp = m.stamp or struct.pack('>I8I8I8I8I8', m.version, m.created, m.updated, m.ttl, m.deadline)
  return m.stamp
end

local function build(m)
  return m.kind .. stamp(m) .. struct.pack('>I4', m.size)
end

-- Whether a record is expired. A tombstone stays expired even if the clock has stepped back.
local function is_over(m)
  return m.kind == 'x' or (m.deadline ~= 0 and m.deadline <= now)
end

-- The revision of the end of the log; for an object that does not exist, one before any future event.
local function latest()
  return r.incarnation == 0 and math.max(r.revision, now_us - 1) or r.revision
end
