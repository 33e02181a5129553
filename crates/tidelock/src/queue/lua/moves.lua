-- part: moves of a message from state to state. A mirror of the model; see queue/model.rs.

-- Joins the line of an ordering key, with a number from the series of ids.
local function join_key(key, join, id_bytes)
  r.join = join
  lines.join(key, join, id_bytes)
end

-- Takes messages out of the lines of their keys. Where the head went, the next one becomes the head and, if it is
-- due, deliverable. `members`: one message for each key.
local function leave_lines(members)
  local gone, ids, ready, places = {}, {}, {}, {}
  for key, member in pairs(members) do
    gone[#gone + 1], lines.heads[key] = member, nil
  end
  call_in_parts('ZREM', LINES, gone)
  for key in pairs(members) do
    ids[#ids + 1] = lines.head(key) or nil
  end
  local values = load_values(MESSAGES, ids)
  for i = 1, #ids do
    local value = values[i]
    -- If the head did not change, it is not blocked, and may be in the plain line.
    if value and value:byte(1) == 98 then
      local join = value:sub(25, 32)
      ready[#ready + 1], ready[#ready + 2] = ids[i], 'r' .. value:sub(2)
      places[#places + 1] = 9 - value:byte(2)
      -- As in `place_of`.
      places[#places + 1] = value:sub(3, 10) .. (join ~= ids[i] and join or '') .. ids[i]
    end
  end
  if #places > 0 then
    call_in_parts('HSET', MESSAGES, ready)
    call_in_parts('ZADD', READY, places)
    fresh[READY] = true
    r.blocked, r.ready = r.blocked - #places / 2, r.ready + #places / 2
  end
end

local function leave_line(m)
  if m.key then
    leave_lines({ [m.key] = lines.member(m.key, m.join, pack8(m.id)) })
  end
end

-- Takes a stored message out of the index of its state. It stays in its key's line.
local function leave_state(m)
  local id = pack8(m.id)
  if m.kind ~= 'x' and is_endless(m) then
    r.endless = r.endless - 1
  elseif m.kind == 'x' and m.retention == 0 then
    r.dead_endless = r.dead_endless - 1
  end
  if m.kind == 'r' then
    r.ready = r.ready - 1
    redis.call('ZREM', READY, place_of(m))
    redis.call('ZREM', EXPIRING, id)
  elseif m.kind == 'b' then
    r.blocked = r.blocked - 1
    redis.call('ZREM', EXPIRING, id)
  elseif m.kind == 'd' then
    r.delayed = r.delayed - 1
    redis.call('ZREM', DELAYED, id)
  elseif m.kind == 'l' then
    r.leased = r.leased - 1
    redis.call('ZREM', LEASED, receipt_of(m))
  elseif m.kind == 'x' then
    r.dead = r.dead - 1
    redis.call('ZREM', DEAD, id)
    redis.call('ZREM', KEPT, id)
  end
end

-- Accounts for the latest instant at which anything of an unfinished message remains: it expires, then is dead for
-- its retention.
local function life_of(m)
  if is_endless(m) then
    r.endless = r.endless + 1
  else
    live_until(math.max(m.expiry, now) + m.retention)
  end
end

local function store_ready(m)
  m.number, m.tag, m.consumer = 0, '-', ''
  if not m.key or lines.head(m.key) == pack8(m.id) then
    m.kind = 'r'
    r.ready = r.ready + 1
    redis.call('ZADD', READY, 9 - m.priority, place_of(m))
    fresh[READY] = true
  else
    m.kind = 'b'
    r.blocked = r.blocked + 1
  end
  if m.expiry > 0 then
    redis.call('ZADD', EXPIRING, m.expiry, pack8(m.id))
    fresh[EXPIRING] = true
    deadline(m.expiry)
  end
  life_of(m)
  store(m)
end

-- `place`: where it stands when it is due again, 'o' original or 'b' back.
local function store_delayed(m, due, place)
  m.kind, m.number, m.tag, m.consumer = 'd', due, place, ''
  r.delayed = r.delayed + 1
  local leaves = due
  if m.expiry > 0 and m.expiry < due then
    leaves = m.expiry
  end
  redis.call('ZADD', DELAYED, leaves, pack8(m.id))
  fresh[DELAYED] = true
  delivery_deadline(leaves)
  life_of(m)
  store(m)
end

-- Moves a message, already out of its state's index, to the dead letters. Reason: e, m, r or u.
local function bury(m, reason, moved_at)
  leave_line(m)
  m.kind, m.number, m.tag, m.consumer = 'x', moved_at, reason, ''
  r.dead = r.dead + 1
  redis.call('ZADD', DEAD, moved_at, pack8(m.id))
  fresh[DEAD] = true
  if m.retention > 0 then
    redis.call('ZADD', KEPT, moved_at + m.retention, pack8(m.id))
    fresh[KEPT] = true
    deadline(moved_at + m.retention)
    live_until(moved_at + m.retention)
  else
    r.dead_endless = r.dead_endless + 1
  end
  store(m)
end

-- Puts a new or requeued message into its first state.
local function admit(m, due)
  if m.key then
    join_key(m.key, m.join, pack8(m.id))
  end
  if due then
    store_delayed(m, due, 'o')
  else
    store_ready(m)
  end
end

-- Moves a message behind all that are ready at the instant `at`. Its number is from the series of ids, so that
-- messages sent later in the same millisecond stand behind it.
local function go_back(m, at)
  if not m.key then
    r.id = following(r.id)
    m.standing, m.join = at, r.id
  end
end

-- A message comes back at the instant `at`. The first rule that applies decides. Returns when it is due again, nil if
-- dead.
local function returned(m, at, delay, max_deliveries, place)
  if max_deliveries > 0 and m.attempts >= max_deliveries then
    bury(m, 'm', at)
    return nil
  end
  if m.expiry > 0 and m.expiry <= at then
    bury(m, 'e', at)
    return nil
  end
  if delay > 0 then
    store_delayed(m, at + delay, place)
    return at + delay
  end
  if place == 'b' then
    go_back(m, at)
  end
  store_ready(m)
  return at
end

-- The indexes of timed transitions, by cause.
local INDEXES = { DELAYED, LEASED, EXPIRING, KEPT }
local function overdue_of(index, count)
  return redis.call('ZRANGEBYSCORE', INDEXES[index], '-inf', now, 'WITHSCORES', 'LIMIT', 0, count)
end

local function first_deadline(index)
  return redis.call('ZRANGE', INDEXES[index], 0, 0, 'WITHSCORES')[2]
end

-- The expiry and id of the first message of the plain line, if it has expired.
local function overdue_in_line()
  while r.line_expiry > 0 and r.line_expiry <= now do
    local element = redis.call('LINDEX', LINE, 0)
    if not element then
      r.line_expiry = 0
    elseif #element == TOMBSTONE then
      redis.call('LPOP', LINE)
    else
      local id, _, expiry = struct.unpack('>I8I8I8', element)
      r.line_expiry = expiry
      if expiry > 0 and expiry <= now then
        return expiry, id
      end
    end
  end
end

local function transition(cause, at, id_bytes)
  if cause > #INDEXES then
    local m = parse_line(redis.call('LPOP', LINE))
    r.ready = r.ready - 1
    if is_endless(m) then
      r.endless = r.endless - 1
    end
    return bury(m, 'e', at)
  end
  local m = load(id_bytes)
  local kind, number, tag = m.kind, m.number, m.tag
  leave_state(m)
  if kind == 'd' then
    if m.expiry > 0 and m.expiry <= number then
      bury(m, 'e', at)
    else
      if tag == 'b' then
        go_back(m, number)
      end
      store_ready(m)
    end
  elseif kind == 'l' then
    returned(m, at, 0, number, tag)
  elseif kind == 'x' then
    redis.call('HDEL', MESSAGES, id_bytes)
    r.settled = r.settled + 1
  else
    bury(m, 'e', at)
  end
end

local SAMPLE = 500

-- Forgets dedup records whose window is over: all at once if the last window is, else those among `count` of them.
-- They are kept a second longer, so that a clock that steps back a little does not reopen a window.
local function forget_dedup(count)
  if r.dedup_ends + 1000 <= now then
    if r.dedup_ends > 0 then
      redis.call('UNLINK', DEDUP)
      r.dedup_ends = 0
    end
    return
  end
  while count > 0 do
    local sample, gone = redis.call('HRANDFIELD', DEDUP, -math.min(count, SAMPLE), 'WITHVALUES'), {}
    for i = 1, #sample, 2 do
      if unpack8(sample[i + 1], 9) + 1000 <= now then
        gone[#gone + 1] = sample[i]
      end
    end
    if #gone > 0 then
      redis.call('HDEL', DEDUP, unpack(gone))
    end
    count = count - SAMPLE
  end
end
