-- part: what others() gives in a script that needs all of it.
rest = { carry_out = carry_out }
