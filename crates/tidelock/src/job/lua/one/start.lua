-- part: starts the job at the head of the line, as `claim_line` and `start_of` do.
    if plain and starts then
      local worker, rules = ARGV[claim_at + 2], unpack_bytes('>I4', state, 78)
      local lease, _, _, max_wait, retention = unpack_bytes('>I6I6I6I6I6', state, 94)
      last_fence = last_fence < now_us and now_us or last_fence + 1
      fence, soonest, input = pack('>I8', last_fence), now + lease, call('HGET', KEYS[4], id)
      state = 'g' .. sub(state, 2, 21) .. fence .. now_bytes .. pack('>I6I4', lease, 1) .. sub(state, 46, 69)
        .. pack('>I4I4I4I2I2', 2, 0, rules, #worker, #process) .. sub(state, 86, 85 + rules) .. worker .. process
        .. sub(state, 86 + rules) .. 'r' .. now_bytes .. '\0\0\0\1' .. fence .. pack('>I2', #worker) .. worker
      if room then
        window_ends = used > 0 and window_ends or math.max(now, window_ends) + per
        used, room = used + 1, room - 1
      end
      running, ready, in_line, line = running + 1, ready - 1, in_line - 1, line - 1
      expiry = expiry and expiry < soonest and expiry or soonest
      if max_wait > 0 then
        local over = soonest + max_wait + retention
        forgotten = forgotten and forgotten > over and forgotten or over
      else
        lives_until = -1
      end
    end
