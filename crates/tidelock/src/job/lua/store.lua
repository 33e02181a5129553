-- part: how a job is stored: its state, with the newest events behind it; older ones and what only some have in DETAILS.
-- State: kind (p ready in the line, r ready, b blocked, d delayed, g running, or the end: C, F, X, T), priority, flags
-- (1 the last run settled itself, 2 watched, 4 a reason is given), standing, due, submitted, fence, started, number
-- (g: lease in ms; ended: when), attempt, failures, crashes, reschedules, order in its line, memos and their bytes,
-- numbers of the last event and of the last one in a closed chunk; lengths of the rules, the worker, the note (g: channel
-- of the process; X: reason); then these and the tail of the events. Rules come from whoever submitted.
local STATE = '>c1BBI6I6I6I8I6I6I4I4I4I4I6I2I4I4I4I4I2I2'
local STATE_SIZE = 85
local RULES = '>I4I4I6I6I6I6I6c1I6BI2I2I2I2'
local RULES_SIZE = 54
local CHUNK, MAX_EVENTS, MAX_FAILURES = 1024, 1000, 10

local jobs, dirty = {}, {}

local function pack6(number)
  return struct.pack('>I6', number)
end

local function pack4(number)
  return struct.pack('>I4', number)
end

local function read_rules(j)
  local policy, line, key, series
  j.attempts, j.max_crashes, j.lease, j.timeout, j.grace, j.max_wait, j.retention, j.key_kind, j.key_life, policy, line,
    key, series = struct.unpack(RULES, j.rules)
  local at = RULES_SIZE + policy
  j.queue = line > 0 and j.rules:sub(at + 1, at + line)
  at = at + line
  j.key = j.key_kind ~= '-' and j.key_kind .. j.rules:sub(at + 1, at + key)
  at = at + key
  j.series = series > 0 and j.rules:sub(at + 1, at + series)
  return j
end

local function parse(id, value)
  local j = { id = id }
  local flags, rules, worker, note
  j.kind, j.priority, flags, j.standing, j.due, j.submitted, j.fence, j.started, j.number, j.attempt, j.failures,
    j.crashes, j.reschedules, j.join, j.memos, j.memo_bytes, j.last, j.closed, rules, worker, note =
    struct.unpack(STATE, value)
  j.settled, j.watched, j.has_reason = flags % 2 == 1, flags % 4 >= 2, flags >= 4
  local at = STATE_SIZE + rules
  j.rules = value:sub(STATE_SIZE + 1, at)
  j.worker = value:sub(at + 1, at + worker)
  at = at + worker
  j.note = value:sub(at + 1, at + note)
  j.tail = value:sub(at + note + 1)
  return read_rules(j)
end

local function build(j)
  local flags = (j.settled and 1 or 0) + (j.watched and 2 or 0) + (j.has_reason and 4 or 0)
  return struct.pack(STATE, j.kind, j.priority, flags, j.standing, j.due, j.submitted, j.fence, j.started, j.number,
    j.attempt, j.failures, j.crashes, j.reschedules, j.join, j.memos, j.memo_bytes, j.last, j.closed, #j.rules,
    #j.worker, #j.note) .. j.rules .. j.worker .. j.note .. j.tail
end

-- A job that was just accepted, without its id.
local function new_job(rules, priority, standing, due)
  return read_rules({ kind = 'p', priority = priority, standing = standing, due = due, submitted = now, fence = 0,
    started = 0, number = 0, attempt = 0, failures = 0, crashes = 0, reschedules = 0, join = 0, memos = 0,
    memo_bytes = 0, last = 1, closed = 0, rules = rules, worker = '', note = '', tail = 's' .. pack6(now) })
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

-- Its state is written when the step ends.
local function touch(j)
  dirty[j.id] = j
end

local function place_of(j)
  return pack8(j.standing) .. j.id
end

-- When it is over unless it is started before.
local function expiry_of(j)
  return j.max_wait > 0 and j.due + j.max_wait or nil
end

-- Watchers of a job: flag (1 of the end only), forgotten at, length and name of the channel, one after the other.
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

-- The first numbers of the closed chunks of a job's events.
local function chunks_of(j)
  local list, firsts = j.closed > 0 and read_field(DETAILS, 'E' .. j.id) or '', {}
  for at = 1, #list, 4 do
    firsts[#firsts + 1] = struct.unpack('>I4', list, at)
  end
  return firsts
end

-- Moves the tail of the events out of the state, and lets go of what is beyond the last MAX_EVENTS.
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

-- Appends an event, a letter and what it says, and tells those who watch.
local function log(j, at, letter, said, ends)
  j.last = j.last + 1
  j.tail = j.tail .. letter .. pack6(at) .. said
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

-- Memos by step id; their step ids in order in one list.
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

-- All that is stored of a job that is out of all indexes.
local function erase(j)
  drop_memos(j)
  local firsts = chunks_of(j)
  for i = 1, #firsts do
    erase_field(DETAILS, 'e' .. j.id .. pack4(firsts[i]))
  end
  for _, letter in ipairs({ 'E', 'f', 'p', 'r' }) do
    erase_field(DETAILS, letter .. j.id)
  end
  erase_field(INPUTS, j.id)
  erase_field(JOBS, j.id)
  jobs[j.id], dirty[j.id] = false, nil
end

-- Ends a step.
local function finish()
  for id, j in pairs(dirty) do
    write_field(JOBS, id, build(j))
  end
  write_all()
  keep(r.ready + r.blocked + r.delayed + r.running, r.rest)
end
