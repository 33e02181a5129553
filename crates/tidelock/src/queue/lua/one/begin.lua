-- part: the trips of one caller and of one worker: a plain message is sent, a few deliveries are acknowledged, a few
-- plain messages are taken, or the last two together. These parts make no function: what the parts behind them make costs
-- more than all that such a trip does. Everything is judged before the first write; `plain` tells how that went so far.
-- What is not as plain as that goes on to the parts behind one/done.lua, and nothing was written. Needs time.lua.
local at, last = 3, #ARGV
local sends = ARGV[at] == 'plain' and last == at + 5 and ARGV[at + 1] == '1'
local acks = ARGV[at] == 'ack' and (last == at + 1 or last == at + 9) and #ARGV[at + 1] >= 16 and #ARGV[at + 1] <= 1024
-- Where the take stands.
local take_at = acks and at + 2 or at
local takes = last == take_at + 7 and ARGV[take_at] == 'take'
if sends or takes or (acks and last == at + 1) then
  local call, sub, text, pack, unpack_bytes = redis.call, string.sub, string.format, struct.pack, struct.unpack
  local PARKED, OBJECT_KEYS, NUMBERS = KEYS[12], 12, '>i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8'
  local record, number = call('HGET', KEYS[1], 'numbers'), tonumber(ARGV[2])
  local memory = call('GET', KEYS[13])
  if record and #record == 168 and (not memory or unpack_bytes('>I8', memory) < number) then
    -- In the order of FIELDS in keys.lua.
    local last_id, last_fence, join, standing, ready, blocked, delayed, leased, dead, accepted, settled, paused, age,
      widest, line_expiry, told, next_deadline, lives_until, rest, applied, swept = unpack_bytes(NUMBERS, record)
    local plain = paused == 0 and (next_deadline == 0 or now < next_deadline)
    -- The earliest deadline that this step adds, the latest instant at which what it writes is over, the first at which
    -- something becomes deliverable by it, and a key that it may create.
    local expiry, forgotten, soonest, made
    local process, parks = ARGV[last], false
    local answers, reply = {}, { 0, 0 }
