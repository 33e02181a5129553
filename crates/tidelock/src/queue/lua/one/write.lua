-- part: the acknowledged ones go, and those that are taken are leased, as `op_ack`, `take_line` and `store_leases` do.
    if plain then
      if acks then
        call('HDEL', KEYS[3], unpack(ids))
        call('ZREM', KEYS[7], unpack(ids))
        leased, settled = leased - #ids, settled + #ids
        answers[1] = string.rep('y', #ids)
        reply[3] = answers[1]
      end
      local taken, receipts = { '' }, ''
      if got > 0 then
        local max_deliveries, consumer = tonumber(ARGV[take_at + 3]), ARGV[take_at + 5]
        soonest = now + tonumber(ARGV[take_at + 2])
        local state = pack('>I6I8I8c1I2I2I2', 1, 0, max_deliveries, ARGV[take_at + 4], #consumer, 0, 0) .. consumer
        local values, leases, lease_end = {}, {}, text('%d', soonest)
        while #taken <= got do
          local elements = call('LPOP', KEYS[2], text('%d', got + 1 - #taken))
          for i = 1, #elements do
            local element = elements[i]
            -- 16 bytes are what is left of a message that was removed.
            if #element > 16 then
              last_fence = last_fence < now_us and now_us or last_fence + 1
              local id, fence, retention = sub(element, 1, 8), pack('>I8', last_fence), unpack_bytes('>I8', element, 25)
              local value, pairs_before = 'l\0' .. sub(element, 9, 16) .. fence .. state .. element, #values
              values[pairs_before + 1], values[pairs_before + 2] = id, value
              leases[pairs_before + 1], leases[pairs_before + 2] = lease_end, id
              taken[#taken + 1] = value
              receipts = receipts .. id .. fence
              forgotten = forgotten and forgotten > soonest + retention and forgotten or soonest + retention
            end
          end
        end
        call('HSET', KEYS[3], unpack(values))
        call('ZADD', KEYS[7], unpack(leases))
        ready, leased, expiry, made = ready - got, leased + got, soonest, KEYS[3]
      end
      if expiry and (next_deadline == 0 or expiry < next_deadline) then
        next_deadline = expiry
      end
      local unfinished = ready + blocked + delayed + leased + dead
