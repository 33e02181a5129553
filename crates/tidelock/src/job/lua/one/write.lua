-- part: writes what was judged.
    if plain then
      local made = {}
      if submits then
        local place, elements, states, inputs = pack('>I8', standing), {}, {}, {}
        for i = 1, count do
          local each, content = i == 1 and id or pack('>I8', last_id + i - 1), ARGV[last - count + i]
          elements[i] = place .. each
          states[2 * i - 1], states[2 * i] = each, state
          inputs[2 * i - 1], inputs[2 * i] = each, content
          widest = #content > widest and #content or widest
        end
        call('RPUSH', KEYS[2], unpack(elements))
        call('HSET', KEYS[3], unpack(states))
        call('HSET', KEYS[4], unpack(inputs))
        last_id, made[1], line = last_id + count - 1, line == 0 and KEYS[2] or nil, line + count
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
      local free = limits and math.max(math.min(ready, room or ready, held > 0 and held - running or ready), 0)
