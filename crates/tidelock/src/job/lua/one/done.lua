-- part: ends the fast path that one/begin.lua begins.
      if limits then
        call('HSET', KEYS[1], 'limits', pack('>I8I8I8I8I8', rate, per, window_ends, used, held))
      end
      call('HSET', KEYS[1], 'numbers', pack(NUMBERS, last_id, last_fence, join, standing, ready, in_line, line, blocked,
        delayed, running, paused, age, widest, line_expiry, steady, told, next_deadline, lives_until, rest, applied,
        swept, submitted, completed, failed, cancelled, timed_out, retries, crashes, stale))
      return { 0, text('%d', next_deadline), answer or claimed, answer and claimed or nil }
    end
  end
end
