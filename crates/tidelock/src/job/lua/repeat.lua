-- part: the answer of a trip, in the form in which it is remembered.

-- A run that is over by now is left out, because its settle would be stale. Nothing overdue was carried out before
-- this.
local function claimed_again(receipts)
  local ids, fences = split(receipts:sub(10))
  local states, inputs, out = load_values(JOBS, ids), load_values(INPUTS, ids), { receipts:sub(2, 9) }
  for i = 1, #ids do
    local state = states[i]
    if state and state:byte(1) == 103 and state:sub(22, 29) == fences[i]
      and tonumber(redis.call('ZSCORE', RUNNING, ids[i])) > now then
      local at = #out
      out[at + 1], out[at + 2], out[at + 3] = ids[i], state, inputs[i]
    end
  end
  return out
end

local function repeat_answer(answers)
  local reply = { 0, '0' }
  for i = 1, #answers do
    reply[i + 2] = answers[i]:byte(1) == 116 and claimed_again(answers[i]) or answers[i]
  end
  return reply
end
