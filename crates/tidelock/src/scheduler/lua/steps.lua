-- part: the outcomes of slots and triggers.

-- The outcome of a slot or trigger in ARGV, as the history stores it: s job lateness, o active, g error.
local function outcome_of(at)
  local kind = ARGV[at]
  if kind == 's' then
    return kind .. struct.pack('>I8I8', tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
  elseif kind == 'o' then
    return kind .. pack8(tonumber(ARGV[at + 1]))
  end
  return kind .. struct.pack('>I2', #ARGV[at + 1]) .. ARGV[at + 1]
end

-- Writes a dead letter, and drops the oldest ones if there are too many.
local function bury(letter, id, key, error_text)
  local number = next_revision()
  local number8, born8 = pack8(number), pack8(letter.born)
  redis.call('HSET', LETTERS, number8, struct.pack('>I8I8I8I8I8I8I8I4c1I8I8c1I2I2I2', now, letter.born, number,
    letter.timing_revision, letter.run, r.epoch, letter.missed, letter.rounds, letter.slot and '1' or '0', letter.slot or 0,
    letter.due or 0, letter.on_time or '0', #id, length(key), #error_text) .. id .. (key or '') .. error_text)
  redis.call('ZADD', NUMBERS, text(number), number8)
  own(born8, 'l' .. number8)
  note(now + KEPT)
  local over = math.min(redis.call('ZCARD', NUMBERS) - r.max_letters, STEP)
  for _ = 1, over do
    local oldest, of = oldest_letter()
    disown(of, 'l' .. oldest)
    r.letters_lost = r.letters_lost + 1
  end
end

-- The accepted trigger of a schedule, or false.
local function trigger_of(id, born, run)
  local body, s = redis.call('HGET', TRIGGERS, pack8(born) .. pack8(run)), load(id)
  if not body or #body < 30 or not s or s.born ~= born then
    return false
  end
  local is_its = struct.unpack('>I2', body, 29) == #id and body:sub(31, 30 + #id) == id
  return is_its and body, s
end

-- Schedules a retry of an accepted trigger. Returns whether the trigger was waiting for this.
local function trigger_failed(id, born, run, due)
  if not trigger_of(id, born, run) then
    return false
  end
  redis.call('ZADD', WAITING, text(due), pack8(born) .. pack8(run))
  earliest = math.min(earliest, due)
  return true
end

-- An accepted trigger was submitted, or refused. Returns whether it was waiting for this.
local function trigger_done(id, born, run, at, history)
  local born8, run8 = pack8(born), pack8(run)
  local body, s = trigger_of(id, born, run)
  if not body then
    return false
  end
  local accepted, key_length = struct.unpack('>I8I2', body, 17)
  local from = 31 + #id
  local key = key_length > 0 and body:sub(from, from + key_length - 2)
  disown(born8, 't' .. run8)
  if key then
    local known = redis.call('HGET', NAMED, born8 .. key)
    if known and ARGV[at] == 's' then
      local _, memory = struct.unpack('>I8I8', known)
      local ends = now + memory
      redis.call('HSET', NAMED, born8 .. key, struct.pack('>I8I8I8I8', run, memory, tonumber(ARGV[at + 1]), ends))
      redis.call('ZADD', NAMED_ENDS, text(ends), born8 .. key)
      note(ends)
    else
      -- A new request with this key tries again.
      disown(born8, 'k' .. key)
    end
  end
  remember(id, history, 't' .. struct.pack('>I8I8I2', run, accepted, key_length) .. (key or '') .. outcome_of(at))
  if ARGV[at] == 'g' then
    local rounds = tonumber(ARGV[at + 2])
    bury({ born = born, timing_revision = s.timing_revision, run = run, missed = 0, rounds = rounds }, id, key, ARGV[at + 1])
  end
  return true
end

-- Whether a pause has reached its own end.
local function is_over(s)
  return s.kind == 'p' and s.until_time ~= 0 and s.until_time <= now
end

-- Ends a pause.
local function go_on(s, slot, due, passed, history)
  s.revision = next_revision()
  s.slot, s.due = slot, due
  set_kind(s, 'a')
  if passed > 0 then
    remember(s.id, history, 'p' .. pack8(passed))
  end
  rest(s)
  save(s)
end
