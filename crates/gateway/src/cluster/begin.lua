-- Begins an account of money, unless it is known: what each node has spent, as the ledger has it.
-- KEYS: the account. ARGV: when it is forgotten (milliseconds from now, 0 for never), then node and amount in 10^-9 USD for each.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local sum = 0
for i = 2, #ARGV, 2 do
  sum = sum + ARGV[i + 1]
  redis.call('HSET', KEYS[1], 'a:' .. ARGV[i], ARGV[i + 1], 's:' .. ARGV[i], ARGV[i + 1])
end
local text = string.format('%.0f', sum)
redis.call('HSET', KEYS[1], 'allowed', text, 'spent', text)
if tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
