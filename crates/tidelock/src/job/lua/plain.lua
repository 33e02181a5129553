-- part: what most trips consist of: plain jobs that are accepted, started and completed. For a job, only the strings to
-- be stored are built, and no write is pending when an operation ends. Everything that is not plain goes to the
-- functions that `make_rest` creates.
local rest = nil
local make_rest

-- The other parts, with nothing pending to be written.
local function others()
  if not rest then
    rest = make_rest()
  end
  return rest
end

-- ARGV[at]: count, rules of all, max_depth (0: none), 1 if all or nothing; then the contents. Returns the id of the
-- first, how many there was room for, and the depth then; the ids are consecutive. If all or nothing and there is no
-- room for all, none is accepted.
local function submit_plain(at)
  local count, rules, limit, whole = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local depth = r.ready + r.blocked + r.delayed
  local room = limit == 0 and count or math.min(count, math.max(limit - depth, 0))
  local first = following(r.id)
  local answer = pack8(first) .. pack8(room) .. pack8(depth + room)
  local behind = at + 4 + count
  if room == 0 or (room < count and whole == '1') then
    return behind, answer
  end
  local _, _, _, _, _, max_wait, retention = struct.unpack(RULES, rules)
  if not line_takes(max_wait) then
    others().accept_each(rules, at + 4, room)
    return behind, answer
  end
  make_steady()
  local standing = stand()
  local place, state = pack8(standing), new_state(rules, 0, standing)
  local argv, pack, widest = ARGV, struct.pack, r.widest
  local elements, states, inputs = {}, {}, {}
  for i = 1, room do
    local id, content = pack('>I8', first + i - 1), argv[at + 3 + i]
    elements[i] = place .. id
    states[2 * i - 1], states[2 * i] = id, state
    inputs[2 * i - 1], inputs[2 * i] = id, content
    if #content > widest then
      widest = #content
    end
  end
  call_in_parts('RPUSH', LINE, elements)
  call_in_parts('HSET', JOBS, states)
  call_in_parts('HSET', INPUTS, inputs)
  if r.line == 0 then
    fresh[LINE] = true
  end
  r.id, r.submitted, r.widest = first + room - 1, r.submitted + room, widest
  r.ready, r.plain, r.line = r.ready + room, r.plain + room, r.line + room
  if max_wait > 0 then
    local expiry = standing + max_wait
    if r.line_expiry == 0 then
      r.line_expiry = expiry
    end
    deadline(expiry)
    live_until(math.max(standing, now) + max_wait + retention)
  else
    live_until(nil)
  end
  return behind, answer
end

-- What the runs of jobs in the same state share: the bytes before and after their fences. False if a run is counted
-- or reported to somebody. Jobs that were accepted together are in the same state.
local function start_of(state, worker, process)
  local kind, _, flags = state:byte(1, 3)
  local length = struct.unpack('>I4', state, 78)
  local _, _, lease, _, _, max_wait, retention, _, _, _, _, _, series = struct.unpack(RULES, state, STATE_SIZE + 1)
  if kind ~= 112 or flags ~= 0 or series > 0 then
    return false
  end
  local lease_end = now + lease
  delivery_deadline(lease_end)
  live_until(max_wait > 0 and lease_end + max_wait + retention or nil)
  return {
    lease_end = number_text(lease_end),
    before = 'g' .. state:sub(2, 21),
    behind = now_bytes .. struct.pack('>I6I4', lease, 1) .. state:sub(46, 69)
      .. struct.pack('>I4I4I4I2I2', 2, 0, length, #worker, #process) .. state:sub(STATE_SIZE + 1, STATE_SIZE + length)
      .. worker .. process .. state:sub(STATE_SIZE + length + 1) .. 'r' .. now_bytes .. '\0\0\0\1',
  }
end

-- Starts the first jobs of the plain line. Adds id, state and input of each to `out`, and id and fence to `receipts`.
local function claim_line(want, worker, process, out, receipts)
  local name, sub, pack = struct.pack('>I2', #worker) .. worker, string.sub, struct.pack
  local starts, states, running, count = {}, {}, {}, 0
  local left = math.min(want, math.max(1, math.floor(MAX_BYTES / (r.widest + 1))))
  while left > 0 and r.plain > count do
    local popped = redis.call('LPOP', LINE, left)
    if not popped or #popped == 0 then
      break
    end
    r.line = r.line - #popped
    local ids = {}
    for i = 1, #popped do
      ids[i] = sub(popped[i], 9)
    end
    local values, contents = load_values(JOBS, ids), load_values(INPUTS, ids)
    local value, start
    for i = 1, #ids do
      local id = ids[i]
      if values[i] ~= value then
        value = values[i]
        start = value and starts[value]
        if value and start == nil then
          start = start_of(value, worker, process)
          starts[value] = start
        end
      end
      if start then
        local number = following(r.fence)
        local fence = pack('>I8', number)
        local state = start.before .. fence .. start.behind .. fence .. name
        r.fence, count, left = number, count + 1, left - 1
        states[2 * count - 1], states[2 * count] = id, state
        running[2 * count - 1], running[2 * count] = start.lease_end, id
        local at = #out
        out[at + 1], out[at + 2], out[at + 3] = id, state, contents[i]
        receipts[#receipts + 1] = id .. fence
      elseif value and value:byte(1) == 112 then
        others().start_one(id, contents[i], worker, process, out, receipts)
        left = left - 1
      end
    end
  end
  if count > 0 then
    r.running, r.ready, r.plain = r.running + count, r.ready - count, r.plain - count
    call_in_parts('HSET', JOBS, states)
    call_in_parts('ZADD', RUNNING, running)
  end
end

-- The next instant at which there may be something to start.
local function next_start()
  local earliest = 0
  for _, index in ipairs({ DELAYED, RUNNING }) do
    if rest then
      rest.write_set(index)
    end
    local at = tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or 'inf') or math.huge
    if at < math.huge and (earliest == 0 or at < earliest) then
      earliest = at
    end
  end
  return earliest
end

-- ARGV[at]: how many at most (0: the process waits no more), worker, 1 to park, channel of the process. Returns the
-- time after which to claim again, then id, state and input of each run; and what is remembered of it: ids and
-- fences, because the jobs are stored.
local function claim(at)
  local want, worker, parks, process = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local out, receipts = { '' }, { 't', '' }
  want = math.min(want, deliverable())
  if want > 0 then
    if r.ready == r.plain and not settling then
      claim_line(want, worker, process, out, receipts)
    else
      others().claim_merged(want, worker, process, out, receipts)
    end
  end
  limits.count((#out - 1) / 3)
  local told = 0
  if tonumber(ARGV[at]) == 0 then
    leave(process, next_start)
  elseif parks == '1' and (#out - 1) / 3 < tonumber(ARGV[at]) and not settling then
    told = park(process, next_start)
  end
  out[1] = told_after(told)
  receipts[2] = out[1]
  return at + 4, out, table.concat(receipts)
end

-- What ending runs share, by the part of their states between the start and the events. False if there is more to do
-- than to write them.
local function end_of(common)
  local memos = struct.unpack('>I2', common, 29)
  local last, closed, length, worker, note = struct.unpack('>I4I4I4I2I2', common, 35)
  local _, _, _, _, _, _, retention, kind, life, _, line, _, series = struct.unpack(RULES, common, 51)
  -- A key that is bound until the terminal step ends with it.
  if memos > 0 or line > 0 or series > 0 or (kind ~= '-' and life == 0) then
    return false
  end
  deadline(now + retention)
  rest_until(now + retention)
  return {
    -- How long the state may be so that one more event does not make the tail too long.
    longest = #common + 35 + CHUNK - 7,
    kept_until = number_text(now + retention),
    behind_start = now_bytes .. common:sub(7, 34) .. struct.pack('>I4I4I4I2I2', last + 1, closed, length, worker, 0)
      .. common:sub(51, -note - 1),
  }
end

local COMPLETED = 'e' .. pack8(67)

-- ARGV[at]: ids and fences, 16 bytes each; then the result of each. Returns 9 bytes for each, as `settle` does.
local function complete(at)
  local ids, fences = split(ARGV[at])
  local values, results, ends, seen, later = load_values(JOBS, ids), {}, {}, {}, {}
  local completed, states, details, ended, kept, count = {}, {}, {}, {}, {}, 0
  local ended_at = number_text(now)
  local byte, sub, argv, event = string.byte, string.sub, ARGV, 'c' .. now_bytes
  local known, size, ending = nil, 0, nil
  for i = 1, #ids do
    local id, value = ids[i], values[i]
    local plain, kind, priority, flags = false, byte(value or '', 1, 3)
    if kind == 103 and flags == 0 and not seen[id] and not settling and sub(value, 22, 29) == fences[i] then
      if sub(value, 36, size) ~= known then
        local rules, worker, note = struct.unpack('>I4I2I2', value, 78)
        size = STATE_SIZE + rules + worker + note
        known = sub(value, 36, size)
        ending = ends[known]
        if ending == nil then
          ending = end_of(known)
          ends[known] = ending
        end
      end
      plain = ending and #value <= ending.longest
    end
    seen[id] = true
    if plain then
      count = count + 1
      completed[count] = id
      states[2 * count - 1] = id
      states[2 * count] = (priority == 0 and 'C\0\1' or 'C' .. string.char(priority) .. '\1') .. sub(value, 4, 35)
        .. ending.behind_start .. sub(value, size + 1) .. event
      details[2 * count - 1], details[2 * count] = 'r' .. id, argv[at + i]
      ended[2 * count - 1], ended[2 * count] = ended_at, id
      kept[2 * count - 1], kept[2 * count] = ending.kept_until, id
      results[i] = COMPLETED
    else
      later[#later + 1] = i
    end
  end
  if count > 0 then
    r.running, r.completed = r.running - count, r.completed + count
    call_in_parts('HSET', JOBS, states)
    call_in_parts('HSET', DETAILS, details)
    call_in_parts('ZREM', RUNNING, completed)
    call_in_parts('ZADD', ENDED.C, ended)
    call_in_parts('ZADD', KEPT, kept)
    fresh[ENDED.C] = true
  end
  for i = 1, #later do
    local index = later[i]
    results[index] = others().complete_one(ids[index], fences[index], argv[at + index])
  end
  return at + 1 + #ids, table.concat(results)
end

local OPERATIONS = { plain = submit_plain, claim = claim, complete = complete }
