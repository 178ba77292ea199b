-- What must happen as a whole: Redis runs nothing else meanwhile. Every function reads and checks all it needs
-- before its first write, so that one that is refused has changed nothing.
--
-- Numbers that may exceed what a double holds exactly are strings of eight bytes, big-endian, and are compared
-- in halves. `keys.rs` names the keys, `block_logic.rs` and `shadows.rs` the forms of what they hold.

local METRICS_MAX = 4096

-- Lua's stack has room for no more than some 8,000 values; even, for fields go with their values.
local UNPACKED_MAX = 4000

-- Whether one big-endian number is smaller than another of the same length, a multiple of four.
local function smaller(left, right)
  for at = 1, #left, 4 do
    local a, b = struct.unpack('>I4', left, at), struct.unpack('>I4', right, at)
    if a ~= b then return a < b end
  end
  return false
end

-- Gives the ledger of an agent to a session, if it still is what the session has seen.
-- KEYS: ledgers. ARGV: agent, the ledger seen ('' for none), the new one.
local function open(keys, args)
  local stored = redis.call('HGET', keys[1], args[1]) or ''
  if stored ~= args[2] then return 'changed' end
  redis.call('HSET', keys[1], args[1], args[3])
  return 'done'
end

-- Gives entries their places: logs them as one item, moves the head, publishes them. To be called before any other
-- write, for the first of its own is one that the store may refuse.
-- ARGV from `at` on: count of entries, stamp of the last one, when the newest was received (µs), bytes of all, block,
-- the live channel.
local function append(head_key, log, args, at)
  local count = tonumber(args[at])
  if count == 0 then return end
  local offset, stamp, bytes = 0, string.rep('\0', 8), 0
  local head = redis.call('GET', head_key)
  if head then
    offset, bytes = struct.unpack('>I8', head, 1), struct.unpack('>I8', head, 17)
    stamp = string.sub(head, 9, 16)
  end
  local block = struct.pack('>I8', offset + 1) .. stamp .. args[at + 4]
  redis.call('XADD', log, string.format('%.0f-0', offset + count), 'b', block, 'r', args[at + 2], 'z',
    string.format('%.0f', bytes))
  head = struct.pack('>I8', offset + count) .. args[at + 1] .. struct.pack('>I8', bytes + tonumber(args[at + 3]))
  redis.call('SET', head_key, head)
  redis.call('SPUBLISH', args[at + 5], block)
end

-- What a telling changes in a device's shadow. Only reads. `crowd`: how many devices the room may have, and those
-- beyond.
local function plan(devices, described, shadow, agent, told, crowd)
  local generation, presence, online, seen, owner = 1, string.rep('\0', 16), '-', string.rep('\0', 8), agent
  local header = redis.call('HGET', devices, told.device)
  if header then
    generation = struct.unpack('>I4', header)
    presence, online, seen = string.sub(header, 5, 20), string.sub(header, 21, 21), string.sub(header, 22, 29)
    owner = string.sub(header, 30)
  end
  if not header then
    crowd.known = crowd.known or redis.call('HLEN', devices)
    if crowd.known >= crowd.max then
      crowd.left_out, crowd.first = crowd.left_out + 1, crowd.first or told.device
      return nil
    end
    crowd.known = crowd.known + 1
  end
  if owner ~= agent then
    -- The orders of two agents can't be compared. Who tells of the present has the device; another agent's
    -- backlog is history.
    if told.backlog then return nil end
    generation, presence, owner = generation + 1, string.rep('\0', 16), agent
  end
  local fresh, set, added, removed = not header, {}, 0, {}
  if #told.metrics > 0 then
    local held = redis.call('HMGET', shadow, unpack(told.metrics))
    for at, metric in ipairs(told.metrics) do
      local slot = held[at]
      local order = struct.pack('>I4', generation) .. told.orders[at]
      if not slot or not smaller(order, string.sub(slot, 1, 20)) then
        if not slot then added = added + 1 end
        set[#set + 1] = metric
        set[#set + 1] = order .. told.values[at]
        fresh = true
      end
    end
    local excess = added > 0 and redis.call('HLEN', shadow) + added - METRICS_MAX or 0
    if excess > 0 then
      -- Those silent longest are forgotten; who speaks now is not silent.
      local all, times, speaks = redis.call('HGETALL', shadow), {}, {}
      for at = 1, #set, 2 do speaks[set[at]] = true end
      for at = 1, #all, 2 do
        if not speaks[all[at]] then times[#times + 1] = { all[at], string.sub(all[at + 1], 21, 28) } end
      end
      table.sort(times, function(a, b) return smaller(a[2], b[2]) end)
      for at = 1, math.min(excess, #times) do removed[at] = times[at][1] end
    end
  end
  local said = told.online ~= '' and not smaller(told.presence, presence)
  if said then presence, online, fresh = told.presence, told.online, true end
  -- A description is never without bytes: it names its device.
  local is
  if told.description ~= '' then
    local order, held = struct.pack('>I4', generation) .. told.described, redis.call('HGET', described, told.device)
    if not held or not smaller(order, string.sub(held, 1, 20)) then is, fresh = order .. told.tags, true end
  end
  if not fresh then return nil end
  if (#set > 0 or (said and online == '1')) and smaller(seen, told.seen) then seen = told.seen end
  local new = struct.pack('>I4', generation) .. presence .. online .. seen .. owner
  return { shadow = shadow, device = told.device, header = new, set = set, removed = removed,
    described = is, description = told.description }
end

-- Takes the tellings out of the arguments, from `at` on.
local function tellings(args, at)
  local all = {}
  for _ = 1, tonumber(args[at]) do
    local told = { device = args[at + 1], backlog = args[at + 2] == '1', presence = args[at + 3],
      online = args[at + 4], seen = args[at + 5], described = args[at + 6], tags = args[at + 7],
      description = args[at + 8], metrics = {}, orders = {}, values = {} }
    local metrics = tonumber(args[at + 9])
    at = at + 9
    for _ = 1, metrics do
      told.metrics[#told.metrics + 1] = args[at + 1]
      told.orders[#told.orders + 1] = args[at + 2]
      told.values[#told.values + 1] = args[at + 3]
      at = at + 3
    end
    all[#all + 1] = told
  end
  return all
end

-- Applies a session's step, if the ledger stands right before it.
-- KEYS: ledgers, head, log, devices, then the shadow of each telling, and at last, only where something is described,
-- described and descriptions. All of them; but none that need not exist, such as the channel: a cluster would take it
-- for one that has gone ahead to another node.
-- ARGV: agent, holder (session and claim), n - 1, n, ledger, count of entries, stamp of the last one,
--       when the newest was received (µs), bytes of all, block, the live channel, most devices of the room, then the
--       tellings.
-- Says as well for how many devices there is no shadow, and the first of them.
local function step(keys, args)
  local agent, holder, before, n = args[1], args[2], args[3], args[4]
  local stored = redis.call('HGET', keys[1], agent)
  if not stored or string.sub(stored, 1, 16) ~= holder then return 'refused' end
  local at = string.sub(stored, 17, 24)
  if at == n then
    -- Written once more, so that whoever waits for copies of his own writes waits for the step.
    redis.call('HSET', keys[1], agent, stored)
    return 'done'
  end
  if at ~= before then return 'refused' end

  local plans, crowd, all = {}, { max = tonumber(args[12]), left_out = 0 }, tellings(args, 13)
  local described, descriptions = keys[5 + #all], keys[6 + #all]
  for index, told in ipairs(all) do
    plans[#plans + 1] = plan(keys[4], described, keys[4 + index], agent, told, crowd)
  end

  append(keys[2], keys[3], args, 6)
  redis.call('HSET', keys[1], agent, holder .. n .. args[5])
  for _, planned in ipairs(plans) do
    redis.call('HSET', keys[4], planned.device, planned.header)
    for first = 1, #planned.set, UNPACKED_MAX do
      redis.call('HSET', planned.shadow, unpack(planned.set, first, math.min(first + UNPACKED_MAX - 1, #planned.set)))
    end
    if #planned.removed > 0 then redis.call('HDEL', planned.shadow, unpack(planned.removed)) end
    if planned.described then
      redis.call('HSET', described, planned.device, planned.described)
      redis.call('HSET', descriptions, planned.device, planned.description)
    end
  end
  if crowd.left_out > 0 then return { 'done', crowd.left_out, crowd.first } end
  return 'done'
end

-- Replaces a room's book, if it still is what was seen, and adds the entries that tell of the change.
-- KEYS: head, log, book. ARGV: the book seen ('' for none), the new one ('' for none), then the entries.
-- Without a book, only adds the entries.
local function turn(keys, args)
  local book = keys[3]
  if book and (redis.call('GET', book) or '') ~= args[1] then return 'changed' end
  append(keys[1], keys[2], args, 3)
  if book then
    if args[2] == '' then redis.call('DEL', book) else redis.call('SET', book, args[2]) end
  end
  return 'done'
end

-- What a book of commands says, and what is known of others by name. `agent` is '' for the devices that no agent has
-- announced. Only reads.
-- KEYS: books, commands, open. ARGV: agent, ids.
-- Says Redis's time, the books that were looked at as pairs of agent and what is stored, and the commands found.
local function read_book(keys, args)
  local agent, ids, named = args[1], {}, {}
  for _, member in ipairs(redis.call('ZRANGEBYLEX', keys[3], '[' .. agent .. '\0', '(' .. agent .. '\1')) do
    local id = string.sub(member, #agent + 2)
    ids[#ids + 1], named[id] = id, true
  end
  for at = 2, #args do
    if not named[args[at]] then ids[#ids + 1], named[args[at]] = args[at], true end
  end
  local books, found, seen = { agent, redis.call('HGET', keys[1], agent) or '' }, {}, { [agent] = true }
  for first = 1, #ids, UNPACKED_MAX do
    local some = redis.call('HMGET', keys[2], unpack(ids, first, math.min(first + UNPACKED_MAX - 1, #ids)))
    for at = 1, math.min(UNPACKED_MAX, #ids - first + 1) do
      if some[at] then
        found[#found + 1] = some[at]
        local holder = string.sub(some[at], 3, 2 + struct.unpack('>I2', some[at]))
        if not seen[holder] then
          seen[holder] = true
          books[#books + 1], books[#books + 2] = holder, redis.call('HGET', keys[1], holder) or ''
        end
      end
    end
  end
  local time = redis.call('TIME')
  return { time[1], time[2], books, found }
end

-- Writes what became of books, if they are as they were read, with the entries that tell of it.
-- KEYS: head, log, books, commands, open, waits, history, over. ARGV: count of books, of each its agent and the version
-- read; the new version, whose mark is written ('' for nobody's), the mark; count of commands, of each its id, agent,
-- bytes, when it was accepted, its deadline while it waits or '', when it was over or ''; the entries; the channel of
-- commands, what it carries ('' for nothing).
-- Sorted sets have a member without a name, so that all keys are there from the first write on.
local function write_book(keys, args)
  local at, read, agents = 2, {}, {}
  for _ = 1, tonumber(args[1]) do
    local stored = redis.call('HGET', keys[3], args[at]) or ''
    if string.sub(stored, 1, 8) ~= args[at + 1] then return 'changed' end
    agents[#agents + 1], read[args[at]] = args[at], stored
    at = at + 2
  end
  local version, marked, mark, count, first = args[at], args[at + 1], args[at + 2], tonumber(args[at + 3]), at + 4
  local left = {}
  for each = 0, count - 1 do
    local stored = redis.call('HGET', keys[4], args[first + 6 * each])
    if stored then
      local agent = string.sub(stored, 3, 2 + struct.unpack('>I2', stored))
      if not read[agent] then return 'changed' end
      left[each] = agent
    end
  end

  local rest = first + 6 * count
  append(keys[1], keys[2], args, rest)
  for _, agent in ipairs(agents) do
    local kept = agent ~= '' and agent == marked and mark or string.sub(read[agent], 9)
    redis.call('HSET', keys[3], agent, version .. kept)
  end
  redis.call('ZADD', keys[5], 0, '')
  redis.call('ZADD', keys[6], '+inf', '')
  redis.call('ZADD', keys[8], '+inf', '')
  for each = 0, count - 1 do
    at = first + 6 * each
    local id, agent, deadline, over = args[at], args[at + 1], args[at + 4], args[at + 5]
    local member = agent .. '\0' .. id
    if left[each] and left[each] ~= agent then
      redis.call('ZREM', keys[5], left[each] .. '\0' .. id)
      redis.call('ZREM', keys[6], left[each] .. '\0' .. id)
    end
    redis.call('HSET', keys[4], id, struct.pack('>I2', #agent) .. agent .. args[at + 2])
    redis.call('ZADD', keys[7], args[at + 3], id)
    if over == '' then
      redis.call('ZADD', keys[5], 0, member)
      redis.call('ZREM', keys[8], id)
    else
      redis.call('ZREM', keys[5], member)
      redis.call('ZADD', keys[8], over, id)
    end
    if deadline == '' then redis.call('ZREM', keys[6], member) else redis.call('ZADD', keys[6], deadline, member) end
  end
  if args[rest + 7] ~= '' then redis.call('SPUBLISH', args[rest + 6], args[rest + 7]) end
  return 'done'
end

-- Forgets commands that were over before. KEYS: commands, history, over. ARGV: horizon (µs), most at once.
-- Says whether there may be more.
local function forget(keys, args)
  local ids = redis.call('ZRANGEBYSCORE', keys[3], '-inf', '(' .. args[1], 'LIMIT', 0, args[2])
  if #ids == 0 then return 0 end
  redis.call('HDEL', keys[1], unpack(ids))
  redis.call('ZREM', keys[2], unpack(ids))
  redis.call('ZREM', keys[3], unpack(ids))
  return #ids < tonumber(args[2]) and 0 or 1
end

-- Drops the oldest steps of a log that are too old or too much; the newest stays.
-- KEYS: head, log. ARGV: horizon (µs, '' for none), most bytes ('' for any), most steps at once.
-- Says whether there may be more to drop. Looks at no more steps than it drops, and one.
local function trim(keys, args)
  local head = redis.call('GET', keys[1])
  if not head then return 0 end
  local horizon, most = tonumber(args[1]), tonumber(args[2])
  local bytes, newest = struct.unpack('>I8', head, 17), string.format('%.0f-0', struct.unpack('>I8', head, 1))
  local from, keep, more = '-', nil, 1
  for _ = 1, tonumber(args[3]) do
    local item = redis.call('XRANGE', keys[2], from, '+', 'COUNT', 1)[1]
    if not item then return 0 end
    local fields = {}
    for field = 1, #item[2], 2 do fields[item[2][field]] = item[2][field + 1] end
    local old = horizon and tonumber(fields.r) < horizon
    local much = most and bytes - tonumber(fields.z) > most
    if item[1] == newest or not (old or much) then
      keep, more = item[1], 0
      break
    end
    from = '(' .. item[1]
    keep = string.match(item[1], '^%d+') .. '-1'
  end
  if keep then redis.call('XTRIM', keys[2], 'MINID', keep) end
  return more
end

redis.register_function('@LIBRARY@_open', open)
redis.register_function('@LIBRARY@_step', step)
redis.register_function('@LIBRARY@_turn', turn)
redis.register_function { function_name = '@LIBRARY@_read_book', callback = read_book, flags = { 'no-writes' } }
redis.register_function('@LIBRARY@_write_book', write_book)
-- A store without memory must be able to make room.
redis.register_function { function_name = '@LIBRARY@_trim', callback = trim, flags = { 'allow-oom' } }
redis.register_function { function_name = '@LIBRARY@_forget', callback = forget, flags = { 'allow-oom' } }
