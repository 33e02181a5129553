-- part: a fast path for the trips of most callers and workers: plain messages are sent, deliveries are acknowledged,
-- plain messages are taken, or some of these together. These parts create no functions, because creating those of the
-- later parts costs more than most of such a trip. Everything is judged before it is written; `plain` is true as long
-- as the trip qualifies. If it does not, the parts after one/done.lua take over, and nothing was written that these
-- would not write themselves. Needs time.lua.
-- The arguments are those of `op_plain`, `op_ack` and `op_take`, one after the other: `plain`, count, max_age,
-- max_depth, whole, bodies; `ack`, receipts; `take`, seven more.
local last = #ARGV
local sends = ARGV[3] == 'plain' and tonumber(ARGV[4]) or 0
-- Where the acknowledgements and the take begin.
local ack_at = sends > 0 and 8 + sends or 3
local acks = ARGV[ack_at] == 'ack'
local take_at = acks and ack_at + 2 or ack_at
local takes = ARGV[take_at] == 'take'
local nothing_else = last > 3 and last == (takes and take_at + 7 or take_at - 1)
if nothing_else and sends <= 1000 and (not acks or #ARGV[ack_at + 1] <= 16000) then
  local call, sub, text, pack, unpack_bytes = redis.call, string.sub, string.format, struct.pack, struct.unpack
  local PARKED, OBJECT_KEYS, NUMBERS = KEYS[12], 12, '>i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8'
  local stored, number = call('HMGET', KEYS[1], 'numbers', 'limits'), tonumber(ARGV[2])
  local record, limits = stored[1], stored[2]
  local memory = call('GET', KEYS[13])
  if record and #record == 184 and (not memory or unpack_bytes('>I8', memory) < number) then
    -- In the order of FIELDS in keys.lua.
    local last_id, last_fence, join, standing, ready, blocked, delayed, leased, dead, accepted, settled, paused, age,
      widest, line_expiry, told, next_deadline, lives_until, rest, applied, swept, endless, dead_endless =
        unpack_bytes(NUMBERS, record)
    local plain = paused == 0 and (next_deadline == 0 or now < next_deadline)
    -- The earliest deadline that this step adds, the latest instant at which something that it writes ends, the first
    -- instant at which something becomes deliverable because of it, and the keys that it may create.
    local expiry, forgotten, soonest, made = nil, nil, nil, {}
    local process, parks = ARGV[last], false
    local answers, reply = {}, { 0, 0 }
