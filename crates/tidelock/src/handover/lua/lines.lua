-- part: lines, whose items are handed out one at a time. LINES holds unfinished items by key, NUL, order of joining and
-- id; a key contains a NUL only as its first byte. `heads`: the first item of each line that this step has read: its id
-- as bytes, false for an empty line.
local lines = { heads = {} }

function lines.member(key, join, id_bytes)
  return key .. '\0' .. pack8(join) .. id_bytes
end

-- The first members of a line.
function lines.first(key, count)
  return redis.call('ZRANGEBYLEX', LINES, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, count)
end

-- The id of a line's head, as bytes; false if the line is empty.
function lines.head(key)
  if lines.heads[key] == nil then
    local first = lines.first(key, 1)[1]
    lines.heads[key] = first and first:sub(-8) or false
  end
  return lines.heads[key]
end

-- Joins the end of a line. `join` must be greater than that of every earlier member.
function lines.join(key, join, id_bytes)
  redis.call('ZADD', LINES, 0, lines.member(key, join, id_bytes))
  fresh[LINES] = true
  if lines.heads[key] == false then
    lines.heads[key] = id_bytes
  end
end

-- Leaves a line. Returns the new head, as bytes, if there is one because of that.
function lines.quit(key, join, id_bytes)
  local member, first = lines.member(key, join, id_bytes), lines.first(key, 2)
  redis.call('ZREM', LINES, member)
  if first[1] ~= member then
    return false
  end
  lines.heads[key] = first[2] and first[2]:sub(-8) or false
  return lines.heads[key]
end
