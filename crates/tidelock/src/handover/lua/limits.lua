-- part: sets or removes the limits of an object. Needs record.lua.

-- Whoever keeps the next deadline has to hear when items may be handed out again.
function limits.announce()
  local opens = limits.opens()
  if opens > 0 then
    delivery_deadline(opens)
  end
end

-- ARGV[5]: how many items at most, 0: no limit; [6]: in how many ms. What was handed out in the window under way counts
-- towards the new limit. Returns whether this changed anything.
function limits.set_rate()
  local limit, per = tonumber(ARGV[5]), tonumber(ARGV[6])
  local changed = limit ~= limits.rate or per ~= limits.per
  limits.rate, limits.per = limit, per
  if limit == 0 then
    limits.used, limits.ends = 0, 0
  end
  limits.ends = math.min(limits.ends, now + per)
  limits.announce()
  return changed
end

-- ARGV[5]: how many items may be held at once, 0: no limit. Returns whether this changed anything.
function limits.set_held()
  local before = limits.held
  limits.held = tonumber(ARGV[5])
  return limits.held ~= before
end
