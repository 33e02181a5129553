-- part: judges whether the acknowledged messages have no ordering key, and whether all taken messages come from the
-- line, as `op_ack`, `op_take` and `take_line` do. Then it removes the leases. How many it removed shows whether all
-- were held, so the last judgement is also the first write.
    local ids, ending, want, got = {}, acks and #ARGV[ack_at + 1] / 16 or 0, 0, 0
    -- How many of the acknowledged messages have no end: all or none; otherwise they have to be read.
    local endless_acks = endless > 0 and ending or 0
    plain = plain and (not acks or ((endless == 0 or endless == ready + blocked + delayed + leased)
      and (join == 0 or call('EXISTS', KEYS[5]) == 0)))
    if plain and takes then
      want = tonumber(ARGV[take_at + 1])
      got = want < ready + sends and want or ready + sends
      if limits and held > 0 then
        got = math.max(math.min(got, held - leased + ending), 0)
      end
      parks = ARGV[take_at + 6] == '1' and got < want
      plain = want > 0 and want <= 1000 and (not room or got < room)
        and (got == 0 or (call('ZCARD', KEYS[4]) == 0 and got * (widest + 24) <= 16777216
          and (leased > ending or call('EXISTS', KEYS[7]) == 1)))
    end
    if plain and acks then
      local receipts, ended_leases = ARGV[ack_at + 1], {}
      for i = 1, ending do
        ids[i], ended_leases[i] = sub(receipts, 16 * i - 15, 16 * i - 8), sub(receipts, 16 * i - 15, 16 * i)
      end
      -- If fewer were removed, `op_ack` judges each by its stored value, and would have ended these leases itself.
      plain = call('ZREM', KEYS[7], unpack(ended_leases)) == ending
    end
