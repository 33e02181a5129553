-- part: starting runs of jobs that are not plain.
local function size_of(content)
  local key, trace = struct.unpack('>I2I2', content)
  return #content - 8 - key - trace
end

local function start(j, content, worker, process, out, receipts)
  leave_state(j)
  r.fence = following(r.fence)
  j.kind, j.fence, j.settled, j.attempt, j.started = 'g', r.fence, false, j.attempt + 1, now
  j.number, j.worker, j.note = j.lease, worker, process
  local lease_end = now + j.lease
  r.running = r.running + 1
  put(RUNNING, lease_end, j.id)
  delivery_deadline(lease_end)
  live_with(j, lease_end)
  if j.series then
    count_running(j, 1)
  end
  log(j, now, 'r', struct.pack('>I4I8I2', j.attempt, j.fence, #worker) .. worker, false)
  local at = #out
  out[at + 1], out[at + 2], out[at + 3] = j.id, value_of(j), content
  receipts[#receipts + 1] = j.id .. pack8(j.fence)
end

-- This happens only while more is overdue than one step carries out. Expired jobs are never started.
local function is_expired(j)
  return settling and j.max_wait > 0 and expiry_of(j) <= now
end

-- Starts a job of the plain line that somebody watches, or that belongs to a schedule.
local function start_one(id, content, worker, process, out, receipts)
  start(load(id), content, worker, process, out, receipts)
end

-- Jobs are read in batches of this size, because the size of their inputs is known only once they are read.
local SOME = 16
local function preload_some(members, at)
  local ids = {}
  for i = at, math.min(at + 2 * SOME - 2, #members), 2 do
    ids[#ids + 1] = members[i]:sub(9)
  end
  preload(JOBS, ids)
  preload(INPUTS, ids)
end

-- Claims from the plain line and the sorted set of everything else, in order.
local function claim_merged(want, worker, process, out, receipts)
  write_set(READY)
  local members, at, bytes = redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES'), 1, 0
  for _ = 1, want do
    local member, score = members[at], members[at + 1]
    local j, by_line = line_head(), true
    if member and not (j and tonumber(score) == 9 and (unpack8(member) > j.standing
      or (unpack8(member) == j.standing and unpack8(member, 9) > unpack8(j.id)))) then
      if at % (2 * SOME) == 1 then
        preload_some(members, at)
      end
      j, by_line, at = load(member:sub(9)), false, at + 2
    end
    if not j then
      return
    end
    local content = read_field(INPUTS, j.id)
    local size = size_of(content)
    if is_expired(j) or (bytes > 0 and bytes + size > MAX_BYTES) then
      return
    end
    bytes = bytes + size
    if by_line then
      pop_line()
    end
    start(j, content, worker, process, out, receipts)
  end
end
