-- part: stores sent messages, removes acknowledged ones and leases taken ones, as `push_line`, `op_ack`, `take_line`
-- and `store_leases` do.
    if plain then
      if sends > 0 then
        standing = now > standing and now or standing
        local over = age_sent == -1 and 0 or standing + age_sent
        local times, results, elements = pack('>I8I8', standing, over), {}, {}
        if length == 0 then
          age, line_expiry, made[1] = age_sent, over, KEYS[2]
        end
        for i = 1, sends do
          last_id = last_id < now_us and now_us or last_id + 1
          local id, body = pack('>I8', last_id), ARGV[7 + i]
          local retention = unpack_bytes('>I8', body)
          if over == 0 or retention == 0 then
            endless = endless + 1
          else
            forgotten = forgotten and forgotten > over + retention and forgotten or over + retention
          end
          results[i], elements[i] = 'N' .. id, id .. times .. body
        end
        call('RPUSH', KEYS[2], unpack(elements))
        accepted, ready = accepted + sends, ready + sends
        expiry = over > 0 and over or nil
        answers[1] = table.concat(results)
        reply[3] = answers[1]
      end
      if acks then
        call('HDEL', KEYS[3], unpack(ids))
        leased, settled, endless = leased - ending, settled + ending, endless - endless_acks
        answers[#answers + 1] = string.rep('y', ending)
        reply[#reply + 1] = answers[#answers]
      end
      local taken, taken_receipts = { '' }, {}
      if got > 0 then
        local max_deliveries, consumer = tonumber(ARGV[take_at + 3]), ARGV[take_at + 5]
        soonest = now + tonumber(ARGV[take_at + 2])
        local no_key, first = '\0\0\0\0\0\0\0\0', '\0\0\0\0\0\1'
        local state = pack('>I8c1I2I2I2', max_deliveries, ARGV[take_at + 4], #consumer, 0, 0) .. consumer
        local values, new_leases, lease_end = {}, {}, text('%d', soonest)
        while #taken <= got do
          local elements = call('LPOP', KEYS[2], text('%d', got + 1 - #taken))
          if not elements then
            break
          end
          for i = 1, #elements do
            local element = elements[i]
            -- A removed message leaves 16 bytes.
            if #element > 16 then
              last_fence = last_fence < now_us and now_us or last_fence + 1
              local id, fence, retention = sub(element, 1, 8), pack('>I8', last_fence), unpack_bytes('>I8', element, 25)
              local order = join > 0 and sub(element, 33, 34) ~= '\0\0' and id or no_key
              local value = 'l\0' .. sub(element, 9, 16) .. fence .. first .. order .. state .. element
              local receipt, count = id .. fence, #taken
              values[2 * count - 1], values[2 * count] = id, value
              new_leases[2 * count - 1], new_leases[2 * count] = lease_end, receipt
              taken[count + 1], taken_receipts[count] = value, receipt
              forgotten = forgotten and forgotten > soonest + retention and forgotten or soonest + retention
            end
          end
        end
        -- There are fewer than counted if the line was evicted.
        got = #taken - 1
        if got > 0 then
          call('HSET', KEYS[3], unpack(values))
          call('ZADD', KEYS[7], unpack(new_leases))
        end
        if leased + blocked + delayed + dead == 0 then
          made[#made + 1] = KEYS[3]
        end
        if room and got > 0 then
          window_ends = used > 0 and window_ends or math.max(now, window_ends) + per
          used, room = used + got, room - got
        end
        ready, leased = ready - got, leased + got
        expiry = expiry and expiry < soonest and expiry or soonest
      end
      if expiry and (next_deadline == 0 or expiry < next_deadline) then
        next_deadline = expiry
      end
      -- While something has no end the keys stay. The latest end of everything else is kept for when that is gone.
      local latest
      if endless + dead_endless > 0 then
        latest = forgotten and forgotten > lives_until and forgotten or lives_until
        lives_until = -1
      end
      local unfinished = ready + blocked + delayed + leased + dead
      local free = limits and math.max(math.min(ready, room or ready, held > 0 and held - leased or ready), 0)
