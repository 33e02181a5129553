-- part: reads the log on from a place. A mirror of topic/model/log.rs.

-- Where reading continues after a position: the ordinal of the next retained event; whether there is a gap before it;
-- and how many events were missed, -1 if unknown. Nothing: there is no such event yet, and so no gap. `sure`: the
-- position is known to be that of an event of this log.
local function after(life, at, ordinal, sure)
  local first = first_retained()
  if first > r.ordinal then
    return nil
  end
  local same_life = life == r.life or life == 0
  if life == 0 then
    ordinal = 0
  end
  local start
  if same_life and ordinal < first then
    start = first
  elseif same_life and ordinal <= r.ordinal and (sure or unpack8(element_of(ordinal)) == at) then
    start = ordinal + 1
  else
    start = first_not(first, function(position) return position <= at end)
  end
  if start > r.ordinal then
    return nil
  end
  local missed = same_life and start > ordinal and start - ordinal - 1 or -1
  return start, missed ~= 0, missed
end

-- The value for no gap, as long as a gap (see begin.lua).
local NO_GAP = string.rep('\0', 57)

-- How many elements may be fetched at once for a reply of at most `bytes`.
local function at_once(wanted, bytes)
  return math.max(1, math.min(wanted, 200, math.floor(bytes / math.max(r.widest, 1))))
end
