-- part: ends the functions that rest.lua begins.
  -- Writes what one operation of these parts left pending, before the next operation that reads the server's state.
  local function flush()
    write_back()
    jobs, dirty, fields = {}, {}, {}
  end

  return { begin = begin, flush = flush, write_set = write_set, batch = submit_batch, settle = settle,
    accept_each = accept_each, start_one = start_one, claim_merged = claim_merged, complete_one = complete_one,
    repeat_answer = repeat_answer, take = function(at) return groups().take(at) end,
    settle_events = function(at) return groups().settle_events(at) end }
end
