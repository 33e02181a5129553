-- trip: changes that one process makes in one object. Each operation is a step of its own, in order.
-- KEYS[1]   record: numbers, bounds, deadlines (hash)
-- KEYS[2]   states: all of a record but its value, by key (hash)
-- KEYS[3]   values: by key (hash)
-- KEYS[4]   names: keys of live records, in byte order (sorted set)
-- KEYS[5]   deadlines: of live records (sorted set)
-- KEYS[6]   expired: keys of tombstones, in byte order (sorted set)
-- KEYS[7]   buried: tombstones by their deadline (sorted set)
-- KEYS[8]   log: events (list)
-- KEYS[9]   touches: the latest touch of each live record, by revision (sorted set)
-- KEYS[10]  parked: processes that wait for events, by when they are forgotten (sorted set)
-- KEYS[11]  answers: the last trip of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   registry or ephemeral
-- ARGV[3]   number of this trip in its sender's series
-- ARGV[4]   number of operations
-- ARGV[5..] their keys; then the operations in order, each a letter, a second one, a number, and arguments:
--           b- (before an operation whose bounds differ from those of the previous one): max_entries, event_retention
--              ms, max_events, max_event_bytes, tombstone_retention ms
--           u  and life (p permanent, f for, k keep), ttl ms: value
--           c  and life, ttl ms: expected version or nothing, value
--           t- ttl ms or 0: version or nothing
--           r  and 1 if there is a reason: version or nothing, reason
--           d- delete the object; its key is empty
-- Reply: next deadline in ms (0: none); then per operation, after B and five numbers if bounds were replaced: S and
--        stamp (stored), F and limit (full), C and stamp and value or N (conflict), + (a conflict; ask again, because
--        the answer has become too large), E and version and deadline (extended), P (permanent), V and version (stale),
--        R (removed), A (absent), D and 0 or 1 (deleted), ! (the stored value is not understood). Numbers have 8 bytes.
local trip, count = tonumber(ARGV[3]), tonumber(ARGV[4])
local keys = { unpack(ARGV, 5, 4 + count) }
learn(keys)
local memory = redis.call('GET', KEYS[11])
if memory then
  local last = struct.unpack('>I8', memory)
  if last == trip then
    return repeat_answer(cmsgpack.unpack(memory:sub(9)), keys)
  end
  if last > trip then
    return redis.error_reply('LATE a later trip of this sender was answered')
  end
end
-- Each operation can use its own record and two others.
find_due(3 * count)

local OPERATIONS = { u = op_upsert, c = op_cas, t = op_touch, r = op_remove, d = op_delete }
local ARGUMENTS = { u = 1, c = 2, t = 1, r = 2, d = 0 }
-- Parsed operations, by name.
local wishes = {}
local ALONGSIDE = 2
local at, alongside, reply, answers = 5 + count, 0, { 0 }, {}
for i = 1, count do
  local key, name = keys[i], ARGV[at]
  if name == 'b-' then
    at = read_bounds(at + 1)
    name = ARGV[at]
  end
  local m = records[key]
  if is_live(m) and is_over(m) then
    expire(key)
    overdue = overdue - 1
  end
  if overdue > 0 and alongside < STEP and name ~= 'd-' then
    alongside = alongside + expire_first(ALONGSIDE)
  end
  m = records[key]
  local wish = wishes[name]
  if not wish then
    local letter = name:sub(1, 1)
    wish = { OPERATIONS[letter], name:sub(2, 2), tonumber(name:sub(3)) or 0, 1 + ARGUMENTS[letter] }
    wishes[name] = wish
  end
  local answer = broken[key] and '!' or wish[1](at + 1, key, is_live(m) and m, wish[2], wish[3])
  at = at + wish[4]
  if r.tombs > r.max_entries then
    flush()
    clear_tombs(0)
  end
  reply[i + 1], answers[i] = answer, answer
  if answer:byte(1) == 67 then
    answers[i] = answer:sub(1, 41)
  end
end
tidy(math.min(ALONGSIDE * count, STEP) - alongside)
redis.call('SET', KEYS[11], struct.pack('>I8', trip) .. cmsgpack.pack(answers), 'PX', pinned and HOUR or 120000)
wake()
finish()
reply[1] = next_deadline()
return reply
