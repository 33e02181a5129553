-- part: ends the function that one.lua begins, and carries out the requests with it.
end

local replies, count = {}, #KEYS / 3
for at = 1, count do
  local done, reply = pcall(step, KEYS[at], KEYS[count + at], KEYS[2 * count + at], ARGV[at + 2])
  if not done then
    -- Newer servers raise an error as a table.
    local text = type(reply) == 'table' and reply.err or reply
    -- The server is no longer a primary. Nothing was written, and what was read here may be outdated.
    local code = string.find(text, 'READONLY', 1, true)
    if code then
      return redis.error_reply(string.sub(text, code))
    end
    reply = text
  end
  -- An error reply of record.lua is a table, too.
  replies[at] = type(reply) == 'table' and reply.err or reply
end
return replies
