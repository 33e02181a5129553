-- part: accepting jobs.
local function submit_operations()
  -- Elements of the plain line that this operation adds, states and inputs of plain jobs; and the state of what is
  -- accepted now under the same rules.
  local elements, states, inputs, templates = {}, {}, {}, {}

  local function write_plain()
    call_in_parts('RPUSH', LINE, elements)
    call_in_parts('HSET', JOBS, states)
    call_in_parts('HSET', INPUTS, inputs)
    elements, states, inputs = {}, {}, {}
  end

  -- Whether the plain line takes a job with this max_wait: all of a line have one, so that its head is the first to expire.
  local function line_takes(max_wait)
    if r.plain == 0 then
      if r.line > 0 then
        redis.call('DEL', LINE)
      end
      r.line, r.age, r.line_expiry, r.widest = 0, max_wait, 0, 0
    end
    return r.age == max_wait
  end

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

  -- Accepts a job; `due`: nil for now. Answers its id.
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
      j.join = join_line(j.queue, id)
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

  -- Accepts a job that is due now, without priority, key, line or schedule: nothing is built but its place.
  local function accept_plain(rules, content)
    local template = templates[rules]
    if not template then
      template = parse('', new_state(rules, 0, stand()))
      templates[rules] = template
    end
    if not line_takes(template.max_wait) then
      return accept(rules, 0, nil, content, nil)
    end
    local id = next_id()
    local at = #states
    states[at + 1], states[at + 2], inputs[at + 1], inputs[at + 2] = id, template.value, id, content
    join_plain(id, r.standing, template, content)
    return id
  end

  -- ARGV[at]: count, rules of all, max_depth (0: none), 1 if all or nothing; then the contents. Answers 9 bytes for each:
  -- N and the id, or F and the depth; of all or nothing that is full, F, the depth and the index of the first beyond it.
  function OPERATIONS.plain(at)
    local count, rules, limit, whole = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
    local depth, results = r.ready + r.blocked + r.delayed, {}
    local room = limit == 0 and count or math.min(count, math.max(limit - depth, 0))
    local full = 'F' .. pack8(depth + room)
    if whole == '1' and room < count then
      return at + 4 + count, full .. pack8(room)
    end
    for i = 1, room do
      results[i] = 'N' .. accept_plain(rules, ARGV[at + 3 + i])
    end
    for i = room + 1, count do
      results[i] = full
    end
    write_plain()
    return at + 4 + count, table.concat(results)
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

  -- The index of the first item that would be one too many, and the depth there. Duplicates take no room.
  local function first_beyond_depth(items)
    local depth, seen = r.ready + r.blocked + r.delayed, {}
    for i = 1, #items do
      local item = items[i]
      local counts = true
      if item.key then
        counts = not seen[item.key] and not bound_to(item.key)
        seen[item.key] = true
      end
      if counts and not (item.origin and judge_series(item.series, item.origin)) then
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
    local against = item.origin and judge_series(item.series, item.origin)
    if against then
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

  -- ARGV[at]: count; then for each: head, rules, content, origin or nothing. All or nothing. Answers 9 bytes for each: N, D
  -- (accepted before) or O (an earlier run is not over) and an id; or F, the depth and the index of the first beyond it.
  function OPERATIONS.batch(at)
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
    write_plain()
    return at + 1 + 4 * count, table.concat(results)
  end
end
