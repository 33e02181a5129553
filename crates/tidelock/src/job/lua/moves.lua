-- part: moves of a job from state to state. A mirror of job/model.rs.

-- Joins the line of its key.
local function join_key(j)
  r.join = r.join + 1
  j.join = r.join
  lines.join(j.queue, j.join, j.id)
end

-- Leaves its line. The next job becomes ready if it is due.
local function leave_line(j)
  local head = j.queue and lines.quit(j.queue, j.join, j.id)
  local first = head and load(head)
  if first and first.kind == 'b' then
    first.kind = 'r'
    r.blocked, r.ready = r.blocked - 1, r.ready + 1
    put(READY, 9 - first.priority, place_of(first))
    touch(first)
  end
end

-- Takes a job out of the indexes of its state. It stays in its line.
local function leave_state(j)
  if j.kind == 'p' then
    -- Its element stays in the plain line, and is recognized there as stale because the kind is never p again.
    r.ready, r.plain = r.ready - 1, r.plain - 1
  elseif j.kind == 'r' then
    r.ready = r.ready - 1
    drop(READY, place_of(j))
    drop(EXPIRING, j.id)
  elseif j.kind == 'b' then
    r.blocked = r.blocked - 1
    drop(EXPIRING, j.id)
  elseif j.kind == 'd' then
    r.delayed = r.delayed - 1
    drop(DELAYED, j.id)
  elseif j.kind == 'g' then
    r.running = r.running - 1
    drop(RUNNING, j.id)
    if j.series then
      count_running(j, -1)
    end
  else
    drop(ENDED[j.kind], j.id)
    drop(KEPT, j.id)
  end
end

-- Accounts for the latest instant at which anything is left of a job that waits from `at` on: it expires, and is kept
-- for its retention.
local function live_with(j, at)
  live_until(j.max_wait > 0 and math.max(at, now) + j.max_wait + j.retention or nil)
end

local function be_ready(j)
  j.number, j.note = 0, ''
  if not j.queue or lines.head(j.queue) == j.id then
    j.kind = 'r'
    r.ready = r.ready + 1
    put(READY, 9 - j.priority, place_of(j))
  else
    j.kind = 'b'
    r.blocked = r.blocked + 1
  end
  local expiry = expiry_of(j)
  if expiry then
    put(EXPIRING, expiry, j.id)
    deadline(expiry)
  end
  live_with(j, j.due)
  touch(j)
end

-- Puts a job that waits for its turn into its state.
local function wait(j, due, at)
  j.due = due
  if due <= at then
    return be_ready(j)
  end
  j.kind, j.number, j.note = 'd', 0, ''
  r.delayed = r.delayed + 1
  put(DELAYED, due, j.id)
  delivery_deadline(due)
  live_with(j, due)
  touch(j)
end

local TOTALS = { C = 'completed', F = 'failed', X = 'cancelled', T = 'timed_out' }

-- The terminal step of a job that is out of the indexes of its state.
local function end_job(j, kind, at, letter, said)
  leave_line(j)
  if j.series then
    leave_series(j, at)
  end
  if j.key then
    end_key(j)
  end
  r[TOTALS[kind]] = r[TOTALS[kind]] + 1
  j.kind, j.number = kind, at
  if not j.has_reason then
    j.note = ''
  end
  put(ENDED[kind], at, j.id)
  put(KEPT, at + j.retention, j.id)
  deadline(at + j.retention)
  rest_until(at + j.retention)
  log(j, at, letter, said, true)
end

-- Ends a job with a failure. Returns its state.
local function fail(j, code, message, at)
  add_failure(j, code, message, at)
  local kind = code == 't' and 'T' or 'F'
  end_job(j, kind, at, 'f', code .. pack4(j.attempt) .. pack_text(message))
  return kind
end

-- Removes a job that is out of the indexes of its state and in no line.
local function forget(j)
  if j.key then
    outlive(j)
  end
  tell_watchers(j, true)
  if j.watched then
    write_watchers(j, {})
  end
  erase(j)
end

-- The run is over, but its job is not: the job waits again in its place, from `at` until `due`.
local function come_back(j, reason, message, at, due)
  log(j, at, 'a', struct.pack('>I4c1I6', j.attempt, reason, due) .. pack_text(message), false)
  wait(j, due, at)
end

local EXPIRED = 'not started within max_wait'
local CRASHED = 'the lease of the run ended without a settle'

local function crashed(j, at)
  local _, most = bounds_of(j)
  j.crashes, r.crashes = j.crashes + 1, r.crashes + 1
  if j.crashes >= most then
    fail(j, 'c', CRASHED, at)
  else
    add_failure(j, 'c', CRASHED, at)
    come_back(j, 'c', CRASHED, at, at)
  end
end

-- The first job of the plain line. Drops elements of jobs that have left it.
local function line_head()
  while r.plain > 0 do
    local element = redis.call('LINDEX', LINE, 0)
    if not element then
      return nil
    end
    local j = load(element:sub(9))
    if j and j.kind == 'p' then
      return j
    end
    redis.call('LPOP', LINE)
    r.line = r.line - 1
  end
end

local function pop_line()
  redis.call('LPOP', LINE)
  r.line = r.line - 1
end

-- The indexes of timed transitions, by cause.
local INDEXES = { DELAYED, RUNNING, EXPIRING, KEPT }
local function overdue_of(index, count)
  write_set(INDEXES[index])
  return redis.call('ZRANGEBYSCORE', INDEXES[index], '-inf', now, 'WITHSCORES', 'LIMIT', 0, count)
end

local function first_deadline(index)
  local _, score = first_in(INDEXES[index])
  return score
end

local function overdue_in_line()
  if r.line_expiry == 0 or r.line_expiry > now then
    return nil
  end
  local j = line_head()
  r.line_expiry = j and expiry_of(j) or 0
  if j and r.line_expiry > 0 and r.line_expiry <= now then
    return r.line_expiry, unpack8(j.id)
  end
end

local function transition(cause, at, id)
  local j = load(id)
  if cause > #INDEXES then
    pop_line()
  end
  leave_state(j)
  if cause == 1 then
    be_ready(j)
  elseif cause == 2 then
    crashed(j, at)
  elseif cause == 4 then
    forget(j)
  else
    fail(j, 'e', EXPIRED, at)
  end
end
