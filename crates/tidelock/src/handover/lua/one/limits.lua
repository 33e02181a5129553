-- part: the limits, as in record.lua. `room`: how many may be handed out in the window under way, nil without a limit of
-- the rate. A trip that uses a window up does not qualify.
    local rate, per, window_ends, used, held, room
    if limits then
      rate, per, window_ends, used, held = unpack_bytes('>I8I8I8I8I8', limits)
      used = now < window_ends and used or 0
      window_ends = window_ends > now + 2 * per and now + per or window_ends
      room = rate > 0 and math.max(rate - used, 0) or nil
    end
