-- part: searches for what has no index.

-- The index of the first line element for which `beyond(element)` holds. It must hold for all later elements.
local function search_line(beyond)
  local low, high = 0, redis.call('LLEN', LINE)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if beyond(redis.call('LINDEX', LINE, middle)) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- Finds a message of the plain line by id: its index and the message.
local function find_in_line(id)
  local index = search_line(function(element) return unpack8(element) >= id end)
  local element = redis.call('LINDEX', LINE, index)
  if element and #element > TOMBSTONE and unpack8(element) == id then
    return index, parse_line(element)
  end
end
