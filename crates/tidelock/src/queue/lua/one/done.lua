-- part: ends the fast path that one/begin.lua begins.
      if limits then
        call('HSET', KEYS[1], 'limits', pack('>I8I8I8I8I8', rate, per, window_ends, used, held))
      end
      call('HSET', KEYS[1], 'numbers', pack(NUMBERS, last_id, last_fence, join, standing, ready, blocked, delayed,
        leased, dead, accepted, settled, paused, age, widest, line_expiry, told, next_deadline, latest or lives_until,
        rest, applied, swept, endless, dead_endless))
      reply[2] = text('%d', next_deadline)
      return reply
    end
  end
end
