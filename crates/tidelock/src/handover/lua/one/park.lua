-- part: parks the process, as `park` in parking.lua does. `keeps`: whether it is the keeper, which is then told the
-- next deadline.
      local KEEPS, keeps = 4000000000000000, false
      if parks then
        call('ZREM', PARKED, process)
        call('ZREMRANGEBYSCORE', PARKED, '-inf', text('%d', now))
        local keeper = call('ZRANGE', PARKED, '-1', '-1', 'WITHSCORES')
        local score = tonumber(keeper[2] or '0')
        keeps = score - KEEPS <= now
        if score > KEEPS and keeps then
          call('ZREM', PARKED, keeper[1])
        end
        call('ZADD', PARKED, text('%d', now + 10000 + (keeps and KEEPS or 0)), process)
        call('PEXPIRE', PARKED, pinned and '3600000' or '20000')
      end
