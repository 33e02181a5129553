-- part: moves of a message from state to state. A mirror of the model; see queue/model.rs.

-- Takes a message out of its key's line; the next one becomes the head and, if it is due, deliverable.
local function leave_line(m)
  if not m.key then
    return
  end
  local was_head = head_of(m.key) == pack8(m.id)
  redis.call('ZREM', LINES, line_member(m))
  local head = was_head and head_of(m.key)
  if not head then
    return
  end
  local next_message = load(head)
  if next_message.kind == 'b' then
    next_message.kind = 'r'
    r.blocked = r.blocked - 1
    r.ready = r.ready + 1
    store(next_message)
    redis.call('ZADD', READY, 9 - next_message.priority, place_of(next_message))
    fresh[READY] = true
  end
end

-- Takes a stored message out of the index of its state; it stays in its key's line.
local function leave_state(m)
  local id = pack8(m.id)
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
    redis.call('ZREM', LEASED, id)
  elseif m.kind == 'x' then
    r.dead = r.dead - 1
    redis.call('ZREM', DEAD, id)
    redis.call('ZREM', KEPT, id)
  end
end

-- The latest instant at which anything of an unfinished message is left: dead from its expiry for its retention.
local function life_of(m)
  if m.expiry == 0 or m.retention == 0 then
    live_until(nil)
  else
    live_until(math.max(m.expiry, now) + m.retention)
  end
end

local function store_ready(m)
  m.number, m.tag, m.consumer = 0, '-', ''
  if not m.key or head_of(m.key) == pack8(m.id) then
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
    live_until(nil)
  end
  store(m)
end

-- Puts a new or requeued message into its first state.
local function admit(m, due)
  if m.key then
    r.join = r.join + 1
    m.join = r.join
    redis.call('ZADD', LINES, 0, line_member(m))
    fresh[LINES] = true
  end
  if due then
    store_delayed(m, due, 'o')
  else
    store_ready(m)
  end
end

-- A message comes back at the instant `at`: the first rule that applies. Answers when it is due again, nil if dead.
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
  if place == 'b' and not m.key then
    m.standing = at
  end
  store_ready(m)
  return at
end

-- What is overdue, by cause: indexes in the order that breaks ties.
local INDEXES = { DELAYED, LEASED, EXPIRING, KEPT }
local FETCH = 50
local fetched = {}

-- The first overdue entry of an index as (instant, id), fetched some at a time.
local function first_of(index)
  local list = fetched[index]
  if not list or (list.at > #list and #list == 2 * FETCH) then
    list = redis.call('ZRANGEBYSCORE', INDEXES[index], '-inf', now, 'WITHSCORES', 'LIMIT', 0, FETCH)
    list.at = 1
    fetched[index] = list
  end
  if list.at <= #list then
    return tonumber(list[list.at + 1]), unpack8(list[list.at])
  end
end

-- The expiry and id of the first message of the plain line, if it has expired.
local function expired_line_head()
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

local function transition(cause, at, id)
  if cause == 5 then
    local m = parse_line(redis.call('LPOP', LINE))
    r.ready = r.ready - 1
    return bury(m, 'e', at)
  end
  fetched[cause].at = fetched[cause].at + 2
  local m = load(pack8(id))
  local kind, number, tag = m.kind, m.number, m.tag
  leave_state(m)
  if kind == 'd' then
    if m.expiry > 0 and m.expiry <= number then
      bury(m, 'e', at)
    else
      if tag == 'b' and not m.key then
        m.standing = number
      end
      store_ready(m)
    end
  elseif kind == 'l' then
    returned(m, at, 0, number, tag)
  elseif kind == 'x' then
    redis.call('HDEL', MESSAGES, pack8(id))
    r.settled = r.settled + 1
  else
    bury(m, 'e', at)
  end
end

local function first_overdue()
  local cause, at, id
  for index = 1, 4 do
    local index_at, index_id = first_of(index)
    if index_at and (not at or index_at < at or (index_at == at and index_id < id)) then
      cause, at, id = index, index_at, index_id
    end
  end
  local line_at, line_id = expired_line_head()
  if line_at and (not at or line_at < at or (line_at == at and line_id < id)) then
    cause, at, id = 5, line_at, line_id
  end
  return cause, at, id
end

-- The exact next deadline, once the lower bound was reached.
local function look_ahead()
  local earliest = r.line_expiry
  for index = 1, 4 do
    local first = redis.call('ZRANGE', INDEXES[index], 0, 0, 'WITHSCORES')[2]
    local at = tonumber(first or 'inf') or math.huge
    if at < math.huge and (earliest == 0 or at < earliest) then
      earliest = at
    end
  end
  r.next = earliest
end

-- Carries out at most STEP overdue transitions, in the order of their instants, each as of its own instant.
local function advance()
  if r.paused > 0 and now >= r.paused then
    r.paused = 0
  end
  if r.next == 0 or now < r.next then
    return
  end
  for _ = 1, STEP do
    local cause, at, id = first_overdue()
    if not cause then
      return look_ahead()
    end
    -- A transition may make another overdue one: then its index is fetched again.
    r.next = 0
    transition(cause, at, id)
    if r.next > 0 and r.next <= now then
      fetched = {}
    end
  end
  settling = first_overdue() ~= nil
  look_ahead()
end

-- Forgets some dedupe records whose window is over: few at a time, more in all than are made. They are kept a second
-- longer, so that a clock that steps back a little reopens no window.
local function forget_dedup(count)
  local sample = redis.call('HRANDFIELD', DEDUP, count, 'WITHVALUES')
  for i = 1, #sample, 2 do
    if unpack8(sample[i + 1], 9) + 1000 <= now then
      redis.call('HDEL', DEDUP, sample[i])
    end
  end
end

-- Publishes to a parked process; false if nobody listens there.
local TAG = RECORD:match('{(.*)}')
local function ring(process)
  return redis.call('PUBLISH', process, TAG) > 0
end

-- Ends a step: wakes one parked process per deliverable message, and the one that keeps the next deadline if this
-- step added an earlier one. Scores in PARKED: remembered until, plus KEEPS for the one that keeps the deadline.
local KEEPS = 4000000000000000
local function wake()
  local deliverable = is_paused() and 0 or r.ready
  while deliverable > 0 do
    local popped = redis.call('ZPOPMIN', PARKED)
    if #popped == 0 then
      return
    end
    if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
      deliverable = deliverable - 1
    end
  end
  if soonest and (r.told == 0 or soonest < r.told) then
    while true do
      local popped = redis.call('ZPOPMAX', PARKED)
      if #popped == 0 then
        return
      end
      if tonumber(popped[2]) % KEEPS > now and ring(popped[1]) then
        return
      end
    end
  end
end
