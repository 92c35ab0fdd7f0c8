-- A node has ended, and the ledger has everything that it spent: what it held beyond that is free.
-- KEYS: an account of money. ARGV: the node, and what it spent in 10^-9 USD.
local known = redis.call('HMGET', KEYS[1], 'allowed', 'spent', 'a:' .. ARGV[1], 's:' .. ARGV[1])
if not known[1] then return 0 end
local function whole(number) return string.format('%.0f', number) end
redis.call('HSET', KEYS[1], 'allowed', whole(known[1] - (known[3] or 0) + ARGV[2]), 'spent',
  whole(known[2] - (known[4] or 0) + ARGV[2]), 'a:' .. ARGV[1], ARGV[2], 's:' .. ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], 'u:' .. ARGV[1], 't:' .. ARGV[1])
return 1
