-- The shared ledger: every operation is one run of this script, so it is done wholly or not at all.
--
-- KEYS[1]  hash: which life of the ledger this is (`run`, `id`, `since`)
-- KEYS[2]  hash: grants by number, "AMOUNT LEFT ENDS POOL", and `next`
-- KEYS[3…] hashes, one for each counter: `w` window, `b` what was used of it, `d` what proxies used besides while they
--          could not get here, `v` grows with each change in a window, `e` the life that it was last written in,
--          `x:…` how much of `d` came with one report
-- ARGV[1]  the operation, ARGV[2] JSON. The answer is a flat list of strings: how it went, the time, and what was asked.
--
-- The time is this server's: one clock for all proxies. Counts are 64-bit and come as 16 hex digits. Lua's numbers are exact up
-- to 2^53 only, so a count is kept as {high, low}, 32 bits each.

local WORD = 4294967296
-- So long after its window, in milliseconds, a counter is still there for a clock that is put back.
local KEPT = 3600000

local function count(text)
  return { tonumber(string.sub(text, 1, 8), 16), tonumber(string.sub(text, 9, 16), 16) }
end
local function hex(a)
  return string.format('%08x%08x', a[1], a[2])
end
local function whole(number)
  return string.format('%.0f', number)
end
local function below(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end
local function plus(a, b)
  local high, low = a[1] + b[1], a[2] + b[2]
  if low >= WORD then high, low = high + 1, low - WORD end
  if high >= WORD then return { WORD - 1, WORD - 1 } end
  return { high, low }
end
local function minus(a, b)
  if below(a, b) then return { 0, 0 } end
  local high, low = a[1] - b[1], a[2] - b[2]
  if low < 0 then high, low = high - 1, low + WORD end
  return { high, low }
end
-- By a small number; what is left over is left out.
local function divided(a, by)
  local rest = a[1] % by
  return { math.floor(a[1] / by), math.floor((rest * WORD + a[2]) / by) }
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local asked = cjson.decode(ARGV[2])

local counters = {}
local function counter(at, per)
  local c = counters[at]
  if c then return c end
  local is = redis.call('HMGET', KEYS[at], 'w', 'b', 'd', 'v', 'e')
  c = { at = at, per = per, window = math.floor(now / per), base = { 0, 0 }, extra = { 0, 0 }, version = 0 }
  if is[1] and tonumber(is[1]) >= c.window then
    -- A window that has begun is not left for an earlier one, whatever the clock says.
    c.window, c.base, c.extra = tonumber(is[1]), count(is[2]), count(is[3])
    c.version, c.life = tonumber(is[4]), is[5]
  elseif is[1] then
    c.ended = true
  end
  counters[at] = c
  return c
end
local function used(c)
  return plus(c.base, c.extra)
end
local function put(c, life)
  if c.ended then redis.call('DEL', KEYS[c.at]) end
  c.ended, c.changed, c.version = false, false, c.version + 1
  redis.call('HSET', KEYS[c.at], 'w', whole(c.window), 'b', hex(c.base), 'd', hex(c.extra), 'v', whole(c.version), 'e', life)
  redis.call('PEXPIRE', KEYS[c.at], whole((c.window + 1) * c.per - now + KEPT))
end
local function put_all(life)
  for _, c in pairs(counters) do
    if c.changed then put(c, life) end
  end
end

local answer = { 'done', whole(now) }
local function say(text)
  answer[#answer + 1] = text
end
local function say_level(c)
  say(whole(c.window))
  say(hex(used(c)))
  say(whole(math.max((c.window + 1) * c.per - now, 0)))
  say(whole(c.version))
end

local grants
local function load_grants()
  if grants then return end
  grants = {}
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local amount, left, ends, pool = string.match(all[i + 1], '^(%x+) (%x+) (%d+) (.*)$')
    if amount and tonumber(ends) > now then
      grants[all[i]] = { amount = count(amount), left = count(left), ends = tonumber(ends), pool = pool }
    elseif amount then
      redis.call('HDEL', KEYS[2], all[i])
    end
  end
end
local function put_grant(id, grant)
  local line = hex(grant.amount) .. ' ' .. hex(grant.left) .. ' ' .. whole(grant.ends) .. ' ' .. grant.pool
  redis.call('HSET', KEYS[2], id, line)
end

local function batch(left, want)
  local amount = divided(left, asked.sharers)
  local wished, needed = count(want.wished), count(want.needed)
  if below(wished, amount) then amount = wished end
  if below(amount, needed) then amount = needed end
  return amount
end

local operations = {}

-- A proxy that comes (back) says what it last saw and what it let through meanwhile, and learns how things stand.
function operations.attach()
  local is = redis.call('HMGET', KEYS[1], 'run', 'id', 'since')
  local id, since = is[2], tonumber(is[3] or 0)
  if is[1] ~= asked.run then
    -- Another server, or one that was emptied, or that has forgotten something: a new life.
    id, since = asked.fresh, now
    redis.call('HSET', KEYS[1], 'run', asked.run, 'id', id, 'since', whole(now))
  end
  local is_new = id ~= asked.life
  say(id)
  say(whole(math.max(since + asked.settles - now, 0)))
  for _, floor in ipairs(asked.floors) do
    local c = counter(floor.at, floor.per)
    if c.window < floor.window then
      -- This server's clock is behind what the fleet has seen already.
      c.window, c.base, c.extra, c.version, c.life = floor.window, { 0, 0 }, { 0, 0 }, 0, nil
      c.ended, c.changed = true, true
    end
    if c.window == floor.window then
      if c.life ~= id then
        c.base, c.extra = used(c), { 0, 0 }
      end
      local seen = count(floor.used)
      if is_new and below(c.base, seen) then
        c.base, c.changed = seen, true
      end
      local offline = count(floor.offline)
      if offline[1] + offline[2] > 0 then
        -- The same report may come twice, if the answer to the first was lost.
        local field = 'x:' .. asked.report
        local before = (not c.ended and redis.call('HGET', KEYS[c.at], field)) or hex({ 0, 0 })
        c.extra, c.changed = plus(c.extra, minus(offline, count(before))), true
        put(c, id)
        redis.call('HSET', KEYS[c.at], field, hex(offline))
      end
    end
  end
  put_all(id)
  for _, floor in ipairs(asked.floors) do
    say_level(counter(floor.at, floor.per))
  end
  load_grants()
  for _, seen in ipairs(asked.grants) do
    local grant = grants[seen.id]
    if grant and below(count(seen.left), grant.left) and is_new then
      grant.left = count(seen.left)
      put_grant(seen.id, grant)
    end
  end
  return answer
end

function operations.reserve()
  load_grants()
  local shares = {}
  local touched = {}
  for number, want in ipairs(asked.wants) do
    local tightest, left, at
    for place, limit in ipairs(want.limits) do
      local c = counter(limit.at, limit.per)
      local rest = minus(count(limit.limit), used(c))
      if not left or below(rest, left) then tightest, left, at = c, rest, place end
    end
    local needed, amount, source = count(want.needed), nil, ''
    if not below(left, needed) then
      amount = { 0, 0 }
      if want.wished ~= '0000000000000000' then amount = batch(left, want) end
      for _, limit in ipairs(want.limits) do
        local c = counter(limit.at, limit.per)
        if amount[1] + amount[2] > 0 then c.base, c.changed = plus(c.base, amount), true end
      end
    else
      for id, grant in pairs(grants) do
        local fits = not below(grant.left, needed)
        local sooner = source == '' or grant.ends < grants[source].ends
        for _, pool in ipairs(want.pools) do
          if fits and sooner and pool == grant.pool then source = id end
        end
      end
      if source == '' then
        answer = { 'refused', whole(now), whole(number - 1), whole(at - 1) }
        -- As it was: nothing of this is kept.
        counters = {}
        say_level(counter(tightest.at, tightest.per))
        return answer
      end
      amount = batch(grants[source].left, want)
      grants[source].left = minus(grants[source].left, amount)
      touched[source] = true
    end
    shares[number] = { amount = amount, source = source }
  end
  put_all(asked.life)
  for id in pairs(touched) do put_grant(id, grants[id]) end
  for number, want in ipairs(asked.wants) do
    local share = shares[number]
    say(hex(share.amount))
    say(share.source)
    say(share.source ~= '' and hex(grants[share.source].left) or '')
    for _, limit in ipairs(want.limits) do say_level(counter(limit.at, limit.per)) end
  end
  return answer
end

function operations.give_back()
  for _, part in ipairs(asked.parts) do
    local amount = count(part.amount)
    for _, limit in ipairs(part.limits) do
      local c = counter(limit.at, limit.per)
      if c.window == limit.window and not c.ended then
        local rest = minus(amount, c.base)
        c.base, c.extra, c.changed = minus(c.base, amount), minus(c.extra, rest), true
      end
    end
    if part.grant ~= '' then
      load_grants()
      local grant = grants[part.grant]
      if grant then
        grant.left = plus(grant.left, amount)
        if below(grant.amount, grant.left) then grant.left = grant.amount end
        put_grant(part.grant, grant)
      end
    end
  end
  put_all(asked.life)
  for _, part in ipairs(asked.parts) do
    for _, limit in ipairs(part.limits) do say_level(counter(limit.at, limit.per)) end
    say(part.grant ~= '' and grants[part.grant] and hex(grants[part.grant].left) or '')
  end
  return answer
end

function operations.charge()
  for _, limit in ipairs(asked.limits) do
    local c = counter(limit.at, limit.per)
    c.base, c.changed = plus(c.base, count(asked.amount)), true
  end
  put_all(asked.life)
  return operations.read()
end

function operations.read()
  for _, limit in ipairs(asked.limits) do say_level(counter(limit.at, limit.per)) end
  return answer
end

function operations.grant()
  local id = redis.call('HINCRBY', KEYS[2], 'next', 1)
  local amount = count(asked.amount)
  put_grant(whole(id), { amount = amount, left = amount, ends = now + asked.lasts, pool = asked.pool })
  local kept = math.max(redis.call('PTTL', KEYS[2]), asked.lasts + KEPT)
  redis.call('PEXPIRE', KEYS[2], whole(kept))
  return answer
end

function operations.grants()
  load_grants()
  local ids = {}
  for id, grant in pairs(grants) do
    for _, pool in ipairs(asked.pools) do
      if pool == grant.pool then ids[#ids + 1] = id end
    end
  end
  table.sort(ids, function(a, b) return tonumber(a) < tonumber(b) end)
  for _, id in ipairs(ids) do
    local grant = grants[id]
    say(grant.pool)
    say(hex(grant.amount))
    say(hex(grant.left))
    say(whole(grant.ends - now))
  end
  return answer
end

if ARGV[1] ~= 'attach' then
  if redis.call('HGET', KEYS[1], 'id') ~= asked.life then return { 'another life', whole(now) } end
  for _, seen in ipairs(asked.seen) do
    local c = counter(seen.at, seen.per)
    if c.window < seen.window or (c.window == seen.window and c.version < seen.version) then
      -- Something was forgotten (evicted, or an older copy came back): everybody shall say what they have seen.
      redis.call('DEL', KEYS[1])
      return { 'another life', whole(now) }
    end
  end
end
return operations[ARGV[1]]()
