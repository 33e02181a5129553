-- take: credits a retry budget with successes and takes tokens from it, in one step.
-- KEYS[1]  <prefix>:{retry/<tenant>/<id>}:budget: string "level:at:until", absent while full
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  capacity, thousandths of a token
-- ARGV[3]  gain, millionths of a token per second
-- ARGV[4]  credit, thousandths of a token
-- ARGV[5]  amount to take, thousandths of a token; 0 takes nothing
-- Reply: {1 taken or 0 refused, level left in thousandths of a token}
local key = KEYS[1]
local capacity, rate = tonumber(ARGV[2]), tonumber(ARGV[3])
local credit, amount = tonumber(ARGV[4]), tonumber(ARGV[5])
local DAY, HOUR = 86400000, 3600000

local level, counted, behind = capacity, now, false
local record = redis.call('GET', key)
if record then
  local stored, at, ends = string.match(record, '^(%d+):(%d+):(%d+)$')
  if not stored then
    return redis.error_reply('TIDELOCK the retry budget holds something else')
  end
  stored, at, ends = tonumber(stored), tonumber(at), tonumber(ends)
  behind = now < at
  if behind then
    -- The clock was set back: nothing was gained since, and time counts from here on.
    level = math.min(stored, capacity)
  elseif now < ends and stored < capacity then
    local gained = (now - at) * rate
    if gained < (capacity - stored) * 1000000 then
      -- A remainder below one thousandth stays in the time that is still to be counted.
      local rest = math.fmod(gained, 1000000)
      level = stored + (gained - rest) / 1000000
      if rate > 0 then
        counted = now - math.floor(rest / rate)
      end
    end
  end
end

level = math.min(capacity, level + credit)
local taken = level >= amount
if taken then
  level = level - amount
end

-- A refusal writes nothing, so that frequent requests cannot round the gain away.
if (taken and amount > 0) or credit > 0 or behind then
  if level >= capacity then
    redis.call('DEL', key)
  else
    local left = DAY
    if rate > 0 then
      left = math.min(DAY, math.ceil((capacity - level) * 1000000 / rate))
    end
    local lifetime = left
    if pinned then
      lifetime = math.max(HOUR, left)
    end
    redis.call('SET', key, string.format('%.0f:%.0f:%.0f', level, counted, now + left), 'PX', lifetime)
  end
end
return {taken and 1 or 0, level}
