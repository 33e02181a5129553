-- part: starting runs.
local function claim_operations()
  local function size_of(content)
    local key, trace = struct.unpack('>I2I2', content)
    return #content - 8 - key - trace
  end

  local function start(j, content, worker, process, out)
    leave_state(j)
    r.fence = following(r.fence)
    j.kind, j.fence, j.settled, j.attempt, j.started = 'g', r.fence, false, j.attempt + 1, now
    j.number, j.worker, j.note = j.lease, worker, process
    local lease_end = now + j.lease
    r.running = r.running + 1
    put(RUNNING, lease_end, j.id)
    put(STARTED, now, j.id)
    delivery_deadline(lease_end)
    live_with(j, lease_end)
    if j.series then
      count_running(j, 1)
    end
    log(j, now, 'r', struct.pack('>I4I8I2', j.attempt, j.fence, #worker) .. worker, false)
    out[#out + 1] = j.id .. value_of(j)
    out[#out + 1] = content
  end

  -- Only while more is overdue than one step carries out: never started.
  local function is_expired(j)
    return settling and j.max_wait > 0 and expiry_of(j) <= now
  end

  -- Gives back to the head of the line what was popped and may not be started.
  local function push_back(popped, from)
    for i = #popped, from, -1 do
      redis.call('LPUSH', LINE, popped[i])
      r.line = r.line + 1
    end
    fresh[LINE] = true
  end

  -- From the plain line alone, many at once.
  local function claim_line(want, worker, process, out)
    local started = 0
    want = math.min(want, math.max(1, math.floor(MAX_BYTES / (r.widest + 1))))
    write_hash(INPUTS)
    while started < want and r.plain > 0 do
      local popped = redis.call('LPOP', LINE, want - started)
      if not popped or #popped == 0 then
        return
      end
      r.line = r.line - #popped
      local ids = {}
      for i = 1, #popped do
        ids[i] = popped[i]:sub(9)
      end
      preload(JOBS, ids)
      local contents = load_values(INPUTS, ids)
      for i = 1, #ids do
        local j = load(ids[i])
        if j and j.kind == 'p' then
          if is_expired(j) then
            return push_back(popped, i)
          end
          start(j, contents[i], worker, process, out)
          started = started + 1
        end
      end
    end
  end

  -- From both the plain line and the sorted set of everything else, one by one in order.
  local function claim_merged(want, worker, process, out)
    local bytes = 0
    for _ = 1, want do
      local member, score = first_in(READY)
      local j, by_line = line_head(), true
      if member and not (j and tonumber(score) == 9 and (unpack8(member) > j.standing
        or (unpack8(member) == j.standing and unpack8(member, 9) > unpack8(j.id)))) then
        j, by_line = load(member:sub(9)), false
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
      start(j, content, worker, process, out)
    end
  end

  -- The next instant at which there may be something to start.
  local function next_start()
    local earliest = 0
    for _, index in ipairs({ DELAYED, RUNNING }) do
      local _, score = first_in(index)
      local at = tonumber(score or 'inf') or math.huge
      if at < math.huge and (earliest == 0 or at < earliest) then
        earliest = at
      end
    end
    return earliest
  end

  -- ARGV[at]: how many at most, worker, 1 to park, channel of the process. Answers the time after which to claim again, then
  -- id and state, and input, of each run.
  function OPERATIONS.claim(at)
    local want, worker, parks, process = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local out = { '' }
    if want > 0 and r.ready > 0 and not is_paused() then
      local claim = r.ready == r.plain and claim_line or claim_merged
      claim(math.min(want, r.ready), worker, process, out)
    end
    local told = 0
    if parks == '1' and (#out - 1) / 2 < want and not settling then
      told = park(process, next_start)
    end
    out[1] = told_after(told)
    return at + 4, out
  end
end
