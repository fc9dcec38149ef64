"""The Lua scripts of `RedisStore`: each call of the store is one of them, and so happens as a whole.

All keys of a tenant are passed to every script, none is made up inside, and all share one hash tag, so that a
cluster keeps them in one slot. Values that differ in nothing but what they are for stand in one hash:

    turns       id -> link, parent id or false, cost, response, nonce of the call that stored it
    links       number -> parent link or false, items, bytes, depth, cost, input, output
    holds       number -> how many turns and links need the link
    uses        id by last use: milliseconds * 1024, made to grow with every use
    state       next link number, bytes, the last use

`links` is everything up to a link in its first numbers: items, bytes and depth count from the first one on.
Every script takes (nonce, now, ttl, …) and answers with the nonce first, so that a reply can be told to be
the one that was asked for. `now` is empty for the server's own clock; limits that are switched off are 2^53.
"""

from __future__ import annotations

from typing import Final

__all__ = ["APPEND", "DELETE", "EXPIRE", "HISTORY", "KEYS", "TURN"]

KEYS: Final = ("turns", "links", "holds", "uses", "state")
"""What each tenant has, in the order of the scripts' keys."""

COMMON: Final = """
local TURNS, LINKS, HOLDS, USES, STATE = unpack(KEYS)
local nonce, now, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
    return string.format('%.0f', number)
end

-- Puts a turn last in the order of use. Keys that nobody uses any more go by themselves.
local function use(id)
    local last = tonumber(redis.call('HGET', STATE, 'last') or 0)
    local score = math.max(now * 1024, last + 1)
    redis.call('HSET', STATE, 'last', whole(score))
    redis.call('ZADD', USES, whole(score), id)
    if ttl < 2^53 then
        for _, key in ipairs(KEYS) do
            redis.call('PEXPIRE', key, whole(ttl))
        end
    end
end

local function get_turn(id)
    local packed = redis.call('HGET', TURNS, id)
    if not packed then
        return nil
    end
    local link, parent, cost, response, made_by = unpack(cmsgpack.unpack(packed))
    return {link = link, parent = parent, cost = cost, response = response, made_by = made_by}
end

local function get_link(number)
    local packed = redis.call('HGET', LINKS, number)
    if not packed then
        return nil
    end
    local parent, items, bytes, depth, cost, input, output = unpack(cmsgpack.unpack(packed))
    return {parent = parent, items = items, bytes = bytes, depth = depth, cost = cost, input = input,
            output = output}
end

local function is_over(score)
    return math.floor(score / 1024) + ttl <= now
end

-- Takes a turn's name away, and its items if nothing builds on them.
local function forget(id)
    local turn = get_turn(id)
    redis.call('ZREM', USES, id)
    if not turn then
        return
    end
    redis.call('HDEL', TURNS, id)
    local freed, number = turn.cost, turn.link
    while number do
        if redis.call('HINCRBY', HOLDS, number, -1) > 0 then
            break
        end
        local link = get_link(number)
        redis.call('HDEL', HOLDS, number)
        redis.call('HDEL', LINKS, number)
        freed = freed + (link and link.cost or 0)
        number = link and link.parent
    end
    redis.call('HINCRBY', STATE, 'bytes', whole(-freed))
    if redis.call('ZCARD', USES) == 0 then
        redis.call('DEL', unpack(KEYS))
    end
end

local function expire(at_most)
    local count = 0
    while count < at_most do
        local oldest = redis.call('ZRANGE', USES, 0, 0, 'WITHSCORES')
        if not oldest[1] or not is_over(tonumber(oldest[2])) then
            break
        end
        forget(oldest[1])
        count = count + 1
    end
    return count
end

-- A turn that is not too old, used now.
local function find(id)
    local score = redis.call('ZSCORE', USES, id)
    if not score then
        return nil
    end
    if is_over(tonumber(score)) then
        forget(id)
        return nil
    end
    local turn = get_turn(id)
    if turn then
        use(id)
    end
    return turn
end
"""

APPEND: Final = (
    COMMON
    + """
local id, has_parent, parent, response, input, output = unpack(ARGV, 4, 9)
local items, bytes, link_cost, name_cost = unpack(ARGV, 10, 13)
local max_turns, max_bytes, max_history_items, max_history_bytes = unpack(ARGV, 14, 17)
local base, base_items, base_bytes = unpack(ARGV, 18, 20)
items, bytes = tonumber(items), tonumber(bytes)
link_cost, name_cost = tonumber(link_cost), tonumber(name_cost)
max_turns, max_bytes = tonumber(max_turns), tonumber(max_bytes)
max_history_items, max_history_bytes = tonumber(max_history_items), tonumber(max_history_bytes)
if has_parent == '0' then
    parent = false
end

expire(16)
local same = find(id)
if same then
    if same.made_by == nonce then
        return {nonce, 'new'} -- the client repeats a call whose reply it did not get
    end
    local link = get_link(same.link)
    if link and same.parent == parent and same.response == response and link.input == input
            and link.output == output then
        return {nonce, 'same'}
    end
    return {nonce, 'conflict'}
end

local before, before_number = nil, false
if parent then
    local found = find(parent)
    before = found and get_link(found.link)
    if not before then
        return {nonce, 'missing'}
    end
    before_number = found.link
end

local function new_link(up, all_items, all_bytes, depth, cost, first, second)
    local number = redis.call('HINCRBY', STATE, 'links', 1)
    redis.call('HSET', LINKS, number, cmsgpack.pack({up, all_items, all_bytes, depth, cost, first, second}))
    redis.call('HSET', HOLDS, number, 1)
    redis.call('HINCRBY', STATE, 'bytes', whole(cost))
    return number
end

local up, depth = false, 0
if base then
    base_items, base_bytes = tonumber(base_items), tonumber(base_bytes)
    up, depth = new_link(false, base_items, base_bytes, 1, base_bytes, base, '[]'), 1
    items, bytes = items + base_items, bytes + base_bytes
elseif before then
    if before.items + items > max_history_items or before.depth + 1 > max_history_items
            or before.bytes + bytes > max_history_bytes then
        return {nonce, 'long'}
    end
    redis.call('HINCRBY', HOLDS, before_number, 1)
    up, depth = before_number, before.depth
    items, bytes = items + before.items, bytes + before.bytes
end
local number = new_link(up, items, bytes, depth + 1, link_cost, input, output)
redis.call('HSET', TURNS, id, cmsgpack.pack({number, parent, name_cost, response, nonce}))
redis.call('HINCRBY', STATE, 'bytes', whole(name_cost))
use(id)

while redis.call('ZCARD', USES) > 1 and (redis.call('ZCARD', USES) > max_turns
        or tonumber(redis.call('HGET', STATE, 'bytes')) > max_bytes) do
    forget(redis.call('ZRANGE', USES, 0, 0)[1])
end
return {nonce, 'new'}
"""
)
"""Compares and appends: 'new', 'same', 'conflict', 'missing', or 'long' if it needs a shortened history."""

HISTORY: Final = (
    COMMON
    + """
local found = find(ARGV[4])
local reply = {nonce, 'found'}
local number = found and found.link
if not number then
    return {nonce, 'missing'}
end
while number do
    local link = get_link(number)
    if not link then
        return {nonce, 'missing'}
    end
    reply[#reply + 1] = link.output
    reply[#reply + 1] = link.input
    number = link.parent
end
return reply
"""
)
"""The items of all links, the newest first, or 'missing'."""

TURN: Final = (
    COMMON
    + """
local found = find(ARGV[4])
local link = found and get_link(found.link)
if not link then
    return {nonce, 'missing'}
end
return {nonce, 'found', found.parent, found.response, link.input, link.output}
"""
)
"""Parent (nil where there is none), response, input, output, or 'missing'."""

DELETE: Final = (
    COMMON
    + """
if not find(ARGV[4]) then
    return {nonce, 'missing'}
end
forget(ARGV[4])
return {nonce, 'found'}
"""
)

EXPIRE: Final = (
    COMMON
    + """
return {nonce, expire(1000)}
"""
)
"""How many turns were removed for age, a thousand at most: a script keeps all other clients waiting."""
