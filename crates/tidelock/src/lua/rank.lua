-- part: ranks in sorted sets.

-- How many members of a sorted set precede (score, member), which need not be in it; and whether it is in it.
local function rank_before(key, score, member)
  local found = redis.call('ZSCORE', key, member)
  if found and tonumber(found) == score then
    return redis.call('ZRANK', key, member), true
  end
  -- The member may have another score by now. A longer member sorts directly after its place: insert one as a probe.
  local probe = member .. '\0'
  redis.call('ZADD', key, score, probe)
  local rank = redis.call('ZRANK', key, probe)
  redis.call('ZREM', key, probe)
  return rank, false
end

-- The index of the first member after (score, member).
local function rank_after(key, score, member)
  local rank, found = rank_before(key, score, member)
  return found and rank + 1 or rank
end
