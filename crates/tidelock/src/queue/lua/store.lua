-- part: the keys of a queue, its record, and how a message is stored.
local RECORD, LINE, MESSAGES, READY, LINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DELAYED, LEASED, EXPIRING, KEPT, DEAD = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local DEDUP, PARKED = KEYS[11], KEYS[12]
local OBJECT_KEYS = 12

local HOUR, SLACK = 3600000, 600000
local MAX_BYTES = 16 * 1024 * 1024
local STEP = 200

-- Record. Numbers all; an absent field is 0. `paused`: end of the pause, -1 for until resumed. `age`: max_age of the
-- line, -1 for none. `next`: no deadline is earlier, 0 for none. `told`: deadline that a parked process keeps, 0 for
-- none. `ends`: latest deadline of anything stored, -1 for never. `applied`: the `ends` that expiries were set for.
local FIELDS = { 'id', 'fence', 'join', 'standing', 'ready', 'blocked', 'delayed', 'leased', 'dead', 'accepted',
  'settled', 'paused', 'age', 'widest', 'line_expiry', 'told', 'next', 'ends', 'dedup_ends', 'applied', 'swept' }
local stored = redis.call('HMGET', RECORD, unpack(FIELDS))
local r, known = {}, {}
for i = 1, #FIELDS do
  local number = tonumber(stored[i] or 0)
  if not number then
    return redis.error_reply('TIDELOCK the record of the queue holds ' .. FIELDS[i] .. ' that is no number')
  end
  r[FIELDS[i]], known[i] = number, number
end

-- Keys that this step may have created, by name.
local fresh = {}
local soonest = nil
local settling = false

local function pack8(number)
  return struct.pack('>I8', number)
end

local function unpack8(bytes, from)
  return (struct.unpack('>I8', bytes, from or 1))
end

-- A series that never repeats, whatever was forgotten in between.
local function following(last)
  return math.max(last + 1, now_us)
end

-- The queue must live until `at`; nil: for ever.
local function live_until(at)
  if not at then
    r.ends = -1
  elseif r.ends ~= -1 and at > r.ends then
    r.ends = at
  end
end

local function deadline(at)
  if r.next == 0 or at < r.next then
    r.next = at
  end
end

-- A deadline at which something may become deliverable.
local function delivery_deadline(at)
  deadline(at)
  if not soonest or at < soonest then
    soonest = at
  end
end

-- A line element: id, enqueued, expiry, retention (8 bytes each, 0 for none), lengths of key and trace (2), of meta
-- (4), then key, trace, meta, payload. The first three are written here, the rest comes from the sender.
-- A stored message: state, then the element. Offsets 11..18 hold the fence.
-- What is left of a removed message in the line: id and standing time, by which it is searched.
local TOMBSTONE = 16
local STATE = '>c1BI8I8I6I8I8c1I2I2I2'
local STATE_SIZE = 47

local function parse_element(message, element)
  message.element = element
  message.id, message.enqueued, message.expiry, message.retention = struct.unpack('>I8I8I8I8', element)
  local key_length = struct.unpack('>I2', element, 33)
  if key_length > 0 then
    message.key = element:sub(41, 40 + key_length)
  end
  return message
end

local function parse(value)
  local m = {}
  local consumer, note, failure
  m.kind, m.priority, m.standing, m.fence, m.attempts, m.join, m.number, m.tag, consumer, note, failure =
    struct.unpack(STATE, value)
  local at = STATE_SIZE + 1
  m.consumer = value:sub(at, at + consumer - 1)
  at = at + consumer
  m.note = value:sub(at, at + note - 1)
  at = at + note
  m.failure = value:sub(at, at + failure - 1)
  return parse_element(m, value:sub(at + failure))
end

-- A message of the plain line, as if it had been stored singly.
local function parse_line(element)
  local m = { kind = 'r', priority = 0, fence = 0, attempts = 0, join = 0, number = 0, tag = '-' }
  m.consumer, m.note, m.failure = '', '', ''
  parse_element(m, element)
  m.standing = m.enqueued
  return m
end

local function build(m)
  return struct.pack(STATE, m.kind, m.priority, m.standing, m.fence, m.attempts, m.join, m.number, m.tag,
    #m.consumer, #m.note, #m.failure) .. m.consumer .. m.note .. m.failure .. m.element
end

local function store(m)
  redis.call('HSET', MESSAGES, pack8(m.id), build(m))
  fresh[MESSAGES] = true
end

local function load(id_bytes)
  local value = redis.call('HGET', MESSAGES, id_bytes)
  return value and parse(value)
end

local function place_of(m)
  return pack8(m.standing) .. pack8(m.id)
end

local function line_member(m)
  return m.key .. '\0' .. pack8(m.join) .. pack8(m.id)
end

-- The id of the first unfinished message of an ordering key, as bytes.
local function head_of(key)
  local first = redis.call('ZRANGEBYLEX', LINES, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  return first and first:sub(-8)
end

local function is_paused()
  return r.paused == -1 or now < r.paused
end

-- Ends a step: the record, and the lifetime of every key that it may have made.
local function finish()
  if r.ends == -1 and r.ready + r.blocked + r.delayed + r.leased + r.dead == 0 and r.paused ~= -1 then
    r.ends = math.max(now, r.dedup_ends, r.paused)
  end
  if r.paused == -1 then
    r.ends = -1
  end
  local change = {}
  local renew = r.ends ~= r.applied and (r.ends == -1 or r.applied == -1 or r.ends > r.applied + SLACK)
  if #stored == 0 or not stored[1] or r.applied == 0 then
    renew = true
  end
  if renew then
    r.applied = r.ends
  end
  for i = 1, #FIELDS do
    if r[FIELDS[i]] ~= known[i] then
      change[#change + 1] = FIELDS[i]
      change[#change + 1] = r[FIELDS[i]]
    end
  end
  if #change > 0 then
    redis.call('HSET', RECORD, unpack(change))
  end
  local left = math.max(r.ends - now, 0) + HOUR + SLACK
  if renew then
    for i = 1, OBJECT_KEYS do
      if r.ends == -1 then
        redis.call('PERSIST', KEYS[i])
      else
        redis.call('PEXPIRE', KEYS[i], left)
      end
    end
  elseif r.ends ~= -1 then
    for key in pairs(fresh) do
      redis.call('PEXPIRE', key, left)
    end
  end
end
