-- check: judges requests, each on its own but all limits of a request together, and counts its cost as its mode says.
-- KEYS[1..]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: the counts of the identifier of each request
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2..]  each request, packed: mode (byte: 1 check, 2 count refused, 3 peek) and cost in units (double); then for
--          each limit its algorithm (byte: 1 sliding, 2 fixed, 3 token bucket), window in ms, limit and capacity in
--          units (doubles)
-- Reply: for each request: packed, for each of its limits, refused (byte: 0 or 1), remaining in units, reset_in and
--          retry_after in ms (doubles); or the text of the error that it met

-- Requests of one trip often lapse at the same instant, so the text of the expiry is cached.
local expiry, expiry_text
-- The server's error if it is no longer a primary: then nothing was counted, and what was read may be outdated.
local demoted

-- Stores counts until they lapse; returns the reply, or the error.
local function store(key, value, now, lapses, reply)
  if pinned then
    lapses = lapses - now
    lapses = lapses > 3600000 and lapses or 3600000
  end
  if lapses ~= expiry then
    expiry, expiry_text = lapses, string.format('%d', lapses)
  end
  local failed = pcall('SET', key, value, pinned and 'PX' or 'PXAT', expiry_text).err
  local code = failed and failed:find('READONLY', 1, true)
  demoted = code and failed:sub(code) or demoted
  return failed or reply
end

-- Fast path without tables: a request with one limit, when there is no count but its own. The usual case.
local function alone(key, stored, size, now, mode, cost, algorithm, window, limit, capacity)
  local at, used, before, more = stand(stored, size, now, algorithm, window, limit)
  local passes = cost <= capacity - used - more
  local counting = mode == 2 or mode == 1 and passes
  if counting then
    used, before, more = add(algorithm, capacity, cost, used, before, more)
  end
  local reset_in, span = spans(now, algorithm, window, limit, at, used, before)
  local reply = answer(passes, cost, algorithm, window, limit, capacity, used, before, more, reset_in)
  if not counting then
    return reply
  end
  local lapses = now + span
  return store(key, pack('<BBddddd', 1, algorithm, window, at, used, before, lapses), now, lapses, reply)
end

-- Merges new counts, by identity and in the order of the request, with the stored ones that still matter. Beyond 16,
-- those that lapse first and that the request does not name are dropped.
local function merge(stored, size, now, named, new)
  local kept, found = {}, {}
  for place = 2, size, 41 do
    local identity, lapses = stored:sub(place, place + 8), read('<d', stored, place + 33)
    if named[identity] then
      found[identity] = true
      kept[#kept + 1] = named[identity]
    elseif lapses > now then
      kept[#kept + 1] = {stored:sub(place, place + 40), lapses, true}
    end
  end
  for index = 1, #new do
    if not found[new[index]] then
      kept[#kept + 1] = named[new[index]]
    end
  end
  while #kept > 16 do
    local first
    for index = 1, #kept do
      if kept[index][3] and (not first or kept[index][2] < kept[first][2]) then
        first = index
      end
    end
    table.remove(kept, first)
  end
  local counts, latest = {}, 0
  for index = 1, #kept do
    counts[index] = kept[index][1]
    latest = math.max(latest, kept[index][2])
  end
  return '\1' .. table.concat(counts), latest
end

-- A request with several limits, or with other counts stored.
local function together(key, stored, size, now, mode, cost, request)
  local standings, passes, offset = {}, true, 10
  while offset <= #request do
    local algorithm, window, limit, capacity
    algorithm, window, limit, capacity, offset = read('<Bddd', request, offset)
    local at, used, before, more = stand(stored, size, now, algorithm, window, limit)
    passes = passes and cost <= capacity - used - more
    standings[#standings + 1] = {algorithm, window, limit, capacity, at, used, before, more}
  end
  local counting = mode == 2 or mode == 1 and passes
  local replies, named, new = {}, {}, {}
  for index = 1, #standings do
    local algorithm, window, limit, capacity, at, used, before, more = unpack(standings[index], 1, 8)
    if counting then
      used, before, more = add(algorithm, capacity, cost, used, before, more)
    end
    local reset_in, span = spans(now, algorithm, window, limit, at, used, before)
    replies[index] = answer(passes, cost, algorithm, window, limit, capacity, used, before, more, reset_in)
    if counting then
      local count = pack('<Bddddd', algorithm, window, at, used, before, now + span)
      new[index] = count:sub(1, 9)
      named[new[index]] = {count, now + span}
    end
  end
  local reply = table.concat(replies)
  if not counting then
    return reply
  end
  local value, lapses = merge(stored, size, now, named, new)
  return store(key, value, now, lapses, reply)
end

local replies = {}
for index = 1, #KEYS do
  local key, request = KEYS[index], ARGV[index + 1]
  local stored, size, latest, last_algorithm, last_window = open(key, now)
  local mode, cost, algorithm, window, limit, capacity, rest = read('<BdBddd', request)
  if not size then
    replies[index] = 'TIDELOCK the counts of this identifier are not of format 1'
  elseif rest > #request and (size == 0 or size == 42 and last_algorithm == algorithm and last_window == window) then
    replies[index] = alone(key, stored, size, latest, mode, cost, algorithm, window, limit, capacity)
  else
    replies[index] = together(key, stored, size, latest, mode, cost, request)
  end
end
return demoted and redis.error_reply(demoted) or replies
