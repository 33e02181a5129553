-- beat: the heartbeat of a started instance. It may become or stay the leader, and a leader is shown what is due. Or
-- the instance leaves.
-- KEYS[1]   record: numbers, leader, settings (hash)
-- KEYS[2]   states: all of a schedule but its definition, by id (hash)
-- KEYS[3]   definitions: timing and content, by id (hash)
-- KEYS[4]   names: ids, in byte order (sorted set)
-- KEYS[5]   kinds: states of schedules that are not active (sorted set)
-- KEYS[6]   due: active schedules without an open plan, by due instant of the next slot (sorted set)
-- KEYS[7]   again: schedules with an open plan, failing or paused with an end, by when they are handled (sorted set)
-- KEYS[8]   behind: schedules failing, unserved or with an open plan, by due instant of next slot (sorted set)
-- KEYS[9]   ended: finished schedules, by when they are removed (sorted set)
-- KEYS[10]  plans: slots of open plans, by id (hash)
-- KEYS[11]  snapshots: what open plans were decided with, if it was changed since, by id (hash)
-- KEYS[12]  history: entries, by id (hash)
-- KEYS[13]  unserved: handler and id of unserved schedules (sorted set)
-- KEYS[14]  awakening: handlers that appeared, while schedules still wait for them (sorted set)
-- KEYS[15]  triggers: accepted triggers, by birth and run (hash)
-- KEYS[16]  waiting: accepted triggers, by when a leader is to submit them (sorted set)
-- KEYS[17]  named: keys of triggers, by birth and key (hash)
-- KEYS[18]  named_ends: keys of triggers, by when they are forgotten (sorted set)
-- KEYS[19]  letters: dead letters, by number (hash)
-- KEYS[20]  numbers: numbers of dead letters (sorted set)
-- KEYS[21]  owned: keys, dead letters and triggers of schedules: birth, kind, name (sorted set)
-- KEYS[22]  buried: births of removed schedules that still own something (sorted set)
-- KEYS[23]  instances: started instances (hash)
-- KEYS[24]  alive: instances, by when they are forgotten (sorted set)
-- KEYS[25]  served: until when handlers are announced (hash)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this beat, growing over its process
-- ARGV[3]   instance
-- ARGV[4]   channel of its process
-- ARGV[5]   wish: lead, renew, announce, leave
-- ARGV[6]   lease in ms
-- ARGV[7]   renew: epoch
-- ARGV[8]   maximum number of schedules, and of triggers, that are shown
-- ARGV[9..] number of handlers, and their names; number of schedules that the leader has in progress, and their ids;
--           triggers that it has in progress: birth and run (8 bytes each)
-- Reply: next deadline in ms (0: none), now; then 0 (nobody leads), or 1 and for how many ms another instance leads, or
--        2, epoch, when there is more (-1: never), zone database, number of schedules, and of each: 1 if it is served,
--        id, state, definition, slots of its plan, what the plan was decided with; then triggers
local number, name, process, wish, lease = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local HANDLERS_END = 9 + tonumber(ARGV[9])
advance()

if wish == 'leave' then
  withdraw(drop_instance(name, {}))
  if r.leader == name then
    r.leader, r.process, r.lease_end, r.taken = '', '', 0, 0
    ring_others(name)
  else
    ring()
  end
  finish()
  return { r.next, now, 0 }
end

local led, leader, led_until = is_led(), r.leader, r.lease_end
local leads = false
if wish == 'lead' then
  leads = not led or leader == name
  -- A repeated beat, whose answer was lost, has taken this leadership already.
  if leads and not (led and number <= r.taken) then
    r.epoch, r.taken = math.max(r.epoch + 1, now_us), number
  end
elseif wish == 'renew' then
  leads = led and leader == name and r.epoch == tonumber(ARGV[7])
end
if leads then
  r.leader, r.process, r.lease_end = name, process, now + lease
end

-- Records that the instance is alive and has these handlers.
local function announce()
  local announced = now + ANNOUNCED
  local ends = is_led() and math.max(announced, r.lease_end + ANNOUNCED) or announced
  local list = {}
  for i = 10, HANDLERS_END do
    list[#list + 1] = struct.pack('>I2', #ARGV[i]) .. ARGV[i]
  end
  list = table.concat(list)
  local before = redis.call('HGET', INSTANCES, name)
  redis.call('HSET', INSTANCES, name, struct.pack('>I8I8I2', announced, ends, #process) .. process .. list)
  redis.call('ZADD', ALIVE, text(ends), name)
  note(ends)
  r.ends = math.max(r.ends, ends)
  if before then
    before = read_instance(before)
    if before.list ~= list then
      withdraw(before.handlers)
    end
  end
  local any = HANDLERS_END > 9 and redis.call('EXISTS', UNSERVED) == 1
  for i = 10, HANDLERS_END do
    local served = math.max(announced, tonumber(redis.call('HGET', SERVED, ARGV[i]) or 0))
    redis.call('HSET', SERVED, ARGV[i], text(served))
    if any and #waiting_for(ARGV[i], 1) > 0 then
      redis.call('ZADD', AWAKENING, 0, ARGV[i])
    end
  end
  if any then
    awaken(STEP)
    if redis.call('EXISTS', AWAKENING) == 1 then
      r.next = 1
    end
  end
end
announce()

-- What the leader has in flight: schedules, triggers, and how many of each.
local busy, busy_triggers, busy_count, busy_trigger_count = {}, {}, tonumber(ARGV[HANDLERS_END + 1]), 0
for i = HANDLERS_END + 2, HANDLERS_END + 1 + busy_count do
  busy[ARGV[i]] = true
end
for i = HANDLERS_END + 2 + busy_count, #ARGV do
  busy_triggers[ARGV[i]] = true
  busy_trigger_count = busy_trigger_count + 1
end

-- The first `count` members that are not in flight, each followed by its score.
local function free_ones(key, low, high, count)
  local all = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', 0, count + busy_count)
  local free = {}
  for i = 1, #all, 2 do
    if #free < 2 * count and not busy[all[i]] then
      free[#free + 1] = all[i]
      free[#free + 1] = all[i + 1]
    end
  end
  return free
end

-- The first `batch` schedules that are due, and when there will be more.
local function first_due(batch)
  local function some(key, low, high)
    return free_ones(key, low, high, batch + 1)
  end
  local function first(key)
    return tonumber(free_ones(key, '(' .. text(now), '+inf', 1)[2]) or LATE
  end
  local found, plain, early = {}, some(DUE, '-inf', now), some(AGAIN, '-inf', now)
  local i, j = 1, 1
  while #found <= batch and (plain[i] or early[j]) do
    local a, b = plain[i] and tonumber(plain[i + 1]), early[j] and tonumber(early[j + 1])
    if a and (not b or a < b or (a == b and plain[i] < early[j])) then
      found[#found + 1] = { plain[i], a }
      i = i + 2
    else
      found[#found + 1] = { early[j], b }
      j = j + 2
    end
  end
  if #found <= batch then
    local late = some(AGAIN, text(LATE), '+inf')
    for k = 1, #late, 2 do
      found[#found + 1] = { late[k], now }
    end
  end
  if #found > batch then
    return found, found[batch + 1][2]
  end
  return found, math.min(first(DUE), first(AGAIN))
end

local function leader_reply(reply)
  local batch, bytes = tonumber(ARGV[8]), 0
  local found, next = first_due(batch)
  local count_at, shown = #reply + 4, 0
  reply[count_at - 3], reply[count_at - 1], reply[count_at] = text(r.epoch), r.zones, 0
  for i = 1, math.min(#found, batch) do
    local s = load(found[i][1])
    if s and (s.was.due or s.was.again) then
      bytes = bytes + shown_size(s)
      if bytes > MAX_BYTES and shown > 0 then
        next = math.min(next, found[i][2])
        break
      end
      shown = shown + 1
      reply[#reply + 1] = (not s.handler or is_served(s.handler)) and 1 or 0
      show(reply, s)
    elseif not s then
      redis.call('ZREM', DUE, found[i][1])
      redis.call('ZREM', AGAIN, found[i][1])
    end
  end
  reply[count_at] = shown
  shown = 0
  local waiting = redis.call('ZRANGE', WAITING, 0, batch + busy_trigger_count, 'WITHSCORES')
  for i = 1, #waiting, 2 do
    local at, is_busy = tonumber(waiting[i + 1]), busy_triggers[waiting[i]]
    local body = not is_busy and redis.call('HGET', TRIGGERS, waiting[i])
    if body then
      bytes = bytes + #body
      if at > now or shown == batch or (bytes > MAX_BYTES and shown > 0) then
        next = math.min(next, at)
        break
      end
      shown = shown + 1
      reply[#reply + 1] = body
    elseif not is_busy then
      redis.call('ZREM', WAITING, waiting[i])
    end
  end
  if r.next == 1 and redis.call('EXISTS', AWAKENING) == 1 then
    next = math.min(next, now)
  end
  r.told = next
  reply[count_at - 2] = next == LATE and '-1' or text(next)
end

local reply = { r.next, now, leads and 2 or led and 1 or 0 }
if leads then
  leader_reply(reply)
else
  if led then
    reply[4] = led_until - now
  end
  ring()
end
finish()
return reply
