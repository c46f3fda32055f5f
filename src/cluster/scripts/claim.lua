-- Claims names in a room for a node.
--
-- KEYS  1 lease of the node  2 names of the room  3 looks of the room  4 claims of the node
-- ARGV  1 incarnation of the node, 16 hexadecimal digits  2 prefix of all keys, with its colon
--       3 the room  4 channel of the nodes  5 '1' if the names are taken whoever has them
--       then five for each name: the folded name, milliseconds for which its member has been one,
--       its set of scripts, its skeleton, and a second skeleton or ''
-- Returns for each name whether it was granted, 1 or 0.
--
-- Two names are the same if they are equal folded, or have a skeleton in common and no script.
-- Names are a hash: FOLDED to INCARNATION \0 SINCE \0 SCRIPTS \0 SKELETON [\0 SKELETON]. Looks are a
-- sorted set of SKELETON \0 SCRIPTS \0 FOLDED, each with score 0. The claims of a node are a set of
-- ROOM \0 FOLDED. Of two nodes the one whose member came first has the name, by the engine's clock, in
-- microseconds: no new member comes at the moment of another. A name that was taken by force has been
-- had since 0: who has lost it, and has not heard so, does not win it back. A node without a lease has
-- none.

local incarnation, prefix, room, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local is_forced = ARGV[5] == '1'
local names, looks, claims = KEYS[2], KEYS[3], KEYS[4]
local TTL = 3600
-- Most holders that one name is taken from, and most that are looked at for it.
local TAKEN_MAX, SEEN_MAX = 16, 64

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local leases = { [incarnation] = true }
local function is_alive(holder)
    if leases[holder] == nil then
        leases[holder] = redis.call('EXISTS', prefix .. 'lease:' .. holder) == 1
    end
    return leases[holder]
end

local function split(text)
    local parts = {}
    for part in (text .. '\0'):gmatch('(%Z*)%z') do parts[#parts + 1] = part end
    return parts
end

-- The holder of a folded name, if there is one.
local function holder_of(folded)
    local value = redis.call('HGET', names, folded)
    if not value then return nil end
    local parts = split(value)
    local skeletons = { parts[4] }
    if parts[5] then skeletons[2] = parts[5] end
    return { folded = folded, incarnation = parts[1], since = tonumber(parts[2]) or 0,
        scripts = parts[3], skeletons = skeletons }
end

local function remove(holder)
    redis.call('HDEL', names, holder.folded)
    for _, skeleton in ipairs(holder.skeletons) do
        redis.call('ZREM', looks, skeleton .. '\0' .. holder.scripts .. '\0' .. holder.folded)
    end
    redis.call('SREM', prefix .. 'claims:' .. holder.incarnation, room .. '\0' .. holder.folded)
end

-- Whether two sets of scripts have one in common. A set is '*' for all, '0' for none, 's' and a
-- number for one that is in no other set but '*', or hexadecimal digits of a set of bits.
local function overlap(a, b)
    if a == '0' or b == '0' then return false end
    if a == '*' or b == '*' or a == b then return true end
    if a:sub(1, 1) == 's' or b:sub(1, 1) == 's' then return false end
    local length = math.max(#a, #b)
    a, b = ('0'):rep(length - #a) .. a, ('0'):rep(length - #b) .. b
    for at = 1, length do
        if bit.band(tonumber(a:sub(at, at), 16), tonumber(b:sub(at, at), 16)) ~= 0 then return true end
    end
    return false
end

-- Adds the live holders that have a skeleton of `claim` and none of its scripts; false if they are too
-- many. The others are removed. A group of one set of scripts that overlaps is passed over as a whole.
local function add_look_alikes(claim, skeleton, holders)
    local from, to = '[' .. skeleton .. '\0', '(' .. skeleton .. '\1'
    for _ = 1, SEEN_MAX do
        local found = redis.call('ZRANGEBYLEX', looks, from, to, 'LIMIT', 0, 1)[1]
        if not found then return true end
        local parts = split(found)
        local scripts, folded = parts[2], parts[3]
        if overlap(scripts, claim.scripts) then
            from = '[' .. skeleton .. '\0' .. scripts .. '\1'
        else
            from = '(' .. found
            local holder = holder_of(folded)
            if not holder or holder.scripts ~= scripts then
                redis.call('ZREM', looks, found)
            elseif is_alive(holder.incarnation) then
                holders[folded] = holder
            else
                remove(holder)
            end
        end
    end
    return false
end

-- Whether `claim` is stronger than that of a live holder.
local function beats(claim, holder)
    if is_forced then return true end
    if claim.since ~= holder.since then return claim.since < holder.since end
    return incarnation < holder.incarnation
end

local function write(claim)
    local since = string.format('%.0f', claim.since)
    local value = { incarnation, since, claim.scripts, unpack(claim.skeletons) }
    redis.call('HSET', names, claim.folded, table.concat(value, '\0'))
    for _, skeleton in ipairs(claim.skeletons) do
        redis.call('ZADD', looks, 0, skeleton .. '\0' .. claim.scripts .. '\0' .. claim.folded)
    end
    redis.call('SADD', claims, room .. '\0' .. claim.folded)
end

local function grant(claim)
    local own = holder_of(claim.folded)
    local holders = {}
    if own and own.incarnation == incarnation then
        claim.since = math.min(claim.since, own.since)
    elseif own and is_alive(own.incarnation) then
        holders[claim.folded] = own
    elseif own then
        remove(own)
    end
    for _, skeleton in ipairs(claim.skeletons) do
        if not add_look_alikes(claim, skeleton, holders) then return 0 end
    end
    -- Itself, with another set of scripts: its text has changed.
    if own and own.incarnation == incarnation then holders[claim.folded] = nil end
    local losers = {}
    for _, holder in pairs(holders) do
        if not beats(claim, holder) or #losers == TAKEN_MAX then return 0 end
        losers[#losers + 1] = holder
    end
    for _, loser in ipairs(losers) do
        remove(loser)
        local reason = is_forced and '\1' or '\0'
        redis.call('PUBLISH', channel,
            '\2' .. reason .. loser.incarnation .. room .. '\0' .. loser.folded)
    end
    if own and own.incarnation == incarnation then remove(own) end
    write(claim)
    return 1
end

local granted = {}
for at = 6, #ARGV, 5 do
    local since = is_forced and 0 or math.max(1, now - 1000 * tonumber(ARGV[at + 1]))
    local claim = { folded = ARGV[at], since = since, scripts = ARGV[at + 2],
        skeletons = { ARGV[at + 3] } }
    if ARGV[at + 4] ~= '' then claim.skeletons[2] = ARGV[at + 4] end
    granted[#granted + 1] = grant(claim)
end
for _, key in ipairs({ names, looks, claims }) do redis.call('EXPIRE', key, TTL) end
return granted
