-- Takes from one key what a request costs, when there is so much. Redis's own clock counts, so those of the callers
-- need not agree. KEYS: the cell. ARGV: B(ucket), F(ixed) or R(olling); requests; per in µs; burst; cost; slices.
-- Gives back: 1 or 0; how many are left; µs until there is one more (or enough).
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local how, most, per = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local burst, cost, slices = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
-- Sums of fractions are off by less than this.
local hair = 1e-7

if how == 'B' then
  local owed, at = 0, now
  local cell = redis.call('GET', KEYS[1])
  if cell then
    local first, second = string.match(cell, '^(%S+) (%S+)$')
    owed, at = tonumber(first) or 0, tonumber(second) or now
  end
  if now > at then
    owed = math.max(0, math.min(owed, burst) - (now - at) * most / per)
    at = now
  end
  local taken = owed + cost <= burst + hair and (most > 0 or cost == 0)
  if taken and cost > 0 then
    owed = owed + cost
    local life = math.ceil(owed * per / most / 1000) + 1000
    redis.call('SET', KEYS[1], string.format('%.17g %.0f', owed, at), 'PX', string.format('%.0f', life))
  end
  local left = math.max(0, burst - owed)
  local wanted = taken and 1 or math.max(cost, 1)
  local reset = 0
  if left + hair < wanted then reset = most > 0 and (wanted - left) * per / most or per end
  return { taken and 1 or 0, math.floor(left + hair), math.ceil(reset) }
end

if how == 'F' then
  local used = tonumber(redis.call('GET', KEYS[1]) or '0')
  local taken = used + cost <= most
  if taken and cost > 0 then
    used = redis.call('INCRBY', KEYS[1], string.format('%.0f', cost))
  end
  local life = redis.call('PTTL', KEYS[1])
  if life == -1 then
    life = math.max(1, math.ceil(per / 1000))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life))
  end
  local left = math.max(0, most - used)
  local reset = 0
  if left == 0 or not taken then reset = math.max(life, 1) * 1000 end
  return { taken and 1 or 0, left, reset }
end

local width = math.max(1, math.ceil(per / slices))
local newest = math.floor(now / width)
local used, held = 0, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local slice, count = tonumber(all[i]), tonumber(all[i + 1])
  if slice < newest - slices then
    redis.call('HDEL', KEYS[1], all[i])
  else
    used = used + count
    held[#held + 1] = { slice, count }
  end
end
local taken = used + cost <= most
if taken and cost > 0 then
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', newest), string.format('%.0f', cost))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((per + 2 * width) / 1000)))
  used = used + cost
  held[#held + 1] = { newest, cost }
end
local left = math.max(0, most - used)
local missing = (taken and 1 or math.max(cost, 1)) - left
local reset = 0
if missing > 0 then
  table.sort(held, function(a, b) return a[1] < b[1] end)
  reset = per
  for _, one in ipairs(held) do
    missing = missing - one[2]
    if missing <= 0 then
      reset = math.max(0, (one[1] + slices + 1) * width - now)
      break
    end
  end
end
return { taken and 1 or 0, left, math.ceil(reset) }
