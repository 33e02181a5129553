-- part: the operations that change one record. Each is judged alone; its own record was settled before.
-- `at` is the index in ARGV of the operation's first argument.

-- The bounds of the writer, applied when it writes; `in_force`: whether they have been.
local bounds, in_force = {}, false
local BOUNDS = { 'max_entries', 'event_retention', 'max_events', 'max_event_bytes', 'tombstone_retention' }
local function read_bounds(at)
  in_force = false
  for i = 1, 5 do
    bounds[i] = tonumber(ARGV[at + i - 1])
  end
  return at + 5
end

-- Begins a life if none has begun; returns the previous bounds if they differ.
local function accept()
  if in_force then
    return ''
  end
  in_force = true
  local replaced = ''
  if r.incarnation == 0 then
    r.incarnation, r.sealed = math.max(r.revision + 1, now_us), r.revision
  else
    for i = 1, 5 do
      if bounds[i] ~= r[BOUNDS[i]] then
        replaced = struct.pack('>c1I8I8I8I8I8', 'B', r.max_entries, r.event_retention, r.max_events, r.max_event_bytes,
          r.tombstone_retention)
      end
    end
    if replaced ~= '' then
      -- Wider bounds must not bring anything back.
      flush()
      r.sealed = compacted()
      clear_tombs(STEP)
      live_until(math.max(highest(DEADLINES), highest(BURIED)) + bounds[5])
    end
  end
  for i = 1, 5 do
    r[BOUNDS[i]] = bounds[i]
  end
  return replaced
end

local function is_full(m)
  return not m and r.live - overdue >= bounds[1]
end

local function full()
  return struct.pack('>c1I8', 'F', bounds[1])
end

-- The deadline of a record whose life starts again now; 0 for none.
local function deadline_with(ttl)
  if ttl == 0 then
    return 0
  end
  local deadline = now + ttl
  if r.next == 0 or deadline < r.next then
    r.next = deadline
  end
  live_until(deadline + r.tombstone_retention)
  return deadline
end

-- Stores a value. `life`: `p` permanent, `f` for `ttl`, `k` keeps the current ttl.
local function put(key, m, value, life, ttl)
  local replaced = accept()
  if life == 'k' then
    ttl = m and m.ttl or 0
  end
  local revision = next_revision()
  local new = { kind = 'l', version = revision, created = m and m.created or now, updated = now, ttl = ttl,
    deadline = deadline_with(ttl), size = #value, stamp = false }
  append(revision, 'u', key, stamp(new), value)
  r.bytes = r.bytes + #value
  values[key] = value
  set(key, new)
  return replaced .. 'S' .. stamp(new)
end

local function op_upsert(at, key, m, life, ttl)
  return is_full(m) and full() or put(key, m, ARGV[at], life, ttl)
end

-- Total size of the values in this reply.
local told = 0

local function op_cas(at, key, m, life, ttl)
  if is_full(m) then
    return full()
  end
  -- An empty argument is not a number: it expects no record.
  if (m and m.version or nil) == tonumber(ARGV[at]) then
    return put(key, m, ARGV[at + 1], life, ttl)
  end
  if not m then
    return 'N'
  end
  if told > 0 and told + m.size > MAX_BYTES then
    return '+'
  end
  told = told + m.size
  return 'C' .. stamp(m) .. (values[key] or redis.call('HGET', VALUES, key) or '')
end

-- Why a touch or removal is refused; nil if it is not.
local function refusal(m, wanted)
  if not m then
    return 'A'
  end
  if wanted and wanted ~= m.version then
    return struct.pack('>c1I8', 'V', m.version)
  end
end

local function op_touch(at, key, m, _, ttl)
  local refused = refusal(m, tonumber(ARGV[at]))
  if refused then
    return refused
  end
  ttl = ttl == 0 and m.ttl or ttl
  if ttl == 0 then
    return 'P'
  end
  local replaced = accept()
  local revision = next_revision()
  local new = { kind = 't', version = ephemeral and revision or m.version, created = m.created, updated = now,
    ttl = ttl, deadline = deadline_with(ttl), size = m.size, stamp = false, touch = revision }
  set(key, new)
  return replaced .. struct.pack('>c1I8I8', 'E', new.version, new.deadline)
end

local function op_remove(at, key, m, has_reason)
  local refused = refusal(m, tonumber(ARGV[at]))
  if refused then
    return refused
  end
  local replaced = accept()
  local reason = has_reason == '1' and '1' .. ARGV[at + 1] or ''
  append(next_revision(), 'd', key, struct.pack('>I8I8', now, m.version), reason)
  set(key, false)
  return replaced .. 'R'
end

-- Removes the object; its last revision is kept for a while.
local function op_delete()
  local existed = r.incarnation ~= 0
  if existed then
    flush()
    redis.call('UNLINK', RECORD, STATES, VALUES, NAMES, DEADLINES, EXPIRED, BURIED, LOG, TOUCHES)
    local revision = r.revision
    for i = 1, #FIELDS do
      r[FIELDS[i]], known[i] = 0, 0
    end
    r.revision, r.ends, wrote = revision, now, true
    for key in pairs(records) do
      records[key], origin[key] = false, false
    end
    due, due_at, overdue, fresh, in_force = {}, 1, 0, {}, false
  end
  return 'D' .. (existed and '1' or '0')
end
