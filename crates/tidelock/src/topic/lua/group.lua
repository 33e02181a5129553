-- part: one group: its book, what it has open, its dead letters. A mirror of topic/model/group.rs.
local OPEN, LEASED, WAITING, READY, FREED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local ASIDE, IDLE, BUSY, LETTERS, MOVED, KEPT = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local COPIES, RETURNING = KEYS[17], KEYS[18]
local NAME = ARGV[2]
local MAX_GROUPS, MAX_ASIDE = 1000, 10000

-- The book holds the state of the group. Position: `life`, `at`, `ordinal`; `sure`: 1 if it is that of an event of this
-- log. `paused`: end of the pause, -1 until resumed, 0 for none. `told`: the deadline that a parked process keeps.
-- `next`: a lower bound for the earliest end of a lease, due time or end of a dead letter's retention, 0 for none.
-- Counts: `leased`, `waiting` (not due yet), `ready` (waiting and due), `freed` and `aside` (set aside, with and
-- without a free key), `copies` (requeued copies among all of these), `dead`. `limited`: the number of events in flight
-- or waiting that made a reader stop, 0 for none. `returning`: while the copies that were open at a seek are opened
-- again, the position of the last one that was; 0: all are.
local BOOK = { 'life', 'at', 'ordinal', 'sure', 'missed', 'paused', 'told', 'next', 'leased', 'waiting', 'ready', 'freed',
  'aside', 'copies', 'dead', 'limited', 'swept', 'returning' }
local BOOK_FORMAT = '>' .. string.rep('d', #BOOK)
local BOOK_SIZE = 8 * #BOOK
local book = redis.call('HGET', GROUPS, NAME)
local g, reason = nil, ''

local function read_book()
  local numbers = { struct.unpack(BOOK_FORMAT, book) }
  g = {}
  for i = 1, #BOOK do
    g[BOOK[i]] = numbers[i]
  end
  reason = book:sub(BOOK_SIZE + 1)
end

if book then
  if #book < BOOK_SIZE then
    return redis.error_reply('TIDELOCK the book of a group is cut short')
  end
  read_book()
end

local settling = false
-- The earliest delivery deadline that this step added, and the earliest known end of an open event's retention.
local soonest, loses_at = nil, 0

local function write_book()
  local numbers = {}
  for i = 1, #BOOK do
    numbers[i] = g[BOOK[i]]
  end
  local new = struct.pack(BOOK_FORMAT, unpack(numbers)) .. reason
  if new ~= book then
    redis.call('HSET', GROUPS, NAME, new)
  end
end

local function is_paused()
  return g.paused == -1 or now < g.paused
end

local function deadline(at)
  if g.next == 0 or at < g.next then
    g.next = at
  end
end

local function delivery_deadline(at)
  deadline(at)
  if not soonest or at < soonest then
    soonest = at
  end
end

local function is_overdue()
  return g.next > 0 and now >= g.next
end

-- Functions that only some steps need: see rest.lua.
local rest, make_rest
local function others()
  rest = rest or make_rest()
  return rest
end

-- Carries out what is overdue: at most STEP of each cause.
local function advance()
  fix_floor()
  trim(STEP)
  if not g then
    return
  end
  if g.paused > 0 and now >= g.paused then
    g.paused, reason = 0, ''
  end
  if is_overdue() or g.waiting + g.ready + g.freed + g.aside + g.returning > 0 then
    settling = others().carry_out()
  end
end

-- The next instant at which something in the group is due; 0: none, 1: now.
local function next_of_group()
  if settling then
    return 1
  end
  local next_at = g and g.next or 0
  if g and g.paused > 0 and (next_at == 0 or g.paused < next_at) then
    next_at = g.paused
  end
  if loses_at > 0 and (next_at == 0 or loses_at < next_at) then
    next_at = loses_at
  end
  return next_at
end

-- Ends a step: wakes one parked process per deliverable event and, if this step added an earlier deadline, the process
-- that keeps the next deadline.
local function wake()
  local field = 'g' .. NAME
  local list = redis.call('HGET', PARKED, field)
  if not list then
    return
  end
  local parked = parking().read(list)
  local count = 0
  if not g then
    count = r.ordinal > 0 and #parked or 0
  elseif not is_paused() then
    count = g.ready
    if g.limited == 0 or g.leased + g.waiting + g.ready < g.limited then
      local start = g.aside + g.freed < MAX_ASIDE and after(g.life, g.at, g.ordinal, g.sure == 1)
      count = count + g.freed + (start and r.ordinal - start + 1 or 0)
    end
  end
  local left = parked
  if count > 0 then
    left = parking().wake(parked, field, count, function() return true end)
  end
  -- A publish may have woken the keeper before others that it does not concern. They are to keep the deadline.
  if g and g.told > now and #left > 0 and not parking().is_kept(left) then
    soonest, g.told = soonest and math.min(soonest, g.told) or g.told, 0
  end
  -- A deadline that was given out and has passed is kept by nobody: its keeper may have found enough events and not
  -- have parked since.
  if g and soonest and (g.told <= now or soonest < g.told) then
    local missing
    left, missing = parking().wake(left, field, 1, function(flags) return flags % 2 == KEEPS end)
    if missing > 0 then
      left, missing = parking().wake(left, field, 1, function() return true end)
    end
    if missing == 0 then
      -- Nobody keeps a deadline until the woken process parks again or, if it finds enough, another process does.
      g.told = 0
    end
  end
  if #left ~= #parked then
    parking().write(field, left)
  end
end

-- Ends a step of the group: wake-ups, book, record.
local function finish_group()
  wake()
  if g then
    write_book()
  end
  finish()
end
