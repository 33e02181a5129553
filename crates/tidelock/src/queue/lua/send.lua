-- part: sending.

local function accept()
  r.id = following(r.id)
  r.accepted = r.accepted + 1
  return r.id
end

-- One message that does not go into the plain line.
local function send_apart(body, due, priority, age)
  local id = accept()
  local standing = due or stand()
  local expiry = age == -1 and 0 or standing + age
  local m = parse_line(pack8(id) .. pack8(due and now or standing) .. pack8(expiry) .. body)
  m.priority, m.standing = priority, standing
  admit(m, due)
  return pack8(id)
end

-- Plain messages have no delay and no priority. They are stored in one list in order of their ids. All of a line have
-- the same max_age, so that its head is the first to expire. A message that follows others of its ordering key is
-- stored separately. Returns nil if the line has another max_age, else what was sent.
local PUSH = 500
local function push_line(age, bodies)
  local length = redis.call('LLEN', LINE)
  if length == 0 then
    r.age, r.line_expiry, r.widest = age, 0, 0
  end
  if r.age ~= age then
    return nil
  end
  local standing = stand()
  local expiry = age == -1 and 0 or standing + age
  local head = pack8(standing) .. pack8(expiry)
  local ids, elements, pushed = {}, {}, 0
  for i = 1, #bodies do
    local body = bodies[i]
    local key = key_at(body, 9)
    if key and lines.head(key) then
      ids[i] = send_apart(body, nil, 0, age)
    else
      local id = pack8(accept())
      if key then
        join_key(key, r.id, id)
      end
      ids[i], elements[#elements + 1], pushed = id, id .. head .. body, pushed + 1
      if #body > r.widest then
        r.widest = #body
      end
      local retention = unpack8(body)
      if expiry == 0 or retention == 0 then
        r.endless = r.endless + 1
      else
        live_until(expiry + retention)
      end
    end
    if #elements == PUSH or (i == #bodies and #elements > 0) then
      redis.call('RPUSH', LINE, unpack(elements))
      elements = {}
    end
  end
  if pushed > 0 then
    if length == 0 then
      fresh[LINE] = true
      r.line_expiry = expiry
    end
    if expiry > 0 then
      deadline(expiry)
    end
  end
  r.ready = r.ready + pushed
  return ids
end

-- Sends one message in either way.
local function send_single(body, due_mode, due_number, priority, age)
  local due
  if due_mode == 'a' and due_number > 0 then
    due = now + due_number
  elseif due_mode == 't' and due_number > now then
    due = due_number
  end
  local ids = not due and priority == 0 and push_line(age, { body })
  return ids and ids[1] or send_apart(body, due, priority, age)
end

-- ARGV[at]: count, max_age in ms (-1: none), max_depth (0: none), 1 if all or nothing; then the bodies.
local function op_plain(at)
  local count, age, limit, whole = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local first, last = at + 4, at + 3 + count
  local depth = r.ready + r.blocked + r.delayed
  local room = limit == 0 and count or math.max(limit - depth, 0)
  if whole == '1' and room < count then
    return last + 1, 'F' .. pack8(math.max(depth, limit)) .. pack8(room)
  end
  local fits = math.min(room, count)
  local results, bodies = {}, {}
  for i = 1, fits do
    bodies[i] = ARGV[first + i - 1]
  end
  local ids = fits > 0 and push_line(age, bodies)
  for i = 1, fits do
    results[i] = 'N' .. (ids and ids[i] or send_apart(bodies[i], nil, 0, age))
  end
  for _ = fits + 1, count do
    results[#results + 1] = 'F' .. pack8(math.max(depth, limit))
  end
  return last + 1, table.concat(results)
end

-- ARGV[at]: count; then for each: head, dedup key, body. Head: due mode (n now, a after, t at), due number, priority,
-- max_age (0: none), max_depth (0: none), dedup window (0: no key). All or nothing.
local function op_batch(at)
  local count = tonumber(ARGV[at])
  local last = at + 3 * count
  forget_dedup(0)
  local depth, seen, first_ids = r.ready + r.blocked + r.delayed, {}, {}
  for i = 1, count do
    local head, key = ARGV[at + 3 * i - 2], ARGV[at + 3 * i - 1]
    local _, _, _, _, limit, window = struct.unpack('>c1I8BI8I8I8', head)
    local duplicate = false
    if window > 0 then
      local record = redis.call('HGET', DEDUP, key)
      if record and unpack8(record, 9) > now then
        first_ids[i], duplicate = record:sub(1, 8), true
      elseif seen[key] then
        duplicate = true
      end
      seen[key] = true
    end
    if not duplicate then
      if limit > 0 and depth >= limit then
        return last + 1, 'F' .. pack8(depth) .. pack8(i - 1)
      end
      depth = depth + 1
    end
  end
  local results, sent, remembered_keys = {}, {}, 0
  for i = 1, count do
    local head, key, body = ARGV[at + 3 * i - 2], ARGV[at + 3 * i - 1], ARGV[at + 3 * i]
    local mode, number, priority, age, _, window = struct.unpack('>c1I8BI8I8I8', head)
    local first = first_ids[i] or (window > 0 and sent[key])
    if first then
      results[i] = 'D' .. first
    else
      local id = send_single(body, mode, number, priority, age == 0 and -1 or age)
      results[i] = 'N' .. id
      if window > 0 then
        sent[key], remembered_keys = id, remembered_keys + 1
        redis.call('HSET', DEDUP, key, id .. pack8(now + window))
        fresh[DEDUP] = true
        r.dedup_ends = math.max(r.dedup_ends, now + window)
        live_until(now + window)
      end
    end
  end
  -- Checks more records than were made, so that records of past windows do not accumulate.
  forget_dedup(2 * remembered_keys)
  return last + 1, table.concat(results)
end
