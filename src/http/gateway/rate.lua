-- GCRA, the rule of domain/gcra.rs, for the buckets of one caller.
-- KEYS: the buckets, each the microsecond at which it is full again. A full one is not there.
-- ARGV: for each, the microseconds in which one call comes back, and in which all do.
-- Takes a call from each until one refuses; answers the time, then for each that was asked: 1 or 0, and the
-- microseconds until it is full.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = { now }
for i, key in ipairs(KEYS) do
  local interval, tolerance = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local full_at = tonumber(redis.call('GET', key) or now)
  local ahead = math.min(math.max(full_at - now, 0), tolerance)
  local is_allowed = ahead + interval <= tolerance
  if is_allowed then
    ahead = ahead + interval
    redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
  end
  answer[#answer + 1] = is_allowed and 1 or 0
  answer[#answer + 1] = ahead
  if not is_allowed then
    break
  end
end
return answer
