-- part: lines of what goes one at a time. LINES holds what is unfinished, by key, NUL, order of joining and id; no key
-- holds a NUL but at its very beginning.
local function line_member(key, join, id_bytes)
  return key .. '\0' .. pack8(join) .. id_bytes
end

-- Joins the end of a line; answers the order of joining.
local function join_line(key, id_bytes)
  r.join = r.join + 1
  redis.call('ZADD', LINES, 0, line_member(key, r.join, id_bytes))
  fresh[LINES] = true
  return r.join
end

-- The id of the first of a line, as bytes.
local function head_of(key)
  local first = redis.call('ZRANGEBYLEX', LINES, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  return first and first:sub(-8)
end

-- Leaves a line; answers who became its head by that, as bytes.
local function quit_line(key, join, id_bytes)
  local was_head = head_of(key) == id_bytes
  redis.call('ZREM', LINES, line_member(key, join, id_bytes))
  return was_head and head_of(key)
end
