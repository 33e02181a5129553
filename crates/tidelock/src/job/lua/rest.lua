-- part: begins the functions that only some trips need. Creating so many functions costs more than a plain trip, so
-- they are created on first use; made.lua ends them.
function make_rest()
