-- How many connections one user holds on each node.
-- KEYS[1]: a hash from node to 'version:count'. A version is the microsecond at which its node counted.
-- ARGV: this node, its version and its count, how many there may be on all nodes (0: the count is only told), seconds
-- after which what is never told again is forgotten, and a hash in which nobody is, then the nodes that live.
-- Answers 1, or 0 when that would be too many; nothing is counted then.
local key, me = KEYS[1], ARGV[1]
local version, mine, max = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local forget_after = tonumber(ARGV[5]) * 1000000
-- A node that started just now may not be known to live everywhere.
local new_for = 10000000
local living = {}
for i = 7, #ARGV do
  living[ARGV[i]] = true
end

local newest, others, kept = 0, 0, 0
local hash = redis.call('HGETALL', key)
for i = 1, #hash, 2 do
  local node = hash[i]
  local stamp, count = string.match(hash[i + 1], '^(%d+):(%d+)$')
  stamp, count = tonumber(stamp or 0), tonumber(count or 0)
  local age = version - stamp
  if node == me then
    newest = stamp
  elseif age > forget_after then
    redis.call('HDEL', key, node)
  else
    -- One that does not live is not counted, but kept: its lease may only have been late.
    kept = kept + count
    if living[node] or age < new_for then
      others = others + count
    end
  end
end

if max > 0 and others + mine > max then
  return 0
end
-- What comes late does not replace what was counted after it. A count of zero stays for that reason.
if version > newest then
  redis.call('HSET', key, me, ARGV[2] .. ':' .. ARGV[3])
  redis.call('EXPIRE', key, kept + mine > 0 and ARGV[5] or ARGV[6])
end
return 1
