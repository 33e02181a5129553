-- trip: one atomic step of the jobs of one name for one process: what is overdue, then submits, settles and claims,
-- then the operations of groups that read events.
-- KEYS[1]   record: numbers, totals, pause (hash)
-- KEYS[2]   line: standing time and id of plain ready jobs in order (list)
-- KEYS[3]   jobs: state by id (hash)
-- KEYS[4]   inputs: content by id (hash)
-- KEYS[5]   details: results, progress, failures, memos, closed chunks of events, groups, by letter and id (hash)
-- KEYS[6]   ready: jobs that can be started and are not in the line, by place (sorted set)
-- KEYS[7]   lines: unfinished jobs of a line, by line and order of joining (sorted set)
-- KEYS[8]   delayed: by due time (sorted set)
-- KEYS[9]   running: by lease end (sorted set)
-- KEYS[10]  expiring: ready jobs that are not in the line, by expiry (sorted set)
-- KEYS[11]  kept: jobs that have ended, by the end of their retention (sorted set)
-- KEYS[12]  completed: by end (sorted set)
-- KEYS[13]  failed: by end (sorted set)
-- KEYS[14]  cancelled: by end (sorted set)
-- KEYS[15]  timed_out: by end (sorted set)
-- KEYS[16]  keys: id, until and whether the job is gone, by kind and key (hash)
-- KEYS[17]  key_ends: keys whose job is gone, by when they are forgotten (sorted set)
-- KEYS[18]  series: newest slot and counts by series (hash)
-- KEYS[19]  series_ends: series without unfinished runs, by when they are forgotten (sorted set)
-- KEYS[20]  active: unfinished runs of series, by series and id (sorted set)
-- KEYS[21]  watchers: processes that wait for news of a job, by id (hash)
-- KEYS[22]  parked: processes that wait for work, by when they are forgotten (sorted set)
-- KEYS[23]  answers: the last trip of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this trip in its sender's series
-- ARGV[3..] operations: a name and its arguments, as the parts describe; or `sweep` alone, which carries out what is
--           overdue unless some process did so within the last second
-- Reply: settling (0, 1); next deadline in ms (0: none); then one item per operation
local trip = tonumber(ARGV[2])

local function end_step()
  wake()
  if rest then
    rest.flush()
  end
  keep(r.ready + r.blocked + r.delayed + r.running, r.rest)
end

if ARGV[3] == 'sweep' then
  if now >= r.swept and now - r.swept < 1000 then
    return { 0, number_text(r.next) }
  end
  r.swept = now
  others().begin()
  end_step()
  return { settling and 1 or 0, number_text(r.next) }
end
local before = remembered(KEYS[23], trip)
if before then
  return before.err and before or others().repeat_answer(before)
end
if (r.next > 0 and now >= r.next) or (r.paused > 0 and now >= r.paused) then
  others().begin()
end
local at, reply, answers = 3, { 0, 0 }, {}
while at <= #ARGV do
  local plain, answer, memory = OPERATIONS[ARGV[at]]
  if rest and plain then
    rest.flush()
  end
  at, answer, memory = (plain or others()[ARGV[at]])(at + 1)
  reply[#reply + 1], answers[#answers + 1] = answer, memory or answer
end
remember(KEYS[23], trip, answers)
end_step()
reply[1], reply[2] = settling and 1 or 0, number_text(r.next)
return reply
