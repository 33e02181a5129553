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
  r.ready = r.ready - #receipts
  r.leased = r.leased + #receipts
  delivery_deadline(lease_end)
end

-- Gives back to the head of the line what was popped and may not be handed out.
local function push_back(elements, from)
  for i = #elements, from, -1 do
    redis.call('LPUSH', LINE, elements[i])
  end
  fresh[LINE] = true
end

-- From the plain line alone: ids, elements and standing times are there, nothing is looked up.
local function take_line(want, lease_end, consumer, max_deliveries, place, out)
  local rest = struct.pack('>I6I8I8c1I2I2I2', 1, 0, max_deliveries, place, #consumer, 0, 0) .. consumer
  local values, receipts, bytes = {}, {}, 0
  while #receipts < want do
    -- No more at once than fit for sure.
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
        local value = 'l\0' .. element:sub(9, 16) .. fence .. rest .. element
        receipts[#receipts + 1] = id .. fence
        values[#values + 1], values[#values + 2] = id, value
        out[#out + 1] = value
        live_until(lease_end + unpack8(element, 25))
      end
    end
  end
  store_leases(lease_end, values, receipts)
end

-- The first message of the plain line as (standing, id); tombstones before it are dropped.
local function line_head()
  while true do
    local element = redis.call('LINDEX', LINE, 0)
    if not element then
      return nil
    end
    if #element > TOMBSTONE then
      return unpack8(element, 9), unpack8(element, 1)
    end
    redis.call('LPOP', LINE)
  end
end

-- From both the plain line and the sorted set of everything else, one by one in order.
local function take_merged(want, lease_end, consumer, max_deliveries, place, out)
  local values, receipts, bytes = {}, {}, 0
  for _ = 1, want do
    local first = redis.call('ZRANGE', READY, 0, 0, 'WITHSCORES')
    local standing, id = line_head()
    local m
    if standing and (not first[1] or tonumber(first[2]) == 9
      and (unpack8(first[1]) > standing or (unpack8(first[1]) == standing and unpack8(first[1], 9) > id))) then
      m = parse_line(redis.call('LINDEX', LINE, 0))
      m.plain = true
    elseif first[1] then
      m = load(first[1]:sub(-8))
    else
      break
    end
    if (m.expiry > 0 and m.expiry <= now) or (bytes > 0 and bytes + #m.element > MAX_BYTES) then
      break
    end
    bytes = bytes + #m.element
    if m.plain then
      redis.call('LPOP', LINE)
    else
      redis.call('ZREM', READY, first[1])
      redis.call('ZREM', EXPIRING, pack8(m.id))
    end
    r.fence = following(r.fence)
    m.kind, m.fence, m.attempts, m.number, m.tag, m.consumer =
      'l', r.fence, m.attempts + 1, max_deliveries, place, consumer
    local value = build(m)
    receipts[#receipts + 1] = receipt_of(m)
    values[#values + 1], values[#values + 2] = pack8(m.id), value
    out[#out + 1] = value
    live_until(lease_end + m.retention)
  end
  store_leases(lease_end, values, receipts)
end

-- ARGV[at]: want, lease in ms, max_deliveries (0: none), place (o, b), consumer, 1 to park, then the process. Answers the
-- time in ms after which to take again (0: not told), then the messages.
local function op_take(at)
  local want, lease, max_deliveries = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local place, consumer, parks, process = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local out = { '' }
  if want > 0 and r.ready > 0 and not is_paused() then
    local take = redis.call('ZCARD', READY) == 0 and take_line or take_merged
    take(math.min(want, r.ready), now + lease, consumer, max_deliveries, place, out)
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
