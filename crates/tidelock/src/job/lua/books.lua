-- part: writes that are buffered until the key is read or the step ends, so that a trip needs one command of each kind.
local set_writes, field_writes = {}, {}

local function waiting_for(writes, key)
  local waiting = writes[key]
  if not waiting then
    waiting = {}
    writes[key] = waiting
  end
  return waiting
end

-- Sets a member of a sorted set.
local function put(key, score, member)
  waiting_for(set_writes, key)[member] = score
end

local function drop(key, member)
  waiting_for(set_writes, key)[member] = false
end

-- Fields that were read or written in this step; false for those that do not exist.
local fields = {}

local function write_field(key, field, value)
  waiting_for(field_writes, key)[field] = value
  waiting_for(fields, key)[field] = value
end

local function erase_field(key, field)
  write_field(key, field, false)
end

local function read_field(key, field)
  local known_fields = waiting_for(fields, key)
  local value = known_fields[field]
  if value == nil then
    value = redis.call('HGET', key, field)
    known_fields[field] = value
  end
  return value
end

-- Reads many fields at once.
local function preload(key, names)
  local known_fields, missing = waiting_for(fields, key), {}
  for i = 1, #names do
    if known_fields[names[i]] == nil then
      missing[#missing + 1] = names[i]
    end
  end
  local values = load_values(key, missing)
  for i = 1, #missing do
    known_fields[missing[i]] = values[i]
  end
end

-- Keys that have had a lifetime since they were created, so that a write need not set one.
local is_steady = {}
for _, keys in ipairs({ STEADY_SETS, STEADY_HASHES }) do
  for i = 1, #keys do
    is_steady[keys[i]] = true
  end
end

-- Splits what waits to be written to a key into what is set, in pairs, and what is removed.
local function split_waiting(writes, key)
  local waiting, kept, gone, count, gone_count = writes[key], {}, {}, 0, 0
  writes[key] = nil
  for name, value in pairs(waiting) do
    if value then
      kept[count + 1], kept[count + 2] = name, value
      count = count + 2
    else
      gone_count = gone_count + 1
      gone[gone_count] = name
    end
  end
  if count > 0 and not is_steady[key] then
    fresh[key] = true
  end
  return kept, gone
end

local function write_hash(key)
  if field_writes[key] then
    local kept, gone = split_waiting(field_writes, key)
    call_in_parts('HSET', key, kept)
    call_in_parts('HDEL', key, gone)
  end
end

-- Scores as text. Many in one step are equal, and formatting a number costs as much as a command.
local score_texts = {}

local function write_set(key)
  if not set_writes[key] then
    return
  end
  local kept, gone = split_waiting(set_writes, key)
  for i = 1, #kept, 2 do
    local member, score = kept[i], kept[i + 1]
    local text = score_texts[score]
    if not text then
      text = number_text(score)
      score_texts[score] = text
    end
    kept[i], kept[i + 1] = text, member
  end
  call_in_parts('ZADD', key, kept)
  call_in_parts('ZREM', key, gone)
end

-- The first member of a sorted set and its score as text.
local function first_in(key)
  write_set(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[1], first[2]
end

local function write_all()
  for key in pairs(set_writes) do
    write_set(key)
  end
  for key in pairs(field_writes) do
    write_hash(key)
  end
end
