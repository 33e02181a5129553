-- part: the keys of a topic, its record, and the ends of a step.
local RECORD, LOG, DEDUP, GROUPS, PARKED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local HOUR, DAY, SLACK = 3600000, 86400000, 600000
local MAX_BYTES = 16 * 1024 * 1024
local STEP = 200
-- Record: all fields are numbers; an absent field is 0. `life`, `at`, `ordinal`: position of the newest event ever
-- appended. `first`: ordinal of the first stored event. `floor`: ordinal of the first retained event as of the last
-- step that wrote. `head_at`: position of that event, 0 if unknown. `retention`: ms, -1 for none. `max_len`: 0 for
-- none. `set`: 1 once there are settings. `groups`: number of groups. `dedup_ends`: latest end of a dedup window.
-- `applied`: latest deadline that expiries were set for, -1: keys do not expire, 0: none set yet. `widest`: size of the
-- largest element since the log was empty.
local FIELDS = { 'life', 'at', 'ordinal', 'fence', 'first', 'floor', 'head_at', 'retention', 'max_len', 'set', 'groups',
  'dedup_ends', 'applied', 'widest' }
local stored = redis.call('HMGET', RECORD, unpack(FIELDS))
local r, known, is_stored = {}, {}, false
for i = 1, #FIELDS do
  local number = tonumber(stored[i] or 0)
  if not number then
    return redis.error_reply('TIDELOCK the record of the topic holds ' .. FIELDS[i] .. ' that is no number')
  end
  r[FIELDS[i]], known[i] = number, number
  is_stored = is_stored or stored[i]
end
-- A server with an eviction policy may have evicted the list. Then nothing in it counts as retained any more.
if r.first <= r.ordinal and redis.call('EXISTS', LOG) == 0 then
  r.first, r.floor, r.head_at = r.ordinal + 1, r.ordinal + 1, 0
end

-- Keys of the topic that this step may have created, and whose expiry has to be set.
local fresh = {}

local function pack8(number)
  return struct.pack('>I8', number)
end

local function unpack8(bytes, from)
  return (struct.unpack('>I8', bytes, from or 1))
end

-- The next number of a series that never repeats, even if the previous number was lost.
local function following(last)
  return math.max(last + 1, now_us)
end

local function text(number)
  return string.format('%.0f', number)
end

-- Writes the changed fields and sets the expiries of the topic's keys. Log and dedup records end with their content;
-- the rest ends a day after the last use, or never while there is a group.
local function finish()
  if not is_stored and r.life == 0 and r.groups == 0 then
    -- The topic was never written to, and this step leaves nothing to store.
    return
  end
  local ends = -1
  if r.retention >= 0 or r.first > r.ordinal then
    local last = r.first > r.ordinal and 0 or math.floor(r.at / 1000) + r.retention
    ends = math.max(now + DAY, last, r.dedup_ends)
  end
  local renew = r.applied == 0 or (ends == -1) ~= (r.applied == -1) or ends > r.applied + SLACK
  -- The first group makes the record permanent; removing the last one ends that.
  local kept = (r.groups > 0) ~= (known[11] > 0)
  if renew then
    r.applied = ends
  end
  local change = {}
  for i = 1, #FIELDS do
    if r[FIELDS[i]] ~= known[i] then
      change[#change + 1] = FIELDS[i]
      change[#change + 1] = text(r[FIELDS[i]])
    end
  end
  if #change > 0 then
    redis.call('HSET', RECORD, unpack(change))
  end
  local left = math.max(r.applied - now, 0) + HOUR + SLACK
  local function live(key, forever)
    if forever then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIRE', key, text(left))
    end
  end
  if renew or fresh[LOG] then
    live(LOG, r.applied == -1)
  end
  if renew or fresh[DEDUP] then
    live(DEDUP, r.applied == -1)
  end
  if renew or kept or not stored[1] then
    live(RECORD, r.applied == -1 or r.groups > 0)
    live(GROUPS, r.applied == -1 or r.groups > 0)
  end
end
