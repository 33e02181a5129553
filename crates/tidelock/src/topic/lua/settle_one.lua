-- part: settles deliveries one by one, and answers a repeated trip. A mirror of topic/model/settle.rs.

-- Whether a stored event is in flight under this fence, now.
local function is_held(value, id, fence)
  if not value or value:byte(1) ~= 108 or value:sub(3, 10) ~= fence then
    return false
  end
  -- Lapsed leases have already been carried out, unless there were more than one step handles.
  return not settling or tonumber(redis.call('ZSCORE', LEASED, id .. fence)) > now
end

-- Acknowledges by checking each stored event. Returns y or s for each.
local function ack(ids, fences)
  local values, results, gone, leases, keyed, seen = load_values(OPEN, ids), {}, {}, {}, {}, {}
  for i = 1, #ids do
    if not seen[ids[i]] and is_held(values[i], ids[i], fences[i]) then
      seen[ids[i]] = true
      results[i] = 'y'
      gone[#gone + 1], leases[#leases + 1] = ids[i], ids[i] .. fences[i]
      local flags = values[i]:byte(2)
      if flags % 2 == 1 then
        g.copies = g.copies - 1
        redis.call('ZREM', COPIES, ids[i])
      end
      if flags >= 2 then
        keyed[#keyed + 1] = parse(values[i])
      end
    else
      results[i] = 's'
    end
  end
  if #gone > 0 then
    call_in_parts('HDEL', OPEN, gone)
    call_in_parts('ZREM', LEASED, leases)
    g.leased = g.leased - #gone
  end
  for i = 1, #keyed do
    free_key(keyed[i])
  end
  return table.concat(results)
end

-- ARGV[at]: lease in ms, receipts. Returns y or s for each.
local function op_touch(at)
  local lease_end = now + tonumber(ARGV[at])
  local ids, fences = split(ARGV[at + 1])
  local values, results, leases = load_values(OPEN, ids), {}, {}
  local end_text = text(lease_end)
  for i = 1, #ids do
    if is_held(values[i], ids[i], fences[i]) then
      results[i] = 'y'
      leases[#leases + 1], leases[#leases + 2] = end_text, ids[i] .. fences[i]
    else
      results[i] = 's'
    end
  end
  if #leases > 0 then
    call_in_parts('ZADD', LEASED, leases)
    delivery_deadline(lease_end)
  end
  return at + 2, table.concat(results)
end

-- ARGV[at]: receipt, action (n nack, g give back, or the reason of a dead letter), delay in ms, flags, note, error.
-- Flags: 1 if a note, 2 if an error is given. Returns y, s, x (dead), or q with the due time.
local function op_return(at)
  local id, fence = ARGV[at]:sub(1, 8), ARGV[at]:sub(9, 16)
  local action, delay, flags = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local value = redis.call('HGET', OPEN, id)
  if not is_held(value, id, fence) then
    return at + 6, 's' .. pack8(0)
  end
  local e = parse(value)
  local max_deliveries = e.number
  if flags % 2 == 1 then
    e.note = ARGV[at + 4]
  end
  if flags >= 2 then
    e.failure = ARGV[at + 5]
  end
  remove(e)
  if action == 'n' then
    local due = returned(e, now, delay, max_deliveries)
    return at + 6, due and 'q' .. pack8(due) or 'x' .. pack8(0)
  end
  if action == 'g' then
    e.attempts = e.attempts - 1
    returned(e, now, 0, 0)
  else
    bury(e, action, now)
  end
  return at + 6, 'y' .. pack8(0)
end

-- A settle for a group that does not exist. Returns s for each.
local function op_stale(name, at)
  if name == 'back' then
    return at + 6, 's' .. pack8(0)
  end
  local receipts = ARGV[name == 'ack' and at or at + 1]
  return name == 'ack' and at + 1 or at + 2, string.rep('s', #receipts / 16)
end

-- Rebuilds the reply of a repeated take. What the take reported about the group is remembered as it was; of events,
-- only ids and fences are: the events are still stored. Events that are no longer held are left out, as their settles
-- would be stale.
local HEAD_SIZE = 8 + 8 + 1 + 24 + 57
local function taken_again(receipts)
  if receipts == 'tfull' then
    return { 'full' }
  end
  local ids, fences = split(receipts:sub(HEAD_SIZE + 2))
  local values, out = load_values(OPEN, ids), { receipts:sub(2, HEAD_SIZE + 1) }
  -- Nothing overdue was carried out before this, so leases are judged by their end.
  settling = true
  for i = 1, #ids do
    if is_held(values[i], ids[i], fences[i]) then
      out[#out + 1] = values[i]
    end
  end
  return out
end
