-- part: release outside the fast path: ends a grant and gives the resource to the next waiter. Needs one.lua and
--       lock.lua, which handles the other requests.
  -- No grant has fence 0; a release with fence 0 matches nothing.
  local released = releases or (number > 0 and freed == number)
  if releases then
    next_holder(here)
    token = state == FREE and asked or token
  elseif number > 0 and not released then
    local remembered, sought = redis.call('GET', RELEASED) or '', struct.pack('>I8', number)
    for at = 1, #remembered, 8 do
      released = released or string.sub(remembered, at, at + 7) == sought
    end
  end
  if changed then
    write()
  end
  return (released and '\1' or '\0') .. chosen()
