-- part: what is acknowledged is looked at, as `is_held` does, and whether what is taken comes from the line alone, as
-- `op_take` and `take_line` do.
    local ids, want, got = {}, 0, 0
    if plain and acks then
      local receipts = ARGV[at + 1]
      for from = 1, #receipts, 16 do
        ids[#ids + 1] = sub(receipts, from, from + 7)
      end
      local values, seen = call('HMGET', KEYS[3], unpack(ids)), {}
      for i = 1, #ids do
        local value = values[i]
        -- Leased under this fence, and without a place in a line: the order of joining is 0.
        plain = plain and not seen[ids[i]] and value and sub(value, 1, 1) == 'l'
          and sub(value, 11, 18) == sub(receipts, 16 * i - 7, 16 * i) and sub(value, 25, 32) == '\0\0\0\0\0\0\0\0'
        seen[ids[i]] = true
      end
    end
    if plain and takes then
      want = tonumber(ARGV[take_at + 1])
      got = want < ready and want or ready
      parks = ARGV[take_at + 6] == '1' and got < want
      plain = want <= 64 and (got == 0 or (call('ZCARD', KEYS[4]) == 0 and got * (widest + 24) <= 16777216
        and (leased > #ids or call('EXISTS', KEYS[7]) == 1)))
    end
