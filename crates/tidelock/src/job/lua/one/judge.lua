-- part: judges what a claim wants, then reads the run that ends and the job that starts with one command, and judges
-- them as `complete`, `end_of` and `start_of` in plain.lua do. The offsets are those of STATE and RULES in layout.lua.
    if claims then
      local want = tonumber(ARGV[claim_at + 1])
      starts = want > 0 and ready > 0
      parks = ARGV[claim_at + 3] == '1' and ready < want
      plain = plain and want > 0 and (want <= 1 or ready <= 1) and (not room or room > 1)
        and (not limits or held == 0 or running - (ends and 1 or 0) < held)
    end
    if plain and not submits then
      local value
      if starts then
        -- Only read here, and taken once everything is judged: a job that is not plain stays in the line.
        local head = ready == in_line and call('LINDEX', KEYS[2], '0')
        plain = head and true
        id = head and sub(head, 9)
      end
      ended = ends and sub(ARGV[at + 1], 1, 8)
      if plain and ends and starts then
        local values = call('HMGET', KEYS[3], ended, id)
        value, state = values[1], values[2]
      elseif plain and ends then
        value = call('HGET', KEYS[3], ended)
      elseif plain and starts then
        state = call('HGET', KEYS[3], id)
      end
      if plain and starts then
        -- Ready, without flags and series.
        plain = state and sub(state, 1, 1) == 'p' and sub(state, 3, 3) == '\0' and sub(state, 136, 137) == '\0\0'
      end
      if plain and ends then
        -- Running under this fence, without flags, memos, key, line and series.
        plain = value and sub(value, 1, 1) == 'g' and sub(value, 3, 3) == '\0'
          and sub(value, 22, 29) == sub(ARGV[at + 1], 9) and sub(value, 64, 65) == '\0\0'
          and sub(value, 124, 124) == '-' and sub(value, 132, 133) == '\0\0'
          and sub(value, 136, 137) == '\0\0'
      end
      if plain and ends then
        local event, closed, rules, worker, note = unpack_bytes('>I4I4I4I2I2', value, 70)
        local size = 85 + rules + worker + note
        -- There may be so many events that one more does not make the tail too long.
        plain = #value <= size + 1024 - 7
        kept_until = now + unpack_bytes('>I6', value, 118)
        ended_state = 'C' .. sub(value, 2, 2) .. '\1' .. sub(value, 4, 35) .. now_bytes .. sub(value, 42, 69)
          .. pack('>I4I4I4I2I2', event + 1, closed, rules, worker, 0) .. sub(value, 86, size - note)
          .. sub(value, size + 1) .. 'c' .. now_bytes
        running, completed = running - 1, completed + 1
        rest = kept_until > rest and kept_until or rest
        expiry, forgotten = kept_until, kept_until
      end
    end
