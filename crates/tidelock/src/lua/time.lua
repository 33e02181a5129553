-- part: the time of this step. ARGV[1] is the pinned time in ms, or empty to use the server's clock.
local now_us, now
if ARGV[1] == '' then
  local t = redis.call('TIME')
  now_us = t[1] * 1000000 + t[2]
  now = math.floor(now_us / 1000)
else
  now = tonumber(ARGV[1])
  now_us = now * 1000
end
local pinned = ARGV[1] ~= ''
