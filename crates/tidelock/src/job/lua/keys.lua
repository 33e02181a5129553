-- part: the keys of the jobs of one name, and the fields of their record.
local RECORD, LINE, JOBS, INPUTS, DETAILS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local READY, LINES, DELAYED, RUNNING, STARTED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local EXPIRING, KEPT = KEYS[11], KEYS[12]
local ENDED = { C = KEYS[13], F = KEYS[14], X = KEYS[15], T = KEYS[16] }
local BOUND, KEY_ENDS, SERIES, SERIES_ENDS, ACTIVE = KEYS[17], KEYS[18], KEYS[19], KEYS[20], KEYS[21]
local WATCHERS, PARKED = KEYS[22], KEYS[23]
local OBJECT_KEYS = 23

-- `plain`: ready jobs in the line; `line`: elements of the line; `steady`: 1 once the keys that stay have been made. The
-- others are told in docs/wire/job.md.
local FIELDS = { 'id', 'fence', 'join', 'standing', 'ready', 'plain', 'line', 'blocked', 'delayed', 'running', 'paused',
  'age', 'widest', 'line_expiry', 'steady', 'told', 'next', 'ends', 'rest', 'applied', 'swept', 'submitted', 'completed',
  'failed', 'cancelled', 'timed_out', 'retries', 'crashes', 'stale' }
