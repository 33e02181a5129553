-- part: parked processes. One field of a hash for each group (`g` and its name), one (`f`) for followers: a list of
-- flags (1 keeps the group's next deadline, 2 took no more because too much was in flight, 4 because the group is
-- paused or has set aside the maximum), the instant at which the entry is forgotten (8 bytes), length (2 bytes) and
-- name of the process's channel. The functions are created on first use: in most steps nobody is parked.
local KEEPS, LIMITED, SHUT = 1, 2, 4
local REMEMBERED = 10000

local parking_made
local function parking()
  if parking_made then
    return parking_made
  end

  -- Publishes to a parked process; returns false if nobody listens on its channel.
  local TAG = RECORD:match('{(.*)}')
  local function ring(process, detail)
    return redis.call('PUBLISH', process, TAG .. '\n' .. detail) > 0
  end

  local function read(list)
    local parked, at = {}, 1
    while at <= #list do
      local flags, until_time, length = struct.unpack('>BI8I2', list, at)
      local process = list:sub(at + 11, at + 10 + length)
      if until_time > now then
        parked[#parked + 1] = { flags = flags, until_time = until_time, process = process }
      end
      at = at + 11 + length
    end
    return parked
  end

  local function write(field, parked)
    local parts = {}
    for i = 1, #parked do
      local one = parked[i]
      parts[i] = struct.pack('>BI8I2', one.flags, one.until_time, #one.process) .. one.process
    end
    if #parts == 0 then
      redis.call('HDEL', PARKED, field)
    else
      redis.call('HSET', PARKED, field, table.concat(parts))
      redis.call('PEXPIRE', PARKED, pinned and HOUR or 20000)
    end
  end

  -- A list without a process.
  local function without(parked, process)
    local rest = {}
    for i = 1, #parked do
      if parked[i].process ~= process then
        rest[#rest + 1] = parked[i]
      end
    end
    return rest
  end

  -- Adds a process to a list, replacing its previous entry.
  local function add(parked, process, flags)
    local rest = without(parked, process)
    rest[#rest + 1] = { flags = flags, until_time = now + REMEMBERED, process = process }
    return rest
  end

  -- Wakes up to `count` processes of a list: those that have waited longest first, the keeper of the deadline last.
  -- `fits(flags)` selects those that may be woken. Processes that do not listen are dropped. Returns the others, and
  -- how many wake-ups are still missing.
  local function wake(parked, detail, count, fits)
    for _, keepers in ipairs({ false, true }) do
      local rest = {}
      for i = 1, #parked do
        local one = parked[i]
        if count > 0 and (one.flags % 2 == KEEPS) == keepers and fits(one.flags) then
          if ring(one.process, detail) then
            count = count - 1
          end
        else
          rest[#rest + 1] = one
        end
      end
      parked = rest
    end
    return parked, count
  end

  -- Whether a process of a list keeps the next deadline.
  local function is_kept(parked)
    for i = 1, #parked do
      if parked[i].flags % 2 == KEEPS then
        return true
      end
    end
    return false
  end

  parking_made = { read = read, write = write, without = without, add = add, wake = wake, is_kept = is_kept }
  return parking_made
end
