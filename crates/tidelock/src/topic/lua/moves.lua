-- part: the moves of a group's open events and dead letters, one by one. A mirror of topic/model/group.rs.
-- An open event or dead letter is a state, then the element. State: kind (l in flight, w waiting, s set aside, or the
-- reason of a dead letter: e, m, r, u); flags (1 requeued copy, 2 its ordering key is respected); fence; attempts; a
-- number (l: max_deliveries, w and s: due, dead: moved at); retention as a dead letter (0: none); ordinal; lengths of
-- consumer, note and error; then these texts.
local STATE = '>c1BI8I6I8I8I8I2I2I2'
local STATE_SIZE = 46

local function parse(value)
  local e = {}
  local consumer, note, failure
  e.kind, e.flags, e.fence, e.attempts, e.number, e.retention, e.ordinal, consumer, note, failure =
    struct.unpack(STATE, value)
  local from = STATE_SIZE + 1
  e.consumer = value:sub(from, from + consumer - 1)
  from = from + consumer
  e.note = value:sub(from, from + note - 1)
  from = from + note
  e.failure = value:sub(from, from + failure - 1)
  e.element = value:sub(from + failure)
  e.id = e.element:sub(1, 8)
  e.at = unpack8(e.id)
  e.is_copy = e.flags % 2 == 1
  if e.flags >= 2 then
    e.key = e.element:sub(HEAD + 1, HEAD + struct.unpack('>I2', e.element, 9))
  end
  return e
end

local function build(e)
  return struct.pack(STATE, e.kind, e.flags, e.fence, e.attempts, e.number, e.retention, e.ordinal, #e.consumer, #e.note,
    #e.failure) .. e.consumer .. e.note .. e.failure .. e.element
end

local function store(e)
  redis.call('HSET', OPEN, e.id, build(e))
end

local function load(id)
  local value = redis.call('HGET', OPEN, id)
  return value and parse(value)
end

local function aside_member(e)
  return e.key .. '\0' .. e.id
end

-- Whether an event is too old to be retained at `instant`.
local function is_too_old(instant, at)
  return r.retention >= 0 and math.floor(at / 1000) + r.retention <= instant
end

-- Whether an event is no longer retained.
local function has_lost(at, ordinal)
  return ordinal < r.floor or (r.max_len > 0 and ordinal + r.max_len <= r.ordinal) or is_too_old(now, at)
end

-- Removes an open event from all indexes; its key stays busy.
local function remove(e)
  if e.kind == 'l' then
    g.leased = g.leased - 1
    redis.call('ZREM', LEASED, e.id .. pack8(e.fence))
  elseif e.kind == 'w' then
    if redis.call('ZREM', READY, e.id) == 1 then
      g.ready = g.ready - 1
    else
      redis.call('ZREM', WAITING, e.id)
      g.waiting = g.waiting - 1
    end
  elseif redis.call('ZREM', FREED, e.id) == 1 then
    g.freed = g.freed - 1
  else
    redis.call('ZREM', ASIDE, aside_member(e))
    g.aside = g.aside - 1
    e.is_behind = true
  end
  if e.is_copy then
    g.copies = g.copies - 1
    redis.call('ZREM', COPIES, e.id)
  elseif e.kind ~= 'l' then
    redis.call('ZREM', IDLE, e.id)
  end
  redis.call('HDEL', OPEN, e.id)
end

local function count_copy(e)
  g.copies = g.copies + 1
  redis.call('ZADD', COPIES, text(e.at), e.id)
end

local function store_idle(e)
  e.consumer = ''
  if e.is_copy then
    count_copy(e)
  else
    redis.call('ZADD', IDLE, text(e.at), e.id)
  end
  store(e)
end

-- Stores an event as waiting until `due`.
local function wait(e, due)
  e.kind, e.number = 'w', due
  if due <= now then
    redis.call('ZADD', READY, text(e.at), e.id)
    g.ready = g.ready + 1
  else
    redis.call('ZADD', WAITING, text(due), e.id)
    g.waiting = g.waiting + 1
    delivery_deadline(due)
  end
  store_idle(e)
end

-- Stores an event as set aside behind its busy key.
local function set_aside(e, due)
  e.kind, e.number = 's', due
  redis.call('ZADD', ASIDE, 0, aside_member(e))
  g.aside = g.aside + 1
  store_idle(e)
end

-- Stores a requeued copy: as waiting, or set aside behind its busy key.
local function admit_copy(e, due)
  if e.key and redis.call('HEXISTS', BUSY, e.key) == 1 then
    return set_aside(e, due)
  end
  if e.key then
    redis.call('HSET', BUSY, e.key, '')
  end
  wait(e, due)
end

-- Called when an open event is done or dead: frees its key for the next event, unless another event holds the key.
local function free_key(e)
  if not e.key or e.is_behind then
    return
  end
  local member = g.aside > 0
    and redis.call('ZRANGEBYLEX', ASIDE, '[' .. e.key .. '\0', '(' .. e.key .. '\1', 'LIMIT', 0, 1)[1]
  if not member then
    redis.call('HDEL', BUSY, e.key)
    return
  end
  redis.call('ZREM', ASIDE, member)
  g.aside = g.aside - 1
  local other = load(member:sub(-8))
  if other.number > now then
    -- A requeued copy with a delay. It stays in its index, so only the count has to be corrected.
    if other.is_copy then
      g.copies = g.copies - 1
    end
    wait(other, other.number)
  else
    redis.call('ZADD', FREED, text(other.at), other.id)
    g.freed = g.freed + 1
  end
end

local function remove_letter(id)
  local value = redis.call('HGET', LETTERS, id)
  if value then
    redis.call('HDEL', LETTERS, id)
    redis.call('ZREM', MOVED, id)
    redis.call('ZREM', KEPT, id)
    g.dead = g.dead - 1
    return parse(value)
  end
end

-- Moves an event, already removed from all indexes, to the dead letters. It replaces an earlier dead letter of the same
-- event.
local function bury(e, kind, moved_at)
  free_key(e)
  remove_letter(e.id)
  e.kind, e.number, e.consumer = kind, moved_at, ''
  redis.call('HSET', LETTERS, e.id, build(e))
  redis.call('ZADD', MOVED, text(moved_at), e.id)
  if e.retention > 0 then
    redis.call('ZADD', KEPT, text(moved_at + e.retention), e.id)
    deadline(moved_at + e.retention)
  end
  g.dead = g.dead + 1
end

-- Applies the first rule that fits an event returned at `instant`. Returns when it is due again, nil if it is dead. For
-- an instant before now, only loss by age can be judged; other losses are carried out while the event waits.
local function returned(e, instant, delay, max_deliveries)
  if max_deliveries > 0 and e.attempts >= max_deliveries then
    return bury(e, 'm', instant)
  end
  if not e.is_copy and (is_too_old(instant, e.at) or (instant == now and has_lost(e.at, e.ordinal))) then
    return bury(e, 'e', instant)
  end
  wait(e, instant + delay)
  return instant + delay
end

-- Opens requeued copies again that were open at a seek, as if they were requeued now: in the order of their positions,
-- at most STEP, and no more after PORTION bytes. Until all are open, nothing is handed out. Returns whether there may be
-- more.
local FROM_THE_FIRST, PORTION = 1, 262144
local function readmit()
  local ids = redis.call('ZRANGEBYSCORE', COPIES, '(' .. text(g.returning), '+inf', 'LIMIT', 0, STEP)
  local bytes = 0
  for i = 1, #ids do
    local value = redis.call('HGET', RETURNING, ids[i])
    g.returning = unpack8(ids[i])
    -- A copy that was requeued after the seek is open already; what it is a copy of may have been open before.
    if value and value:byte(2) % 2 == 1 then
      local e = parse(value)
      e.attempts = 0
      admit_copy(e, e.kind == 'l' and 0 or e.number)
      bytes = bytes + #value
    end
    if bytes >= PORTION then
      return true
    end
  end
  if #ids == STEP then
    return true
  end
  redis.call('UNLINK', RETURNING)
  g.returning = 0
  return false
end

-- Up to STEP members of an index whose score is at most `most`.
local function overdue(index, most)
  return redis.call('ZRANGEBYSCORE', index, '-inf', text(most), 'WITHSCORES', 'LIMIT', 0, STEP)
end

local function lapse()
  local lapsed = overdue(LEASED, now)
  for i = 1, #lapsed, 2 do
    local e = load(lapsed[i]:sub(1, 8))
    if e and e.kind == 'l' and lapsed[i]:sub(9) == pack8(e.fence) then
      remove(e)
      returned(e, tonumber(lapsed[i + 1]), 0, e.number)
    else
      -- The member belongs to no lease. Stopping here would block the group for ever, so remove it.
      redis.call('ZREM', LEASED, lapsed[i])
      g.leased = g.leased - 1
    end
  end
  return #lapsed == 2 * STEP
end

-- Ends waiting and set-aside events that are no longer retained.
local function expire()
  local first = redis.call('ZRANGE', IDLE, 0, STEP - 1)
  for i = 1, #first do
    local e = load(first[i])
    if not has_lost(e.at, e.ordinal) then
      loses_at = r.retention >= 0 and math.floor(e.at / 1000) + r.retention or 0
      return false
    end
    remove(e)
    local by_age = r.retention >= 0 and math.floor(e.at / 1000) + r.retention or now
    bury(e, 'e', math.min(by_age, now))
  end
  return #first == STEP
end

local function come_due()
  local due = overdue(WAITING, now)
  for i = 1, #due, 2 do
    redis.call('ZREM', WAITING, due[i])
    redis.call('ZADD', READY, text(unpack8(due[i])), due[i])
  end
  g.waiting, g.ready = g.waiting - #due / 2, g.ready + #due / 2
  return #due == 2 * STEP
end

local function end_retentions()
  local ended = overdue(KEPT, now)
  for i = 1, #ended, 2 do
    remove_letter(ended[i])
  end
  return #ended == 2 * STEP
end

-- Computes the exact next deadline, once its lower bound has been reached.
local function look_ahead()
  g.next = 0
  for _, index in ipairs({ LEASED, WAITING, KEPT }) do
    local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
    local at = tonumber(first or 'inf') or math.huge
    if at < math.huge then
      deadline(at)
    end
  end
end

-- Carries out what is overdue, at most STEP of each cause. Returns whether there may be more.
local function carry_out()
  local returning = g.returning > 0 and readmit()
  local lapsing = is_overdue() and lapse()
  local expiring = g.waiting + g.ready + g.freed + g.aside > 0 and expire()
  local due = is_overdue() and come_due()
  local ending = is_overdue() and end_retentions()
  if is_overdue() then
    look_ahead()
  end
  return returning or lapsing or expiring or due or ending or false
end

local function create(life, at, ordinal)
  g = {}
  for i = 1, #BOOK do
    g[BOOK[i]] = 0
  end
  g.life, g.at, g.ordinal = life, at, ordinal
  r.groups = r.groups + 1
end
