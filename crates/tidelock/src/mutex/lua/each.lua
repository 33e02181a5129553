-- part: ends what one.lua begins: carries out the requests.
end

local replies, count = {}, #KEYS / 3
for at = 1, count do
  local done, reply = pcall(step, KEYS[at], KEYS[count + at], KEYS[2 * count + at], ARGV[at + 2])
  if not done then
    -- An error comes as a table from newer servers.
    local text = type(reply) == 'table' and reply.err or reply
    -- It is no primary any more: nothing was written, and what was read here counts no longer.
    local code = string.find(text, 'READONLY', 1, true)
    if code then
      return redis.error_reply(string.sub(text, code))
    end
    reply = text
  end
  -- What record.lua refuses is a table, too.
  replies[at] = type(reply) == 'table' and reply.err or reply
end
return replies
