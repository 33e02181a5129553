-- look: shows the jobs of one name as they are now, after carrying out what is overdue.
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
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   1: show even while more is overdue than one step carries out
-- ARGV[3]   what: stats, get, ready, blocked, delayed, running, completed, failed, cancelled, timed_out, join, events,
--           places, memos
-- ARGV[4..] its arguments, as the functions below say
-- Reply: settling (0, 1); now in ms; next deadline in ms (0: none); then what was asked for: nothing if too much is
--        overdue to show it
begin()
write_all()
local reply = { settling and 1 or 0, number_text(now), '0' }

local function add(item)
  reply[#reply + 1] = item or ''
end

local function show_stats()
  local oldest
  for rank = 0, 9 do
    local first = redis.call('ZRANGEBYSCORE', READY, rank, rank, 'LIMIT', 0, 1)[1]
    if first and (not oldest or unpack8(first) < oldest) then
      oldest = unpack8(first)
    end
  end
  local head = line_head()
  if head and (not oldest or head.standing < oldest) then
    oldest = head.standing
  end
  for _, field in ipairs({ 'ready', 'blocked', 'delayed', 'running', 'submitted', 'completed', 'failed', 'cancelled',
    'timed_out', 'retries', 'crashes', 'stale', 'paused' }) do
    add(number_text(r[field]))
  end
  for _, kind in ipairs({ 'C', 'F', 'X', 'T' }) do
    add(number_text(redis.call('ZCARD', ENDED[kind])))
  end
  add(number_text(oldest or -1))
  add(redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or '-1')
  local reason = redis.call('HGET', RECORD, 'reason')
  add(reason and '1' .. reason)
  for _, field in ipairs({ 'rate', 'per', 'used', 'ends', 'held' }) do
    add(number_text(limits[field]))
  end
end

local function lease_end_text(j)
  return j.kind == 'g' and redis.call('ZSCORE', RUNNING, j.id) or '0'
end

-- An optional value. An empty value differs from none.
local function optional(value)
  return value and '1' .. value or '0'
end

-- A list that has read many bytes of inputs ends early, with a 1, so that one step does not occupy the server longer
-- than a claim does. It is one table because a script has room for only 200 locals.
local list = { read = 0 }
function list.is_full()
  return list.read >= MAX_BYTES
end

-- Appends id and state without events, lease end, progress, failures, input, result.
local function show(j, whole)
  local failures, content = read_field(DETAILS, 'f' .. j.id) or '', redis.call('HGET', INPUTS, j.id)
  list.read = list.read + #content
  if not whole then
    if failures ~= '' then
      failures = failures:sub(1, 13 + struct.unpack('>I2', failures, 12))
    end
    local key, trace, meta = struct.unpack('>I2I2I4', content)
    content = content:sub(1, 8 + key + trace + meta)
  end
  local value = value_of(j)
  add(j.id .. value:sub(1, #value - #j.tail))
  add(lease_end_text(j))
  add(optional(read_field(DETAILS, 'p' .. j.id)))
  add(failures)
  add(content)
  add(optional(whole and read_field(DETAILS, 'r' .. j.id)))
end

-- ARGV[4]: id.
local function show_one()
  local j = load(ARGV[4])
  if j then
    show(j, true)
  end
end

-- The index of the first element of the plain line after (standing, id).
local function search_line(standing, id)
  local low, high = 0, redis.call('LLEN', LINE)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local element = redis.call('LINDEX', LINE, middle)
    local found = unpack8(element)
    if found > standing or (found == standing and unpack8(element, 9) > id) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- Iterates over the ready jobs of the line from an index on. Skips elements of jobs that have left it.
local function line_from(index)
  local found, at = {}, 1
  return function()
    while true do
      if at > #found then
        found, at = redis.call('LRANGE', LINE, index, index + 99), 1
        index = index + #found
        if #found == 0 then
          return nil
        end
      end
      local j = load(found[at]:sub(9))
      at = at + 1
      if j and j.kind == 'p' then
        return j
      end
    end
  end
end

-- ARGV[4..7]: how many, rank (-1: from the beginning), standing, id to continue after. In the order in which they are
-- started.
local function show_ready()
  local limit, rank, standing, id = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local from, index = 0, 0
  if rank >= 0 then
    from = rank_after(READY, rank, pack8(standing) .. pack8(id))
    if rank == 9 then
      index = search_line(standing, id)
    end
  end
  local members, next_in_line, at = redis.call('ZRANGE', READY, from, from + limit - 1, 'WITHSCORES'), line_from(index), 1
  local j = next_in_line()
  for _ = 1, limit do
    local member = members[at]
    if list.is_full() and (j or member) then
      return add('1')
    elseif j and (not member or (tonumber(members[at + 1]) == 9 and (unpack8(member) > j.standing
      or (unpack8(member) == j.standing and unpack8(member, 9) > unpack8(j.id))))) then
      show(j)
      j = next_in_line()
    elseif member then
      show(load(member:sub(9)))
      at = at + 2
    else
      return
    end
  end
end

-- ARGV[4..6]: how many, line and order of joining to continue after. By line; examines at most 1,000 unfinished jobs.
-- The last item of the reply is the place to continue from, or empty at the end.
local function show_blocked()
  local limit, line, join = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
  local from = line == '' and '-' or '(' .. line .. '\0' .. pack8(join) .. string.rep('\255', 8)
  local members, shown = redis.call('ZRANGEBYLEX', LINES, from, '+', 'LIMIT', 0, 1000), 0
  for i = 1, #members do
    local j = load(members[i]:sub(-8))
    if j.kind == 'b' then
      show(j)
      shown = shown + 1
    end
    if shown == limit or list.is_full() then
      return add(members[i]:sub(1, -9))
    end
  end
  add(#members == 1000 and members[1000]:sub(1, -9) or '')
end

local function show_members(members, first, last, step)
  for i = first, last, step do
    if list.is_full() then
      return add('1')
    elseif #members[i] == 8 then
      show(load(members[i]))
    end
  end
end

-- ARGV[4..6]: how many, instant (-1: from the beginning) and id to continue after.
local function show_timed(key)
  local limit, at, id = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local from = at >= 0 and rank_after(key, at, pack8(id)) or 0
  local members = redis.call('ZRANGE', key, from, from + limit - 1)
  show_members(members, 1, #members, 1)
end

-- The same for running jobs, by start. There is no index in this order, because every start and end of a run would
-- pay for it. There are at most as many running jobs as all workers have slots.
local function show_running()
  local limit, at, after = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local ids, members = {}, redis.call('ZRANGE', RUNNING, 0, -1)
  for i = 1, #members do
    ids[#ids + 1] = #members[i] == 8 and members[i] or nil
  end
  local states, running = load_values(JOBS, ids), {}
  for i = 1, #ids do
    local start, id = struct.unpack('>I6', states[i], 30), unpack8(ids[i])
    if start > at or (start == at and id > after) then
      running[#running + 1] = { start, id, ids[i] }
    end
  end
  table.sort(running, function(one, other)
    return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
  end)
  for i = 1, math.min(limit, #running) do
    if list.is_full() then
      return add('1')
    end
    show(load(running[i][3]))
  end
end

-- Ended jobs, newest first.
local function show_ended(key)
  local limit, at, id = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local count = at >= 0 and rank_before(key, at, pack8(id)) or redis.call('ZCARD', key)
  local members = count > 0 and redis.call('ZRANGE', key, math.max(0, count - limit), count - 1) or {}
  show_members(members, #members, 1, -1)
end

-- ARGV[4..6]: id, 1 to watch, channel of the process. Shows id and state, last failure, result.
local function show_end()
  local j = load(ARGV[4])
  if not j then
    return
  end
  if ENDED[j.kind] then
    add(j.kind)
    add(j.has_reason and '1' .. j.note)
    add(j.kind ~= 'X' and read_field(DETAILS, 'f' .. j.id))
    add(j.kind == 'C' and '1' .. read_field(DETAILS, 'r' .. j.id))
  else
    add(j.kind)
    if ARGV[5] == '1' then
      watch(j, true, ARGV[6])
    end
  end
end

-- ARGV[4..8]: id, place, how many at most, 1 to watch, channel of the process. Shows the number of the last event, 1 if
-- the job has ended, then for each chunk the number before its first event and its events.
local function show_events()
  local j, after, limit = load(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  if not j then
    return
  end
  add(number_text(j.last))
  add(ENDED[j.kind] and '1' or '0')
  local place = math.min(math.max(after, j.last - MAX_EVENTS, 0), j.last)
  local wanted, firsts = math.min(place + limit, j.last), chunks_of(j)
  for i = 1, #firsts do
    local behind = firsts[i + 1] or j.closed + 1
    if behind - 1 > place and firsts[i] <= wanted then
      add(number_text(firsts[i] - 1))
      add(read_field(DETAILS, 'e' .. j.id .. pack4(firsts[i])))
    end
  end
  if j.last > j.closed and wanted > j.closed then
    add(number_text(j.closed))
    add(j.tail)
  end
  if ARGV[7] == '1' and wanted == place and not (ENDED[j.kind] and place == j.last) then
    watch(j, false, ARGV[8])
  end
end

-- ARGV[4]: id. Shows the number of the last event.
local function show_places()
  local j = load(ARGV[4])
  if j then
    add(number_text(j.last))
  end
end

-- ARGV[4..5]: id, fence. Shows 1 if the run holds its job, then step ids and values.
local function show_memos()
  local j = load(ARGV[4])
  if not j or j.kind ~= 'g' or pack8(j.fence) ~= ARGV[5] or tonumber(redis.call('ZSCORE', RUNNING, j.id)) <= now then
    return
  end
  add('1')
  local ids, names = memo_ids(j), {}
  for i = 1, #ids do
    names[i] = 'm' .. j.id .. ids[i]
  end
  preload(DETAILS, names)
  for i = 1, #ids do
    add(ids[i])
    add(read_field(DETAILS, names[i]))
  end
end

local LOOKS = {
  stats = show_stats,
  get = show_one,
  ready = show_ready,
  blocked = show_blocked,
  delayed = function() show_timed(DELAYED) end,
  running = show_running,
  completed = function() show_ended(ENDED.C) end,
  failed = function() show_ended(ENDED.F) end,
  cancelled = function() show_ended(ENDED.X) end,
  timed_out = function() show_ended(ENDED.T) end,
  join = show_end,
  events = show_events,
  places = show_places,
  memos = show_memos,
}
if not settling or ARGV[2] == '1' then
  LOOKS[ARGV[3]]()
end
wake()
finish()
reply[3] = number_text(r.next)
return reply
