-- part: answers, and remembers the answer, as `receipts_of` and `remember` do.
      if takes then
        local after = '\0\0\0\0\0\0\0\0'
        if keeps then
          told, soonest = next_deadline, nil
          after = pack('>I8', told > 0 and (told - now > 1 and told - now or 1) or 0)
        end
        taken[1] = after
        reply[#reply + 1], answers[#answers + 1] = taken, 't' .. after .. table.concat(taken_receipts)
      end
      call('SET', KEYS[13], pack('>I8', number) .. cmsgpack.pack(answers), 'PX', pinned and '3600000' or '120000')
