-- part: ends a step as `wake` in parking.lua does: wakes one parked process for each deliverable item, and the keeper
-- if this step added an earlier deadline. `free`: how many items the limits let through, nil without limits.
      local deliverable = free or ready
      while deliverable > 0 or (soonest and (told <= now or soonest < told)) do
        local popped = call(deliverable > 0 and 'ZPOPMIN' or 'ZPOPMAX', PARKED)
        if #popped == 0 then
          break
        end
        local waits = tonumber(popped[2]) % KEEPS > now
        if waits and call('PUBLISH', popped[1], string.match(KEYS[1], '{(.*)}')) > 0 then
          if deliverable == 0 then
            told = 0
            break
          end
          deliverable = deliverable - 1
        end
      end
