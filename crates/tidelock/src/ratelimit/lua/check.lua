-- check: judges all limits of a request together, and counts its cost as the mode says.
-- KEYS[1]  <prefix>:{ratelimit/<tenant>/<limiter>/<identifier>}:counts: all counts of the identifier
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  packed: mode (byte: 1 check, 2 count refused, 3 peek) and cost in units (double); then for each limit its
--          algorithm (byte: 1 sliding, 2 fixed, 3 token bucket), window in ms, limit and capacity in units (doubles)
-- Reply: packed, for each limit: refused (byte: 0 or 1), remaining in units, reset_in and retry_after in ms (doubles)
if unreadable then
  return redis.error_reply('TIDELOCK the counts of this identifier are not of format 1')
end

local request = ARGV[2]
local mode, cost, offset = struct.unpack('<Bd', request)
local standings, passes = {}, true
while offset <= #request do
  local algorithm, window, limit, capacity
  algorithm, window, limit, capacity, offset = struct.unpack('<Bddd', request, offset)
  local at, used, before, more, place = now, 0, 0, 0, nil
  if algorithm ~= 3 then
    at = now - now % window
  end
  for index = 1, #counts do
    local count = counts[index]
    if count[1] == algorithm and count[2] == window then
      place = index
      if count[6] > now then
        if algorithm == 3 then
          local drained, part = ratio(now - count[3], limit, window)
          used, before = count[4] - drained, count[5] - part
          if before < 0 then
            used, before = used - 1, before + window
          end
          if used < 0 then
            used, before = 0, 0
          end
        elseif count[3] == at then
          used, before = count[4], count[5]
        else
          before = count[4]
        end
      end
    end
  end
  if before > 0 then
    if algorithm == 1 then
      local rest
      more, rest = ratio(before, at + window - now, window)
      if rest > 0 then
        more = more + 1
      end
    else
      more = 1
    end
  end
  passes = passes and cost <= capacity - used - more
  standings[#standings + 1] = {algorithm, window, limit, capacity, at, used, before, more, place}
end

-- How long until at most left tokens are used.
local function drained_after(left, window, limit, used, before)
  local above = used - left
  if above < 0 then
    return 0
  end
  local span, rest = ratio(above, window, limit)
  return math.min(span + floor((rest + before + limit - 1) / limit), MAX_SPAN)
end

local counting = mode == 2 or mode == 1 and passes
local replies, named, latest = {}, {}, 0
for index = 1, #standings do
  local algorithm, window, limit, capacity, at, used, before, more, place = unpack(standings[index], 1, 9)
  if counting then
    if algorithm ~= 3 then
      used = math.min(used + cost, 1e12)
    elseif used + cost < 2 * capacity then
      used = used + cost
    elseif used < 2 * capacity then
      used, before, more = 2 * capacity, 0, 0
    end
  end
  local free, refused, retry_after = math.max(0, capacity - used - more), 0, 0
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
  replies[index] = struct.pack('<Bddd', refused, free, reset_in, retry_after)
  if counting then
    local lapses = algorithm == 3 and now + reset_in or at + (3 - algorithm) * window
    local count = {algorithm, window, at, used, before, lapses}
    counts[place or #counts + 1] = count
    named[count] = true
  end
end

if counting then
  local kept = {}
  for index = 1, #counts do
    local count = counts[index]
    if named[count] or count[6] > now then
      kept[#kept + 1] = count
    end
  end
  while #kept > 16 do
    local first
    for index = 1, #kept do
      if not named[kept[index]] and (not first or kept[index][6] < kept[first][6]) then
        first = index
      end
    end
    table.remove(kept, first)
  end
  local packed = {}
  for index = 1, #kept do
    local count = kept[index]
    packed[index] = struct.pack('<Bddddd', unpack(count, 1, 6))
    latest = math.max(latest, count[6])
  end
  local value = '\1' .. table.concat(packed)
  if pinned then
    redis.call('SET', KEYS[1], value, 'PX', string.format('%d', math.max(latest - now, 3600000)))
  else
    redis.call('SET', KEYS[1], value, 'PXAT', string.format('%d', latest))
  end
end
return table.concat(replies)
