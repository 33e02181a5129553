-- part: submits plain jobs, as `submit_plain` and `new_state` do. All get the same state.
    if plain and submits then
      local rules, limit = ARGV[at + 2], tonumber(ARGV[at + 3])
      local max_wait, retention = unpack_bytes('>I6I6', rules, 27)
      plain = (limit == 0 or ready + blocked + delayed + count <= limit) and (line == 0 or (in_line > 0 and age == max_wait))
      if line == 0 then
        age, line_expiry, widest = max_wait, 0, 0
      end
      standing = now > standing and now or standing
      last_id = last_id < now_us and now_us or last_id + 1
      id = pack('>I8', last_id)
      -- Between its times and the number of its last event there are 48 zeros.
      state = 'p\0\0' .. pack('>I6I6I6', standing, standing, now)
        .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        .. pack('>I4I4I4I2I2', 1, 0, #rules, 0, 0) .. rules .. 's' .. now_bytes
      submitted, ready, in_line = submitted + count, ready + count, in_line + count
      if max_wait > 0 then
        expiry = standing + max_wait
        line_expiry = line_expiry == 0 and expiry or line_expiry
        forgotten = expiry + retention
      else
        lives_until = -1
      end
    end
