-- The transactions of the log. Redis runs a script alone: nobody sees half of it, and nobody else is served meanwhile.
--
-- P:meta         one hash, so that it vanishes as a whole: epoch, seq (the head), floor, run (of the server that wrote
--                last), holes ("before after " each), own (how many channels are comet's own, which count for nobody),
--                and @CHANNEL "last lost bytes closed oldest" (a time)
-- P:last         the channels by the SEQ of their newest entry: what is newer than N?
-- P:due          the channels by the time at which something of them may be too old
-- P:log:CHANNEL  stream, id SEQ-0: p prev, t time, m "type LF event" (empty: the end of the channel), d data
-- P:key:CHANNEL KEY   "seq prev epoch time" of the entry that had this idempotency key
-- P:call:WORKER  number and answer of the worker's last publishing
-- P:watched      the channels that anybody watches, by the time until which they count as watched
-- P:lease:NAME   hash: holder, fence, until, checkpoint
--
-- ARGV: P, pub/sub channel, an epoch for a new log, epoch and head that the caller has seen, verb, what the verb takes.
-- The answer is lines: epoch, head before, head, floor, holes, time, run, and what the verb says.
local P, live, candidate, seen_epoch, seen, verb = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local meta, newest, due = P .. ':meta', P .. ':last', P .. ':due'

-- Seconds for which the end of a channel is told, and an empty one is remembered.
local REMEMBERED = 60
-- So far SEQ jumps, at the least, where the tail of the log may be gone.
local JUMP = 1048576
-- Entries that may be dropped; while a tidying drops them, others wait.
local may_drop = verb == 'tidy' and 500 or math.huge

-- Lua writes large numbers as 1e+15.
local function whole(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local stamp = string.format('%d.%06d', time[1], time[2])
local now = tonumber(stamp)

local answers = {}
local function say(text) answers[#answers + 1] = text end

-- A call that is repeated because its answer did not come is answered again. One that comes after a later one, out of
-- the buffer of a lost connection, was given up long ago.
local slot = P .. ':call:' .. (ARGV[7] or '')
if verb == 'publish' then
  local number, answer = string.match(redis.call('GET', slot) or '', '^(%d+)\n(.*)$')
  if number == ARGV[8] then return answer end
  if number and tonumber(number) > tonumber(ARGV[8]) then return redis.error_reply('LATE another call came first') end
end

-- The state, and what a restart of the server or the loss of its data means.

local state = redis.call('HMGET', meta, 'epoch', 'seq', 'floor', 'run', 'holes', 'own')
local epoch, run, holes = state[1], state[4], state[5] or ''
local head, floor = tonumber(state[2] or 0), tonumber(state[3] or 0)
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')

local function is_older_than_seen()
  if epoch ~= seen_epoch then return false end
  for before, after in string.gmatch(holes, '(%d+) (%d+)') do
    if tonumber(before) < seen and seen < tonumber(after) then return true end
  end
  return seen > head
end

local news = not epoch or is_older_than_seen()
if news then
  if not epoch then redis.call('DEL', newest, due) end
  epoch, holes = candidate, ''
elseif run ~= server then
  -- To the microseconds of now: no number comes twice, whichever of the log's older copies this is.
  local after = math.max(head + JUMP, now * 1000000)
  holes = holes .. whole(head) .. ' ' .. whole(after) .. ' '
  head = tonumber(whole(after))
  news = true
end
if news then
  redis.call('HSET', meta, 'epoch', epoch, 'seq', whole(head), 'floor', whole(floor), 'run', server, 'holes', holes)
end
local before = head

-- Channels.

local function stream(name) return P .. ':log:' .. name end

local rules = {}
local function rule_of(text)
  local rule = rules[text]
  if not rule then
    local count, bytes, seconds, declared = string.match(text, '(%S+) (%S+) (%S+) (%S+)')
    rule = {count = tonumber(count), bytes = tonumber(bytes), seconds = tonumber(seconds), declared = declared == '1'}
    rules[text] = rule
  end
  return rule
end

local records = {}
local function record_of(name)
  local record = records[name]
  if not record then
    local text = redis.call('HGET', meta, '@' .. name)
    local last, lost, bytes, closed, oldest = string.match(text or '', '(%S+) (%S+) (%S+) (%S+) (%S+)')
    record = {
      exists = last ~= nil, last = tonumber(last or floor), lost = tonumber(lost or floor),
      bytes = tonumber(bytes or 0), closed = tonumber(closed or 0), oldest = tonumber(oldest or 0), added = 0, size = 0,
    }
    records[name] = record
  end
  return record
end

local function save(name, record)
  local r = record
  local text = string.format('%.0f %.0f %.0f %.0f %.6f', r.last, r.lost, r.bytes, r.closed, r.oldest)
  redis.call('HSET', meta, '@' .. name, text)
end

-- Drop the oldest entries while they are too many, too large or too old. The newest stays while it is young: it has not
-- been delivered yet.
local function trim(name, rule, record)
  local left = redis.call('XLEN', stream(name))
  local function too_much()
    if left > 1 and (left > rule.count or record.bytes > rule.bytes) then return true end
    return left > 0 and record.oldest < now - rule.seconds
  end
  while may_drop > 0 and too_much() do
    local piece = math.max(1, math.min(left - rule.count, 100))
    local rows = redis.call('XRANGE', stream(name), '-', '+', 'COUNT', piece + 1)
    local gone = {}
    while #gone < piece and too_much() do
      local row, after = rows[#gone + 1], rows[#gone + 2]
      gone[#gone + 1] = row[1]
      left, may_drop = left - 1, may_drop - 1
      record.bytes = record.bytes - #row[2][8]
      record.oldest = after and tonumber(after[2][4]) or now
    end
    redis.call('XDEL', stream(name), unpack(gone))
    record.lost = tonumber(string.match(gone[#gone], '%d+'))
  end
end

-- Publishing.

local function is_own(name) return string.sub(name, 1, 6) == 'comet.' end

local frame, channels = {}, redis.call('ZCARD', newest) - tonumber(state[6] or 0)

local function known(name, key) return key ~= '' and redis.call('GET', P .. ':key:' .. name .. ' ' .. key) end

local function append(name, rule, mark, data)
  local record = record_of(name)
  -- What is there is the channel's end, or belongs to a log that is gone; or this is its end.
  if record.closed > 0 or not record.exists or mark == '' then
    redis.call('DEL', stream(name))
    record.added, record.size, record.bytes, record.lost = 0, 0, 0, record.last
  end
  if not record.exists then
    if is_own(name) then redis.call('HINCRBY', meta, 'own', 1) else channels = channels + 1 end
  end
  head = head + 1
  local prev, id = whole(record.last), whole(head)
  redis.call('XADD', stream(name), id .. '-0', 'p', prev, 't', stamp, 'm', mark, 'd', data)
  record.exists, record.rule, record.last = true, rule, head
  record.added, record.size, record.bytes = record.added + 1, record.size + #data, record.bytes + #data
  record.closed = 0
  if mark == '' then record.closed, record.lost = head, head end
  frame[#frame + 1] = id .. ' ' .. prev .. ' ' .. name .. ' ' .. #mark .. ' ' .. #data .. '\n'
  frame[#frame + 1] = mark
  frame[#frame + 1] = data
  return id .. ' ' .. prev
end

local function accept(name, rule, key, mark, data, seconds)
  local earlier = known(name, key)
  if earlier then return earlier end
  local receipt = append(name, rule, mark, data)
  if key ~= '' then
    local full = receipt .. ' ' .. epoch .. ' ' .. stamp
    redis.call('SET', P .. ':key:' .. name .. ' ' .. key, full, 'PX', whole(seconds * 1000))
  end
  return receipt
end

-- Why a batch can't be accepted; nil if it can.
local function refusal(first, last, most)
  local new, count = {}, 0
  for i = first, last, 5 do
    local name, rule = ARGV[i], rule_of(ARGV[i + 1])
    if not (record_of(name).exists or new[name] or rule.declared or is_own(name) or known(name, ARGV[i + 2])) then
      if ARGV[i + 3] == '' then return 'unknown ' .. name end
      new[name], count = true, count + 1
    end
  end
  if count > 0 and channels + count > most then return 'full' end
end

-- What follows from the entries that this call has added to a channel.
local function settle(name, record)
  if redis.call('XLEN', stream(name)) == record.added then record.oldest, record.bytes = now, record.size end
  if record.closed == 0 then trim(name, record.rule, record) end
  save(name, record)
  redis.call('ZADD', newest, whole(record.last), name)
  redis.call('ZADD', due, 'LT', now + (record.closed > 0 and REMEMBERED or record.rule.seconds), name)
end

local function is_lost(lease, holder, fence)
  local current = redis.call('HMGET', P .. ':lease:' .. lease, 'holder', 'fence')
  return current[1] ~= holder or current[2] ~= fence
end

-- Takes worker, number, max channels, seconds of keys; then for each batch lease, fence, checkpoint ("=TEXT") and
-- count; then for each entry channel, rule, key, mark, data.
local function publish()
  -- More than enough: should the script fail in the middle, no number that it has given out comes again.
  redis.call('HSET', meta, 'seq', whole(head + #ARGV))
  local most, seconds, at = tonumber(ARGV[9]), tonumber(ARGV[10]), 11
  while ARGV[at] do
    local lease, fence, checkpoint, first = ARGV[at], ARGV[at + 1], ARGV[at + 2], at + 4
    local last = at + 3 + 5 * tonumber(ARGV[at + 3])
    local refused = lease ~= '' and is_lost(lease, ARGV[7], fence) and 'lease' or refusal(first, last, most)
    if refused then
      say('!' .. refused)
    else
      local receipts = {}
      for i = first, last, 5 do
        receipts[#receipts + 1] = accept(ARGV[i], rule_of(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], seconds)
      end
      if checkpoint ~= '' then redis.call('HSET', P .. ':lease:' .. lease, 'checkpoint', checkpoint) end
      say(table.concat(receipts, ';'))
    end
    at = last + 1
  end
  for name, record in pairs(records) do
    if record.added > 0 then settle(name, record) end
  end
  redis.call('HSET', meta, 'seq', whole(head))
end

-- Looking. Whether anything could be published now is found out by writing something.

local function look()
  local probe = redis.pcall('SET', P .. ':probe', stamp)
  if type(probe) == 'table' and probe.err then say(probe.err) end
end

-- Tidying: name and rule of channels that are due.

local function forget(name, record)
  floor = math.max(floor, record.last)
  redis.call('HSET', meta, 'floor', whole(floor))
  redis.call('HDEL', meta, '@' .. name)
  redis.call('ZREM', newest, name)
  if is_own(name) then redis.call('HINCRBY', meta, 'own', -1) end
end

-- When to look at the channel again; nil: not before it is published to.
local function tidied(name, rule, record)
  if redis.call('XLEN', stream(name)) == 0 then
    if not rule.declared then forget(name, record) end
    return nil
  end
  if record.closed == 0 then
    trim(name, rule, record)
  elseif record.oldest <= now - REMEMBERED then
    redis.call('DEL', stream(name))
    record.closed = 0
  end
  save(name, record)
  if redis.call('XLEN', stream(name)) == 0 then return now + REMEMBERED end
  return record.oldest + (record.closed > 0 and REMEMBERED or rule.seconds)
end

local function tidy()
  for i = 7, #ARGV, 2 do
    local name = ARGV[i]
    local again = tidied(name, rule_of(ARGV[i + 1]), record_of(name))
    if again then redis.call('ZADD', due, again, name) else redis.call('ZREM', due, name) end
  end
end

-- Leases: "lease" takes name, holder, seconds; "give_back" name, holder, fence; "checkpoint" name.

local function lease()
  local key, holder = P .. ':lease:' .. ARGV[7], ARGV[8]
  local current = redis.call('HMGET', key, 'holder', 'fence', 'until')
  if current[1] and current[1] ~= holder and tonumber(current[3]) > now then return end
  local fence = tonumber(current[2] or 0) + (current[1] == holder and 0 or 1)
  redis.call('HSET', key, 'holder', holder, 'fence', whole(fence), 'until', now + ARGV[9])
  say(whole(fence))
end

local function give_back()
  if not is_lost(ARGV[7], ARGV[8], ARGV[9]) then redis.call('HSET', P .. ':lease:' .. ARGV[7], 'until', 0) end
end

local function checkpoint()
  say(redis.call('HGET', P .. ':lease:' .. ARGV[7], 'checkpoint') or '')
end

-- Watching: "watch" takes channel and seconds, for each; "watched" the channels that are asked about.

local function watch()
  redis.call('ZREMRANGEBYSCORE', P .. ':watched', '-inf', now)
  local new = 0
  for i = 7, #ARGV, 2 do
    new = new + redis.call('ZADD', P .. ':watched', 'GT', now + ARGV[i + 1], ARGV[i])
  end
  if new > 0 then redis.call('PUBLISH', live .. ':woken', '') end
end

local function watched()
  local found = {}
  for i = 7, #ARGV do
    local upto = redis.call('ZSCORE', P .. ':watched', ARGV[i])
    if upto and tonumber(upto) > now then found[#found + 1] = ARGV[i] end
  end
  say(table.concat(found, ' '))
end

local VERBS = {
  publish = publish, look = look, tidy = tidy, lease = lease, give_back = give_back, checkpoint = checkpoint,
  watch = watch, watched = watched,
}
VERBS[verb]()

if news or #frame > 0 then
  local heads = string.format('%s %.0f %.0f %s\n', epoch, before, head, stamp)
  redis.call('PUBLISH', live, heads .. table.concat(frame))
end
local lines = {epoch, whole(before), whole(head), whole(floor), holes, stamp, server, unpack(answers)}
local answer = table.concat(lines, '\n')
if verb == 'publish' then redis.call('SET', slot, ARGV[8] .. '\n' .. answer, 'EX', 60) end
return answer
