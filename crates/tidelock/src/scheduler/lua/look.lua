-- look: carries out a step of what is overdue, then shows a page of schedules, one schedule, dead letters, or the
-- numbers of the object.
-- KEYS[1]   record: numbers, leader, settings (hash)
-- KEYS[2]   states: all of a schedule but its definition, by id (hash)
-- KEYS[3]   definitions: timing and content, by id (hash)
-- KEYS[4]   names: ids, in byte order (sorted set)
-- KEYS[5]   kinds: states of schedules that are not active (sorted set)
-- KEYS[6]   due: active schedules without an open plan, by due instant of the next slot (sorted set)
-- KEYS[7]   again: schedules with an open plan, failing or paused with an end, by when they are handled (sorted set)
-- KEYS[8]   behind: schedules failing, unserved or with an open plan, by due instant of next slot (sorted set)
-- KEYS[9]   ended: finished schedules, by when they are removed (sorted set)
-- KEYS[10]  plans: slots of open plans, by id (hash)
-- KEYS[11]  snapshots: what open plans were decided with, if it was changed since, by id (hash)
-- KEYS[12]  history: entries, by id (hash)
-- KEYS[13]  unserved: handler and id of unserved schedules (sorted set)
-- KEYS[14]  awakening: handlers that appeared, while schedules still wait for them (sorted set)
-- KEYS[15]  triggers: accepted triggers, by birth and run (hash)
-- KEYS[16]  waiting: accepted triggers, by when a leader is to submit them (sorted set)
-- KEYS[17]  named: keys of triggers, by birth and key (hash)
-- KEYS[18]  named_ends: keys of triggers, by when they are forgotten (sorted set)
-- KEYS[19]  letters: dead letters, by number (hash)
-- KEYS[20]  numbers: numbers of dead letters (sorted set)
-- KEYS[21]  owned: keys, dead letters and triggers of schedules: birth, kind, name (sorted set)
-- KEYS[22]  buried: births of removed schedules that still own something (sorted set)
-- KEYS[23]  instances: started instances (hash)
-- KEYS[24]  alive: instances, by when they are forgotten (sorted set)
-- KEYS[25]  served: until when handlers are announced (hash)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   what: now, get, list, history, letters, letter, awaits, stats; `sweep` shows nothing, and does nothing if
--           some process swept within the last second
-- ARGV[3..] get, history: id · list: number of schedules, 1 and the id after which the page begins, or 0
--           letters: how many, and the number below which the page begins, 0 for all · letter: number
--           awaits: id, birth, run
-- Reply: 1 if more is overdue; next deadline in ms (0: none); now; then
--        get, list: 1 if there are more, then of each: id, state, definition, slots of its plan, what the plan was
--        decided with
--        history: entries · awaits: 1 if the run is still to be submitted · letters, letter: 1 if there are more, then
--        each
--        stats: numbers and texts in the order in which redis/look.rs reads them
local what = ARGV[2]
if what == 'sweep' then
  if now >= r.swept and now - r.swept < 1000 then
    return { 0, r.next, now }
  end
  r.swept = now
end
advance()
local settling = is_settling()
local reply = { settling and 1 or 0, r.next, now }

local function get()
  local s = load(ARGV[3])
  reply[4] = 0
  if s then
    show(reply, s)
  end
end

local function list()
  local limit, bytes = tonumber(ARGV[3]), 0
  local low = ARGV[4] == '1' and '(' .. ARGV[5] or '-'
  local names = redis.call('ZRANGEBYLEX', NAMES, low, '+', 'LIMIT', 0, limit + 1)
  reply[4] = 0
  for i = 1, #names do
    local s = load(names[i])
    if s then
      bytes = bytes + shown_size(s)
      if i > limit or (bytes > MAX_BYTES and #reply > 4) then
        reply[4] = 1
        break
      end
      show(reply, s)
    end
  end
end

local function history()
  reply[4] = redis.call('HGET', HISTORY, ARGV[3]) or ''
end

local function letters()
  local limit, high = tonumber(ARGV[3]), ARGV[4] == '0' and '+inf' or '(' .. ARGV[4]
  local found = redis.call('ZREVRANGEBYSCORE', NUMBERS, high, '-inf', 'LIMIT', 0, limit + 1)
  reply[4] = #found > limit and 1 or 0
  for i = 1, math.min(#found, limit) do
    reply[#reply + 1] = redis.call('HGET', LETTERS, found[i]) or ''
  end
end

local function letter()
  reply[4], reply[5] = 0, redis.call('HGET', LETTERS, pack8(tonumber(ARGV[3]))) or nil
end

local function awaits()
  local s, born, run = load(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local lives = s and s.born == born
  local planned = lives and has_plan(s) and s.first_run <= run and run < s.first_run + s.count - s.taken
  local waits = lives and redis.call('HEXISTS', TRIGGERS, pack8(born) .. pack8(run)) == 1
  reply[4] = (planned or waits) and 1 or 0
end

local function stats()
  local total = redis.call('ZCARD', NAMES)
  for kind = 1, 5 do
    reply[4 + kind] = redis.call('ZCOUNT', KINDS, kind, kind)
    total = total - reply[4 + kind]
  end
  reply[4] = total
  local late, behind = text(LATE), '(' .. text(now)
  reply[10] = redis.call('ZCOUNT', DUE, '-inf', now) + redis.call('ZCOUNT', AGAIN, '-inf', now)
    + redis.call('ZCOUNT', AGAIN, late, '+inf')
  local oldest = math.min(lowest(DUE) or LATE, lowest(BEHIND) or LATE)
  reply[11] = oldest <= now and now - oldest or -1
  local next = math.min(lowest(DUE, behind) or LATE, lowest(AGAIN, behind) or LATE)
  reply[12] = next < LATE and next or -1
  reply[13], reply[14], reply[15] = redis.call('ZCARD', NUMBERS), r.letters_lost, r.epoch
  reply[16] = is_led() and r.lease_end - now or -1
  reply[17], reply[18] = r.leader, r.zones
  local served = redis.call('HGETALL', SERVED)
  for i = 1, #served, 2 do
    if tonumber(served[i + 1]) > now then
      reply[#reply + 1] = served[i]
    end
  end
end

local LOOKS = { get = get, list = list, history = history, letters = letters, letter = letter, awaits = awaits,
  stats = stats }
if LOOKS[what] then
  LOOKS[what]()
end
ring()
finish()
return reply
