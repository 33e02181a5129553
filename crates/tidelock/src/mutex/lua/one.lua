-- mutex: the requests of the callers of one process, each on its own, in the order in which they came.
-- KEYS[1..n]  <prefix>:{mutex/<tenant>/<id>/<resource>}:lock: the record of the resource of each request
-- KEYS[n+1..2n]  <prefix>:{mutex/<tenant>/<id>/<resource>}:queue: its waiters and their processes
-- KEYS[2n+1..3n]  <prefix>:{mutex/<tenant>/<id>/<resource>}:released: the fences of the 63 releases before its last
--          one, 8 bytes each, by the number of the release modulo 63
-- ARGV[1]  pinned time in ms, or empty
-- ARGV[2]  channel of the process that asks
-- ARGV[3..]  each request, packed: what it asks (byte: 1 lock, 2 lock or wait in the queue, 3 release), token (16
--          bytes), lease in ms or fence (8), owner
-- Reply: for each request, packed: lock: 1, fence, lease left in ms: granted; 2, place, lease left in ms, waiters:
--          waits; 0, lease left in ms, waiters: no; 3, waiters: the queue is full. Release: 1 released, now or by an
--          earlier call; 0 it was lost. Then, if this step gave the resource to a waiter of the same process: its
--          token, fence, lease in ms; if it offered it to another process: 1. The first number has 1 byte, the others
--          have 8. Or the text of an error.
local TRY, RELEASE, EARLIER = 1, 3, 63
local here = ARGV[2]

local function step(LOCK, QUEUE, RELEASED, request)
  local what, asked, number, rest = struct.unpack('>Bc16I8', request)
