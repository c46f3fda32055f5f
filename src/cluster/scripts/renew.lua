-- Renews the lease of a node, and the time that keys of its rooms live. Then looks at one other node:
-- if that has no lease, removes up to 200 of its claims, and the node itself once it has none.
--
-- KEYS  1 lease of the node  2 nodes  3 claims of the node  then names and looks of its rooms
-- ARGV  1 incarnation of the node  2 prefix of all keys, with its colon  3 name of the node
--       4 milliseconds of the lease, 0 to end it
-- Returns 1 if the lease was there before, else 0. Nodes are a hash of INCARNATION to the node's name;
-- what the other keys hold is said in claim.lua.

local incarnation, prefix, name = ARGV[1], ARGV[2], ARGV[3]
local TTL, REMOVED_MAX = 3600, 200

local was_there = redis.call('EXISTS', KEYS[1])
if ARGV[4] == '0' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], name, 'PX', ARGV[4])
end
redis.call('HSET', KEYS[2], incarnation, name)
for at = 2, #KEYS do redis.call('EXPIRE', KEYS[at], TTL) end

-- One other node, by chance.
local function other_node()
    local found = redis.pcall('HRANDFIELD', KEYS[2], 2)
    if found.err then
        -- Before Redis 6.2. Small hashes come whole.
        local fields = redis.call('HSCAN', KEYS[2], 0, 'COUNT', 100)[2]
        found = {}
        for at = 1, #fields, 2 do
            if fields[at] ~= incarnation then found[#found + 1] = fields[at] end
        end
        local time = redis.call('TIME')
        return found[1 + time[2] % math.max(1, #found)]
    end
    return found[1] ~= incarnation and found[1] or found[2]
end

local function split(text)
    local parts = {}
    for part in (text .. '\0'):gmatch('(%Z*)%z') do parts[#parts + 1] = part end
    return parts
end

local function remove(other, claim)
    -- A room may have any byte but NUL, and so may a name.
    local room, folded = unpack(split(claim))
    local names = prefix .. 'names:' .. room
    local value = redis.call('HGET', names, folded)
    local parts = value and split(value)
    if parts and parts[1] == other then
        redis.call('HDEL', names, folded)
        for at = 4, #parts do
            redis.call('ZREM', prefix .. 'looks:' .. room, parts[at] .. '\0' .. parts[3] .. '\0' .. folded)
        end
    end
end

local other = other_node()
if other and redis.call('EXISTS', prefix .. 'lease:' .. other) == 0 then
    local claims = prefix .. 'claims:' .. other
    for _, claim in ipairs(redis.call('SPOP', claims, REMOVED_MAX)) do remove(other, claim) end
    if redis.call('EXISTS', claims) == 0 then
        redis.call('HDEL', KEYS[2], other)
    else
        redis.call('EXPIRE', claims, TTL)
    end
end
return was_there
