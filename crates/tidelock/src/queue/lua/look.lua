-- look: shows a queue as it is now, after carrying out what is overdue.
-- KEYS[1]   record (hash)
-- KEYS[2]   line (list)
-- KEYS[3]   messages (hash)
-- KEYS[4]   ready (sorted set)
-- KEYS[5]   lines (sorted set)
-- KEYS[6]   delayed (sorted set)
-- KEYS[7]   leased (sorted set)
-- KEYS[8]   expiring (sorted set)
-- KEYS[9]   kept (sorted set)
-- KEYS[10]  dead (sorted set)
-- KEYS[11]  dedup (hash)
-- KEYS[12]  parked (sorted set)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   what: stats, get, dead, ready, blocked, delayed, leased, deads
-- ARGV[3..] its arguments: an id; or limit and the cursor's parts; for deads also the filter
-- Reply: settling (0, 1); now in ms; then what was asked for: numbers of stats, or messages and their places
advance()
local reply = { settling and 1 or 0, number_text(now) }

local function show_stats()
  local oldest
  for rank = 0, 9 do
    local first = redis.call('ZRANGEBYSCORE', READY, rank, rank, 'LIMIT', 0, 1)[1]
    if first and (not oldest or unpack8(first) < oldest) then
      oldest = unpack8(first)
    end
  end
  local head = redis.call('LINDEX', LINE, 0)
  while head and #head == TOMBSTONE do
    redis.call('LPOP', LINE)
    head = redis.call('LINDEX', LINE, 0)
  end
  if head and (not oldest or unpack8(head, 9) < oldest) then
    oldest = unpack8(head, 9)
  end
  local next_due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or '-1'
  for _, field in ipairs({ 'ready', 'blocked', 'delayed', 'leased', 'dead', 'accepted', 'settled', 'paused' }) do
    reply[#reply + 1] = number_text(r[field])
  end
  reply[#reply + 1] = number_text(oldest or -1)
  reply[#reply + 1] = next_due
  reply[#reply + 1] = redis.call('HGET', RECORD, 'reason') or ''
  for _, field in ipairs({ 'rate', 'per', 'used', 'ends', 'held' }) do
    reply[#reply + 1] = number_text(limits[field])
  end
end

-- Bytes of messages that a list has read. It ends early when they are many, so that one step does not occupy the
-- server longer than a take does.
local read = 0
local function is_full()
  return read >= MAX_BYTES
end

-- Marks a list that ended early with a final 1.
local function to_be_continued()
  reply[#reply + 1] = '1'
end

local function read_message(id)
  local value = redis.call('HGET', MESSAGES, id)
  read = read + (value and #value or 0)
  return value
end

-- Appends a stored message and its lease end (0 if it has none).
local function show(value, id)
  local lease_end = value:byte(1) == 108 and redis.call('ZSCORE', LEASED, id .. value:sub(11, 18)) or '0'
  reply[#reply + 1] = value
  reply[#reply + 1] = lease_end
end

local function show_one(id)
  local value = redis.call('HGET', MESSAGES, id)
  if not value then
    local _, m = find_in_line(unpack8(id))
    value = m and build(m)
  end
  if value then
    show(value, id)
  end
end

-- Deliverable messages after (rank, standing, order), in hand-out order, from the sorted set and the line. An order
-- is an id, or the number of a message that went to the back.
local function show_ready(limit, rank, standing, order)
  local from, index = 0, 0
  if rank >= 0 then
    from = rank_after(READY, rank, pack8(standing) .. pack8(order) .. string.rep('\255', 8))
    if rank > 9 then
      index = redis.call('LLEN', LINE)
    elseif rank == 9 then
      index = search_line(function(element)
        local element_standing = unpack8(element, 9)
        return element_standing > standing or (element_standing == standing and unpack8(element) > order)
      end)
    end
  end
  local members = redis.call('ZRANGE', READY, from, from + limit - 1, 'WITHSCORES')
  local at, shown = 1, 0
  local elements, element_at, chunk = {}, 1, math.max(1, math.min(limit, math.floor(MAX_BYTES / (r.widest + 24))))
  while shown < limit do
    if element_at > #elements then
      elements = redis.call('LRANGE', LINE, index, index + chunk - 1)
      index, element_at = index + #elements, 1
    end
    local element, member = elements[element_at], members[at]
    if element and #element == TOMBSTONE then
      element_at = element_at + 1
    elseif is_full() and (element or member) then
      return to_be_continued()
    elseif element and (not member or (tonumber(members[at + 1]) == 9
      and (unpack8(member) > unpack8(element, 9)
        or (unpack8(member) == unpack8(element, 9) and unpack8(member, 9) > unpack8(element))))) then
      show(build(parse_line(element)), element:sub(1, 8))
      element_at, shown, read = element_at + 1, shown + 1, read + #element
    elseif member then
      show(read_message(member:sub(-8)), member:sub(-8))
      at, shown = at + 2, shown + 1
    else
      return
    end
  end
end

-- Blocked messages after (key, order of joining), by key. Examines at most 1,000 unfinished ones. The last item of
-- the reply is the place to continue from, or empty at the end.
local function show_blocked(limit, key, join)
  local from = key == '' and '-' or '(' .. key .. '\0' .. pack8(join) .. string.rep('\255', 8)
  local members = redis.call('ZRANGEBYLEX', LINES, from, '+', 'LIMIT', 0, 1000)
  local shown = 0
  for i = 1, #members do
    local id = members[i]:sub(-8)
    local value = read_message(id)
    -- Messages of the plain line are not in MESSAGES.
    if value and value:byte(1) == 98 then
      show(value, id)
      shown = shown + 1
    end
    if shown == limit or is_full() then
      reply[#reply + 1] = members[i]:sub(1, -9)
      return
    end
  end
  reply[#reply + 1] = #members == 1000 and members[1000]:sub(1, -9) or ''
end

-- Lists an index by time whose members begin with an id. `behind` must not sort before anything that follows an id.
-- The sentinel member of the leases names no message.
local function show_timed(key, limit, at, id, behind)
  local from = at >= 0 and rank_after(key, at, pack8(id) .. behind) or 0
  local members = redis.call('ZRANGE', key, from, from + limit - 1)
  for i = 1, #members do
    if is_full() then
      return to_be_continued()
    end
    local id_bytes = members[i]:sub(1, 8)
    local value = read_message(id_bytes)
    if value then
      show(value, id_bytes)
    end
  end
end

-- Dead letters before (moved at, id), newest first. Examines at most 1,000. Reason empty: any. Bounds in ms, -1:
-- none.
local function show_deads(limit, at, id, reason, before, after)
  local count = at >= 0 and rank_before(DEAD, at, pack8(id)) or redis.call('ZCARD', DEAD)
  local members = count > 0 and redis.call('ZRANGE', DEAD, math.max(0, count - 1000), count - 1) or {}
  local shown, last = 0, ''
  for i = #members, 1, -1 do
    local value = read_message(members[i])
    local moved_at = unpack8(value, 33)
    if (reason == '' or value:sub(41, 41) == reason) and (before < 0 or moved_at < before)
      and (after < 0 or moved_at >= after) then
      show(value, members[i])
      shown = shown + 1
    end
    last = pack8(moved_at) .. members[i]
    if shown == limit or is_full() then
      break
    end
  end
  reply[#reply + 1] = (shown == limit or is_full() or count > 1000) and last or ''
end

local what = ARGV[2]
if what == 'stats' then
  show_stats()
elseif what == 'get' or what == 'dead' then
  show_one(ARGV[3])
elseif what == 'ready' then
  show_ready(tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
elseif what == 'blocked' then
  show_blocked(tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]))
elseif what == 'delayed' then
  show_timed(DELAYED, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), '')
elseif what == 'leased' then
  show_timed(LEASED, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), string.rep('\255', 8))
elseif what == 'deads' then
  show_deads(tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]))
end
wake()
finish()
return reply
