-- part: ends a step as `live_until` and `keep` in record.lua do. `forgotten`: until when what this step wrote is
-- needed; `made`: the keys that this step may have created; `rest`: the latest deadline of all that is not unfinished.
      if forgotten and lives_until ~= -1 and forgotten > lives_until then
        lives_until = forgotten
      end
      if lives_until == -1 and unfinished == 0 then
        lives_until = rest > now and rest or now
      end
      local ends = limits and -1 or lives_until
      if applied == -1 and ends ~= -1 and ends < now then
        lives_until, ends = now, now
      end
      local left = text('%d', (ends > now and ends - now or 0) + 4200000)
      if applied == 0 or (ends ~= applied and (ends == -1 or applied == -1 or ends > applied + 600000)) then
        applied = ends
        for i = 1, OBJECT_KEYS - 1 do
          if ends == -1 then
            call('PERSIST', KEYS[i])
          else
            call('PEXPIRE', KEYS[i], left)
          end
        end
      elseif ends ~= -1 then
        left = text('%d', (applied + 600000 > now and applied + 600000 - now or 0) + 3600000)
        for i = 1, #made do
          call('PEXPIRE', made[i], left)
        end
      end
