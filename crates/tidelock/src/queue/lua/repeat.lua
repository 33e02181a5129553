-- part: the answer of a trip, remembered until the sender's next one, in case its reply is lost.

-- For a take, only ids and fences are remembered; the messages are still stored.
local function receipts_of(taken)
  local receipts = { 't', taken[1] }
  for i = 2, #taken do
    local value = taken[i]
    local element = element_at(value)
    receipts[#receipts + 1] = value:sub(element, element + 7) .. value:sub(11, 18)
  end
  return table.concat(receipts)
end

-- Messages that are no longer held are left out; their settle would be stale.
local function taken_again(receipts)
  local ids, fences = split(receipts:sub(10))
  local values, out = load_values(MESSAGES, ids), { receipts:sub(2, 9) }
  -- Nothing overdue was carried out before this, so leases are judged by their end.
  settling = true
  for i = 1, #ids do
    if is_held(values[i], ids[i], fences[i]) then
      out[#out + 1] = values[i]
    end
  end
  return out
end

-- Whether the trip parked its sender is not remembered. The answer says no, so that its waiters take again.
local function repeat_answer(answers)
  local reply = { 2, number_text(r.next) }
  for i = 1, #answers do
    reply[i + 2] = answers[i]:byte(1) == 116 and taken_again(answers[i]) or answers[i]
  end
  return reply
end
