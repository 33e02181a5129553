-- change: changes a group, in one bounded step.
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
-- KEYS[19]  answers: the last change of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   name of the group
-- ARGV[3]   number of this change in its sender's series
-- ARGV[4]   1: even if more is overdue than one step carries out; 0: not then
-- ARGV[5]   what: create, seek, remove, pause, resume, requeue, requeue_all, remove_dead, purge_dead
-- ARGV[6..] its arguments
-- Reply: a word, then numbers; `settling`: more is overdue, and nothing was changed
local trip = tonumber(ARGV[3])
local before = remembered(KEYS[19], trip)
if before then
  return before
end
advance()

-- ARGV[6]: the start.
local function create_group()
  if g then
    return 'no'
  elseif r.groups >= MAX_GROUPS then
    return 'full'
  end
  create(resolve(ARGV[6]))
  return 'yes'
end

local function unlink_open()
  redis.call('UNLINK', OPEN, LEASED, WAITING, READY, FREED, ASIDE, IDLE, BUSY)
end

-- Drops all open events; requeued copies start again. While those of an earlier seek are still returning, nothing else
-- is open. ARGV[6]: the start.
local function seek()
  if g.returning == 0 then
    if g.copies > 0 and redis.call('EXISTS', OPEN) == 1 then
      redis.call('RENAME', OPEN, RETURNING)
      g.returning = FROM_THE_FIRST
    end
    unlink_open()
    g.leased, g.waiting, g.ready, g.freed, g.aside, g.copies, g.limited, g.told = 0, 0, 0, 0, 0, 0, 0, 0
  end
  g.life, g.at, g.ordinal = resolve(ARGV[6])
  g.sure = 0
  if g.returning > 0 then
    readmit()
  end
  return 'yes'
end

local function remove_group()
  unlink_open()
  redis.call('UNLINK', LETTERS, MOVED, KEPT, COPIES, RETURNING)
  redis.call('HDEL', GROUPS, NAME)
  r.groups = r.groups - 1
  g = nil
  return 'yes'
end

-- ARGV[6]: longest time in ms, -1: until resumed. ARGV[7]: reason.
local function pause()
  local until_time = ARGV[6] == '-1' and -1 or now + tonumber(ARGV[6])
  local same = g.paused == until_time and reason == ARGV[7]
  g.paused, reason = until_time, ARGV[7]
  if until_time > 0 and (not soonest or until_time < soonest) then
    soonest = until_time
  end
  return same and 'no' or 'yes'
end

local function resume()
  local paused = g.paused ~= 0
  g.paused, reason = 0, ''
  return paused and 'yes' or 'no'
end

-- Requeues a dead letter, unless its event is open.
local function requeue(id, delay)
  if redis.call('HEXISTS', OPEN, id) == 1 then
    return false
  end
  local e = remove_letter(id)
  if not e then
    return false
  end
  if not e.is_copy then
    e.is_copy, e.flags = true, e.flags + 1
  end
  e.attempts, e.note, e.failure = 0, '', ''
  admit_copy(e, now + delay)
  return true
end

-- One step over the dead letters, oldest first. ARGV[6]: maximum number, -1: all; [7]: moved at and position to
-- continue after, or empty; [8]: moved at and position of the last letter to consider, or empty in the first step; [9]
-- to [11]: reason or empty, moved before, moved after (-1: none); [12]: delay of a requeue. Returns the number moved, 1
-- when done, where to continue, and the last letter to consider (moved at and position each).
local function each_letter(move)
  local most, from, last = tonumber(ARGV[6]), ARGV[7], ARGV[8]
  local why, moved_before, moved_after = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
  if last == '' then
    local newest = redis.call('ZRANGE', MOVED, -1, -1, 'WITHSCORES')
    if not newest[1] then
      return 'count', 0, 1, 0, 0, 0, 0
    end
    last = pack8(tonumber(newest[2])) .. newest[1]
  end
  local last_at, last_id = unpack8(last), unpack8(last, 9)
  local skipped = from == '' and 0 or rank_after(MOVED, unpack8(from), from:sub(9))
  local ids = redis.call('ZRANGE', MOVED, skipped, skipped + STEP - 1, 'WITHSCORES')
  local moved, seen, done = 0, from, #ids < 2 * STEP and 1 or 0
  for i = 1, #ids, 2 do
    local score = tonumber(ids[i + 1])
    -- Compare as numbers: the order of strings depends on the server's locale.
    if score > last_at or (score == last_at and unpack8(ids[i]) > last_id) then
      done = 1
      break
    end
    local value = redis.call('HGET', LETTERS, ids[i])
    local moved_at = unpack8(value, 17)
    if (why == '' or value:sub(1, 1) == why) and (moved_before < 0 or moved_at < moved_before)
      and (moved_after < 0 or moved_at >= moved_after) then
      if moved == most then
        done = 1
        break
      end
      if move(ids[i]) then
        moved = moved + 1
      end
    end
    seen = pack8(score) .. ids[i]
  end
  local seen_at, seen_id = 0, 0
  if seen ~= '' then
    seen_at, seen_id = unpack8(seen), unpack8(seen, 9)
  end
  return 'count', moved, done, seen_at, seen_id, last_at, last_id
end

local CHANGES = {
  create = create_group,
  seek = seek,
  remove = remove_group,
  pause = pause,
  resume = resume,
  requeue = function() return 'count', requeue(ARGV[6], tonumber(ARGV[7])) and 1 or 0 end,
  remove_dead = function() return 'count', remove_letter(ARGV[6]) and 1 or 0 end,
  requeue_all = function()
    return each_letter(function(id) return requeue(id, tonumber(ARGV[12])) end)
  end,
  purge_dead = function() return each_letter(remove_letter) end,
}
local answer = { 'absent' }
if settling and ARGV[4] == '0' then
  answer = { 'settling' }
elseif g or ARGV[5] == 'create' then
  answer = { CHANGES[ARGV[5]]() }
end
local reply = { answer[1] }
for i = 2, #answer do
  reply[i] = text(answer[i])
end
remember(KEYS[19], trip, reply)
finish_group()
return reply
