-- part: how a job is stored: its state, followed by the newest events. Older events, and what only some jobs have, are
-- in DETAILS.
local RULES_SIZE = 54
local MAX_EVENTS, MAX_FAILURES = 1000, 10

local jobs, dirty = {}, {}

local function pack6(number)
  return struct.pack('>I6', number)
end

local function pack4(number)
  return struct.pack('>I4', number)
end

-- The line, key and series in a job's rules.
local function names_in(rules, kind, policy, line, key, series)
  local line_from = RULES_SIZE + policy + 1
  local key_from = line_from + line
  local series_from = key_from + key
  return line > 0 and rules:sub(line_from, key_from - 1), kind ~= '-' and kind .. rules:sub(key_from, series_from - 1),
    series > 0 and rules:sub(series_from, series_from + series - 1)
end

-- Parses a stored job. The table is made at once and with at most 32 fields, because filling a larger one costs as
-- much again. What few steps need stays in the rules.
local function parse(id, value)
  local kind, priority, flags, standing, due, submitted, fence, started, number, attempt, failures, crashes, reschedules,
    join, memos, memo_bytes, last, closed, rules_length, worker, note = struct.unpack(STATE, value)
  local _, _, lease, _, _, max_wait, retention, key_kind, _, policy, line, key, series =
    struct.unpack(RULES, value, STATE_SIZE + 1)
  local at = STATE_SIZE + rules_length
  local rules = value:sub(STATE_SIZE + 1, at)
  local line_name, key_name, series_name = false, false, false
  if line > 0 or series > 0 or key_kind ~= '-' then
    line_name, key_name, series_name = names_in(rules, key_kind, policy, line, key, series)
  end
  return { id = id, kind = kind, priority = priority, standing = standing, due = due, submitted = submitted,
    fence = fence, started = started, number = number, attempt = attempt, failures = failures, crashes = crashes,
    reschedules = reschedules, join = join, memos = memos, memo_bytes = memo_bytes, last = last, closed = closed,
    settled = flags % 2 == 1, watched = flags % 4 >= 2, has_reason = flags >= 4, rules = rules,
    worker = value:sub(at + 1, at + worker), note = value:sub(at + worker + 1, at + worker + note),
    tail = value:sub(at + worker + note + 1), value = value, lease = lease, max_wait = max_wait,
    retention = retention, queue = line_name, key = key_name, series = series_name }
end

-- How many runs may fail, and how many may end by a lapsed lease.
local function bounds_of(j)
  return struct.unpack('>I4I4', j.rules)
end

-- The latest end of a lease that is renewed now; nil if there is no bound.
local SETTLING = 120000
local function renewable_until(j)
  local timeout, grace = struct.unpack('>I6I6', j.rules, 15)
  if timeout == 0 then
    return nil
  end
  local limit = j.started + timeout + grace
  return now < limit and limit + math.min(j.number, SETTLING) or 0
end

local function build(j)
  local flags = (j.settled and 1 or 0) + (j.watched and 2 or 0) + (j.has_reason and 4 or 0)
  return struct.pack(STATE, j.kind, j.priority, flags, j.standing, j.due, j.submitted, j.fence, j.started, j.number,
    j.attempt, j.failures, j.crashes, j.reschedules, j.join, j.memos, j.memo_bytes, j.last, j.closed, #j.rules,
    #j.worker, #j.note) .. j.rules .. j.worker .. j.note .. j.tail
end

local function load(id)
  local j = jobs[id]
  if j == nil then
    local value = read_field(JOBS, id)
    j = value and parse(id, value) or false
    jobs[id] = j
  end
  return j
end

-- Marks its state to be written when the step ends.
local function touch(j)
  dirty[j.id] = j
  j.value = false
end

-- Its state as it is now.
local function value_of(j)
  if not j.value then
    j.value = build(j)
  end
  return j.value
end

local function place_of(j)
  return pack8(j.standing) .. j.id
end

-- When it expires unless it is started before.
local function expiry_of(j)
  return j.max_wait > 0 and j.due + j.max_wait or nil
end

-- Watchers of a job: flag (1 for the end only), forgotten at, length and name of the channel, one after the other.
local function read_watchers(id)
  local list, watchers, at = read_field(WATCHERS, id) or '', {}, 1
  while at <= #list do
    local flag, until_time, length = struct.unpack('>BI6I2', list, at)
    watchers[#watchers + 1] =
      { end_only = flag == 1, until_time = until_time, process = list:sub(at + 9, at + 8 + length) }
    at = at + 9 + length
  end
  return watchers
end

local function write_watchers(j, watchers)
  local parts = {}
  for i = 1, #watchers do
    local one = watchers[i]
    parts[i] = struct.pack('>BI6I2', one.end_only and 1 or 0, one.until_time, #one.process) .. one.process
  end
  j.watched = #parts > 0
  if j.watched then
    write_field(WATCHERS, j.id, table.concat(parts))
  else
    erase_field(WATCHERS, j.id)
  end
end

local function tell_watchers(j, ends)
  if not j.watched then
    return
  end
  local watchers, rest = read_watchers(j.id), {}
  for i = 1, #watchers do
    if ends or not watchers[i].end_only then
      ring(watchers[i].process, 'w' .. j.id)
    else
      rest[#rest + 1] = watchers[i]
    end
  end
  write_watchers(j, rest)
end

-- Registers a process that wants news of a job.
local function watch(j, end_only, process)
  local rest, watchers = {}, read_watchers(j.id)
  for i = 1, #watchers do
    local one = watchers[i]
    if one.until_time > now and (one.process ~= process or one.end_only ~= end_only) then
      rest[#rest + 1] = one
    end
  end
  rest[#rest + 1] = { end_only = end_only, until_time = now + 60000, process = process }
  write_watchers(j, rest)
  touch(j)
end

-- The first numbers of the closed chunks of a job's events.
local function chunks_of(j)
  local list, firsts = j.closed > 0 and read_field(DETAILS, 'E' .. j.id) or '', {}
  for at = 1, #list, 4 do
    firsts[#firsts + 1] = struct.unpack('>I4', list, at)
  end
  return firsts
end

-- Moves the tail of the events out of the state, and drops what is beyond the last MAX_EVENTS.
local function close_chunk(j)
  local firsts = chunks_of(j)
  firsts[#firsts + 1] = j.closed + 1
  write_field(DETAILS, 'e' .. j.id .. pack4(j.closed + 1), j.tail)
  j.closed, j.tail = j.last, ''
  local list = {}
  for i = 1, #firsts do
    if (firsts[i + 1] or j.closed + 1) <= j.last - MAX_EVENTS + 1 then
      erase_field(DETAILS, 'e' .. j.id .. pack4(firsts[i]))
    else
      list[#list + 1] = pack4(firsts[i])
    end
  end
  write_field(DETAILS, 'E' .. j.id, table.concat(list))
end

-- Appends an event, a letter with its data, and tells the watchers.
local function log(j, at, letter, said, ends)
  j.last = j.last + 1
  j.tail = j.tail .. letter .. (at == now and now_bytes or pack6(at)) .. said
  if #j.tail > CHUNK then
    close_chunk(j)
  end
  touch(j)
  tell_watchers(j, ends)
end

local function pack_text(text)
  return struct.pack('>I2', #text) .. text
end

-- The last failures, newest first: code, attempt, instant, message.
local function add_failure(j, code, message, at)
  local field = 'f' .. j.id
  local list = struct.pack('>c1I4I6', code, j.attempt, at) .. pack_text(message) .. (read_field(DETAILS, field) or '')
  local from = 1
  for _ = 1, MAX_FAILURES do
    if from <= #list then
      from = from + 13 + struct.unpack('>I2', list, from + 11)
    end
  end
  write_field(DETAILS, field, list:sub(1, from - 1))
end

-- Memos are stored by step id; one list holds the step ids in order.
local function memo_ids(j)
  local list, ids, at = j.memos > 0 and read_field(DETAILS, 'M' .. j.id) or '', {}, 1
  while at <= #list do
    local length = struct.unpack('>I2', list, at)
    ids[#ids + 1] = list:sub(at + 2, at + 1 + length)
    at = at + 2 + length
  end
  return ids
end

local function drop_memos(j)
  if j.memos > 0 then
    local ids = memo_ids(j)
    for i = 1, #ids do
      erase_field(DETAILS, 'm' .. j.id .. ids[i])
    end
    erase_field(DETAILS, 'M' .. j.id)
    j.memos, j.memo_bytes = 0, 0
  end
end

-- Erases everything stored of a job that is out of all indexes.
local function erase(j)
  drop_memos(j)
  local firsts = chunks_of(j)
  for i = 1, #firsts do
    erase_field(DETAILS, 'e' .. j.id .. pack4(firsts[i]))
  end
  for _, letter in ipairs({ 'E', 'f', 'g', 'p', 'r' }) do
    erase_field(DETAILS, letter .. j.id)
  end
  erase_field(INPUTS, j.id)
  erase_field(JOBS, j.id)
  jobs[j.id], dirty[j.id] = false, nil
end

-- Writes what is pending.
local function write_back()
  local states, count = {}, 0
  for id, j in pairs(dirty) do
    states[count + 1], states[count + 2] = id, value_of(j)
    count = count + 2
  end
  call_in_parts('HSET', JOBS, states)
  write_all()
end

-- Ends a step.
local function finish()
  write_back()
  keep(r.ready + r.blocked + r.delayed + r.running, r.rest)
end
