-- write: stores what the leader decided and did, step by step. An older epoch changes nothing.
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
-- KEYS[26]  answers: the last request of this sender and its answer (string)
-- ARGV[1]   pinned time in ms, or empty
-- ARGV[2]   number of this request in its sender's series
-- ARGV[3]   instance
-- ARGV[4]   epoch
-- ARGV[5]   entries of history that a schedule keeps
-- ARGV[6]   dead letters that are kept
-- ARGV[7..] steps, each a letter and its arguments:
--           D  id, revision, expected slot, instant of the judgement, next slot and due instant (0: none), slots,
--              missed, without handler
--           C  id, birth, run, outcome (s job lateness, o active -, g error -)
--           F  id, birth, run, error, delay in ms
--           U  id, revision, handler
--           Q  id, revision, error
--           R  id, revision, next slot and due instant, slots in the pause
--           M  id, revision, next slot and due instant
--           Z  zone database
--           W  id, birth, run, delay in ms
--           T  id, birth, run, outcome (as C, but g error rounds)
-- Reply: next deadline in ms (0: none), then S (stale), or 1 and 0: which steps were carried out
local number = tonumber(ARGV[2])
local memory = redis.call('GET', KEYS[26])
if memory then
  local last = unpack8(memory)
  if last == number then
    return cmsgpack.unpack(memory:sub(9))
  end
  if last > number then
    return redis.error_reply('LATE a later request of this sender was answered')
  end
end
local function remember_answer(answer)
  redis.call('SET', KEYS[26], pack8(number) .. cmsgpack.pack(answer), 'PX', pinned and HOUR or 120000)
  return answer
end

if not is_led() or r.leader ~= ARGV[3] or r.epoch ~= tonumber(ARGV[4]) then
  return remember_answer({ text(r.next), 'S' })
end
advance()
local history = tonumber(ARGV[5])
r.max_letters = tonumber(ARGV[6])

local function at_revision(at)
  local s = load(ARGV[at])
  return s and s.revision == tonumber(ARGV[at + 1]) and s
end

local function with_plan(at)
  local s = load(ARGV[at])
  return s and has_plan(s) and s.born == tonumber(ARGV[at + 1]) and s.first_run == tonumber(ARGV[at + 2]) and s
end

local function decide(at)
  local s, slots = at_revision(at), ARGV[at + 6]
  if not s or not (s.kind == 'a' or s.kind == 'u') or has_plan(s) or s.slot == 0 or s.slot ~= tonumber(ARGV[at + 2]) then
    return false
  end
  s.slot, s.due = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  set_kind(s, 'a')
  local missed, missing = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  if #slots > 0 then
    redis.call('HSET', PLANS, s.id, slots)
    local _
    _, s.first_due, s.on_time = struct.unpack('>I8I8c1', slots)
    s.first_run, s.taken, s.count = s.run + 1, 0, #slots / 17
    s.missed, s.decided_at, s.plan_timing, s.snapshot = missed, tonumber(ARGV[at + 3]), s.timing_revision, '0'
    s.run = s.run + s.count
  end
  if missed > 0 then
    remember(s.id, history, 'm' .. pack8(missed))
  end
  if missing > 0 then
    remember(s.id, history, 'h' .. pack8(missing))
  end
  rest(s)
  save(s)
  return true
end

local function confirm(at)
  local s = with_plan(at)
  if not s then
    return false
  end
  local slots, run = redis.call('HGET', PLANS, s.id) or '', s.first_run
  local first = s.taken * 17 + 1
  if #slots ~= s.count * 17 then
    -- The rest of the plan cannot be read.
    slots, first = struct.pack('>I8I8c1', 0, s.first_due, s.on_time), 1
    s.taken = s.count - 1
  end
  local slot, due, on_time = struct.unpack('>I8I8c1', slots, first)
  local letter = { born = s.born, timing_revision = s.plan_timing, run = run, missed = s.missed, slot = slot, due = due,
    on_time = on_time, rounds = (s.kind == 'f' and s.rounds or 0) + 1 }
  local entry = 's' .. struct.pack('>I8I8I8c1I8', run, slot, due, on_time, s.decided_at) .. outcome_of(at + 3)
  s.first_run, s.taken, s.missed = s.first_run + 1, s.taken + 1, 0
  if has_plan(s) then
    local _
    _, s.first_due, s.on_time = struct.unpack('>I8I8c1', slots, first + 17)
  else
    drop_plan(s)
  end
  if s.kind == 'f' then
    set_kind(s, 'a')
  end
  -- Without a job: it is no longer known which job the slot became.
  if ARGV[at + 3] == 's' and ARGV[at + 4] ~= '0' then
    s.last_slot, s.last_job, s.lateness = slot, tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  end
  remember(s.id, history, entry)
  rest(s)
  save(s)
  if ARGV[at + 3] == 'g' then
    bury(letter, s.id, false, ARGV[at + 4])
  end
  return true
end

local function fail(at)
  local s = with_plan(at)
  if not s or not (s.kind == 'a' or s.kind == 'f') then
    return false
  end
  set_kind(s, 'f', now + tonumber(ARGV[at + 4]), 0, s.rounds + 1, ARGV[at + 3])
  save(s)
  return true
end

local function unserve(at)
  local s, handler = at_revision(at), ARGV[at + 2]
  if not s or s.kind ~= 'a' or has_plan(s) or s.handler ~= handler or is_served(handler) then
    return false
  end
  set_kind(s, 'u', now)
  save(s)
  return true
end

local function quarantine(at)
  local s = at_revision(at)
  -- Before its end, only the user may end a pause.
  if not s or not (s.kind == 'a' or s.kind == 'f' or s.kind == 'u' or is_over(s)) then
    return false
  end
  set_kind(s, 'q', now, 0, 0, ARGV[at + 2])
  save(s)
  return true
end

local function resume(at)
  local s = at_revision(at)
  if not s or not is_over(s) then
    return false
  end
  go_on(s, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), history)
  return true
end

local function move(at)
  local s = at_revision(at)
  if not s or s.kind == 'x' then
    return false
  end
  s.slot, s.due = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if s.kind == 'q' or s.kind == 'u' then
    set_kind(s, 'a')
  end
  rest(s)
  save(s)
  return true
end

local function zones(at)
  r.zones = ARGV[at]
  return true
end

local function done(at)
  return trigger_done(ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), at + 3, history)
end

local function wait(at)
  return trigger_failed(ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), now + tonumber(ARGV[at + 3]))
end

local STEPS = { D = decide, C = confirm, F = fail, U = unserve, Q = quarantine, R = resume, M = move, Z = zones, W = wait,
  T = done }
local ARGUMENTS = { D = 9, C = 6, F = 5, U = 3, Q = 3, R = 5, M = 4, Z = 1, W = 4, T = 6 }
local at, answer = 7, { '', }
while at <= #ARGV do
  local letter = ARGV[at]
  answer[#answer + 1] = STEPS[letter](at + 1) and '1' or '0'
  at = at + 1 + ARGUMENTS[letter]
end
-- The leader knows when the results of its own steps are due.
r.told = math.min(r.told, earliest)
answer[1] = text(r.next)
remember_answer(answer)
finish()
return answer
