-- part: answers, and remembers the answer as `remember` does: in the bytes in which cmsgpack writes one or two short
-- texts.
      local after = '\0\0\0\0\0\0\0\0'
      if keeps then
        -- Like `next_start`: the first of what is delayed or running.
        local due = call('ZRANGE', KEYS[8], '0', '0', 'WITHSCORES')[2] or 'inf'
        local lapse = call('ZRANGE', KEYS[9], '0', '0', 'WITHSCORES')[2] or 'inf'
        told = math.min(tonumber(due) or math.huge, tonumber(lapse) or math.huge)
        told = told < math.huge and told or 0
        after, soonest = pack('>I8', told > 0 and (told - now > 1 and told - now or 1) or 0), nil
      end
      local answer, claimed, remembered
      if submits then
        answer = id .. pack('>I8I8', count, ready + blocked + delayed)
        remembered = '\145\184' .. answer
      elseif claims then
        claimed = starts and { after, id, state, input } or { after }
        remembered = starts and '\185t' .. after .. id .. fence or '\169t' .. after
      end
      if ends then
        answer = 'e\0\0\0\0\0\0\0C'
        remembered = (claims and '\146\169' or '\145\169') .. answer .. (remembered or '')
      elseif claims then
        remembered = '\145' .. remembered
      end
      call('SET', KEYS[23], pack('>I8', number) .. remembered, 'PX', pinned and '3600000' or '120000')
