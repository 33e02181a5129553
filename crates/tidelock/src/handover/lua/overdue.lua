-- part: carries out what is overdue. The including script defines before it: INDEXES, sorted sets by the instant of a
-- transition, in the order that breaks ties; `overdue_of(index, count)`, the first overdue entries of an index with
-- their scores; `overdue_in_line()`, instant and id of the first overdue item of the plain line; `transition(cause, at,
-- id_bytes)`, where the cause is the number of an index, or one more than there are indexes for the plain line;
-- `first_deadline(index)`, the first score of an index as text.
local FETCH = 50
local fetched = {}
local IN_LINE = #INDEXES + 1

-- The first overdue entry of an index as (instant, id). Entries are fetched in batches.
local function first_of(index)
  local list = fetched[index]
  if not list or (list.at > #list and #list == 2 * FETCH) then
    list = overdue_of(index, FETCH)
    list.at = 1
    fetched[index] = list
  end
  if list.at <= #list then
    return tonumber(list[list.at + 1]), unpack8(list[list.at])
  end
end

local function first_overdue()
  local cause, at, id
  for index = 1, #INDEXES do
    local index_at, index_id = first_of(index)
    if index_at and (not at or index_at < at or (index_at == at and index_id < id)) then
      cause, at, id = index, index_at, index_id
    end
  end
  local line_at, line_id = overdue_in_line()
  if line_at and (not at or line_at < at or (line_at == at and line_id < id)) then
    cause, at, id = IN_LINE, line_at, line_id
  end
  return cause, at, id
end

-- Finds the exact next deadline once the lower bound was reached.
local function look_ahead()
  local earliest = r.line_expiry
  for index = 1, #INDEXES do
    local at = tonumber(first_deadline(index) or 'inf') or math.huge
    if at < math.huge and (earliest == 0 or at < earliest) then
      earliest = at
    end
  end
  local opens = limits.opens()
  if opens > 0 and (earliest == 0 or opens < earliest) then
    earliest = opens
  end
  r.next = earliest
end

-- Carries out at most STEP overdue transitions, in the order of their instants, each as of its own instant.
local function carry_out()
  for _ = 1, STEP do
    local cause, at, id = first_overdue()
    if not cause then
      return look_ahead()
    end
    -- A transition may make another one overdue. Then all indexes are fetched again.
    r.next = 0
    if cause ~= IN_LINE then
      fetched[cause].at = fetched[cause].at + 2
    end
    transition(cause, at, pack8(id))
    if r.next > 0 and r.next <= now then
      fetched = {}
    end
  end
  settling = first_overdue() ~= nil
  look_ahead()
end

local function advance()
  if r.paused > 0 and now >= r.paused then
    r.paused = 0
  end
  if r.next > 0 and now >= r.next then
    carry_out()
  end
end
