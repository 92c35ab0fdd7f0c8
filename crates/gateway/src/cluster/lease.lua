-- Serves what one node wants of the accounts of one project, in one step. The same as limits::Pool, which a test compares.
-- KEYS: the accounts. ARGV: the node, then nine for each account: what it is, when it is forgotten (milliseconds from now, 0 for
-- never), and seven numbers. Money counts in 10^-9 USD, so that a double holds what is asked of it exactly.
-- Returns three numbers for each account, or {-1} for money of which nothing is known.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node = ARGV[1]
local told = {}

local function whole(number) return string.format('%.0f', number) end

-- What a node gets that has so much and wants more, or less. What does not reach what it needs is left to others.
local function part(left, has, needed, want)
  if want <= has then return want end
  if has + math.max(0, left) < needed then return has end
  return has + math.max(0, math.min(left, want - has))
end

local function money(key, ceiling, spent, has, needed, want)
  local known = redis.call('HMGET', key, 'allowed', 'spent', 'a:' .. node, 's:' .. node)
  if not known[1] then return {-1} end
  local allowed = known[1] - (known[3] or 0) + has
  local all_spent = known[2] - (known[4] or 0) + spent
  local mine = part(ceiling - allowed, has, needed, want)
  allowed = allowed - has + mine
  redis.call('HSET', key, 'allowed', whole(allowed), 'spent', whole(all_spent), 'a:' .. node, whole(mine), 's:' .. node, whole(spent),
    'u:' .. node, whole(math.min(needed, mine)), 't:' .. node, whole(now))
  return {mine, allowed, all_spent}
end

-- The level is in units times milliseconds of the period; it leaks `limit` of these in a millisecond.
local function rate(key, limit, period, owed, needed, want, back)
  local known = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(known[1] or 0), tonumber(known[2] or now)
  if now > at then level = math.max(0, level - (now - at) * limit) else now = at end
  level = math.max(0, level - back * period) + owed * period
  local full = limit * period
  local free = math.floor(math.max(0, full - level) / period)
  local taken = 0
  if want <= free then
    taken = want
  elseif limit > 0 and level + math.min(needed, limit) * period <= full then
    taken = math.max(needed, free)
  end
  level = level + taken * period
  redis.call('HSET', key, 'level', whole(level), 'at', whole(now))
  return {taken, level, 0}
end

-- A field for each node: how many places it has, and when it was heard of.
local function places(key, most, has, needed, want, gone)
  local others = 0
  local known = redis.call('HGETALL', key)
  for i = 1, #known, 2 do
    local count, heard = string.match(known[i + 1], '^(%d+) (%d+)$')
    if known[i] ~= node then
      if now - heard >= gone then redis.call('HDEL', key, known[i]) else others = others + count end
    end
  end
  local mine = part(most - others - has, has, needed, want)
  if mine > 0 then
    redis.call('HSET', key, node, whole(mine) .. ' ' .. whole(now))
  else
    redis.call('HDEL', key, node)
  end
  return {mine, 0, 0}
end

for index, key in ipairs(KEYS) do
  local from = 2 + (index - 1) * 9
  local lives = tonumber(ARGV[from + 1])
  local n = {}
  for i = 1, 7 do n[i] = tonumber(ARGV[from + 1 + i]) end
  local kind = ARGV[from]
  if kind == 'money' then
    told[index] = money(key, n[1], n[2], n[3], n[4], n[5])
  elseif kind == 'rate' then
    told[index] = rate(key, n[1], n[2], n[3], n[4], n[5], n[6])
  else
    told[index] = places(key, n[1], n[2], n[3], n[4], n[5])
  end
  if lives > 0 then redis.call('PEXPIRE', key, lives) end
end
return told
