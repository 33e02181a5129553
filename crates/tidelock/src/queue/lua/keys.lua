-- part: the keys of a queue, and the fields of its record.
local RECORD, LINE, MESSAGES, READY, LINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DELAYED, LEASED, EXPIRING, KEPT, DEAD = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local DEDUP, PARKED = KEYS[11], KEYS[12]
local OBJECT_KEYS = 12

-- `age`: max_age of the line, -1 for none. The other fields are described in docs/wire/queue.md.
local FIELDS = { 'id', 'fence', 'join', 'standing', 'ready', 'blocked', 'delayed', 'leased', 'dead', 'accepted',
  'settled', 'paused', 'age', 'widest', 'line_expiry', 'told', 'next', 'ends', 'dedup_ends', 'applied', 'swept', 'endless',
  'dead_endless' }
