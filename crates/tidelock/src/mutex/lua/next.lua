-- part: the answer of a step that may have chosen the next holder. Needs queue.lua.

-- Appends the waiter that this step chose: one of the same process, which learns of it only from this reply, or one
-- of another process.
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
