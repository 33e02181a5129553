-- part: accepting jobs that are not plain.

-- Elements of the plain line that this operation adds.
local elements = {}

local function join_plain(id, standing, j, content)
  if r.line == 0 then
    fresh[LINE] = true
  end
  elements[#elements + 1] = pack8(standing) .. id
  r.ready, r.plain, r.line = r.ready + 1, r.plain + 1, r.line + 1
  r.widest = math.max(r.widest, #content)
  if j.max_wait > 0 then
    local expiry = standing + j.max_wait
    if r.line_expiry == 0 then
      r.line_expiry = expiry
    end
    deadline(expiry)
  end
  live_with(j, standing)
end

local function next_id()
  make_steady()
  r.id = following(r.id)
  r.submitted = r.submitted + 1
  return pack8(r.id)
end

-- Accepts a job; `due`: nil for now. Returns its id.
local function accept(rules, priority, due, content, origin)
  local id, standing = next_id(), due or stand()
  local j = parse(id, new_state(rules, priority, standing))
  jobs[id] = j
  if j.key then
    bind(j)
  end
  if origin then
    join_series(j, origin)
  end
  if j.queue then
    join_key(j)
  end
  write_field(INPUTS, id, content)
  if due then
    wait(j, due, now)
  elseif priority == 0 and not j.queue and line_takes(j.max_wait) then
    join_plain(id, standing, j, content)
    touch(j)
  else
    be_ready(j)
  end
  return id
end

local function push_elements()
  call_in_parts('RPUSH', LINE, elements)
  elements = {}
end

-- Accepts plain jobs that the line does not take: `count` contents from ARGV[at] on.
local function accept_each(rules, at, count)
  for i = 0, count - 1 do
    accept(rules, 0, nil, ARGV[at + i], nil)
  end
  push_elements()
end

-- One item of a batch. Head: due mode (n now, a after, t at), due number, priority, max_depth (0: none).
local function read_item(at)
  local rules = ARGV[at + 1]
  local _, _, _, _, _, _, _, kind, _, policy, line, key, series = struct.unpack(RULES, rules)
  local item = { rules = rules }
  item.queue, item.key, item.series = names_in(rules, kind, policy, line, key, series)
  item.mode, item.number, item.priority, item.limit = struct.unpack('>c1I8BI8', ARGV[at])
  item.content = ARGV[at + 2]
  item.origin = ARGV[at + 3] ~= '' and read_origin(ARGV[at + 3]) or nil
  return item
end

-- The index of the first item without room, and the depth there. Duplicates take no room.
local function first_beyond_depth(items)
  local depth, seen = r.ready + r.blocked + r.delayed, {}
  for i = 1, #items do
    local item = items[i]
    local counts = true
    if item.key then
      counts = not seen[item.key] and not bound_to(item.key)
      seen[item.key] = true
    end
    if counts and not (item.origin and judge_series(item.series, item.origin, item.key)) then
      if item.limit > 0 and depth >= item.limit then
        return i - 1, depth
      end
      depth = depth + 1
    end
  end
end

local function submit_one(item)
  if item.origin then
    use_series(item.series, item.origin)
  end
  local bound = item.key and bound_to(item.key)
  if bound then
    return 'D' .. bound
  end
  local against = item.origin and judge_series(item.series, item.origin, item.key)
  if against then
    refuse_slot(item.series, item.origin, against)
    return against
  end
  local due
  if item.mode == 'a' and item.number > 0 then
    due = now + item.number
  elseif item.mode == 't' and item.number > now then
    due = item.number
  end
  return 'N' .. accept(item.rules, item.priority, due, item.content, item.origin)
end

-- ARGV[at]: count; then for each: head, rules, content, origin or empty. All or nothing. Returns 9 bytes for each: N,
-- D (accepted before) or O (an earlier run is not over) and an id; or F, the depth and the index of the first without
-- room.
local function submit_batch(at)
  local count, items, keys, results = tonumber(ARGV[at]), {}, {}, {}
  for i = 1, count do
    items[i] = read_item(at + 4 * i - 3)
    keys[#keys + 1] = items[i].key or nil
  end
  preload(BOUND, keys)
  local index, depth = first_beyond_depth(items)
  if index then
    return at + 1 + 4 * count, 'F' .. pack8(depth) .. pack8(index)
  end
  for i = 1, count do
    results[i] = submit_one(items[i])
  end
  push_elements()
  return at + 1 + 4 * count, table.concat(results)
end
