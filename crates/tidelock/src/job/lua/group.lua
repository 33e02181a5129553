-- part: groups that read the events of a job. A mirror of job/model/group.rs. All groups of a job are one field of
-- DETAILS, one after the other: length of the name, number of the last event that was handed out or skipped, how many
-- are open; the name; then each open event by number: number, attempt, fence (0: it was returned), end of the lease or
-- pause. The functions are created on first use.
local function group_operations()
  local MAX_GROUPS, MAX_OPEN = 100, 1000
  local HEAD, HEAD_SIZE, OPEN, OPEN_SIZE = '>I2I4I2', 8, '>I4I4I8I6', 22

  -- The group, with its position in the list of all groups; nil if there is none, and the number of groups.
  local function find(list, name)
    local at, count = 1, 0
    while at <= #list do
      local length, read, open = struct.unpack(HEAD, list, at)
      local first = at + HEAD_SIZE + length
      local behind = first + open * OPEN_SIZE
      if list:sub(at + HEAD_SIZE, first - 1) == name then
        local group = { name = name, read = read, open = {}, from = at, behind = behind }
        for i = 1, open do
          local number, attempt, fence, until_time = struct.unpack(OPEN, list, first + (i - 1) * OPEN_SIZE)
          group.open[i] = { number = number, attempt = attempt, fence = fence, until_time = until_time }
        end
        return group
      end
      at, count = behind, count + 1
    end
    return nil, count
  end

  local function write(j, list, group)
    local parts = { list:sub(1, group.from - 1), struct.pack(HEAD, #group.name, group.read, #group.open), group.name }
    for i = 1, #group.open do
      local one = group.open[i]
      parts[#parts + 1] = struct.pack(OPEN, one.number, one.attempt, one.fence, one.until_time)
    end
    parts[#parts + 1] = list:sub(group.behind)
    write_field(DETAILS, 'g' .. j.id, table.concat(parts))
  end

  local function is_held(one)
    return one.fence ~= 0 and now < one.until_time
  end

  -- Drops events up to `first`, which the job no longer keeps. Held events stay, because their commit counts. Returns
  -- the position before the first that is lost, the one after the last, and how many there are.
  local function lose(group, first)
    local kept, from, to, missed = {}, 0, 0, 0
    for i = 1, #group.open do
      local one = group.open[i]
      if one.number > first or is_held(one) then
        kept[#kept + 1] = one
      else
        from, to, missed = missed == 0 and one.number - 1 or from, one.number, missed + 1
      end
    end
    group.open = kept
    if first > group.read then
      from, to, missed = missed == 0 and group.read or from, first, missed + first - group.read
      group.read = first
    end
    return from, to, missed
  end

  -- The events to hand out next, lowest number first.
  local function deliverable(group, last, room)
    local found = {}
    for i = 1, #group.open do
      if #found < room and group.open[i].until_time <= now then
        found[#found + 1] = group.open[i]
      end
    end
    while #found < room and group.read < last and #group.open < MAX_OPEN do
      group.read = group.read + 1
      local one = { number = group.read, attempt = 0 }
      group.open[#group.open + 1], found[#found + 1] = one, one
    end
    return found
  end

  -- Whether the job has ended and the group has committed everything.
  local function is_read(j, group)
    return ENDED[j.kind] and group.read == j.last and #group.open == 0
  end

  -- The chunks that contain the given events: number before the first event, length, events.
  local function chunks_with(j, events)
    local firsts, parts, at = chunks_of(j), {}, 1
    for i = 1, #firsts + 1 do
      local first = firsts[i] or j.closed + 1
      local behind = firsts[i + 1] or (firsts[i] and j.closed or j.last) + 1
      if events[at] and events[at].number < behind then
        local chunk = firsts[i] and read_field(DETAILS, 'e' .. j.id .. pack4(first)) or j.tail
        parts[#parts + 1] = struct.pack('>I4I4', first - 1, #chunk) .. chunk
        while events[at] and events[at].number < behind do
          at = at + 1
        end
      end
    end
    return table.concat(parts)
  end

  -- ARGV[at]: id, how many at most, lease, 1 to park; the group; the channel of the process. Returns g, flags (1
  -- ended, 2 no room for the group), the time after which to take again, the gap (from, to, how many; 0 for none),
  -- the number of the event with which the job ended, how many events; for each number, attempt, fence; then the
  -- chunks that contain them.
  local function take(at)
    local id, max, lease, parks = struct.unpack('>c8I2I8B', ARGV[at])
    local name, process = ARGV[at + 1], ARGV[at + 2]
    local j = load(id)
    local list = j and read_field(DETAILS, 'g' .. id) or ''
    local group, count = find(list, name)
    if not j or (not group and count >= MAX_GROUPS) then
      return at + 3, struct.pack('>c1BI8I4I4I4I4I2', 'g', j and 2 or 1, 0, 0, 0, 0, 0, 0)
    end
    local first = math.max(j.last - MAX_EVENTS, 0)
    group = group or { name = name, read = first, open = {}, from = #list + 1, behind = #list + 1 }
    local from, to, missed = lose(group, first)
    local room = max - (missed > 0 and 1 or 0)
    local events, parts = deliverable(group, j.last, room), {}
    for i = 1, #events do
      local one = events[i]
      r.fence = following(r.fence)
      one.attempt, one.fence, one.until_time = one.attempt + 1, r.fence, now + lease
      parts[i] = struct.pack('>I4I4I8', one.number, one.attempt, one.fence)
    end
    local ended, told = false, 0
    if #events < room then
      ended = is_read(j, group)
      if parks == 1 and not ended then
        for i = 1, #group.open do
          local one = group.open[i]
          told = (told == 0 or one.until_time < told) and one.until_time or told
        end
        watch(j, false, process)
      end
    end
    write(j, list, group)
    return at + 3, struct.pack('>c1B', 'g', ended and 1 or 0) .. told_after(told)
      .. struct.pack('>I4I4I4I4I2', from, to, missed, ENDED[j.kind] and j.last or 0, #events) .. table.concat(parts)
      .. chunks_with(j, events)
  end

  -- Applies a holder's action on its event: c commits, n returns it after a pause, b returns it unused, t starts the
  -- lease anew. Returns whether the event was still held.
  local function settle_one(head, name)
    local id, number, fence, action, duration = struct.unpack('>c8I4I8c1I8', head)
    local j = load(id)
    local list = j and read_field(DETAILS, 'g' .. id) or ''
    local group = find(list, name)
    local index = 1
    while group and group.open[index] and group.open[index].number < number do
      index = index + 1
    end
    local one = group and group.open[index]
    if not one or one.number ~= number or one.fence ~= fence or not is_held(one) then
      return false
    end
    -- Whether waiting processes must read again.
    local concerns = true
    if action == 'c' then
      concerns = #group.open == MAX_OPEN
      table.remove(group.open, index)
      concerns = concerns or is_read(j, group)
    elseif action == 't' then
      concerns = now + duration < one.until_time
      one.until_time = now + duration
    else
      one.attempt = one.attempt - (action == 'b' and 1 or 0)
      one.fence, one.until_time = 0, now + duration
    end
    write(j, list, group)
    if concerns and j.watched then
      tell_watchers(j, false)
      touch(j)
    end
    return true
  end

  -- ARGV[at]: how many; for each a head (id, number, fence, action, duration in ms) and the group. Returns 1 or 0 for
  -- each.
  local function settle_events(at)
    local results = {}
    for i = 1, tonumber(ARGV[at]) do
      results[i] = settle_one(ARGV[at + 2 * i - 1], ARGV[at + 2 * i]) and '1' or '0'
    end
    return at + 1 + 2 * #results, table.concat(results)
  end

  return { take = take, settle_events = settle_events }
end

local made_groups = nil

local function groups()
  made_groups = made_groups or group_operations()
  return made_groups
end
