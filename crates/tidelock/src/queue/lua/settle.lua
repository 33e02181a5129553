-- part: settling.

-- Whether a stored value is leased under this fence, now.
local function is_held(value, id, fence)
  if not value or value:byte(1) ~= 108 or value:sub(11, 18) ~= fence then
    return false
  end
  -- Lapsed leases were carried out before this, unless there were more than one step carries out.
  return not settling or tonumber(redis.call('ZSCORE', LEASED, id .. fence)) > now
end

-- ARGV[at]: receipts, 16 bytes each: id and fence. Returns y or s for each.
local function op_ack(at)
  local ids, fences = split(ARGV[at])
  -- If all unfinished messages have an end, or none has, `endless` can be updated without reading what goes.
  local all_endless = r.endless > 0 and r.endless == r.ready + r.blocked + r.delayed + r.leased
  local alike = r.endless == 0 or all_endless
  if alike and not settling and redis.call('EXISTS', LINES) == 0 and end_at_once(LEASED, MESSAGES, ids, fences) then
    r.leased = r.leased - #ids
    r.settled = r.settled + #ids
    r.endless = r.endless - (all_endless and #ids or 0)
    return at + 1, string.rep('y', #ids)
  end
  local values, results, gone, leases, keyed = load_values(MESSAGES, ids), {}, {}, {}, {}
  local seen = {}
  for i = 1, #ids do
    if not seen[ids[i]] and is_held(values[i], ids[i], fences[i]) then
      seen[ids[i]] = true
      results[i] = 'y'
      gone[#gone + 1], leases[#leases + 1] = ids[i], ids[i] .. fences[i]
      if all_endless or (not alike and is_endless(parse(values[i]))) then
        r.endless = r.endless - 1
      end
      local join = unpack8(values[i], 25)
      -- Without an ordering key it is 0, unless the message went to the back.
      local key = join > 0 and key_at(values[i], element_at(values[i]) + 32)
      if key then
        keyed[key] = lines.member(key, join, ids[i])
      end
    else
      results[i] = 's'
    end
  end
  if #gone > 0 then
    call_in_parts('HDEL', MESSAGES, gone)
    call_in_parts('ZREM', LEASED, leases)
    r.leased = r.leased - #gone
    r.settled = r.settled + #gone
  end
  leave_lines(keyed)
  return at + 1, table.concat(results)
end

-- ARGV[at]: lease in ms, receipts. Returns y or s for each.
local function op_touch(at)
  local lease_end = now + tonumber(ARGV[at])
  local ids, fences = split(ARGV[at + 1])
  local values, results, leases = load_values(MESSAGES, ids), {}, {}
  local end_text = string.format('%.0f', lease_end)
  for i = 1, #ids do
    if is_held(values[i], ids[i], fences[i]) then
      results[i] = 'y'
      leases[#leases + 1], leases[#leases + 2] = end_text, ids[i] .. fences[i]
      local m = parse(values[i])
      if m.retention > 0 then
        live_until(lease_end + m.retention)
      end
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
  local value = redis.call('HGET', MESSAGES, id)
  if not is_held(value, id, fence) then
    return at + 6, 's' .. pack8(0)
  end
  local m = parse(value)
  local max_deliveries, place = m.number, m.tag
  if flags % 2 == 1 then
    m.note = ARGV[at + 4]
  end
  if flags >= 2 then
    m.failure = ARGV[at + 5]
  end
  leave_state(m)
  if action == 'n' then
    local due = returned(m, now, delay, max_deliveries, place)
    return at + 6, due and 'q' .. pack8(due) or 'x' .. pack8(0)
  end
  if action == 'g' then
    m.attempts = m.attempts - 1
    returned(m, now, 0, 0, 'o')
  else
    bury(m, action, now)
  end
  return at + 6, 'y' .. pack8(0)
end
