-- part: the beginning of each step.
local function begin()
  local due = r.next > 0 and now >= r.next
  if due then
    forget_some(KEY_ENDS, BOUND)
    forget_some(SERIES_ENDS, SERIES)
  end
  advance()
  if due then
    for _, ends in ipairs({ KEY_ENDS, SERIES_ENDS }) do
      local _, first = first_in(ends)
      if first then
        deadline(tonumber(first))
      end
    end
  end
end
