-- part: the keys of the one resource that a step concerns.
-- KEYS[1]  prefix:{tag}:lock: the record, described in record.lua
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
local LOCK, QUEUE = KEYS[1], KEYS[2]
