-- part: ends the functions that rest.lua begins.
  return { carry_out = carry_out, gap_before = gap_before, find_group = find_group, first_open = first_open,
    take_open = take_open, read_on = read_on, ack = ack, touch = op_touch, back = op_return, stale = op_stale,
    taken_again = taken_again }
end
