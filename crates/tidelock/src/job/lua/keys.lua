-- part: the keys of the jobs of one name, and the fields of their record.
local RECORD, LINE, JOBS, INPUTS, DETAILS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local READY, LINES, DELAYED, RUNNING = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local EXPIRING, KEPT = KEYS[10], KEYS[11]
local ENDED = { C = KEYS[12], F = KEYS[13], X = KEYS[14], T = KEYS[15] }
local BOUND, KEY_ENDS, SERIES, SERIES_ENDS, ACTIVE = KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20]
local WATCHERS, PARKED = KEYS[21], KEYS[22]
local OBJECT_KEYS = 22

-- `plain`: ready jobs in the line; `line`: elements of the line; `steady`: 1 once the permanent keys have been
-- created. The other fields are described in docs/wire/job.md.
local FIELDS = { 'id', 'fence', 'join', 'standing', 'ready', 'plain', 'line', 'blocked', 'delayed', 'running', 'paused',
  'age', 'widest', 'line_expiry', 'steady', 'told', 'next', 'ends', 'rest', 'applied', 'swept', 'submitted', 'completed',
  'failed', 'cancelled', 'timed_out', 'retries', 'crashes', 'stale' }
