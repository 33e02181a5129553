-- part: ending the deliveries of a group. A mirror of topic/model/settle.rs.

-- ARGV[at]: receipts, 16 bytes each: position and fence. Returns y or s for each.
local function op_ack(at)
  local ids, fences = split(ARGV[at])
  if not settling and g.copies == 0 and redis.call('EXISTS', BUSY) == 0 and end_at_once(LEASED, OPEN, ids, fences) then
    g.leased = g.leased - #ids
    return at + 1, string.rep('y', #ids)
  end
  return at + 1, others().ack(ids, fences)
end
