-- group_look: shows a group and its dead letters as they are now, after carrying out what is overdue.
-- KEYS[1]   record: newest place, beginning, settings (hash)
-- KEYS[2]   log: elements in order (list)
-- KEYS[3]   dedup: by key, place of the event and end of the window (hash)
-- KEYS[4]   groups: books by name (hash)
-- KEYS[5]   parked: processes that wait, by group (hash)
-- KEYS[6]   open: open events of the group by position (hash)
-- KEYS[7]   leased: in flight, by lease end (sorted set)
-- KEYS[8]   waiting: not due yet, by due time (sorted set)
-- KEYS[9]   ready: waiting and due, by position (sorted set)
-- KEYS[10]  freed: events set aside that are the first of a key that is free, by position (sorted set)
-- KEYS[11]  aside: events set aside behind an open event of their key, by key and position (sorted set)
-- KEYS[12]  idle: waiting and set aside events except requeued copies, by position (sorted set)
-- KEYS[13]  busy: keys with an open event that others wait for (hash)
-- KEYS[14]  letters: dead letters by position (hash)
-- KEYS[15]  moved: dead letters by the instant at which they were moved (sorted set)
-- KEYS[16]  kept: dead letters by the end of their retention (sorted set)
-- KEYS[17]  copies: requeued copies, by position (sorted set)
-- KEYS[18]  returning: what was open when a seek ended it, until its requeued copies are open again (hash)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   name of the group
-- ARGV[3]   what: group, dead, deads
-- ARGV[4]   dead: position (8 bytes) · deads: how many at most
-- ARGV[5]   deads: moved at and position before which the page continues, 8 bytes each, or empty
-- ARGV[6]   deads: reason, or empty
-- ARGV[7]   deads: moved before, ms; -1 for any
-- ARGV[8]   deads: moved after, ms; -1 for any
-- Reply: settling (0, 1); the life; then what was asked for, nothing if there is no such group or letter. group: place,
--        unread, in flight, waiting, set aside, dead, missed, position and holder of the oldest open event (0 and empty
--        if none), end of the pause and its reason · dead: the letter · deads: letters, then where the next page begins
--        or empty
advance()
local reply = { settling and 1 or 0, text(r.life) }

local function show_group()
  local start = after(g.life, g.at, g.ordinal, g.sure == 1)
  local oldest, holder = 0, ''
  if g.leased + g.waiting + g.ready + g.freed + g.aside > 0 then
    -- Compare as numbers: the order of strings depends on the server's locale.
    local ids = redis.call('HKEYS', OPEN)
    oldest = unpack8(ids[1])
    for i = 2, #ids do
      oldest = math.min(oldest, unpack8(ids[i]))
    end
    local e = load(pack8(oldest))
    holder = e.kind == 'l' and e.consumer or ''
  end
  reply[3] = place(g.life, g.at, g.ordinal)
  local waiting = g.waiting + g.ready
  if g.returning > 0 then
    waiting = waiting + redis.call('ZCOUNT', COPIES, '(' .. text(g.returning), '+inf')
  end
  for _, number in ipairs({ start and r.ordinal - start + 1 or 0, g.leased, waiting, g.freed + g.aside, g.dead, g.missed,
    oldest }) do
    reply[#reply + 1] = text(number)
  end
  reply[#reply + 1] = holder
  reply[#reply + 1] = text(g.paused)
  reply[#reply + 1] = reason
end

-- Newest first. Looks at 1,000 letters at most, and stops when the reply is full.
local function show_letters()
  local limit, before, why = tonumber(ARGV[4]), ARGV[5], ARGV[6]
  local moved_before, moved_after = tonumber(ARGV[7]), tonumber(ARGV[8])
  local count = before ~= '' and rank_before(MOVED, unpack8(before), before:sub(9)) or redis.call('ZCARD', MOVED)
  local ids = count > 0 and redis.call('ZRANGE', MOVED, text(math.max(0, count - 1000)), text(count - 1)) or {}
  local shown, bytes, is_full, last = 0, 0, false, ''
  for i = #ids, 1, -1 do
    local value = redis.call('HGET', LETTERS, ids[i])
    local moved_at = unpack8(value, 17)
    if (why == '' or value:sub(1, 1) == why) and (moved_before < 0 or moved_at < moved_before)
      and (moved_after < 0 or moved_at >= moved_after) then
      bytes = bytes + #value
      if shown > 0 and bytes > MAX_BYTES then
        is_full = true
        break
      end
      reply[#reply + 1] = value
      shown = shown + 1
    end
    last = pack8(moved_at) .. ids[i]
    if shown == limit then
      break
    end
  end
  reply[#reply + 1] = (is_full or shown == limit or count > 1000) and last or ''
end

if g and ARGV[3] == 'group' then
  show_group()
elseif g and ARGV[3] == 'dead' then
  reply[3] = redis.call('HGET', LETTERS, ARGV[4]) or nil
elseif g then
  show_letters()
end
finish_group()
return reply
