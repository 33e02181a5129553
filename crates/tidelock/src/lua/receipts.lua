-- part: batches: long argument lists in parts, receipts, and the values stored for them.

-- Maximum number of arguments per call: Lua's unpack fails at about 8,000.
local PART = 1000

-- Returns the sum of the calls' replies.
local function call_in_parts(command, key, arguments)
  local sum = 0
  for from = 1, #arguments, PART do
    sum = sum + redis.call(command, key, unpack(arguments, from, math.min(from + PART - 1, #arguments)))
  end
  return sum
end

-- The values of the given fields of a hash.
local function load_values(key, ids)
  local values = {}
  for from = 1, #ids, PART do
    local some = redis.call('HMGET', key, unpack(ids, from, math.min(from + PART - 1, #ids)))
    for i = 1, #some do
      values[from + i - 1] = some[i]
    end
  end
  return values
end

-- Splits receipts, 16 bytes each, into ids and fences.
local function split(receipts)
  local sub, ids, fences, count = string.sub, {}, {}, 0
  for at = 1, #receipts, 16 do
    count = count + 1
    ids[count], fences[count] = sub(receipts, at, at + 7), sub(receipts, at + 8, at + 15)
  end
  return ids, fences
end

-- Fast path for ending deliveries that consist only of a lease (a member of id and fence) and a stored value. Returns
-- whether all were held. If not, some leases may already be removed, and the caller has to end, in this step, what is
-- stored as leased under these fences. Not to be used while more is overdue than one step carries out: then a lease has
-- to be judged by its end.
local function end_at_once(leased, stored, ids, fences)
  local leases = {}
  for i = 1, #ids do
    leases[i] = ids[i] .. fences[i]
  end
  if call_in_parts('ZREM', leased, leases) < #leases then
    return false
  end
  call_in_parts('HDEL', stored, ids)
  return true
end

-- The index of leases holds one long member without an end. It forces the encoding for large sorted sets: in the
-- compact encoding every access is a linear scan.
local SENTINEL = string.rep('.', 65)
