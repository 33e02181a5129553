-- part: the answer to a numbered request, remembered until its sender's next one, in case the reply is lost.
-- Returns the remembered answer, an error reply if a later request was already answered, or nothing for a new request.
local function remembered(key, trip)
  local memory = redis.call('GET', key)
  if not memory then
    return nil
  end
  local last = unpack8(memory)
  if last == trip then
    return cmsgpack.unpack(memory:sub(9))
  end
  if last > trip then
    return redis.error_reply('LATE a later trip of this sender was answered')
  end
end

local function remember(key, trip, answer)
  redis.call('SET', key, pack8(trip) .. cmsgpack.pack(answer), 'PX', pinned and HOUR or 120000)
end
