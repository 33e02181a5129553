-- change: changes a whole queue, or a message that nobody holds, in one bounded step.
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
-- KEYS[13]  answers: the last change of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this change in its sender's series
-- ARGV[3]   1: even if more is overdue than one step carries out; 0: then nothing is changed, and the word is settling
-- ARGV[4]   what: pause, resume, limit_rate, limit_held, remove, purge, delete, requeue, requeue_all, remove_dead, purge_dead
-- ARGV[5..] its arguments
-- Reply: settling (0, 1), a word, then numbers
local change = tonumber(ARGV[2])
local before = remembered(KEYS[13], change)
if before then
  return before
end
advance()

-- How many messages one step removes or moves.
local MOST = 200

-- ARGV[5]: longest time in ms, -1: until resumed. ARGV[6]: reason.
local function pause()
  local until_time = ARGV[5] == '-1' and -1 or now + tonumber(ARGV[5])
  local reason = redis.call('HGET', RECORD, 'reason') or ''
  local same = r.paused == until_time and reason == ARGV[6]
  r.paused = until_time
  redis.call('HSET', RECORD, 'reason', ARGV[6])
  if until_time > 0 then
    delivery_deadline(until_time)
    live_until(until_time)
  end
  return same and 'no' or 'yes'
end

local function resume()
  local paused = r.paused ~= 0
  r.paused = 0
  -- Who parked during the pause was told its end, and not that of a window that is used up.
  limits.announce()
  redis.call('HDEL', RECORD, 'reason')
  return paused and 'yes' or 'no'
end

local function limit_rate()
  return limits.set_rate() and 'yes' or 'no'
end

local function limit_held()
  return limits.set_held() and 'yes' or 'no'
end

local function remove(id_bytes)
  local m = load(id_bytes)
  if m and m.kind == 'l' then
    return 'held'
  elseif m and m.kind ~= 'x' then
    leave_state(m)
    redis.call('HDEL', MESSAGES, id_bytes)
    leave_line(m)
    r.settled = r.settled + 1
    return 'removed'
  elseif not m then
    local index, found = find_in_line(unpack8(id_bytes))
    if index then
      redis.call('LSET', LINE, index, found.element:sub(1, TOMBSTONE))
      r.ready, r.settled = r.ready - 1, r.settled + 1
      if is_endless(found) then
        r.endless = r.endless - 1
      end
      leave_line(found)
      return 'removed'
    end
  end
  return 'absent'
end

-- Removes up to MOST messages of the line that are not newer than `newest`; fewer if they are large.
local function purge_line(newest)
  local most = math.max(1, math.min(MOST, math.floor(MAX_BYTES / (r.widest + 24))))
  local elements, removed = redis.call('LPOP', LINE, most) or {}, 0
  for i = 1, #elements do
    if unpack8(elements[i]) > newest then
      push_back(elements, i)
      break
    end
    if #elements[i] > TOMBSTONE then
      removed = removed + 1
      local m = parse_line(elements[i])
      if is_endless(m) then
        r.endless = r.endless - 1
      end
      leave_line(m)
    end
  end
  r.ready, r.settled = r.ready - removed, r.settled + removed
end

-- ARGV[5]: newest id to remove, 0 in the first step. Returns how many were removed, the newest id, 1 when done.
local function purge()
  local newest = ARGV[5] == '0' and r.id or tonumber(ARGV[5])
  local before = r.settled
  local elements = redis.call('LRANGE', LINE, 0, 0)
  if #elements > 0 and unpack8(elements[1]) <= newest then
    purge_line(newest)
    return 'count', r.settled - before, newest, 0
  end
  for _, key in ipairs({ READY, DELAYED, LINES }) do
    local skipped = 0
    -- The lines also hold leased messages. LINES is not searched if only those are left.
    while r.settled - before < MOST and r.ready + r.blocked + r.delayed > 0 do
      local members = key == LINES and redis.call('ZRANGEBYLEX', key, '-', '+', 'LIMIT', skipped, 50)
        or redis.call('ZRANGE', key, skipped, skipped + 49)
      for i = 1, #members do
        local id = members[i]:sub(-8)
        if unpack8(id) > newest or remove(id) ~= 'removed' then
          skipped = skipped + 1
        end
      end
      if #members < 50 then
        break
      end
    end
  end
  return 'count', r.settled - before, newest, r.settled - before < MOST and 1 or 0
end

local function delete()
  local existed = r.accepted > 0 or r.paused ~= 0 or limits.rate + limits.held > 0
  for i = 2, OBJECT_KEYS - 1 do
    redis.call('UNLINK', KEYS[i])
  end
  redis.call('HDEL', RECORD, 'reason')
  local kept = { id = r.id, fence = r.fence, standing = r.standing, told = r.told }
  for i = 1, #FIELDS do
    r[FIELDS[i]] = kept[FIELDS[i]] or 0
  end
  limits.rate, limits.held, soonest, fresh = 0, 0, nil, {}
  live_until(now)
  return existed and 'yes' or 'no'
end

-- Settings of the requeuing handle: delay, max_age (0: none), retention (0: none), max_depth (0: none).
local function requeue(id_bytes, settings)
  local m = load(id_bytes)
  if not m or m.kind ~= 'x' then
    return 'absent'
  end
  local delay, age, retention, limit = struct.unpack('>I8I8I8I8', settings)
  local depth = r.ready + r.blocked + r.delayed
  if limit > 0 and depth >= limit then
    return 'full', depth, limit
  end
  leave_state(m)
  -- It stands behind all messages that are ready at that instant, and behind all of its ordering key.
  r.id = following(r.id)
  m.standing, m.join, m.attempts, m.note, m.failure = now + delay, r.id, 0, '', ''
  local expiry = age > 0 and m.standing + age or 0
  local element = struct.pack('>I8I8I8I8', m.id, m.enqueued, expiry, retention) .. m.element:sub(33)
  parse_element(m, element)
  admit(m, delay > 0 and m.standing or nil)
  return 'count', 1
end

local function remove_dead(id_bytes)
  local m = load(id_bytes)
  if not m or m.kind ~= 'x' then
    return false
  end
  leave_state(m)
  redis.call('HDEL', MESSAGES, id_bytes)
  r.settled = r.settled + 1
  return true
end

-- Dead letters oldest first, one step. ARGV[5]: how many at most; [6], [7]: moved at and id to continue after, -1 at
-- the start; [8] to [10]: reason or empty, moved before, moved after (-1: none); [11]: settings of a requeue. Returns
-- how many, moved at and id of the last one seen, 1 when done.
local function each_dead(move)
  local most, at, id = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local reason, before, after = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
  local from = at >= 0 and rank_after(DEAD, at, pack8(id)) or 0
  local members = redis.call('ZRANGE', DEAD, from, from + MOST - 1)
  local moved = 0
  for i = 1, #members do
    local value = redis.call('HGET', MESSAGES, members[i])
    local moved_at = unpack8(value, 33)
    if before >= 0 and moved_at >= before then
      return 'count', moved, math.max(at, 0), id, 1
    end
    if (reason == '' or value:sub(41, 41) == reason) and (after < 0 or moved_at >= after) then
      if moved == most or not move(members[i]) then
        return 'count', moved, math.max(at, 0), id, 1
      end
      moved = moved + 1
    end
    at, id = moved_at, unpack8(members[i])
  end
  return 'count', moved, math.max(at, 0), id, #members < MOST and 1 or 0
end

local CHANGES = {
  pause = pause,
  resume = resume,
  limit_rate = limit_rate,
  limit_held = limit_held,
  purge = purge,
  delete = delete,
  remove = function() return remove(ARGV[5]) end,
  requeue = function() return requeue(ARGV[5], ARGV[6]) end,
  remove_dead = function() return 'count', remove_dead(ARGV[5]) and 1 or 0 end,
  requeue_all = function()
    return each_dead(function(id) return (requeue(id, ARGV[11])) == 'count' end)
  end,
  purge_dead = function() return each_dead(remove_dead) end,
}
local answer = { 'settling' }
if not settling or ARGV[3] == '1' then
  answer = { CHANGES[ARGV[4]]() }
end
local reply = { settling and 1 or 0, answer[1], number_text(now) }
for i = 2, #answer do
  reply[#reply + 1] = number_text(answer[i])
end
remember(KEYS[13], change, reply)
wake()
finish()
return reply
