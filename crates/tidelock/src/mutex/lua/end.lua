-- part: the plain case of release, in which it is held and nobody waits.
-- KEYS[1]  prefix:{tag}:lock: the record
-- ARGV[2]  token, 16 bytes
-- ARGV[3]  fence
if waiting == 0 and state == HELD and now < deadline and token == ARGV[2] and fence == tonumber(ARGV[3]) then
  if #releases >= 512 then
    releases = string.sub(releases, -504)
  end
  local record = '\1' .. struct.pack(RECORD, FREE, fence, deadline, 0, 0, NOBODY, 0, '', 0, '') .. releases
  redis.call('SET', KEYS[1], record .. struct.pack('>I8', fence), 'PX', '3600000')
  return { 1 }
end
