-- part: transitions that time causes, and the end of a step.

-- Removes tombstones that can no longer be inspected: at most `count` that are too old, and those beyond the maximum
-- number. Those are few, since one step creates few.
local function clear_tombs(count)
  if r.tombs == 0 then
    r.next_tomb = 0
    return
  end
  local gone = math.min(r.tombs - r.max_entries, STEP)
  if count > 0 and r.next_tomb + r.tombstone_retention <= now then
    gone = math.max(gone, math.min(redis.call('ZCOUNT', BURIED, '-inf', now - r.tombstone_retention), count))
  elseif gone < 1 then
    return
  end
  if gone > 0 then
    local keys = redis.call('ZRANGE', BURIED, 0, gone - 1)
    call('HDEL', STATES, keys)
    call('HDEL', VALUES, keys)
    call('ZREM', EXPIRED, keys)
    call('ZREM', BURIED, keys)
    r.tombs = #keys == gone and r.tombs - gone or 0
    for i = 1, #keys do
      records[keys[i]], origin[keys[i]] = false, false
    end
  end
  r.next_tomb = lowest(BURIED)
end

-- Frees a bounded part of what can no longer be read. Lets a little accumulate, so that this is rare.
local function trim()
  local aged = r.oldest ~= 0 and math.floor(r.oldest / 1000) + r.event_retention + 2 * GRACE <= now
  if not (aged or r.count > r.max_events + 100 or r.bytes > r.max_event_bytes) then
    return
  end
  local over, too_old = over_at(now - GRACE, STEP)
  local sealed = 0
  if over > 0 then
    sealed = event_at(over - 1)
    r.gone = sealed
    redis.call('LTRIM', LOG, over, -1)
    r.count = r.count - over
  end
  if aged then
    local touched = redis.call('ZRANGEBYSCORE', TOUCHES, '-inf', math.max(too_old, sealed), 'WITHSCORES', 'LIMIT', 0, STEP)
    for i = 1, #touched, 2 do
      redis.call('ZREM', TOUCHES, touched[i])
      sealed = math.max(sealed, tonumber(touched[i + 1]))
    end
    local event, touch = event_at(0), lowest(TOUCHES)
    r.oldest = (event ~= 0 and touch ~= 0) and math.min(event, touch) or math.max(event, touch)
  end
  r.sealed = math.max(r.sealed, sealed)
end

-- Completes a step that has expired its records: next deadline, tombstones, log.
local function tidy(count)
  flush()
  if r.next ~= 0 and r.next <= now then
    r.next = lowest(DEADLINES)
  end
  clear_tombs(count)
  trim()
end

-- One step of what is overdue.
local function settle()
  find_due(STEP)
  if is_broken then
    return
  end
  tidy(STEP - expire_first(STEP))
end

local function is_settling()
  return (r.next ~= 0 and r.next <= now) or r.tombs > r.max_entries
    or (r.next_tomb ~= 0 and r.next_tomb + r.tombstone_retention <= now)
end

-- The next instant at which something happens by time, or an earlier one; 0 for none.
local function next_deadline()
  local next = math.huge
  if r.next ~= 0 then
    next = r.next
  end
  if r.next_tomb ~= 0 then
    next = math.min(next, r.next_tomb + r.tombstone_retention)
  end
  if r.oldest ~= 0 then
    next = math.min(next, math.floor(r.oldest / 1000) + r.event_retention + 2 * GRACE)
  end
  return next == math.huge and 0 or next
end

-- Wakes every process that waits for events.
local TAG = RECORD:match('{(.*)}')
local function wake()
  if not wrote then
    return
  end
  local parked = redis.call('ZRANGE', PARKED, 0, -1)
  for i = 1, #parked do
    redis.call('PUBLISH', parked[i], TAG)
  end
  if #parked > 0 then
    redis.call('DEL', PARKED)
  end
end

-- Ends a step: writes the record, and sets the expiry of every key that the step may have created.
local function finish()
  local lasts = r.permanent > 0
  local renew = r.applied == 0 or lasts ~= (r.applied == -1) or (not lasts and r.ends > r.applied + SLACK)
  if renew then
    r.applied = lasts and -1 or r.ends
  end
  local change = {}
  for i = 1, #FIELDS do
    if r[FIELDS[i]] ~= known[i] then
      add(change, FIELDS[i], text(r[FIELDS[i]]))
    end
  end
  if #change == 0 then
    return
  end
  redis.call('HSET', RECORD, unpack(change))
  -- The record gives the rest its meaning, so nothing may outlive it: it expires last, whenever the rest was written.
  local left = math.max(r.applied - now, 0) + HOUR + SLACK
  if not renew then
    if not lasts then
      for key in pairs(fresh) do
        redis.call('PEXPIRE', key, left - GRACE)
      end
    end
    return
  end
  for i = 1, 9 do
    if lasts then
      redis.call('PERSIST', KEYS[i])
    else
      redis.call('PEXPIRE', KEYS[i], i == 1 and left or left - GRACE)
    end
  end
end
