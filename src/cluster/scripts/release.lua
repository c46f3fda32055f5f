-- Releases names in a room, where they are still the node's.
--
-- KEYS  1 names of the room  2 looks of the room  3 claims of the node
-- ARGV  1 incarnation of the node  2 the room  then the folded names
-- Returns for each name whether it was the node's, 1 or 0. What keys hold is said in claim.lua.

local incarnation, room = ARGV[1], ARGV[2]
local names, looks, claims = KEYS[1], KEYS[2], KEYS[3]

local function split(text)
    local parts = {}
    for part in (text .. '\0'):gmatch('(%Z*)%z') do parts[#parts + 1] = part end
    return parts
end

local released = {}
for at = 3, #ARGV do
    local folded = ARGV[at]
    local value = redis.call('HGET', names, folded)
    local parts = value and split(value)
    released[#released + 1] = 0
    if parts and parts[1] == incarnation then
        released[#released] = 1
        redis.call('HDEL', names, folded)
        for at = 4, #parts do
            redis.call('ZREM', looks, parts[at] .. '\0' .. parts[3] .. '\0' .. folded)
        end
    end
    redis.call('SREM', claims, room .. '\0' .. folded)
end
return released
