-- change: changes all jobs of one name, or one of them from outside its run.
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
-- KEYS[23]  answers: the last change of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this change in its sender's series
-- ARGV[3]   1: change even while more is overdue than one step carries out
-- ARGV[4]   what: cancel, retry, remove, pause, resume, limit_rate, limit_held, delete
-- ARGV[5..] its arguments: an id; cancel: 1 with a reason, the reason; retry: max_depth (0: none); pause: longest time
--           in ms (-1: until resumed), 1 with a reason, the reason
-- Reply: next deadline in ms (0: not told); a word (again: nothing was done, ask again), then numbers
local change = tonumber(ARGV[2])
local before = remembered(KEYS[23], change)
if before then
  return before.err and before or { '0', unpack(before) }
end
begin()

-- The most elements that one step examines.
local MOST, REBUILT = 1000, 10000

-- Keeps the plain line from filling up with elements of jobs that have left it. Drops them from its end, or all of
-- them if they are the larger part.
local function trim_line(j)
  for _ = 1, MOST do
    local last = r.plain > 0 and redis.call('LINDEX', LINE, -1)
    local state = last and load(last:sub(9))
    if not last or (state and state.kind == 'p') then
      break
    end
    redis.call('RPOP', LINE)
    r.line = r.line - 1
  end
  if r.plain == 0 then
    redis.call('DEL', LINE)
    r.line = 0
  end
  local stale = r.line - r.plain
  if stale <= MOST or stale <= r.plain then
    return
  end
  if r.line > REBUILT then
    r.line = r.line - redis.call('LREM', LINE, 1, place_of(j))
    return
  end
  local found, ids, kept = redis.call('LRANGE', LINE, 0, -1), {}, {}
  for i = 1, #found do
    ids[i] = found[i]:sub(9)
  end
  local states = load_values(JOBS, ids)
  for i = 1, #found do
    if states[i] and states[i]:byte(1) == 112 and ids[i] ~= j.id then
      kept[#kept + 1] = found[i]
    end
  end
  redis.call('DEL', LINE)
  call_in_parts('RPUSH', LINE, kept)
  r.line, fresh[LINE] = #kept, true
end

-- Takes a job out of everything that belongs to its state.
local function leave(j)
  local was_plain = j.kind == 'p'
  leave_state(j)
  return was_plain
end

local function cancel(id)
  local j, reason = load(id), ARGV[7]
  if not j then
    return 'absent'
  elseif ENDED[j.kind] then
    return 'refused', j.kind:byte()
  end
  if j.kind == 'g' then
    ring(j.note, 'c' .. pack8(j.fence))
  end
  local standing, was_plain = j.standing, leave(j)
  j.settled, j.has_reason, j.note = false, ARGV[6] == '1', reason
  end_job(j, 'X', now, 'x', ARGV[6] == '1' and pack_text(reason) or '\255\255')
  if was_plain then
    trim_line({ id = id, standing = standing })
  end
  return 'done'
end

local function retry(id)
  local j, limit = load(id), tonumber(ARGV[6])
  if not j then
    return 'absent'
  elseif j.kind == 'C' or not ENDED[j.kind] then
    return 'refused', j.kind:byte()
  end
  local bound = j.key and bound_to(j.key)
  if bound and bound ~= id then
    return 'taken', unpack8(bound)
  end
  local depth = r.ready + r.blocked + r.delayed
  if limit > 0 and depth >= limit then
    return 'full', depth, limit
  end
  leave_state(j)
  if j.key and not bound then
    bind(j)
  end
  if j.series then
    join_series(j)
  end
  j.failures, j.crashes, j.attempt, j.settled, j.has_reason, j.note = 0, 0, 0, false, false, ''
  j.standing = stand()
  if j.queue then
    join_key(j)
  end
  log(j, now, 's', '', false)
  wait(j, now, now)
  return 'done'
end

local function remove(id)
  local j = load(id)
  if not j then
    return 'absent'
  elseif j.kind == 'g' then
    return 'refused', j.kind:byte()
  end
  local ended, was_plain = ENDED[j.kind], leave(j)
  if not ended then
    leave_line(j)
    if j.series then
      leave_series(j, now)
    end
  end
  if j.key and binding_of(j.key) == id then
    erase_field(BOUND, j.key)
  end
  forget(j)
  if was_plain then
    trim_line(j)
  end
  return 'done'
end

local function pause()
  local until_time = ARGV[5] == '-1' and -1 or now + tonumber(ARGV[5])
  local reason = ARGV[6] == '1' and ARGV[7]
  local same = r.paused == until_time and redis.call('HGET', RECORD, 'reason') == reason
  r.paused = until_time
  if reason then
    redis.call('HSET', RECORD, 'reason', reason)
  else
    redis.call('HDEL', RECORD, 'reason')
  end
  if until_time > 0 then
    delivery_deadline(until_time)
    live_until(until_time)
  end
  return same and 'nothing' or 'done'
end

local function resume()
  local paused = r.paused ~= 0
  r.paused = 0
  -- Who parked during the pause was told its end, and not that of a window that is used up.
  limits.announce()
  redis.call('HDEL', RECORD, 'reason')
  return paused and 'done' or 'nothing'
end

local function limit_rate()
  return limits.set_rate() and 'done' or 'nothing'
end

local function limit_held()
  return limits.set_held() and 'done' or 'nothing'
end

-- Deletes everything except for the numbers that must not repeat and the processes that wait for work.
local function delete()
  local existed = r.submitted > 0 or r.paused ~= 0 or limits.rate + limits.held > 0
  write_all()
  local watched = redis.call('HGETALL', WATCHERS)
  for i = 1, #watched, 2 do
    local watchers = read_watchers(watched[i])
    for at = 1, #watchers do
      ring(watchers[at].process, 'w' .. watched[i])
    end
  end
  for i = 2, OBJECT_KEYS - 1 do
    redis.call('UNLINK', KEYS[i])
  end
  redis.call('HDEL', RECORD, 'reason')
  local kept = { id = r.id, fence = r.fence, standing = r.standing, told = r.told }
  for i = 1, #FIELDS do
    r[FIELDS[i]] = kept[FIELDS[i]] or 0
  end
  jobs, dirty, fields, fresh, soonest = {}, {}, {}, {}, nil
  limits.rate, limits.held = 0, 0
  live_until(now)
  return existed and 'done' or 'nothing'
end

local CHANGES = { cancel = cancel, retry = retry, remove = remove, pause = pause, resume = resume, limit_rate = limit_rate,
  limit_held = limit_held, delete = delete }
local reply = { 'again' }
if not settling or ARGV[3] == '1' then
  reply = { CHANGES[ARGV[4]](ARGV[5]) }
  for i = 2, #reply do
    reply[i] = number_text(reply[i])
  end
end
remember(KEYS[23], change, reply)
wake()
finish()
return { number_text(r.next), unpack(reply) }
