-- trip: one atomic step of a queue for one process: what is overdue, then sends, settles and takes in order.
-- KEYS[1]   record: numbers, counters, pause (hash)
-- KEYS[2]   line: plain ready messages in order of id (list)
-- KEYS[3]   messages: all other messages, by id (hash)
-- KEYS[4]   ready: deliverable messages that are not in the line, by place (sorted set)
-- KEYS[5]   lines: unfinished messages with an ordering key, by key and order of joining (sorted set)
-- KEYS[6]   delayed: by the instant at which they leave that state (sorted set)
-- KEYS[7]   leased: by lease end (sorted set)
-- KEYS[8]   expiring: ready messages that are not in the line, by expiry (sorted set)
-- KEYS[9]   kept: dead letters by the end of their retention (sorted set)
-- KEYS[10]  dead: dead letters by the instant at which they were moved (sorted set)
-- KEYS[11]  dedup: id and end of window by dedup key (hash)
-- KEYS[12]  parked: processes that wait, by when they are forgotten (sorted set)
-- KEYS[13]  answers: the last trip of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this trip in its sender's series
-- ARGV[3..] operations: a name and its arguments, as the parts describe; or `sweep` alone, which carries out what is
--           overdue unless some process did so within the last second
-- Reply: settling (0, 1; 2: a remembered answer); next deadline in ms (0: none); then one item per operation
local trip = tonumber(ARGV[2])
if ARGV[3] == 'sweep' then
  if now >= r.swept and now - r.swept < 1000 then
    return { 0, number_text(r.next) }
  end
  r.swept = now
  advance()
  forget_dedup(20)
  wake()
  finish()
  return { settling and 1 or 0, number_text(r.next) }
end
local before = remembered(KEYS[13], trip)
if before then
  return before.err and before or repeat_answer(before)
end
advance()
local OPERATIONS =
  { plain = op_plain, keyed = op_plain, batch = op_batch, ack = op_ack, touch = op_touch, back = op_return, take = op_take }
local at, reply, answers = 3, { 0, 0 }, {}
while at <= #ARGV do
  local answer
  at, answer = OPERATIONS[ARGV[at]](at + 1)
  reply[#reply + 1] = answer
  answers[#answers + 1] = type(answer) == 'table' and receipts_of(answer) or answer
end
remember(KEYS[13], trip, answers)
wake()
finish()
reply[1], reply[2] = settling and 1 or 0, number_text(r.next)
return reply
