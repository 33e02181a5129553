-- part: how the state of a job is laid out, and the keys that stay.
-- State: kind (p ready in the line, r ready, b blocked, d delayed, g running, or the end: C, F, X, T), priority,
-- flags (1 the last run settled itself, 2 watched, 4 a reason is given), standing, due, submitted, fence, started,
-- number (g: lease in ms; ended: when), attempt, failures, crashes, reschedules, order in its line, memos and their
-- size in bytes, numbers of the last event and of the last one in a closed chunk; lengths of the rules, the worker,
-- the note (g: channel of the process; X: reason); then these three and the tail of the events. The rules come from
-- the caller that submitted.
local STATE = '>c1BBI6I6I6I8I6I6I4I4I4I4I6I2I4I4I4I4I2I2'
local STATE_SIZE = 85
local RULES = '>I4I4I6I6I6I6I6c1I6BI2I2I2I2'
local CHUNK = 1024

local now_bytes = struct.pack('>I6', now)

-- Something is forgotten at `at` at the latest, so the object must live until then.
local function rest_until(at)
  r.rest = math.max(r.rest, at)
  live_until(at)
end

-- The state of a job that was just accepted.
local function new_state(rules, priority, standing)
  return struct.pack(STATE, 'p', priority, 0, standing, standing, now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, #rules, 0, 0)
    .. rules .. 's' .. now_bytes
end

-- Whether the plain line takes a job with this max_wait. All of a line have the same, so that its head is the first
-- to expire.
local function line_takes(max_wait)
  if r.plain == 0 then
    if r.line > 0 then
      redis.call('DEL', LINE)
    end
    r.line, r.age, r.line_expiry, r.widest = 0, max_wait, 0, 0
  end
  return r.age == max_wait
end

-- Keys that hold one long placeholder forever. So they never vanish, and servers never use the compact encoding that
-- they scan from its beginning.
local STEADY_SETS, STEADY_HASHES = { RUNNING, KEPT }, { JOBS, INPUTS, DETAILS }

local function make_steady()
  if r.steady == 1 then
    return
  end
  r.steady = 1
  for i = 1, #STEADY_SETS do
    redis.call('ZADD', STEADY_SETS[i], '+inf', SENTINEL)
    fresh[STEADY_SETS[i]] = true
  end
  for i = 1, #STEADY_HASHES do
    redis.call('HSET', STEADY_HASHES[i], '.', SENTINEL)
    fresh[STEADY_HASHES[i]] = true
  end
end
