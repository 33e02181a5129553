-- check: judges all limits of a request together, and counts its cost as the mode says.
-- KEYS[1]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: all counts of the identifier
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  packed: mode (byte: 1 check, 2 count refused, 3 peek) and cost in units (double); then for each limit its
--          algorithm (byte: 1 sliding, 2 fixed, 3 token bucket), window in ms, limit and capacity in units (doubles)
-- Reply: packed, for each limit: refused (byte: 0 or 1), remaining in units, reset_in and retry_after in ms (doubles)
if unreadable then
  return redis.error_reply('TIDELOCK the counts of this identifier are not of format 1')
end

-- The stored count: at, used, before, lapses.
local function find(algorithm, window)
  if last_algorithm == algorithm and last_window == window then
    return last_at, last_used, last_before, last_lapses
  end
  for offset = 2, size - 41, 41 do
    local other_algorithm, other_window, at, used, before, lapses = read('<Bddddd', stored, offset)
    if other_algorithm == algorithm and other_window == window then
      return at, used, before, lapses
    end
  end
end

-- The count brought to now: at, used, before; and more, the units that are used up beyond used, rounded up.
local function stand(algorithm, window, limit)
  local at, used, before, lapses = find(algorithm, window)
  if not at or lapses <= now then
    return algorithm == 3 and now or now - now % window, 0, 0, 0
  end
  if algorithm == 3 then
    local drained, part = ratio(now - at, limit, window)
    used, before = used - drained, before - part
    if before < 0 then
      used, before = used - 1, before + window
    end
    if used < 0 then
      used, before = 0, 0
    end
    return now, used, before, before > 0 and 1 or 0
  end
  local start = now - now % window
  if start ~= at then
    used, before = 0, used
  end
  if algorithm == 2 or before == 0 then
    return start, used, before, 0
  end
  local carried, rest = ratio(before, start + window - now, window)
  return start, used, before, rest > 0 and carried + 1 or carried
end

-- The count with cost added: used, before, more.
local function add(algorithm, capacity, cost, used, before, more)
  if algorithm ~= 3 then
    return used + cost < 1e12 and used + cost or 1e12, before, more
  elseif used + cost < 2 * capacity then
    return used + cost, before, more
  elseif used < 2 * capacity then
    return 2 * capacity, 0, 0
  end
  return used, before, more
end

-- How long until at most left tokens are used.
local function drained_after(left, window, limit, used, before)
  if used < left then
    return 0
  end
  local span, rest = ratio(used - left, window, limit)
  rest = rest + before
  span = span + (rest - rest % limit) / limit + (rest % limit > 0 and 1 or 0)
  return span < MAX_SPAN and span or MAX_SPAN
end

-- The limit's answer, and its reset_in.
local function judge(passes, cost, algorithm, window, limit, capacity, at, used, before, more)
  local free, refused, retry_after = capacity - used - more, 0, 0
  local reset_in = algorithm == 3 and drained_after(0, window, limit, used, before) or at + window - now
  if not passes and cost > free then
    refused = 1
    if algorithm == 2 then
      retry_after = reset_in
    elseif algorithm == 3 then
      retry_after = drained_after(capacity - cost, window, limit, used, before)
    elseif used + cost <= limit then
      -- The window before must have slid out far enough ...
      retry_after = reset_in - ratio(limit - used - cost, window, before)
    else
      -- ... or this window, when it will be the one before.
      retry_after = reset_in + window - ratio(limit - cost, window, used)
    end
  end
  return pack('<Bddd', refused, free > 0 and free or 0, reset_in, retry_after), reset_in
end

local standings, passes = {}, true
offset = 10
while offset <= #request do
  algorithm, window, limit, capacity, offset = read('<Bddd', request, offset)
  local at, used, before, more = stand(algorithm, window, limit)
  passes = passes and cost <= capacity - used - more
  standings[#standings + 1] = {algorithm, window, limit, capacity, at, used, before, more}
end

-- New counts by what they belong to, as it is packed, and in the order of the request.
local counting = mode == 2 or mode == 1 and passes
local replies, named, new = {}, {}, {}
for index = 1, #standings do
  local at, used, before, more
  algorithm, window, limit, capacity, at, used, before, more = unpack(standings[index], 1, 8)
  if counting then
    used, before, more = add(algorithm, capacity, cost, used, before, more)
  end
  local reset_in
  replies[index], reset_in = judge(passes, cost, algorithm, window, limit, capacity, at, used, before, more)
  if counting then
    local lapses = algorithm == 3 and now + reset_in or at + (3 - algorithm) * window
    local count = pack('<Bddddd', algorithm, window, at, used, before, lapses)
    named[count:sub(1, 9)] = {count, lapses}
    new[index] = count:sub(1, 9)
  end
end

if counting then
  local kept, found = {}, {}
  for place = 2, size, 41 do
    local identity = stored:sub(place, place + 8)
    local lapses = read('<d', stored, place + 33)
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
  local value = '\1' .. table.concat(counts)
  if pinned then
    call('SET', KEYS[1], value, 'PX', string.format('%d', math.max(latest - now, 3600000)))
  else
    call('SET', KEYS[1], value, 'PXAT', string.format('%d', latest))
  end
end
return table.concat(replies)
