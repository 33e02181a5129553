-- part: exact arithmetic. Numbers here are doubles, exact for integers up to 2^53; products of counts and spans exceed
-- that.


-- floor(a * b / c) and the remainder, for whole a < 2^53, b < 2^48, 1 <= c < 2^40; a quotient above 2e15 is capped.
local function ratio(a, b, c)
  local product = a * b
  local quotient = product / c
  if product < 9007199254740992 then
    quotient = quotient - quotient % 1
    return quotient, product - quotient * c
  end
  if quotient > 2e15 then
    return 2e15, 0
  end
  -- Long division by digits of 12 bits: every intermediate value stays below c * 2^13 <= 2^53.
  local whole = math.floor(a / c)
  a = a - whole * c
  whole = whole * b
  local rest, scale = 0, 68719476736
  quotient = 0
  repeat
    local digit = math.floor(b / scale)
    b = b - digit * scale
    local step = rest * 4096 + a * digit
    local times = math.floor(step / c)
    rest = step - times * c
    quotient = quotient * 4096 + times
    scale = scale / 4096
  until scale < 1
  return whole + quotient, rest
end
