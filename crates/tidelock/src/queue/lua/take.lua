-- part: hand-over.

local function store_leases(lease_end, values, receipts)
  if #receipts == 0 then
    return
  end
  if r.leased == 0 and redis.call('EXISTS', LEASED) == 0 then
    redis.call('ZADD', LEASED, '+inf', SENTINEL)
    fresh[LEASED] = true
  end
  local leases, end_text = {}, string.format('%.0f', lease_end)
  for i = 1, #receipts do
    leases[2 * i - 1], leases[2 * i] = end_text, receipts[i]
  end
  call_in_parts('HSET', MESSAGES, values)
  call_in_parts('ZADD', LEASED, leases)
  fresh[MESSAGES] = true
  limits.count(#receipts)
  r.ready = r.ready - #receipts
  r.leased = r.leased + #receipts
  delivery_deadline(lease_end)
end

-- Returns popped elements that may not be handed out to the head of the line.
local function push_back(elements, from)
  for i = #elements, from, -1 do
    redis.call('LPUSH', LINE, elements[i])
  end
  fresh[LINE] = true
end

-- Takes from the plain line alone: ids, elements and standing times are in it, so nothing is looked up.
local function take_line(want, lease_end, consumer, max_deliveries, place, out)
  local rest = struct.pack('>I8c1I2I2I2', max_deliveries, place, #consumer, 0, 0) .. consumer
  local values, receipts, bytes = {}, {}, 0
  while #receipts < want do
    -- Pops no more at once than certainly fits.
    local fit = math.max(1, math.floor((MAX_BYTES - bytes) / (r.widest + 24)))
    local elements = redis.call('LPOP', LINE, math.min(want - #receipts, fit))
    if not elements or #elements == 0 then
      break
    end
    for i = 1, #elements do
      local element = elements[i]
      if #element > TOMBSTONE then
        local expiry = settling and unpack8(element, 17) or 0
        if (expiry > 0 and expiry <= now) or (bytes > 0 and bytes + #element > MAX_BYTES) then
          push_back(elements, i)
          want = 0
          break
        end
        bytes = bytes + #element
        r.fence = following(r.fence)
        local id, fence = element:sub(1, 8), pack8(r.fence)
        local join = element:sub(33, 34) == '\0\0' and NO_KEY or id
        local value = 'l\0' .. element:sub(9, 16) .. fence .. FIRST .. join .. rest .. element
        receipts[#receipts + 1] = id .. fence
        values[#values + 1], values[#values + 2] = id, value
        out[#out + 1] = value
        live_until(lease_end + unpack8(element, 25))
      end
    end
  end
  store_leases(lease_end, values, receipts)
end

-- The first message of the plain line: standing time, id and element. Drops tombstones before it.
local function line_head()
  while true do
    local element = redis.call('LINDEX', LINE, 0)
    if not element then
      return nil
    end
    if #element > TOMBSTONE then
      return unpack8(element, 9), unpack8(element, 1), element
    end
    redis.call('LPOP', LINE)
  end
end

-- Whether the head of the plain line goes before a member of the sorted set, which holds everything else.
local function goes_first(standing, id, member, rank)
  if not member or tonumber(rank) ~= 9 then
    return not member
  end
  local other = unpack8(member)
  return standing < other or (standing == other and id < unpack8(member, 9))
end

-- Stored messages are read in batches of this size, because their size is known only once they are read.
local SOME = 16
local function load_some(stored, members, at)
  if not stored[at] then
    local ids = {}
    for i = at, math.min(at + SOME - 1, #members / 2) do
      ids[#ids + 1] = members[2 * i - 1]:sub(-8)
    end
    for i, value in ipairs(load_values(MESSAGES, ids)) do
      stored[at + i - 1] = value
    end
  end
  return stored[at]
end

-- Takes from the plain line and the sorted set of everything else, in order.
local function take_merged(want, lease_end, consumer, max_deliveries, place, out)
  local state = struct.pack('>I8c1I2', max_deliveries, place, #consumer)
  local members, at = redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES'), 1
  local stored, gone, expiring = {}, {}, {}
  local values, receipts, bytes = {}, {}, 0
  local standing, id, element = line_head()
  while #receipts < want do
    local member = members[2 * at - 1]
    local in_line = standing and goes_first(standing, id, member, members[2 * at])
    if not in_line and not member then
      break
    end
    local value = in_line and build(parse_line(element)) or load_some(stored, members, at)
    local begin = element_at(value)
    local expiry, size = unpack8(value, begin + 16), #value - begin + 1
    if (expiry > 0 and expiry <= now) or (bytes > 0 and bytes + size > MAX_BYTES) then
      break
    end
    bytes = bytes + size
    local id_bytes = value:sub(begin, begin + 7)
    if in_line then
      redis.call('LPOP', LINE)
      standing, id, element = line_head()
    else
      gone[#gone + 1], expiring[#expiring + 1] = member, expiry > 0 and id_bytes or nil
      stored[at], at = nil, at + 1
    end
    r.fence = following(r.fence)
    local fence, attempts = pack8(r.fence), struct.unpack('>I6', value, 19)
    -- A ready message has no consumer.
    value = 'l' .. value:sub(2, 10) .. fence .. struct.pack('>I6', attempts + 1) .. value:sub(25, 32) .. state
      .. value:sub(44, 47) .. consumer .. value:sub(48)
    receipts[#receipts + 1] = id_bytes .. fence
    values[#values + 1], values[#values + 2] = id_bytes, value
    out[#out + 1] = value
    live_until(lease_end + unpack8(value, begin + #consumer + 24))
  end
  call_in_parts('ZREM', READY, gone)
  call_in_parts('ZREM', EXPIRING, expiring)
  store_leases(lease_end, values, receipts)
end

-- ARGV[at]: want, lease in ms, max_deliveries (0: none), place (o, b), consumer, 1 to park, then the process. Returns
-- the time in ms after which to take again (0: not told), then the messages.
local function op_take(at)
  local want, lease, max_deliveries = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local place, consumer, parks, process = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local out = { '' }
  local most = math.min(want, deliverable())
  if most > 0 then
    local take = redis.call('ZCARD', READY) == 0 and take_line or take_merged
    take(most, now + lease, consumer, max_deliveries, place, out)
  end
  local told = 0
  if want == 0 then
    leave(process, function() return r.next end)
  elseif parks == '1' and #out - 1 < want and not settling then
    told = park(process, function() return r.next end)
  end
  out[1] = told_after(told)
  return at + 7, out
end
