-- part: begins what only some trips of a group need. To make so many functions costs more than a plain trip does, so they
-- are made when the first of them is asked for; made.lua ends it.
function make_rest()
