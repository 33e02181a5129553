-- part: sets or removes the limit of the rate. Needs record.lua.

-- ARGV[5]: how many items at most, 0: no limit; [6]: in how many ms. What was handed out in the window under way counts
-- towards the new limit. Returns whether this changed anything.
function rate.set()
  local limit, per = tonumber(ARGV[5]), tonumber(ARGV[6])
  local changed = limit ~= rate.limit or per ~= rate.per
  rate.limit, rate.per = limit, per
  if limit == 0 then
    rate.used, rate.ends = 0, 0
  end
  rate.ends = math.min(rate.ends, now + per)
  local opens = rate.opens()
  if opens > 0 then
    delivery_deadline(opens)
  end
  return changed
end
