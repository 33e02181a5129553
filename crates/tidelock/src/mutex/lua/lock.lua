-- part: lock outside the fast path: takes the resource if it is free or offered to this token; else joins the queue or
--       returns the lease left and the number of waiters. Needs one.lua and queue.lua.
  settle(here)

  -- The waiter that this step chose: one of the same process, which learns of it only from this reply, or one of
  -- another process.
  local function chosen()
    return handed and struct.pack('>c16I8I8', handed[1], handed[2], handed[3]) or (offered and '\1' or '')
  end

  if what ~= RELEASE then
    local lease, name = number, string.sub(request, rest)
    if state == FREE and token == asked then
      -- The token released or left already: this request is late.
      return struct.pack('>BI8I8', 0, 0, 0)
    end
    if state == FREE then
      draw_fence()
      state, token, owner, deadline = HELD, asked, name, now + lease
      write()
      return struct.pack('>BI8I8', 1, fence, lease)
    end
    if token == asked then
      if state == OFFERED then
        state, process, owner, deadline, changed = HELD, '', name, now + lease, true
      end
      if changed then
        write()
      end
      return struct.pack('>BI8I8', 1, fence, left())
    end
    if what == TRY then
      if changed then
        write()
      end
      return struct.pack('>BI8I8', 0, left(), waiting) .. chosen()
    end

    local member = struct.pack(WAITER, asked, lease, #here, here, #name, name)
    local place = waiting
    if waiting >= 10000 and not redis.call('ZSCORE', QUEUE, member) then
      if changed then
        write()
      end
      return struct.pack('>BI8', 3, waiting) .. chosen()
    end
    if redis.call('ZADD', QUEUE, 'NX', places + 1, member) == 1 then
      places, waiting = places + 1, waiting + 1
    else
      place = redis.call('ZRANK', QUEUE, member) - redis.call('ZCOUNT', QUEUE, '-inf', '0')
    end
    keep_alive(here)
    write()
    return struct.pack('>BI8I8I8', 2, place, left(), waiting) .. chosen()
  end
