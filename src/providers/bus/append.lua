-- Appends events to a stream, each of them once and in the order given.
-- KEYS: the stream, then for each event the key that says it is there.
-- ARGV: the window in which repeats are known, in seconds; the length of the stream; then id, type and JSON of each event.
-- An event is marked after it was appended: whatever fails in between doubles it at worst, and never loses it.
for n = 2, #KEYS do
    local at = n * 3 - 3
    if redis.call('EXISTS', KEYS[n]) == 0 then
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
            'id', ARGV[at], 'type', ARGV[at + 1], 'event', ARGV[at + 2])
        redis.call('SET', KEYS[n], '', 'EX', ARGV[1])
    end
end
return redis.status_reply('OK')
