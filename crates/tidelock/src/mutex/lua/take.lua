-- part: remembers a release: the last one in the record, those before it in a key of their own. And the fast path:
--       nobody has the resource or waits for it, or its holder releases it and nobody waits. Needs one.lua and
--       record.lua.
  local releases = what == RELEASE and state == HELD and now < deadline and token == asked and fence == number
  if releases then
    if freed > 0 then
      redis.call('SETRANGE', RELEASED, turn * 8, struct.pack('>I8', freed))
      redis.call('PEXPIRE', RELEASED, '3600000')
      turn = (turn + 1) % EARLIER
    end
    freed = fence
  end

  if waiting == 0 and what ~= RELEASE and token ~= asked and (state == FREE or now >= deadline) then
    local name = string.sub(request, rest)
    fence = fence < now_us and now_us or fence + 1
    local record = struct.pack(RECORD, HELD, fence, now + number, 0, 0, asked, freed, turn, 0, 0, '', #name, name)
    redis.call('SET', LOCK, '\1' .. record, 'PX', number + KEEP)
    return struct.pack('>BI8I8', 1, fence, number)
  end
  if waiting == 0 and releases then
    local record = struct.pack(RECORD, FREE, fence, deadline, 0, 0, asked, freed, turn, 0, 0, '', 0, '')
    redis.call('SET', LOCK, '\1' .. record, 'PX', '3600000')
    return '\1'
  end
