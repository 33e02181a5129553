-- look: shows a topic or reads its log as it is now; parks a process that follows it where the log ends.
-- KEYS[1]   record: newest place, beginning, settings (hash)
-- KEYS[2]   log: elements in order (list)
-- KEYS[3]   dedup: by key, place of the event and end of the window (hash)
-- KEYS[4]   groups: books by name (hash)
-- KEYS[5]   parked: processes that wait, by group (hash)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   what: stats, names, resolve, read, back
-- ARGV[3]   resolve: the beginning (see begin.lua) · read, back: the place to continue from (24 bytes), or empty for
--           the end of the log at which reading begins
-- ARGV[4]   read, back: how many events at most
-- ARGV[5]   read, back: how many bytes at most, unless one event has more
-- ARGV[6]   read: the process to park if there is nothing, or empty
-- Reply: stats: life, position and ordinal of the newest event, first retained ordinal, its position (0 if none),
--        settings (1 if there are any, retention, max_len), groups · names: of the groups · resolve: the place · read,
--        back: the life, the gap, 1 if there is more, next deadline of the log in ms (0: none, 1: now), then ordinal
--        and element of each event
local _ = DEDUP

local function show_stats()
  local first = first_retained()
  local element = element_of(first)
  local reply = {}
  for i, number in ipairs({ r.life, r.at, r.ordinal, first, element and unpack8(element) or 0, r.set, r.retention,
    r.max_len, r.groups }) do
    reply[i] = text(number)
  end
  return reply
end

-- Adds elements from `start` on, in steps of 1 or -1, as many as fit.
local function show(start, step, last, reply)
  local most, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
  local ordinal, size, shown = start, 0, 0
  while (last - ordinal) * step >= 0 do
    local count = math.min(at_once(most - shown + 1, bytes), (last - ordinal) * step + 1)
    local from = (step == 1 and ordinal or ordinal - count + 1) - r.first
    local elements = redis.call('LRANGE', LOG, text(from), text(from + count - 1))
    if #elements == 0 then
      return
    end
    for i = 1, #elements do
      local element = elements[step == 1 and i or #elements + 1 - i]
      size = size + size_of(element)
      if shown == most or (size > bytes and shown > 0) then
        reply[3] = 1
        return
      end
      reply[#reply + 1] = text(ordinal)
      reply[#reply + 1] = element
      ordinal, shown = ordinal + step, shown + 1
    end
  end
end

local function read()
  local reply = { text(r.life), NO_GAP, 0, text(next_of_log()) }
  local start, gap, missed
  if ARGV[3] == '' then
    start = first_retained()
  else
    local life, at, ordinal = struct.unpack('>I8I8I8', ARGV[3])
    start, gap, missed = after(life, at, ordinal, false)
  end
  if start and start <= r.ordinal then
    if gap then
      reply[2] = gap_before(start, unpack8(element_of(start)), ARGV[3], missed)
    end
    show(start, 1, r.ordinal, reply)
  elseif ARGV[6] ~= '' then
    local parked = parking().read(redis.call('HGET', PARKED, 'f') or '')
    parking().write('f', parking().add(parked, ARGV[6], 0))
    -- A parked process uses the topic. Extend its lifetime; otherwise the next event could begin another life.
    finish()
  end
  return reply
end

local function back()
  local reply = { text(r.life), NO_GAP, 0, text(next_of_log()) }
  local first, start = first_retained(), r.ordinal
  if ARGV[3] ~= '' then
    local _, at = struct.unpack('>I8I8I8', ARGV[3])
    start = first_not(first, function(position) return position < at end) - 1
  end
  show(start, -1, first, reply)
  return reply
end

local LOOKS = {
  stats = show_stats,
  names = function() return redis.call('HKEYS', GROUPS) end,
  read = read,
  back = back,
  resolve = function() return { place(resolve(ARGV[3])) } end,
}
return LOOKS[ARGV[2]]()
