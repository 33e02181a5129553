-- part: a fast path for the trips of callers and of one handler: plain jobs are submitted, a plain run ends, at most
-- one plain job starts, or the last two together. These parts create no functions, and no tables except for commands
-- and answers, because creating the functions of the later parts costs more than everything else in such a trip. All
-- is read and judged before the first write; `plain` is true as long as the trip qualifies. If it does not, nothing was
-- written, and the parts after one/done.lua take over. Needs time.lua.
local at, last = 3, #ARGV
local count = ARGV[at] == 'plain' and tonumber(ARGV[at + 1]) or 0
local submits = count > 0 and count <= 1000 and last == at + 4 + count
local ends = ARGV[at] == 'complete' and #ARGV[at + 1] == 16 and (last == at + 2 or last == at + 7)
-- Where the claim begins.
local claim_at = ends and at + 3 or at
local claims = last == claim_at + 4 and ARGV[claim_at] == 'claim'
if submits or claims or (ends and last == at + 2) then
  local call, sub, text, pack, unpack_bytes = redis.call, string.sub, string.format, struct.pack, struct.unpack
  local PARKED, OBJECT_KEYS, NUMBERS = KEYS[22], 22, '>i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8'
  local stored, number = call('HMGET', KEYS[1], 'numbers', 'limits'), tonumber(ARGV[2])
  local record, limits = stored[1], stored[2]
  local memory = call('GET', KEYS[23])
  if record and #record == 232 and (not memory or unpack_bytes('>I8', memory) < number) then
    -- In the order of FIELDS in keys.lua.
    local last_id, last_fence, join, standing, ready, in_line, line, blocked, delayed, running, paused, age, widest,
      line_expiry, steady, told, next_deadline, lives_until, rest, applied, swept, submitted, completed, failed,
      cancelled, timed_out, retries, crashes, stale = unpack_bytes(NUMBERS, record)
    local plain = steady == 1 and paused == 0 and (next_deadline == 0 or now < next_deadline)
    local now_bytes = pack('>I6', now)
    -- The first job that is submitted or the one that starts, and the one that ends.
    local id, state, input, fence, ended, ended_state, kept_until
    -- The earliest deadline that this step adds, the latest instant at which something that it writes ends, and the
    -- first at which something becomes deliverable because of it.
    local expiry, forgotten, soonest
    local starts, process, parks = false, ARGV[last], false
