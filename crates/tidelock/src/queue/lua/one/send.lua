-- part: judges whether there is room for all sent messages, and whether the line can take them, as `op_plain` and
-- `push_line` do.
    local age_sent, length = tonumber(ARGV[5]), 0
    if plain and sends > 0 then
      local limit = tonumber(ARGV[6])
      length = call('LLEN', KEYS[2])
      plain = (limit == 0 or ready + blocked + delayed + sends <= limit) and (length == 0 or age == age_sent)
      widest = length == 0 and 0 or widest
      for i = 1, sends do
        widest = #ARGV[7 + i] > widest and #ARGV[7 + i] or widest
      end
    end
