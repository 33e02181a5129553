-- part: the answer of a step that may have chosen who is next. Needs queue.lua.

-- Adds who was chosen by this step: a waiter of the same process, which hears of it by the reply alone, or one of another.
local function with_next(reply)
  if handed then
    reply[#reply + 1] = handed[1]
    reply[#reply + 1] = handed[2]
    reply[#reply + 1] = handed[3]
  elseif offered then
    reply[#reply + 1] = 1
  end
  return reply
end
