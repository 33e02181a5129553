-- part: the plain case of lock, in which nobody has the resource or waits for it.
-- KEYS[1]  prefix:{tag}:lock: the record
-- ARGV[2]  token, 16 bytes
-- ARGV[4]  lease in ms
-- ARGV[5]  owner
if waiting == 0 and (state == FREE or now >= deadline) then
  local lease, name = tonumber(ARGV[4]), ARGV[5]
  fence = fence < now_us and now_us or fence + 1
  local record = '\1' .. struct.pack(RECORD, HELD, fence, now + lease, 0, 0, ARGV[2], 0, '', #name, name) .. releases
  redis.call('SET', KEYS[1], record, 'PX', lease + KEEP)
  return { 1, fence, lease }
end
