-- part: the numbers of an object whose items are handed out, and how long its keys live. The including script defines
-- before it: RECORD, how many keys the object has (OBJECT_KEYS), and the FIELDS of its record.
local HOUR, SLACK = 3600000, 600000
local MAX_BYTES = 16 * 1024 * 1024
local STEP = 200

-- All fields are numbers, 8 bytes each, in the order of FIELDS. They are packed because reading and writing them one
-- by one costs about one command for every two of them. Every object has these: `ready`: how many may be handed out.
-- `paused`: end of the pause, -1 for until resumed. `next`: no deadline is earlier, 0 for none. `told`: the deadline
-- that the keeper was told, 0 for none. `ends`: latest deadline of anything stored that has one; where things without
-- one are not counted (`endless`, `dead_endless`), -1 while one may be stored. `applied`: the end that expiries were
-- set for, -1 for never.
local NUMBERS = '>' .. string.rep('i8', #FIELDS)
-- At most `rate` items (0: no limit) are handed out in each window of `per` ms. `used` were in the window under way,
-- which ends at `ends`; if there are none, it was the end of the last one. At most `held` (0: no limit) are held at
-- once. `known` is how this is stored. A mirror of handover/throttle.rs.
local limits = { rate = 0, per = 0, ends = 0, used = 0, held = 0 }
local found
found, limits.known = unpack(redis.call('HMGET', RECORD, 'numbers', 'limits'))
if limits.known then
  limits.rate, limits.per, limits.ends, limits.used, limits.held = struct.unpack('>I8I8I8I8I8', limits.known)
  if now >= limits.ends then
    limits.used = 0
  end
  -- The clock has stepped back by more than a window.
  if limits.ends > now + 2 * limits.per then
    limits.ends = now + limits.per
  end
end
local known = found or string.rep('\0', 8 * #FIELDS)
if #known ~= 8 * #FIELDS then
  return redis.error_reply('TIDELOCK the record of the object holds ' .. #known .. ' bytes of numbers')
end
local r, numbers = {}, { struct.unpack(NUMBERS, known) }
for i = 1, #FIELDS do
  r[FIELDS[i]] = numbers[i]
end

-- Keys that this step may have created.
local fresh = {}
local soonest = nil
local settling = false

local function pack8(number)
  return struct.pack('>I8', number)
end

local function unpack8(bytes, from)
  return (struct.unpack('>I8', bytes, from or 1))
end

-- A whole number as text. A number as an argument would be formatted by the server with full floating-point
-- precision, which costs as much as many a command.
local function number_text(number)
  return string.format('%d', number)
end

-- The next number of a series that never repeats, even if the previous number was forgotten.
local function following(last)
  return math.max(last + 1, now_us)
end

-- The standing time of something that is due now: never before an earlier one, even if the clock steps back.
local function stand()
  if now > r.standing then
    r.standing = now
  end
  return r.standing
end

-- The object must live until `at`; nil: forever.
local function live_until(at)
  if not at then
    r.ends = -1
  elseif r.ends ~= -1 and at > r.ends then
    r.ends = at
  end
end

local function deadline(at)
  if r.next == 0 or at < r.next then
    r.next = at
  end
end

-- A deadline at which something may become deliverable.
local function delivery_deadline(at)
  deadline(at)
  if not soonest or at < soonest then
    soonest = at
  end
end

-- How many items may be handed out now.
local function deliverable()
  if r.paused == -1 or now < r.paused then
    return 0
  end
  local most = r.ready
  if limits.rate > 0 then
    most = math.min(most, limits.rate - limits.used)
  end
  if limits.held > 0 then
    most = math.min(most, limits.held - (r.leased or r.running))
  end
  return math.max(most, 0)
end

-- Counts items that this step hands out.
function limits.count(items)
  if limits.rate == 0 or items == 0 then
    return
  end
  if limits.used == 0 then
    limits.ends = math.max(now, limits.ends) + limits.per
  end
  limits.used = limits.used + items
  if limits.used >= limits.rate then
    delivery_deadline(limits.ends)
  end
end

-- When items may be handed out again: at the end of the pause or of a window that is used up, whichever is later. 0 if
-- nothing holds them back, or if the pause has no end.
function limits.opens()
  local full = limits.rate > 0 and limits.used >= limits.rate and limits.ends or 0
  return math.max(r.paused, full, 0)
end

-- When all keys may expire; -1 while something without an end is stored, a pause has no end, or there is a limit.
local function end_of_all(unfinished, rest)
  if r.ends == -1 and unfinished == 0 then
    r.ends = math.max(now, rest, r.paused)
  end
  if r.paused == -1 or limits.rate + limits.held > 0 or (r.endless or 0) + (r.dead_endless or 0) > 0 then
    return -1
  end
  if r.applied == -1 and r.ends ~= -1 then
    r.ends = math.max(r.ends, now)
  end
  return r.ends
end

-- Ends a step: writes the record, and sets the lifetime of every key that it may have created except for the last
-- one, PARKED. `unfinished`: how many things are stored that may have no end. Without any, the object ends at `rest`,
-- the latest deadline of everything else.
local function keep(unfinished, rest)
  local ends = end_of_all(unfinished, rest)
  local renew = ends ~= r.applied and (ends == -1 or r.applied == -1 or ends > r.applied + SLACK)
  if not found or r.applied == 0 then
    renew = true
  end
  if renew then
    r.applied = ends
  end
  for i = 1, #FIELDS do
    numbers[i] = r[FIELDS[i]]
  end
  local packed = struct.pack(NUMBERS, unpack(numbers, 1, #FIELDS))
  if packed ~= known then
    redis.call('HSET', RECORD, 'numbers', packed)
  end
  local limited = limits.rate + limits.held > 0
    and struct.pack('>I8I8I8I8I8', limits.rate, limits.per, limits.ends, limits.used, limits.held)
  if limited and limited ~= limits.known then
    redis.call('HSET', RECORD, 'limits', limited)
  elseif limits.known and not limited then
    redis.call('HDEL', RECORD, 'limits')
  end
  if renew then
    local left = math.max(ends - now, 0) + HOUR + SLACK
    for i = 1, OBJECT_KEYS - 1 do
      if ends == -1 then
        redis.call('PERSIST', KEYS[i])
      else
        redis.call('PEXPIRE', KEYS[i], left)
      end
    end
  elseif ends ~= -1 then
    -- Not longer than the record: without the record's numbers, nothing else is read.
    local left = math.max(r.applied + SLACK - now, 0) + HOUR
    for key in pairs(fresh) do
      redis.call('PEXPIRE', key, left)
    end
  end
end
