-- part: what was judged is written.
    if plain then
      local made = {}
      if submits then
        call('RPUSH', KEYS[2], pack('>I8', standing) .. id)
        call('HSET', KEYS[3], id, state)
        call('HSET', KEYS[4], id, input)
        made[1], line = line == 0 and KEYS[2] or nil, line + 1
      end
      if ends then
        if starts then
          call('HSET', KEYS[3], ended, ended_state, id, state)
        else
          call('HSET', KEYS[3], ended, ended_state)
        end
        call('HSET', KEYS[5], 'r' .. ended, ARGV[at + 2])
        call('ZREM', KEYS[9], ended)
        call('ZADD', KEYS[12], text('%d', now), ended)
        call('ZADD', KEYS[11], text('%d', kept_until), ended)
        made[1] = KEYS[12]
      elseif starts then
        call('HSET', KEYS[3], id, state)
      end
      if starts then
        call('LPOP', KEYS[2])
        call('ZADD', KEYS[9], text('%d', soonest), id)
      end
      if expiry and (next_deadline == 0 or expiry < next_deadline) then
        next_deadline = expiry
      end
      local unfinished = ready + blocked + delayed + running
