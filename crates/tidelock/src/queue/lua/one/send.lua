-- part: a plain message is sent, as `op_plain` and `push_line` do.
    if plain and sends then
      local max_age, limit, body = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[last]
      local length = call('LLEN', KEYS[2])
      plain = (limit == 0 or ready + blocked + delayed < limit) and (length == 0 or age == max_age)
      if plain then
        standing = now > standing and now or standing
        last_id = last_id < now_us and now_us or last_id + 1
        local id, retention = pack('>I8', last_id), unpack_bytes('>I8', body)
        local over = max_age == -1 and 0 or standing + max_age
        if length == 0 then
          age, line_expiry, widest, made = max_age, over, 0, KEYS[2]
        end
        widest = #body > widest and #body or widest
        accepted, ready = accepted + 1, ready + 1
        expiry = over > 0 and over or nil
        if over == 0 or retention == 0 then
          lives_until = -1
        else
          forgotten = over + retention
        end
        call('RPUSH', KEYS[2], id .. pack('>I8I8', standing, over) .. body)
        answers[1] = 'N' .. id
        reply[3] = answers[1]
      end
    end
