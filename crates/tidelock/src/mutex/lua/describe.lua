-- describe: returns the holder of the resource and the number of waiters; changes nothing.
-- KEYS[1]  prefix:{tag}:lock: the record
-- KEYS[2]  prefix:{tag}:queue: waiters and their processes
-- ARGV[1]  pinned time in ms, or empty
-- Reply: {waiters, last fence or 0, owner, lease left in ms}, without the last two if nobody holds it
if state == FREE or now >= deadline then
  return { waiting, fence }
end
return { waiting, fence, owner, deadline - now }
