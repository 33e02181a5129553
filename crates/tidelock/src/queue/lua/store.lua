-- part: how a message is stored.

-- A line element: id, enqueued, expiry, retention (8 bytes each, 0 for none), lengths of key and trace (2), of meta
-- (4), then key, trace, meta, payload. The script writes the first three; the rest comes from the sender.
-- A stored message: state, then the element. Offsets 11..18 hold the fence.
-- A removed message of the line leaves a tombstone: id and standing time, by which the line is searched.
local TOMBSTONE = 16
local STATE = '>c1BI8I8I6I8I8c1I2I2I2'
local STATE_SIZE = 47
-- The order of joining of a message without an ordering key, and the attempts of a first delivery.
local NO_KEY, FIRST = string.rep('\0', 8), '\0\0\0\0\0\1'

-- The ordering key of a message whose lengths are at `at`, nil for none.
local function key_at(bytes, at)
  local length = struct.unpack('>I2', bytes, at)
  return length > 0 and bytes:sub(at + 8, at + 7 + length) or nil
end

local function parse_element(message, element)
  message.element = element
  message.id, message.enqueued, message.expiry, message.retention = struct.unpack('>I8I8I8I8', element)
  message.key = key_at(element, 33)
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

-- A message of the plain line, in the form of a stored one. It joined the line of its key when it got its id.
local function parse_line(element)
  local m = { kind = 'r', priority = 0, fence = 0, attempts = 0, join = 0, number = 0, tag = '-' }
  m.consumer, m.note, m.failure = '', '', ''
  parse_element(m, element)
  m.standing = m.enqueued
  m.join = m.key and m.id or 0
  return m
end

-- Whether an unfinished message may stay forever: it never expires, or its dead letter is never removed.
local function is_endless(m)
  return m.expiry == 0 or m.retention == 0
end

-- The position at which the element begins in a stored message.
local function element_at(value)
  local consumer, note, failure = struct.unpack('>I2I2I2', value, 42)
  return STATE_SIZE + 1 + consumer + note + failure
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

-- The receipt of a leased message, which is also its member of the index of leases.
local function receipt_of(m)
  return pack8(m.id) .. pack8(m.fence)
end

-- Where a ready message stands among those of its priority: standing time and id. If it went to the back or was
-- requeued, the number that it got then stands between them.
local function place_of(m)
  local has_number = m.join > 0 and m.join ~= m.id
  return pack8(m.standing) .. (has_number and pack8(m.join) or '') .. pack8(m.id)
end

-- Ends a step.
local function finish()
  keep(r.ready + r.blocked + r.delayed + r.leased + r.dead, r.dedup_ends)
end
