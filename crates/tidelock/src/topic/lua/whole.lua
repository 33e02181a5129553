-- part: what others() returns in a script that always includes all functions.
rest = { carry_out = carry_out }
