-- part: the answer of a trip, remembered until the sender's next one, in case its reply is lost.

-- Of a conflict, only the stamp is remembered. If the record has changed since, the conflict reports its current state.
local function conflict_again(answer, key)
  local m = records[key]
  if not is_live(m) or is_over(m) then
    return 'N'
  end
  return 'C' .. stamp(m) .. (redis.call('HGET', VALUES, key) or '')
end

local function repeat_answer(answers, keys)
  local reply = { next_deadline() }
  for i = 1, #answers do
    local answer = answers[i]
    reply[i + 1] = answer:byte(1) == 67 and conflict_again(answer, keys[i]) or answer
  end
  return reply
end
