-- part: how each step begins.
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

-- Operations of a trip, by name. The parts that have some make them when the first is asked for: to make functions is a
-- good part of what a trip costs.
local OPERATIONS = {}
