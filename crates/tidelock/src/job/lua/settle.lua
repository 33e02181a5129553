-- part: the operations of runs, under their fence. A mirror of job/model/settle.rs.
local lease_ends = {}

local function lease_end_of(id)
  local waiting = set_writes[RUNNING] and set_writes[RUNNING][id]
  return waiting or lease_ends[id] or tonumber(redis.call('ZSCORE', RUNNING, id))
end

-- The answer to a run that does not hold its job; nil if it does.
local function answer_if_over(j, fence)
  if not j or j.fence ~= fence then
    return 'x', 0
  elseif j.kind == 'g' then
    -- Lapsed leases were carried out before this, unless there were more than one step carries out.
    if settling and lease_end_of(j.id) <= now then
      return 'x', 0
    end
    return nil
  elseif j.kind == 'X' and not j.settled then
    return 'c', 0
  elseif not j.settled then
    return 'x', 0
  elseif ENDED[j.kind] then
    return 'e', j.kind:byte()
  end
  return 'q', j.due
end

local function complete(j, result)
  drop_memos(j)
  write_field(DETAILS, 'r' .. j.id, result)
  end_job(j, 'C', now, 'c', '')
  return 'e', j.kind:byte()
end

-- `said`: code and message.
local function fail_run(j, said, delay)
  local code, message = said:sub(1, 1), said:sub(2)
  local again = code == 'r' or code == 't'
  if again then
    j.failures = j.failures + 1
  end
  if not again or j.failures >= (bounds_of(j)) then
    return 'e', fail(j, code, message, now):byte()
  end
  add_failure(j, code, message, now)
  r.retries = r.retries + 1
  come_back(j, code, message, now, now + delay)
  return 'q', now + delay
end

local function renew(j, lease)
  if lease then
    j.number = lease
    touch(j)
  end
  local renewed = now + j.number
  local limit = renewable_until(j)
  if limit then
    -- A lease that ends later was given before: a renewal does not shorten it.
    renewed = math.min(renewed, math.max(limit, lease_end_of(j.id)))
  end
  put(RUNNING, renewed, j.id)
  delivery_deadline(renewed)
  live_with(j, renewed)
  return 'n', renewed - now
end

local MAX_MEMOS, MAX_MEMO_BYTES = 1000, 4 * 1024 * 1024

local function store_memo(j, step, value)
  local field, more = 'm' .. j.id .. step, #step + #value
  if read_field(DETAILS, field) then
    return 's', 0
  end
  if j.memos >= MAX_MEMOS or j.memo_bytes + more > MAX_MEMO_BYTES then
    return 'f', j.memos * 4294967296 + j.memo_bytes
  end
  write_field(DETAILS, field, value)
  write_field(DETAILS, 'M' .. j.id, (j.memos > 0 and read_field(DETAILS, 'M' .. j.id) or '') .. pack_text(step))
  j.memos, j.memo_bytes = j.memos + 1, j.memo_bytes + more
  log(j, now, 'm', pack_text(step), false)
  return 's', 0
end

-- The actions of a run on the job that it holds: (job, number, first and second argument).
local ENDS_RUN = {
  c = complete,
  f = function(j, said, number) return fail_run(j, said, number) end,
  s = function(j, _, number)
    j.failures, j.crashes, j.reschedules = 0, 0, j.reschedules + 1
    come_back(j, 's', '', now, now + number)
    return 'q', now + number
  end,
  b = function(j)
    come_back(j, 'b', '', now, now)
    return 'q', now
  end,
}
local GOES_ON = {
  n = function(j) return renew(j) end,
  h = function(j, _, _, _, lease)
    local letter, left = renew(j, lease)
    log(j, now, 'h', pack4(j.attempt), false)
    return letter, left
  end,
  p = function() return 's', 0 end,
  m = function(j, step, _, value) return store_memo(j, step, value) end,
}

-- How many arguments follow the head, by action.
local TAKES = { c = 1, f = 1, m = 2 }

-- Ends the run, or lets it continue; `progress`, `first` and `second` may be nil.
local function act(id, fence, action, progress, number, lease, first, second)
  local j = load(id)
  local letter, answer = answer_if_over(j, fence)
  if letter then
    if letter == 'x' and ENDS_RUN[action] then
      r.stale = r.stale + 1
    end
    return letter .. pack8(answer)
  end
  if progress then
    write_field(DETAILS, 'p' .. id, progress)
    log(j, now, 'p', pack4(#progress) .. progress, false)
  end
  if ENDS_RUN[action] then
    leave_state(j)
    j.settled = true
    letter, answer = ENDS_RUN[action](j, first, number)
  else
    letter, answer = GOES_ON[action](j, first, number, second, lease)
  end
  return letter .. pack8(answer)
end

-- Completes a job that is not plain, or returns why not.
local function complete_one(id, fence, result)
  return act(id, unpack8(fence), 'c', nil, 0, nil, result)
end

local function settle_one(at)
  local id, fence, action, flags, number = struct.unpack('>c8I8c1BI8', ARGV[at])
  local given = flags % 2
  local first = at + 1 + given
  local answer = act(id, fence, action, given == 1 and ARGV[at + 1], number, flags >= 2 and number or nil, ARGV[first],
    ARGV[first + 1])
  return first + (TAKES[action] or 0), answer
end

-- ARGV[at]: ids of all, 8 bytes each, and 1 if leases are renewed; then for each a head: id, fence, action, flags (1
-- with progress, 2 with a lease), number (8 bytes: delay or lease in ms); after it the progress if there is one, and
-- the arguments of the action: c the result, f code and message, m step id and value. Returns 9 bytes for each: s, x,
-- c; n and the time left; q and the due time; e and the state; f, memos and their bytes (4 each).
local function settle(at)
  local packed, ids, results = ARGV[at], {}, {}
  for from = 1, #packed, 8 do
    ids[#ids + 1] = packed:sub(from, from + 7)
  end
  preload(JOBS, ids)
  if settling or ARGV[at + 1] == '1' then
    write_set(RUNNING)
    for from = 1, #ids, PART do
      local to = math.min(from + PART - 1, #ids)
      local scores = redis.call('ZMSCORE', RUNNING, unpack(ids, from, to))
      for i = 1, #scores do
        lease_ends[ids[from + i - 1]] = scores[i] and tonumber(scores[i]) or nil
      end
    end
  end
  at = at + 2
  for i = 1, #ids do
    at, results[i] = settle_one(at)
  end
  return at, table.concat(results)
end
