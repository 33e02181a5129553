-- trip: one atomic step of a group for one process: what is overdue, then settles and takes in order.
-- KEYS[1]   record: newest place, beginning, settings (hash)
-- KEYS[2]   log: elements in order (list)
-- KEYS[3]   dedup: by key, place of the event and end of the window (hash)
-- KEYS[4]   groups: books by name (hash)
-- KEYS[5]   parked: processes that wait, by group (hash)
-- KEYS[6]   open: open events of the group by position (hash)
-- KEYS[7]   leased: in flight, by lease end (sorted set)
-- KEYS[8]   waiting: not due yet, by due time (sorted set)
-- KEYS[9]   ready: waiting and due, by position (sorted set)
-- KEYS[10]  freed: events set aside that are the first of a key that is free, by position (sorted set)
-- KEYS[11]  aside: events set aside behind an open event of their key, by key and position (sorted set)
-- KEYS[12]  idle: waiting and set aside events except requeued copies, by position (sorted set)
-- KEYS[13]  busy: keys with an open event that others wait for (hash)
-- KEYS[14]  letters: dead letters by position (hash)
-- KEYS[15]  moved: dead letters by the instant at which they were moved (sorted set)
-- KEYS[16]  kept: dead letters by the end of their retention (sorted set)
-- KEYS[17]  copies: requeued copies, by position (sorted set)
-- KEYS[18]  returning: what was open when a seek ended it, until its requeued copies are open again (hash)
-- KEYS[19]  answers: the last trip of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   name of the group
-- ARGV[3]   number of this trip in its sender's series
-- ARGV[4..] operations: a name and its arguments, as the parts describe; or `sweep` alone, which carries out what is
--           overdue unless some process did so within the last second
-- Reply: settling (0, 1); next deadline in ms (0: none, 1: now); then one item per operation

if ARGV[4] == 'sweep' then
  if g and not (now >= g.swept and now - g.swept < 1000) then
    g.swept = now
    advance()
    finish_group()
  end
  return { settling and 1 or 0, text(next_of_group()) }
end
local trip = tonumber(ARGV[3])
local before = remembered(KEYS[19], trip)
if before and before.err then
  return before
elseif before then
  local reply = { 0, text(next_of_group()) }
  for i = 1, #before do
    reply[i + 2] = before[i]:byte(1) == 116 and others().taken_again(before[i]) or before[i]
  end
  return reply
end
advance()
local OPERATIONS = { ack = op_ack, take = op_take }
local at, reply, answers = 4, { 0, 0 }, {}
while at <= #ARGV do
  local name, answer = ARGV[at], nil
  if g or name == 'take' then
    at, answer = (OPERATIONS[name] or others()[name])(at + 1)
  else
    at, answer = others().stale(name, at + 1)
  end
  reply[#reply + 1] = answer
  answers[#answers + 1] = type(answer) == 'table' and 't' .. answer[1] .. (answer.receipts or '') or answer
end
remember(KEYS[19], trip, answers)
finish_group()
reply[1], reply[2] = settling and 1 or 0, text(next_of_group())
return reply
