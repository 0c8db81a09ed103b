-- One step of a shared budget, for Redis 7 and Valkey 8 or later: a copy of `Ledger` and `ExternalUsage`.
--
--   KEYS[1]  a hash with a field for each origin and each pool of one egress IP
--   ARGV[1]  the StoreMessage, in MessagePack; the result is the StoreReply
--   ARGV[2]  the time in seconds, in tests; if missing, the time is the server's own
--
-- Names in capitals are constants of the Python modules, inserted when this text is loaded. The Python modules give the
-- reasons; comments here are about Lua and the server. The `instances` of `Ledger` are left out.
--
-- Everything is computed before anything is written: a message that fails changes nothing.

local floor, max, min, huge = math.floor, math.max, math.min, math.huge
local pack = cmsgpack.pack

-- The head of a MessagePack array: Lua cannot pack a table that is empty or ends in nil as an array of known length.
local function array(length)
    if length < 16 then
        return string.char(0x90 + length)
    end
    return string.char(0xdc, floor(length / 256), length % 256)
end

-- `ExternalUsage`.

local function rate_of(ledger)
    local external = ledger.external
    local seen = external.watched > 0 and external.sum / external.watched or 0
    return external.is_known and seen or max(seen, external.at_first)
end

-- The weight a second that is left to other programs.
local function external_rate(ledger)
    return min(rate_of(ledger), MAX_EXTERNAL * ledger.limit / ledger.minute)
end

local function decay(external, seconds)
    local fading = 0.5 ^ (max(0, seconds) / HALF_LIFE)
    external.peak = external.peak * fading
    external.round_trip = max(SHORTEST_ROUND_TRIP, external.round_trip * fading)
end

local function sample(external, limit, now)
    local seconds = now - external.sampled_at
    local grown = min((external.share - external.sampled) / seconds, limit / seconds)
    local new = 1 - math.exp(-seconds / MEMORY_SECONDS)
    external.sum = external.sum + (grown - external.sum) * new
    external.watched = external.watched + (1 - external.watched) * new
    external.is_known = external.is_known or external.watched >= ENOUGH
    decay(external, seconds)
    external.peak = max(grown, external.peak)
    external.sampled_at, external.sampled = now, external.share
end

local function observe_external(ledger, minute, surely, unproven, sent, now)
    local external = ledger.external
    external.round_trip = min(max(now - sent, external.round_trip), LONGEST_ROUND_TRIP)
    if unproven > LITTLE * ledger.limit or minute == external.skipped_minute then
        return
    end
    if external.minute < 0 then
        external.at_first = min(max(0, surely), MOST_AT_FIRST * ledger.limit) / ledger.minute
        external.peak = 2 * external.at_first
    end
    if minute ~= external.minute then
        if external.minute >= 0 then
            decay(external, now - external.sampled_at)
        end
        external.minute, external.share = minute, max(0, surely)
        external.sampled_at, external.sampled = now, external.share
        return
    end
    external.share = max(external.share, surely)
    if now - external.sampled_at >= SAMPLE_SECONDS then
        sample(external, ledger.limit, now)
    end
end

-- `Ledger`.

local function new_ledger(limit, minute)
    return {
        limit = limit,
        minute = minute,
        external = {
            share = 0,
            is_known = false,
            at_first = 0,
            sum = 0,
            watched = 0,
            peak = 0,
            round_trip = SHORTEST_ROUND_TRIP,
            minute = -1,
            skipped_minute = -1,
            sampled_at = -huge,
            sampled = 0,
        },
        in_flight = 0,
        misplaced = 0,
        weight_factor = 1,
        takes = 0,
        probed = false,
        turned = false,
        acquired_at = -huge,
        counted_at = -huge,
        arrived = -huge,
        header = {},
        header_at = {},
        own = {},
        pending = {},
        careful_until = -huge,
        penalty = 0,
        penalised = -1,
        tokens = FIRST_FILL * limit,
        filled_at = -huge,
    }
end

local function minute_of(ledger, time)
    return floor(time / ledger.minute)
end

local function latest_of(counts)
    local latest
    for minute in pairs(counts) do
        latest = max(latest or minute, minute)
    end
    return latest
end

local function latest_bounds(ledger, earliest, latest)
    local last, began = minute_of(ledger, latest) + 1, 0
    for minute in pairs(ledger.own) do
        if minute <= last then
            began = max(began, ledger.minute * minute)
        end
    end
    return max(earliest, began), max(latest, began)
end

-- `suspected` caches the sums; it is not stored.
local function unproven_in(ledger, minute)
    local suspected = ledger.suspected[minute]
    if not suspected then
        suspected = 0
        for _, calls in ipairs(ledger.pending) do
            if calls.first <= minute and minute < calls.stop then
                suspected = suspected + calls.weight
            end
        end
        ledger.suspected[minute] = suspected
    end
    return ledger.in_flight + suspected
end

local function used_in(ledger, minute)
    return max(ledger.header[minute] or 0, ledger.own[minute] or 0) + unproven_in(ledger, minute)
end

-- The possible minutes of which anything is known, with duplicates.
local function remembered(ledger, earliest, latest)
    local first, last = minute_of(ledger, earliest), minute_of(ledger, latest)
    local minutes = {}
    if last - first < 3 then
        for minute = first, last do
            minutes[#minutes + 1] = minute
        end
        return minutes
    end
    local function add(minute)
        if first <= minute and minute <= last then
            minutes[#minutes + 1] = minute
        end
    end
    for _, calls in ipairs(ledger.pending) do
        add(calls.first)
        add(calls.stop - 1)
    end
    for minute in pairs(ledger.header) do
        add(minute)
    end
    for minute in pairs(ledger.own) do
        add(minute)
    end
    return minutes
end

local function most_used(ledger, earliest, latest)
    local most
    for _, minute in ipairs(remembered(ledger, earliest, latest)) do
        most = max(most or 0, used_in(ledger, minute))
    end
    return most or ledger.in_flight
end

local function cap_of(ledger, now, priority)
    local external = ledger.external
    local whole = now < ledger.careful_until and ledger.limit / 2 or ledger.limit
    local unknown = (external.is_known or priority == PRIORITY_ORDER) and 0 or UNKNOWN * ledger.limit
    local burst = min(external.peak * external.round_trip, MOST_BURST * ledger.limit)
    local kept = MARGIN + ledger.penalty + floor(BURST_FACTOR * burst + unknown)
    return max(whole - kept, LEAST * ledger.limit - MARGIN)
end

local function for_polls(ledger, now)
    return max(0, cap_of(ledger, now) - rate_of(ledger) * ledger.minute - LEFT_BY_PLANS * ledger.limit)
end

local function sees_others(ledger)
    return rate_of(ledger) * ledger.minute > SEEN * ledger.limit
end

local function blindness(ledger, now, latest)
    local last = latest_of(ledger.header)
    local is_blind = not ledger.probed
        or (not ledger.turned and last and minute_of(ledger, latest) > last)
        or (sees_others(ledger) and now - ledger.counted_at > STALE_SECONDS)
    return is_blind and ledger.acquired_at + PATIENCE - now or 0
end

local function projected(ledger, minute, now, latest)
    local rate = rate_of(ledger)
    if rate == 0 or used_in(ledger, minute) == 0 then
        return 0
    end
    local age = max(0, min(now - ledger.counted_at, latest - ledger.minute * minute))
    return min(PROJECTION * rate * age, MAX_PROJECTED * ledger.limit)
end

local function fullness(ledger, minute, room, kept, now, earliest, latest)
    local stop = ledger.minute * (minute + 1)
    local ends_in = min(stop - earliest, (ledger.header_at[minute] or huge) + WINDOW * ledger.minute - now)
    if ends_in <= 0 then
        return 0
    end
    local left = room - used_in(ledger, minute) - projected(ledger, minute, now, latest)
    if left < 0 then
        return ends_in
    end
    local rest = stop - latest
    if left >= kept * rest then
        return 0
    end
    return max(SHORTEST_REST, rest - left / kept)
end

-- Whether the call would fit if nothing were kept for other programs and for orders.
local function has_room(ledger, room, now, earliest, latest)
    for _, minute in ipairs(remembered(ledger, earliest, latest)) do
        if fullness(ledger, minute, room, 0, now, earliest, latest) > 0 then
            return false
        end
    end
    return true
end

local function seconds_to_fill(missing, rest, left, least, external)
    if missing <= 0 then
        return 0
    end
    local b = left - external * rest + missing
    local by_what_is_left = 2 * missing * rest / (b + math.sqrt(b * b + 4 * external * missing * rest))
    return min(by_what_is_left, missing * rest / (least + missing))
end

local function pace(ledger, weight, now, latest)
    local minute = minute_of(ledger, latest)
    local rest = max(ledger.minute * (minute + 1) - latest - TURN_SECONDS, SHORTEST_REST)
    local left = cap_of(ledger, now) - used_in(ledger, minute)
    local rate = max(left - external_rate(ledger) * rest, weight) / rest
    if ledger.filled_at > -huge and ledger.filled_at < now then
        ledger.tokens = min(ledger.limit, ledger.tokens + rate * (now - ledger.filled_at))
    end
    ledger.filled_at = now
    local seconds = seconds_to_fill(weight - ledger.tokens, rest, max(left, weight), weight, external_rate(ledger))
    if ledger.in_flight > 0 or not sees_others(ledger) or weight > LIGHT * ledger.limit then
        return seconds
    end
    local asks_in = max(0, max(ledger.counted_at, ledger.acquired_at) + STALE_SECONDS - now)
    if asks_in == 0 then
        ledger.tokens = max(ledger.tokens, weight)
    end
    return min(seconds, asks_in)
end

local function wait_for_room(ledger, weight, priority, now, earliest, latest, room)
    local kept = priority == PRIORITY_ORDER and 0 or RESERVE * ledger.limit / ledger.minute + external_rate(ledger)
    if ledger.in_flight == 0 and now - ledger.counted_at > STALE_SECONDS then
        kept = 0
    end
    local seconds = 0
    for _, minute in ipairs(remembered(ledger, earliest, latest)) do
        seconds = max(seconds, fullness(ledger, minute, room, kept, now, earliest, latest))
    end
    if seconds > 0 then
        local asks_in = ledger.counted_at + STALE_SECONDS - now
        if
            kept > 0
            and ledger.in_flight == 0
            and asks_in < seconds
            and has_room(ledger, room, now, earliest, latest)
        then
            seconds = max(asks_in, SHORTEST_REST)
        end
        if priority ~= PRIORITY_ORDER then
            ledger.filled_at = max(ledger.filled_at, now + seconds)
        end
        return seconds, false
    end
    if priority ~= PRIORITY_ORDER then
        local left = pace(ledger, weight, now, latest)
        if left > 0 then
            return left, true
        end
    end
    return 0, false
end

local function forget_ahead(ledger, now)
    if max(ledger.arrived, ledger.acquired_at, ledger.counted_at) > now + AHEAD_SECONDS then
        ledger.arrived, ledger.acquired_at = min(ledger.arrived, now), min(ledger.acquired_at, now)
        ledger.counted_at = min(ledger.counted_at, now)
    end
end

-- Seconds to wait, and whether no call behind may use the pool meanwhile.
local function wait_for(ledger, weight, priority, now, earliest, latest)
    forget_ahead(ledger, now)
    local room = min(max(cap_of(ledger, now, priority), weight), ledger.limit - MARGIN) - weight
    if ledger.in_flight * ledger.weight_factor > room then
        return huge, true
    end
    if ledger.in_flight == 0 then
        local left = ledger.arrived + ledger.minute - now
        if left <= 0 then
            return 0, false
        end
        local seconds, holds_up = wait_for_room(ledger, weight, priority, now, earliest, latest, room)
        return min(seconds, left), holds_up
    end
    local left = blindness(ledger, now, latest)
    if left > 0 then
        return left, true
    end
    return wait_for_room(ledger, weight, priority, now, earliest, latest, room)
end

local function take(ledger, weight, priority, now)
    ledger.takes = ledger.takes + 1
    ledger.in_flight = ledger.in_flight + weight
    ledger.acquired_at = now
    if priority ~= PRIORITY_ORDER then
        ledger.tokens = ledger.tokens - weight
    end
end

local function cancel(ledger, weight, priority)
    ledger.in_flight = ledger.in_flight - weight
    if priority ~= PRIORITY_ORDER then
        ledger.tokens = ledger.tokens + weight
    end
end

-- `not_ahead`.
local function forget_minute_ahead(ledger, minute)
    if ledger.penalised > minute + MAX_MINUTES then
        ledger.penalised = minute
    end
end

local function decay_penalty(ledger, minute)
    local clean = minute - ledger.penalised - 1
    if ledger.penalty > 0 and clean > 0 then
        ledger.penalty = ledger.penalty / 2 ^ min(clean, 60)
        ledger.penalised = ledger.penalised + clean
        if ledger.penalty < PENALTY * ledger.limit / 2 then
            ledger.penalty = 0
        end
    end
end

local function size_of(counts)
    local size = 0
    for _ in pairs(counts) do
        size = size + 1
    end
    return size
end

local function forget(ledger, before)
    local is_crowded = size_of(ledger.header) > 3 or #ledger.pending > CROWD
    if ledger.header[before - 2] or ledger.own[before - 2] or is_crowded then
        for _, counts in ipairs({ ledger.header, ledger.own, ledger.header_at }) do
            for minute in pairs(counts) do
                if minute < before - 1 then
                    counts[minute] = nil
                end
            end
            for _ = MAX_MINUTES + 1, size_of(counts) do
                counts[latest_of(counts)] = nil
            end
        end
        local kept = {}
        for _, calls in ipairs(ledger.pending) do
            if calls.stop >= before then
                kept[#kept + 1] = calls
            end
        end
        ledger.pending, ledger.suspected = kept, {}
    end
    if ledger.penalty > 0 then
        forget_minute_ahead(ledger, before)
        decay_penalty(ledger, before)
    end
end

local function suspect(ledger, new)
    ledger.suspected = {}
    for _, calls in ipairs(ledger.pending) do
        if calls.first == new.first and calls.stop == new.stop and calls.batch == new.batch then
            calls.known = max(calls.known, new.known)
            calls.weight = calls.weight + new.weight
            calls.reported = max(calls.reported, new.reported)
            return
        end
    end
    table.insert(ledger.pending, new)
end

local function prove(ledger, minute, sent)
    local highest = ledger.header[minute] or -1
    local kept, proven = {}, {}
    for _, calls in ipairs(ledger.pending) do
        local is_inside = calls.first <= minute and minute < calls.stop
        local is_proven = is_inside and (calls.known < sent or calls.reported <= highest)
        table.insert(is_proven and proven or kept, calls)
    end
    if #proven == 0 then
        return
    end
    ledger.pending, ledger.suspected = kept, {}
    for _, calls in ipairs(proven) do
        for _, side in ipairs({ { calls.first, minute }, { minute + 1, calls.stop } }) do
            if side[1] < side[2] then
                suspect(ledger, {
                    first = side[1],
                    stop = side[2],
                    batch = calls.batch,
                    known = calls.known,
                    weight = calls.weight,
                    reported = calls.reported,
                })
            end
        end
    end
end

local function doubt_window(ledger, weight, now)
    ledger.misplaced = max(ledger.misplaced, weight)
    ledger.careful_until = now + CAREFUL_SECONDS
end

local function hear(ledger, minute, used, weight, sent, now)
    local before, last = ledger.header[minute] or 0, ledger.header[minute - 1] or 0
    if sent - (ledger.header_at[minute] or sent) >= WINDOW * ledger.minute then
        before, ledger.own[minute] = 0, nil
    end
    if before == 0 and last ~= 0 then
        ledger.turned = ledger.turned or used < last
        local others = used - weight - (ledger.own[minute] or 0) - unproven_in(ledger, minute)
        if others >= last and last > ledger.limit / 4 then
            doubt_window(ledger, used, now)
        end
    end
    if used >= before then
        ledger.header[minute], ledger.header_at[minute] = used, now
    elseif sent > (ledger.header_at[minute] or huge) and before - used > MARGIN then
        doubt_window(ledger, before - used, now)
    end
end

local function risen_by(ledger, minute)
    local used = ledger.header[minute]
    local before = ledger.last
    ledger.last = { takes = ledger.takes, minute = minute, used = used }
    if before and before.takes == ledger.takes - 1 and before.minute == minute then
        return used - before.used
    end
end

local function answer(ledger, weight, used, first, stop, sent, now, is_probe)
    ledger.in_flight = ledger.in_flight - weight
    ledger.arrived = max(ledger.arrived, now)
    ledger.probed = ledger.probed or used ~= nil or is_probe
    forget(ledger, first)
    local calls = { first = first, stop = stop, batch = UNCOUNTED, known = now, weight = weight, reported = huge }
    if not used then
        if ledger.counted_at == -huge then
            ledger.external.is_known = true
        else
            calls.batch = UNCOUNTED - 1 - floor(2 * now)
        end
        suspect(ledger, calls)
        return
    end
    ledger.counted_at = max(ledger.counted_at, sent)
    if stop - first > 1 then
        ledger.header[first] = max(ledger.header[first] or 0, used)
        calls.first, calls.batch, calls.reported = first + 1, floor(now * BATCHES_A_SECOND), used
        suspect(ledger, calls)
        for later = first + 1, min(first + 2, stop - 1) do
            prove(ledger, later, -huge)
        end
        return
    end
    hear(ledger, first, used, weight, sent, now)
    ledger.own[first] = (ledger.own[first] or 0) + weight
    prove(ledger, first, sent)
    local unproven = unproven_in(ledger, first)
    observe_external(ledger, first, used - ledger.own[first] - unproven, unproven, sent, now)
    if unproven == 0 then
        return risen_by(ledger, first)
    end
end

local function lose(ledger, weight, first, stop, known)
    ledger.in_flight = ledger.in_flight - weight
    ledger.arrived = max(ledger.arrived, known)
    forget(ledger, first)
    suspect(ledger, { first = first, stop = stop, batch = LOST, known = known, weight = weight, reported = huge })
end

local function catch_up(ledger, minute, used, own)
    ledger.arrived = huge
    forget(ledger, minute)
    ledger.header[minute] = max(ledger.header[minute] or 0, used)
    ledger.header_at[minute] = nil
    ledger.own[minute] = (ledger.own[minute] or 0) + own
    ledger.external.skipped_minute = minute
    ledger.tokens = min(ledger.tokens, 0)
    ledger.filled_at = -huge
end

local function refuse(ledger, minute, now, full)
    if full then
        ledger.header[minute] = max(ledger.header[minute] or 0, ledger.limit)
        return
    end
    ledger.probed = false
    ledger.tokens = min(ledger.tokens, 0)
    ledger.filled_at = now
    forget_minute_ahead(ledger, minute)
    decay_penalty(ledger, minute)
    if minute > ledger.penalised then
        ledger.penalty = min(max(PENALTY * ledger.limit, 2 * ledger.penalty), MAX_PENALTY * ledger.limit)
        ledger.penalised = minute
    end
end

-- The step of the store, on the states that were read from the hash.

-- Processes are in a list, which keeps their order; a table by name would not.
local function place_of(instances, name)
    for place, peer in ipairs(instances) do
        if peer.peer == name then
            return place
        end
    end
end

local function remove(instances, name)
    local place = place_of(instances, name)
    return place and table.remove(instances, place)
end

local function hear_host(host, report, now)
    local earliest, latest, is_synchronised, closed, banned = report[2], report[3], report[4], report[5], report[6]
    if is_synchronised or not host.is_synchronised then
        host.low, host.high, host.updated_at, host.is_synchronised = earliest - now, latest - now, now, is_synchronised
    end
    if closed > 0 then
        host.banned = banned or (host.banned and host.opens > now)
        host.opens = max(host.opens, now + closed)
    end
    -- If the server's clock has stepped back, times that it showed before count for neither bounds nor gate.
    local drift = min(DRIFT * math.abs(now - host.updated_at), MOST_UNSURE)
    host.opens = min(host.opens, now + LONGEST_BAN)
    local left = max(0, host.opens - now)
    return { now + host.low - drift, now + host.high + drift, host.is_synchronised, left, host.banned and left > 0 }
end

local function bury(pool, peer, lease, earliest, latest, now)
    local ledger, living = pool.ledger, {}
    for _, holder in ipairs(pool.holders) do
        local is_leased = holder.ends >= now and holder.ends <= now + STEP_SECONDS
        if is_leased or holder.peer == peer then
            living[#living + 1] = holder
        else
            remove(pool.waiting, holder.peer)
            if holder.weight > 0 then
                local first = minute_of(ledger, earliest - (now - min(now, holder.ends - lease)))
                local stop = minute_of(ledger, latest + MAX_LATENCY) + 1
                lose(ledger, holder.weight, first, stop, now + MAX_LATENCY)
            end
        end
    end
    pool.holders = living
end

local function apply(ledger, event)
    local kind = event[1]
    if kind == KIND_ANSWERED then
        return answer(ledger, unpack(event, 2, 8))
    elseif kind == KIND_LOST then
        lose(ledger, unpack(event, 2, 5))
    elseif kind == KIND_CALLREFUSED then
        refuse(ledger, event[2], event[4], event[5])
    elseif kind == KIND_HEAVIER then
        ledger.weight_factor = max(ledger.weight_factor, min(event[2], MAX_WEIGHT_FACTOR))
    elseif kind == KIND_RETURNED then
        cancel(ledger, event[2], event[3])
    elseif kind == KIND_OFFLINEUSAGE then
        catch_up(ledger, event[2], event[3], event[4])
    end
end

-- Returns the rise of each response, packed, as some are nil; and the holder.
local function settle(pool, peer, number, lease, held, events, now)
    local place = place_of(pool.holders, peer)
    if not place then
        place = #pool.holders + 1
        pool.holders[place] = { peer = peer, weight = 0, ends = 0, number = -1 }
    end
    local ledger, holder = pool.ledger, pool.holders[place]
    if number <= holder.number then
        events = {}
    end
    local before = held
    for _, event in ipairs(events) do
        if event[1] == KIND_ANSWERED or event[1] == KIND_LOST or event[1] == KIND_RETURNED then
            before = before + event[2]
        end
    end
    ledger.in_flight = ledger.in_flight + before - holder.weight
    local risen = {}
    for _, event in ipairs(events) do
        local rise = apply(ledger, event)
        if event[1] == KIND_ANSWERED then
            risen[#risen + 1] = pack(rise)
        end
    end
    holder.weight, holder.ends, holder.number = held, now + lease, max(number, holder.number)
    return array(#risen) .. table.concat(risen), holder
end

local function wait_in_turn(pool, weight, priority, since, now, earliest, latest)
    for _, waiting in ipairs(pool.waiting) do
        local is_before = waiting.priority < priority or (waiting.priority == priority and waiting.since < since)
        if waiting.ends > now and waiting.ends <= now + 2 * PLACE_SECONDS and is_before then
            local seconds, holds_up = wait_for(pool.ledger, waiting.weight, waiting.priority, now, earliest, latest)
            if seconds == 0 or holds_up then
                return max(seconds, TURN), true
            end
        end
    end
    return wait_for(pool.ledger, weight, priority, now, earliest, latest)
end

local function grant(pool, holder, demands, now, earliest, latest)
    local before = remove(pool.waiting, holder.peer)
    local granted, first, first_holds_up = {}, 0, false
    for place, demand in ipairs(demands) do
        local priority, weight, times, can_wait = demand[1], demand[2], demand[3], demand[4]
        local since = before and before.priority == priority and before.since or now
        local given, wait, holds_up = 0, 0, false
        while given < times and not first_holds_up do
            wait, holds_up = wait_in_turn(pool, weight, priority, since, now, earliest, latest)
            if wait > 0 then
                break
            end
            take(pool.ledger, weight, priority, now)
            holder.weight = holder.weight + weight
            given = given + 1
        end
        granted[place] = given
        if given < times and can_wait and first == 0 then
            first, first_holds_up = wait, holds_up
            local ends = now + min(wait, PLACE_SECONDS) + PLACE_SECONDS
            table.insert(
                pool.waiting,
                { peer = holder.peer, priority = priority, weight = weight, since = since, ends = ends }
            )
        end
    end
    return granted, first, first_holds_up
end

local function hear_pool(pool, message, report, host, now)
    local peer, number, lease = message[1], message[2], message[4]
    local held, events, demands = report[4], report[5], report[6]
    local ledger = pool.ledger
    if report[3] < ledger.limit then
        ledger.limit = report[3]
        ledger.tokens = min(ledger.tokens, ledger.limit)
    end
    local earliest, latest = latest_bounds(ledger, host[1], host[2])
    bury(pool, peer, lease, earliest, latest, now)
    local risen, holder = settle(pool, peer, number, lease, held, events, now)
    earliest, latest = latest_bounds(ledger, earliest, latest)
    local granted, wait, holds_up = grant(pool, holder, demands, now, earliest, latest)
    return array(12)
        .. pack(granted, wait, holds_up)
        .. risen
        .. pack(
            #pool.holders,
            most_used(ledger, earliest, latest),
            ledger.in_flight,
            cap_of(ledger, now),
            ledger.external.share,
            for_polls(ledger, now),
            ledger.misplaced,
            ledger.limit
        )
end

-- The hash.

local key = KEYS[1]

local function time()
    if ARGV[2] then
        return tonumber(ARGV[2])
    end
    local time = redis.call("TIME")
    return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- Processes of two versions may share the hash: if the stored state changes, its prefix has to change, too.
local function host_field(report)
    return "host:" .. report[1]
end

local function pool_field(report)
    return "pool:" .. report[1]
end

-- The time of the last search for unused fields, which is slow if there are thousands.
local SWEPT = "swept"

local function fields_of(message)
    local fields = {}
    for _, report in ipairs(message[5]) do
        fields[#fields + 1] = host_field(report)
    end
    for _, report in ipairs(message[6]) do
        fields[#fields + 1] = pool_field(report)
    end
    return fields
end

-- Lua's stack holds a few thousand arguments.
local MOST_FIELDS = 1000

local function read(fields)
    local states = {}
    for first = 1, #fields, MOST_FIELDS do
        local texts = redis.call("HMGET", key, unpack(fields, first, min(first + MOST_FIELDS - 1, #fields)))
        for place, text in ipairs(texts) do
            states[fields[first + place - 1]] = text and cmsgpack.unpack(text) or nil
        end
    end
    return states
end

local function write(states)
    local written = {}
    for field, state in pairs(states) do
        if state.ledger then
            state.ledger.suspected = nil
        end
        written[#written + 1] = field
        written[#written + 1] = pack(state)
    end
    local new = 0
    for first = 1, #written, 2 * MOST_FIELDS do
        new = new + redis.call("HSET", key, unpack(written, first, min(first + 2 * MOST_FIELDS - 1, #written)))
    end
    return new
end

local function sweep(now)
    local swept = redis.call("HGET", key, SWEPT)
    if swept and now < cmsgpack.unpack(swept) + UNUSED_SECONDS then
        return
    end
    redis.call("HSET", key, SWEPT, pack(now))
    local stored = redis.call("HGETALL", key)
    for place = 1, #stored, 2 do
        if stored[place] ~= SWEPT then
            local state = cmsgpack.unpack(stored[place + 1])
            local used = max(state.updated_at or 0, state.opens or 0)
            for _, holder in ipairs(state.holders or {}) do
                used = max(used, holder.ends)
            end
            if used + UNUSED_SECONDS < now then
                redis.call("HDEL", key, stored[place])
            end
        end
    end
end

local function step(message, now)
    local fields = fields_of(message)
    if #fields == 0 then
        return array(3) .. pack(now) .. array(0) .. array(0)
    end
    local states = read(fields)
    local hosts, pools, longest = {}, {}, 0
    for place, report in ipairs(message[5]) do
        local field = host_field(report)
        states[field] = states[field]
            or { low = 0, high = 0, updated_at = now, is_synchronised = false, opens = 0, banned = false }
        hosts[place] = hear_host(states[field], report, now)
        longest = max(longest, hosts[place][4])
    end
    for place, report in ipairs(message[6]) do
        local field = pool_field(report)
        local pool = states[field] or { ledger = new_ledger(report[3], message[3]), holders = {}, waiting = {} }
        pool.ledger.suspected, states[field] = {}, pool
        pools[place] = hear_pool(pool, message, report, hosts[report[2] + 1], now)
    end
    -- Only new fields make the hash larger.
    if write(states) > 0 then
        sweep(now)
    end
    -- Never shortened: an origin that the message does not name may be banned for days.
    local idle = floor((IDLE_SECONDS + longest) * 1000)
    if redis.call("PTTL", key) < idle then
        redis.call("PEXPIRE", key, 2 * idle)
    end
    return array(3) .. pack(now) .. array(#hosts) .. pack(unpack(hosts)) .. array(#pools) .. table.concat(pools)
end

return step(cmsgpack.unpack(ARGV[1]), time())
