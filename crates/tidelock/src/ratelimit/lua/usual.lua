-- part: the usual case, in one stretch without tables and functions: one limit, no count but its own, the request
-- passes and is counted, and no product passes 2^53. All else goes on below.
local request = ARGV[2]
local mode, cost, algorithm, window, limit, capacity, offset = read('<BdBddd', request)
if mode ~= 3 and not unreadable and offset > #request
  and (size == 0 or size == 42 and last_algorithm == algorithm and last_window == window) then
  local at, used, before, more, largest = now, 0, 0, 0, 0
  if algorithm ~= 3 then
    at = now - now % window
  end
  if size > 0 and last_lapses > now then
    if algorithm == 3 then
      largest = (now - last_at) * limit
      local drained = largest / window
      drained = drained - drained % 1
      used, before = last_used - drained, last_before - (largest - drained * window)
      if before < 0 then
        used, before = used - 1, before + window
      end
      if used < 0 then
        used, before = 0, 0
      end
      more = before > 0 and 1 or 0
    elseif last_at == at then
      used, before = last_used, last_before
    else
      before = last_used
    end
    if algorithm == 1 and before > 0 then
      largest = before * (at + window - now)
      more = largest / window
      more = more - more % 1
      if largest > more * window then
        more = more + 1
      end
    end
  end
  local free = capacity - used - more - cost
  if free >= 0 and largest < 9007199254740992 then
    used = used + cost
    local reset_in, lapses
    if algorithm == 3 then
      largest = used * window + before
      local rest = largest % limit
      reset_in = (largest - rest) / limit + (rest > 0 and 1 or 0)
      lapses = now + reset_in
    else
      reset_in = at + window - now
      lapses = at + (3 - algorithm) * window
    end
    if largest <= 1e15 then
      local value = pack('<BBddddd', 1, algorithm, window, at, used, before, lapses)
      if pinned then
        local left = lapses - now
        call('SET', KEYS[1], value, 'PX', string.format('%d', left > 3600000 and left or 3600000))
      else
        call('SET', KEYS[1], value, 'PXAT', string.format('%d', lapses))
      end
      return pack('<Bddd', 0, free, reset_in, 0)
    end
  end
end
