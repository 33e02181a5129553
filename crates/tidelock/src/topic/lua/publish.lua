-- publish: appends the events of one process's pending publishes, in order.
-- KEYS[1]   record: newest place, beginning, settings (hash)
-- KEYS[2]   log: elements in order (list)
-- KEYS[3]   dedup: by key, place of the event and end of the window (hash)
-- KEYS[4]   groups: books by name (hash)
-- KEYS[5]   parked: processes that wait, by group (hash)
-- KEYS[6]   answers: the last trip of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this trip in its sender's series
-- ARGV[3]   sweep: carry out what is overdue and nothing else; else empty
-- ARGV[4..] runs: retention in ms (-1: none), max_len (0: none), kind, count, then the events. Kind p: plain, each its
--           body. Kind d: with dedup keys, each its window in ms (8 bytes, 0 for none), its key and its body.
-- Reply: next deadline of the log in ms (0: none); then for each run: settings that it replaced (retention + 1 or 0,
--        max_len; 0, 0 and 0 before them if none: 17 bytes), then for p the place of its first event, for d a letter
--        (N new, D duplicate) and the place of each
local trip = tonumber(ARGV[2])
local before = ARGV[3] ~= 'sweep' and remembered(KEYS[6], trip)
if before then
  return before
end

-- Forgets dedup records whose window is over or whose event is gone: all at once if the last window is over, else those
-- found in a sample of `count`. Records are kept one second longer, so that a clock that steps back slightly does not
-- reopen a window.
local function forget(count)
  if r.dedup_ends + 1000 <= now then
    return forget_all()
  end
  while count > 0 do
    local sample, gone = redis.call('HRANDFIELD', DEDUP, -math.min(count, STEP), 'WITHVALUES'), {}
    for i = 1, #sample, 2 do
      local life, _, ordinal, until_time = struct.unpack('>I8I8I8I8', sample[i + 1])
      if until_time + 1000 <= now or life ~= r.life or ordinal < r.floor then
        gone[#gone + 1] = sample[i]
      end
    end
    if #gone > 0 then
      redis.call('HDEL', DEDUP, unpack(gone))
    end
    count = count - STEP
  end
end

fix_floor()
trim(STEP)
if ARGV[3] == 'sweep' then
  if r.dedup_ends > 0 then
    forget(STEP)
  end
  finish()
  return { text(next_of_log()) }
end

local appended, remembered_keys = 0, 0
local elements = {}
local PUSH = 500

local function flush()
  if #elements > 0 then
    redis.call('RPUSH', LOG, unpack(elements))
    elements = {}
  end
end

local function append(body)
  r.at = following(r.at)
  if r.life == 0 then
    r.life, r.ordinal, r.first, r.floor, r.head_at = r.at, 0, 1, 1, 0
    fresh[LOG] = true
  end
  if r.first > r.ordinal then
    -- The list is empty.
    fresh[LOG], r.widest = true, 0
  end
  r.widest = math.max(r.widest, #body + 8)
  r.ordinal = r.ordinal + 1
  appended = appended + 1
  elements[#elements + 1] = pack8(r.at) .. body
  if #elements == PUSH then
    flush()
  end
  if r.max_len > 0 and r.ordinal + 1 - r.max_len > r.floor then
    r.floor, r.head_at = r.ordinal + 1 - r.max_len, 0
  end
end

local function settle_on(retention, max_len)
  if r.set == 1 and r.retention == retention and r.max_len == max_len then
    return string.rep('\0', 17)
  end
  local replaced = string.rep('\0', 17)
  if r.set == 1 then
    -- Fix the beginning of the log by the old settings first.
    flush()
    fix_floor()
    replaced = '\1' .. pack8(r.retention + 1) .. pack8(r.max_len)
  end
  r.set, r.retention, r.max_len = 1, retention, max_len
  return replaced
end

local function plain_run(at, count)
  local first
  for i = 0, count - 1 do
    append(ARGV[at + i])
    first = first or place(r.life, r.at, r.ordinal)
  end
  return at + count, first
end

-- Events with dedup keys. Created on first use: creating the functions costs more than a plain publish.
local function make_dedup()
  -- Whether the event of a dedup record can still be read.
  local function is_readable(ordinal)
    if ordinal < math.max(r.floor, r.first) or (r.max_len > 0 and ordinal + r.max_len <= r.ordinal) then
      return false
    end
    flush()
    local element = element_of(ordinal)
    return element and not is_over(unpack8(element))
  end

  local function run(at, count)
    local results = {}
    for i = 1, count do
      local window, key, body = unpack8(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
      local record = window > 0 and redis.call('HGET', DEDUP, key)
      local life, first_at, ordinal, until_time
      if record then
        life, first_at, ordinal, until_time = struct.unpack('>I8I8I8I8', record)
      end
      if record and until_time > now and life == r.life and is_readable(ordinal) then
        results[i] = 'D' .. place(life, first_at, ordinal)
      else
        append(body)
        results[i] = 'N' .. place(r.life, r.at, r.ordinal)
        if window > 0 then
          redis.call('HSET', DEDUP, key, place(r.life, r.at, r.ordinal) .. pack8(now + window))
          fresh[DEDUP] = true
          remembered_keys = remembered_keys + 1
          r.dedup_ends = math.max(r.dedup_ends, now + window)
        end
      end
      at = at + 3
    end
    return at, table.concat(results)
  end

  return run
end

local reply, at, dedup = { '' }, 4, nil
while at <= #ARGV do
  local replaced = settle_on(tonumber(ARGV[at]), tonumber(ARGV[at + 1]))
  local kind, count = ARGV[at + 2], tonumber(ARGV[at + 3])
  local result
  if kind == 'p' then
    at, result = plain_run(at + 4, count)
  else
    dedup = dedup or make_dedup()
    at, result = dedup(at + 4, count)
  end
  reply[#reply + 1] = replaced .. result
end
flush()
fix_floor()
if r.dedup_ends > 0 then
  -- Two samples for each new record: obsolete records then stay as few as those in force.
  forget(2 * remembered_keys + 3)
end
-- Trims twice as many events as were appended; otherwise large batches would make the log grow.
trim(math.max(STEP, 2 * appended))
-- Wakes one process per event for each group that can take one, and every process that follows.
if appended > 0 then
  local waiting = redis.call('HGETALL', PARKED)
  for i = 1, #waiting, 2 do
    local field, parked = waiting[i], parking().read(waiting[i + 1])
    local count = field == 'f' and #parked or appended
    local left = parking().wake(parked, field, count, function(flags) return flags < LIMITED end)
    if #left ~= #parked then
      parking().write(field, left)
    end
  end
end
reply[1] = text(next_of_log())
remember(KEYS[6], trip, reply)
finish()
return reply
