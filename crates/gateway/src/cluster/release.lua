-- A node will not deliver its records: what it had spent and reserved at its last message counts as spent, and the rest of its part is
-- free. The same as limits::Pool::release.
-- KEYS: an account of money. ARGV: the node, what the ledger has of it in 10^-9 USD, and how long it must have been silent, in
-- milliseconds. Returns what counts as spent, or -1 if it was heard of since.
local node = ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'allowed', 'spent', 'a:' .. node, 's:' .. node, 'u:' .. node, 't:' .. node)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if known[6] and now - known[6] < tonumber(ARGV[3]) then return -1 end
local charged = math.max(tonumber(ARGV[2]), tonumber(known[4] or 0), tonumber(known[5] or 0))
if not known[3] then return charged end
local function whole(number) return string.format('%.0f', number) end
redis.call('HSET', KEYS[1], 'allowed', whole(known[1] - known[3] + charged), 'spent', whole(known[2] - (known[4] or 0) + charged),
  'a:' .. node, whole(charged), 's:' .. node, whole(charged))
redis.call('HDEL', KEYS[1], 'u:' .. node, 't:' .. node)
return charged
