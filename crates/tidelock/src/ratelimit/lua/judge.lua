-- part: judges one count by one limit, as model.rs does.

-- The stored count of an algorithm and window, brought to now: at, used, before; and more, the used units beyond used,
-- rounded up.
local function stand(stored, size, now, algorithm, window, limit)
  local start = now - now % window
  for offset = 2, size, 41 do
    local other_algorithm, other_window, at, used, before, lapses = read('<Bddddd', stored, offset)
    if other_algorithm == algorithm and other_window == window and lapses > now then
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
      if at ~= start then
        used, before = 0, used
      end
      if algorithm == 2 or before == 0 then
        return start, used, before, 0
      end
      local carried, rest = ratio(before, start + window - now, window)
      return start, used, before, rest > 0 and carried + 1 or carried
    end
  end
  return algorithm == 3 and now or start, 0, 0, 0
end

-- Adds the cost to the count; returns used, before, more.
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

-- The time until at most left tokens are used.
local function drained_after(left, window, limit, used, before)
  if used < left then
    return 0
  end
  local span, rest = ratio(used - left, window, limit)
  rest = rest + before
  span = span + (rest - rest % limit) / limit + (rest % limit > 0 and 1 or 0)
  return span < 1e15 and span or 1e15
end

-- The time until the window ends or the bucket is full, and the time until the count lapses.
local function spans(now, algorithm, window, limit, at, used, before)
  if algorithm == 3 then
    local full = drained_after(0, window, limit, used, before)
    return full, full
  end
  local reset_in = at + window - now
  return reset_in, algorithm == 2 and reset_in or reset_in + window
end

-- The time until a refused cost passes, if nothing else is counted.
local function passes_after(cost, algorithm, window, limit, capacity, used, before, reset_in)
  if algorithm == 2 then
    return reset_in
  elseif algorithm == 3 then
    return drained_after(capacity - cost, window, limit, used, before)
  elseif used + cost <= limit then
    -- Either the previous window has to slide out far enough ...
    return reset_in - ratio(limit - used - cost, window, before)
  end
  -- ... or this window has to, once it is the previous one.
  return reset_in + window - ratio(limit - cost, window, used)
end

-- The packed answer of a limit.
local function answer(passes, cost, algorithm, window, limit, capacity, used, before, more, reset_in)
  local free = capacity - used - more
  if passes or cost <= free then
    return pack('<Bddd', 0, free > 0 and free or 0, reset_in, 0)
  end
  local retry_after = passes_after(cost, algorithm, window, limit, capacity, used, before, reset_in)
  return pack('<Bddd', 1, free > 0 and free or 0, reset_in, retry_after)
end
