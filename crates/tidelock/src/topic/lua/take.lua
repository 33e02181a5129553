-- part: hand-over to the readers of a group. A mirror of topic/model/take.rs.

-- A take. ARGV[at] holds max, lease in ms, max_deliveries (0: none), max_in_flight, retention of dead letters (0:
-- none), 8 bytes each; then flags (1 ordered, 2 park, 4 the reader has seen the group) and the position at which it saw
-- the group (24 bytes). ARGV[at + 1]: the start of a new group; [at + 2]: consumer; [at + 3]: process.
local function read_take(at)
  local take = {}
  take.max, take.lease, take.max_deliveries, take.max_in_flight, take.retention, take.flags =
    struct.unpack('>I8I8I8I8I8B', ARGV[at])
  take.ordered, take.parks = take.flags % 2 == 1, math.floor(take.flags / 2) % 2 == 1
  if take.flags >= 4 then
    take.life, take.at, take.ordinal = struct.unpack('>I8I8I8', ARGV[at], 42)
  end
  take.begin, take.consumer, take.process = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  take.lease_end = now + take.lease
  -- The deliveries of this take: stored values, replies, id and fence of each, and which of them are requeued copies.
  take.values, take.out, take.receipts, take.copies = {}, {}, {}, {}
  take.bytes, take.aside, take.gap = 0, 0, NO_GAP
  return take
end

-- How many more items may be handed out; a gap counts as one.
local function room(take)
  return take.max - #take.out - (take.gap == NO_GAP and 0 or 1)
end

local function store_hand_overs(take)
  if #take.receipts == 0 then
    return
  end
  if g.leased == #take.receipts then
    redis.call('ZADD', LEASED, '+inf', SENTINEL)
  end
  local leases, end_text = {}, text(take.lease_end)
  for i = 1, #take.receipts do
    leases[2 * i - 1], leases[2 * i] = end_text, take.receipts[i]
  end
  call_in_parts('HSET', OPEN, take.values)
  call_in_parts('ZADD', LEASED, leases)
  delivery_deadline(take.lease_end)
end

local function is_limited(take)
  return g.leased + g.waiting + g.ready >= take.max_in_flight
end

-- Elements of the log from an ordinal on, fetched in chunks.
local fetched, fetched_from = {}, 0
local function unread(ordinal, wanted)
  local index = ordinal - fetched_from + 1
  if index < 1 or index > #fetched then
    fetched_from = ordinal
    fetched = redis.call('LRANGE', LOG, text(ordinal - r.first), text(ordinal - r.first + wanted - 1))
    index = 1
  end
  return fetched[index]
end

-- Where the group reads on: ordinal and element of the next event. If there is a gap before it, and no open event with
-- a lower position has to be handed out first, the gap is reported and the group moves past it.
local function next_unread(take, lowest)
  if g.aside + g.freed >= MAX_ASIDE then
    return nil
  end
  local start, gap, missed = after(g.life, g.at, g.ordinal, g.sure == 1)
  if not start then
    return nil
  end
  local element = unread(start, at_once(take.max - #take.out, MAX_BYTES))
  local at = unpack8(element)
  if lowest and lowest < at then
    return nil
  end
  if gap then
    take.gap = others().gap_before(start, at, place(g.life, g.at, g.ordinal), missed)
    g.missed = g.missed + math.max(missed, 0)
    g.life, g.at, g.ordinal, g.sure = r.life, at - 1, start - 1, 0
  end
  return start, element
end

-- Fast path: hands out fetched events that have no ordering key to respect. No index has to be read, and the stored
-- events differ only in three numbers. They fit the reply: never more are fetched at once than a reply holds.
local function take_run(take, ordinal)
  local most = math.min(room(take), take.max_in_flight - g.leased - g.waiting - g.ready)
  local before = struct.pack('>I6I8I8', 1, take.max_deliveries, take.retention)
  local behind = struct.pack('>I2I2I2', #take.consumer, 0, 0) .. take.consumer
  local pack, sub, ordered, offset = struct.pack, string.sub, take.ordered, 1 - fetched_from
  local values, out, receipts = take.values, take.out, take.receipts
  local fence, element, count = r.fence, nil, #take.receipts
  local from = ordinal
  while ordinal - from < most do
    local next_element = fetched[ordinal + offset]
    if not next_element or (ordered and sub(next_element, 9, 10) ~= '\0\0') then
      break
    end
    element = next_element
    fence = fence < now_us and now_us or fence + 1
    count = count + 1
    local id, fence_bytes = sub(element, 1, 8), pack('>I8', fence)
    local value = 'l\0' .. fence_bytes .. before .. pack('>I8', ordinal) .. behind .. element
    out[count], receipts[count] = value, id .. fence_bytes
    values[2 * count - 1], values[2 * count] = id, value
    take.bytes = take.bytes + #element
    ordinal = ordinal + 1
  end
  if element then
    r.fence = fence
    g.leased = g.leased + ordinal - from
    g.life, g.at, g.ordinal, g.sure = r.life, unpack8(element), ordinal - 1, 1
  end
  return element ~= nil
end

-- Hands out events in order until nothing more may be; returns true if it stopped at the bound of the step.
local function fill(take)
  take.busy = {}
  while room(take) > 0 do
    if take.aside == STEP then
      return true
    end
    local limited = is_limited(take)
    local lowest, id
    if g.ready + g.freed > 0 then
      lowest, id = others().first_open(limited)
    end
    local ordinal, element
    if not limited then
      ordinal, element = next_unread(take, lowest)
    end
    if room(take) == 0 then
      return false
    end
    local going
    if ordinal then
      local fits_all = take.bytes == 0 or take.bytes + #fetched * r.widest <= MAX_BYTES
      local run = not lowest and g.copies == 0 and fits_all and take_run(take, ordinal)
      going = run or others().read_on(take, ordinal, element)
    else
      going = id and others().take_open(take, id)
    end
    if not going then
      return false
    end
  end
  return false
end

-- The next instant at which something in the group becomes deliverable by time alone; 0 for none.
local function first_delivery()
  local first = 0
  for _, index in ipairs({ LEASED, WAITING }) do
    if (index == LEASED and g.leased or g.waiting) > 0 then
      local at = tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2])
      first = (first == 0 or at < first) and at or first
    end
  end
  return g.paused > 0 and (first == 0 or g.paused < first) and g.paused or first
end

-- Parks the process. Returns the deadline that it has to keep, 0 if another process keeps it. A process may wait for
-- several readers: it counts as limited by max_in_flight only if that holds for all of them.
local function park(take, limited)
  local parked = parking().read(redis.call('HGET', PARKED, 'g' .. NAME) or '')
  local kept, all_limited = false, limited
  for i = 1, #parked do
    local one = parked[i]
    all_limited = all_limited and one.flags % SHUT >= LIMITED
    if one.process == take.process then
      limited = limited and one.flags % SHUT >= LIMITED
    else
      kept = kept or one.flags % 2 == KEEPS
    end
  end
  local shut = g and (is_paused() or g.aside + g.freed >= MAX_ASIDE)
  local flags = (kept and 0 or KEEPS) + (limited and LIMITED or 0) + (shut and SHUT or 0)
  parking().write('g' .. NAME, parking().add(parked, take.process, flags))
  if g then
    g.limited = all_limited and g.leased + g.waiting + g.ready or 0
  end
  if kept or not g then
    return 0
  end
  g.told, soonest = first_delivery(), nil
  return g.told
end

-- Removes a process that no longer waits. If nobody keeps the next deadline then, this step has to find a keeper.
local function leave(process)
  local field = 'g' .. NAME
  local list = redis.call('HGET', PARKED, field)
  if not list then
    return
  end
  local rest = parking().without(parking().read(list), process)
  parking().write(field, rest)
  if g and not parking().is_kept(rest) then
    local first = first_delivery()
    g.told, soonest = 0, first > 0 and first or nil
  end
end

-- Returns the time in ms after which to take again (0: none given), the life, 1 if the group has a position, the
-- position, the gap; then the deliveries. Only `full` if there are too many groups.
local function op_take(at)
  local take = read_take(at)
  if take.max == 0 then
    leave(take.process)
    return at + 4, { pack8(0) .. pack8(r.life) .. '\0' .. place(0, 0, 0) .. NO_GAP }
  end
  local found = g and true or others().find_group(take)
  if found == nil then
    return at + 4, { 'full' }
  end
  local told = 0
  if found then
    if not is_paused() and g.returning == 0 then
      settling = fill(take) or settling
    end
    store_hand_overs(take)
  end
  if take.parks and room(take) > 0 and not settling then
    told = park(take, g and is_limited(take))
  end
  -- Given as a duration: the callers' clocks may be off.
  local head = pack8(told > 0 and math.max(told - now, 1) or 0) .. pack8(r.life)
  if g then
    head = head .. '\1' .. place(g.life, g.at, g.ordinal)
  elseif take.life then
    head = head .. '\1' .. place(take.life, take.at, take.ordinal)
  else
    head = head .. '\0' .. place(0, 0, 0)
  end
  table.insert(take.out, 1, head .. take.gap)
  -- What is remembered of the take. It is a named field, so the reply does not contain it.
  take.out.receipts = table.concat(take.receipts)
  return at + 4, take.out
end
