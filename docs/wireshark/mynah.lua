-- Wireshark dissectors for mynah's framed protocols, `mynah.command` and `mynah.prefixed`
-- (docs/protocol.md; how to install and use them: docs/operations.md, "Wireshark").
--
-- Wireshark 3.6 or later: Lua 5.2 and 5.4 both run this file.

set_plugin_info({
    version = "1.0.0",
    description = "mynah's command and prefixed protocols",
})

local COMMAND_PORT, PREFIXED_PORT = "65432", "8080"
-- Bytes of a command frame's header, and where its length begins.
local HEADER_LEN, LENGTH_AT = 5, 1
-- The longest payload that `--max-frame` may allow, what it allows by default, and the default
-- memory of a plugin, which bounds its answers.
local PAYLOAD_LEN_LIMIT, PAYLOAD_LEN_DEFAULT, PLUGIN_REPLY_LEN = 1073741824, 1048576, 8388608
-- A payload longer than this is shown as bytes alone.
local TEXT_LEN_MAX = 65536
-- Frames that the Info column names one by one, and characters of a payload that it quotes.
local FRAMES_NAMED, CHARACTERS_QUOTED = 8, 60
local ECHO, REVERSE, QUIT, BROADCAST, LOGIN, REGISTER, STATUS, ERROR = 1, 2, 3, 4, 5, 6, 7, 255
local PLUGIN_FIRST, PLUGIN_LAST = 128, 254
local UINT8_MAX, UINT32_MAX = 255, 4294967295

local NAMES = {
    [ECHO] = "ECHO", [REVERSE] = "REVERSE", [QUIT] = "QUIT", [BROADCAST] = "BROADCAST",
    [LOGIN] = "LOGIN", [REGISTER] = "REGISTER", [STATUS] = "STATUS", [ERROR] = "ERROR",
}
for code = PLUGIN_FIRST, PLUGIN_LAST do NAMES[code] = "PLUGIN " .. code end

---------------------------------------------------------------------------------------------------
-- Fields

local command = Proto("mynah.command", "mynah command")
local prefixed = Proto("mynah.prefixed", "mynah prefixed")

local cf = {
    request = ProtoField.bool("mynah.command.request", "Request", base.NONE, nil, 0,
        "Sent by the client"),
    code = ProtoField.uint8("mynah.command.code", "Code", base.DEC, NAMES, 0,
        "Of replies: 1 is success, 4 a broadcast of another client, 255 an error"),
    length = ProtoField.uint32("mynah.command.length", "Payload length", base.DEC),
    payload = ProtoField.bytes("mynah.command.payload", "Payload"),
    text = ProtoField.string("mynah.command.text", "Text", base.UNICODE, "A payload that is UTF-8"),
    status = ProtoField.string("mynah.command.status", "Status", base.UNICODE,
        "The server's counters as JSON"),
    receivers = ProtoField.uint32("mynah.command.receivers", "Receivers", base.DEC, nil, 0,
        "Connections that a BROADCAST went to"),
    account = ProtoField.string("mynah.command.account", "Account", base.UNICODE,
        "The name that LOGIN and REGISTER send"),
    -- Its length alone: what is shown ends up on screens and in tickets.
    password_len = ProtoField.uint32("mynah.command.password_length", "Password length", base.DEC),
    error = ProtoField.string("mynah.command.error", "Error", base.UNICODE,
        "Why the request failed"),
    error_code = ProtoField.uint8("mynah.command.error.code", "Unknown code", base.DEC),
    error_offset = ProtoField.uint32("mynah.command.error.offset", "Offset of the invalid byte",
        base.DEC),
    error_length = ProtoField.uint32("mynah.command.error.length", "Length that is too much",
        base.DEC),
    error_limit = ProtoField.uint32("mynah.command.error.limit", "Limit", base.DEC),
    answers = ProtoField.framenum("mynah.command.response_to", "Request in frame", base.NONE,
        frametype.RESPONSE),
    answered_in = ProtoField.framenum("mynah.command.response_in", "Reply in frame", base.NONE,
        frametype.REQUEST),
    time = ProtoField.relative_time("mynah.command.time", "Time from the request"),
    rest = ProtoField.bytes("mynah.command.undissected", "Undissected"),
}
command.fields = cf

local pf = {
    request = ProtoField.bool("mynah.prefixed.request", "Request", base.NONE, nil, 0,
        "Sent by the client"),
    length = ProtoField.uint8("mynah.prefixed.length", "Length", base.DEC),
    payload = ProtoField.bytes("mynah.prefixed.payload", "Payload"),
    text = ProtoField.string("mynah.prefixed.text", "Text", base.UNICODE,
        "A payload that is UTF-8"),
    answers = ProtoField.framenum("mynah.prefixed.response_to", "Request in frame", base.NONE,
        frametype.RESPONSE),
    answered_in = ProtoField.framenum("mynah.prefixed.response_in", "Reply in frame", base.NONE,
        frametype.REQUEST),
    time = ProtoField.relative_time("mynah.prefixed.time", "Time from the request"),
}
prefixed.fields = pf

local cx = {
    unknown = ProtoExpert.new("mynah.command.unknown", "Unknown code",
        expert.group.PROTOCOL, expert.severity.WARN),
    too_long = ProtoExpert.new("mynah.command.too_long", "The declared length is over the limit",
        expert.group.MALFORMED, expert.severity.ERROR),
    not_utf8 = ProtoExpert.new("mynah.command.not_utf8", "Not UTF-8",
        expert.group.MALFORMED, expert.severity.WARN),
    no_password = ProtoExpert.new("mynah.command.no_password", "Without NUL and password",
        expert.group.MALFORMED, expert.severity.WARN),
    failed = ProtoExpert.new("mynah.command.failed", "The server answered with an error",
        expert.group.RESPONSE_CODE, expert.severity.NOTE),
    cut_short = ProtoExpert.new("mynah.command.cut_short", "The frame is not here whole",
        expert.group.MALFORMED, expert.severity.WARN),
}
command.experts = cx

local px = {
    not_reversed = ProtoExpert.new("mynah.prefixed.not_reversed",
        "The reply is not the request reversed", expert.group.PROTOCOL, expert.severity.WARN),
    cut_short = ProtoExpert.new("mynah.prefixed.cut_short", "The message is not here whole",
        expert.group.MALFORMED, expert.severity.WARN),
}
prefixed.experts = px

command.prefs.ports = Pref.range("Server ports", COMMAND_PORT,
    "TCP ports on which servers speak command", 65535)
command.prefs.max_frame = Pref.uint("Longest payload", PAYLOAD_LEN_DEFAULT,
    "The server's --max-frame in bytes, at most 1073741824. A frame that declares more is flagged "
    .. "and not waited for.")
prefixed.prefs.ports = Pref.range("Server ports", PREFIXED_PORT,
    "TCP ports on which servers speak prefixed; HTTP on them is still HTTP", 65535)

local tcp_stream = Field.new("tcp.stream")
local tcp_completeness = Field.new("tcp.completeness")

---------------------------------------------------------------------------------------------------
-- Text

-- Where the first sequence that is not UTF-8 begins, from 0, or nil: the offset of the server's
-- error. The ranges are those of table 3-7 of the Unicode standard.
local function invalid_utf8_at(bytes)
    local at = bytes:find("[\128-\255]")
    while at do
        local first, second = bytes:byte(at, at + 1)
        local lowest, highest, len = 0x80, 0xBF, nil
        if first >= 0xC2 and first <= 0xDF then len = 2
        elseif first >= 0xE0 and first <= 0xEF then len = 3
        elseif first >= 0xF0 and first <= 0xF4 then len = 4
        else return at - 1 end
        if first == 0xE0 then lowest = 0xA0 elseif first == 0xED then highest = 0x9F
        elseif first == 0xF0 then lowest = 0x90 elseif first == 0xF4 then highest = 0x8F end
        if not second or second < lowest or second > highest then return at - 1 end
        for next_at = at + 2, at + len - 1 do
            local byte = bytes:byte(next_at)
            if not byte or byte < 0x80 or byte > 0xBF then return at - 1 end
        end
        at = bytes:find("[\128-\255]", at + len)
    end
    return nil
end

-- Whether a payload is shown as text.
local function is_text(bytes)
    return #bytes > 0 and #bytes <= TEXT_LEN_MAX and not bytes:find("[\0-\8\11\12\14-\31\127]")
        and not invalid_utf8_at(bytes)
end

-- The beginning of a payload for the Info column.
local function quote(bytes)
    if #bytes == 0 then return "" end
    if not is_text(bytes) then return string.format(" %d bytes", #bytes) end
    local at = CHARACTERS_QUOTED + 1
    if bytes:find("[\128-\255]") then
        local characters = 0
        at = 1
        while at <= #bytes and characters < CHARACTERS_QUOTED do
            local next_at = bytes:find("[^\128-\191]", at + 1) or #bytes + 1
            characters, at = characters + 1, next_at
        end
    end
    local dots = at <= #bytes and "…" or ""
    return ' "' .. bytes:sub(1, at - 1):gsub("[\t\r\n]", " ") .. dots .. '"'
end

---------------------------------------------------------------------------------------------------
-- Streams: what is kept of each from frame to frame, and which reply belongs to which request

-- By stream. `pending`: requests without a reply; `opaque_since`: for each direction the frame
-- since which borders of messages are unknown; `foreign`: HTTP or TLS, where it is one of them.
local streams = {}
-- The stream of each packet, so that a later look at any packet finds what the first pass knew.
local streams_by_packet = {}
-- By packet number and the message's place in it: a request or a reply, and its counterpart.
local exchanges = {}

local function forget_streams()
    streams, streams_by_packet, exchanges = {}, {}, {}
end

local function stream_of(pinfo, proto)
    local packet = proto.name .. pinfo.number
    local stream = streams_by_packet[packet]
    if stream then return stream end
    -- Where nothing shows fields, as when a file is opened, there are none. Then the two ends name
    -- the stream, and a later connection of the same ends passes for the earlier one.
    local field, key = tcp_stream(), nil
    if field then
        key = proto.name .. tostring(field.value)
    else
        local ends = { pinfo.src_port .. tostring(pinfo.src), pinfo.dst_port .. tostring(pinfo.dst) }
        if ends[1] > ends[2] then ends[1], ends[2] = ends[2], ends[1] end
        key = proto.name .. ends[1] .. ends[2]
    end
    stream = streams[key] or { first = 1, last = 0, pending = {}, opaque_since = {} }
    streams[key], streams_by_packet[packet] = stream, stream
    return stream
end

-- Names the next message of the packet. `private` lives as long as one dissection of it.
local function next_key(pinfo, proto)
    local count = (tonumber(pinfo.private[proto.name]) or 0) + 1
    pinfo.private[proto.name] = tostring(count)
    return proto.name .. pinfo.number .. ":" .. count
end

-- Replies come in the order of the requests. Returns the exchange of a request.
local function record_request(stream, key, pinfo, request)
    if not pinfo.visited then
        request.asked_in, request.asked_at = pinfo.number, pinfo.rel_ts
        exchanges[key] = request
        stream.last = stream.last + 1
        stream.pending[stream.last] = request
    end
    return exchanges[key]
end

-- Returns the exchange of a reply; nil if no request waits for one.
local function record_reply(stream, key, pinfo)
    if not pinfo.visited and stream.first <= stream.last then
        local request = stream.pending[stream.first]
        stream.pending[stream.first] = nil
        stream.first = stream.first + 1
        request.answered_in, request.answered_at = pinfo.number, pinfo.rel_ts
        exchanges[key] = request
    end
    return exchanges[key]
end

local function add_link_to_reply(tree, fields, exchange)
    if exchange and exchange.answered_in then
        tree:add(fields.answered_in, exchange.answered_in):set_generated()
    end
end

local function add_link_to_request(tree, fields, exchange)
    if not exchange then return end
    tree:add(fields.answers, exchange.asked_in):set_generated()
    local secs = math.max(exchange.answered_at - exchange.asked_at, 0)
    local whole = math.floor(secs)
    local time = NSTime.new(whole, math.floor((secs - whole) * 1e9 + 0.5))
    tree:add(fields.time, time):set_generated()
end

---------------------------------------------------------------------------------------------------
-- Ports

-- Calls `each` with every port of a preference such as "8080,9000-9010".
local function for_each_port(range, each)
    for first, last in range:gmatch("(%d+)%-?(%d*)") do
        for port = tonumber(first), tonumber(last) or tonumber(first) do each(port) end
    end
end

-- Registers a protocol on the ports of its preference, and gives ports that left it back to those
-- who had them: 8080 is HTTP's.
local function port_registrar(proto)
    local registered, owners, is_server_port = nil, {}, {}
    local tables = { DissectorTable.get("tcp.port"), DissectorTable.get("tls.port") }
    local function update()
        if registered == proto.prefs.ports then return end
        for _, dissectors in ipairs(tables) do
            for port in pairs(is_server_port) do
                dissectors:remove(port, proto)
                local owner = owners[dissectors][port]
                if owner then dissectors:add(port, owner) end
            end
        end
        registered, is_server_port = proto.prefs.ports, {}
        for_each_port(registered, function(port) is_server_port[port] = true end)
        for _, dissectors in ipairs(tables) do
            owners[dissectors] = {}
            for port in pairs(is_server_port) do
                owners[dissectors][port] = dissectors:get_dissector(port)
                dissectors:add(port, proto)
            end
        end
    end
    return update, function(port) return is_server_port[port] ~= nil end
end

-- Whether a packet goes to the server: by the ports of the preference, else by the port that
-- Decode As was told, else the server has the lower one.
local function is_to_server(pinfo, is_server_port)
    local to, from = is_server_port(pinfo.dst_port), is_server_port(pinfo.src_port)
    if to ~= from then return to end
    if pinfo.dst_port == pinfo.src_port then return true end
    if pinfo.match_uint == pinfo.dst_port then return true end
    if pinfo.match_uint == pinfo.src_port then return false end
    return pinfo.dst_port < pinfo.src_port
end

---------------------------------------------------------------------------------------------------
-- Other protocols on these ports

-- A request line with a path, `*` or a URL; a status line.
local HTTP_BEGINNINGS = { "^%u[%u-]+ [/*h]", "^CONNECT ", "^HTTP/1%." }

-- The dissector for a stream that begins with these bytes, if they are not mynah's. Any TLS record,
-- read as a command frame, declares 48 MiB or more; for prefixed only a hello is told from a message.
local function foreign_dissector(proto, bytes)
    local tls_record = proto == command and "^[\20-\23]\3[\0-\4]" or "^\22\3[\0-\4]..[\1\2]"
    if bytes:find(tls_record) then return "tls" end
    for _, beginning in ipairs(HTTP_BEGINNINGS) do
        if bytes:find(beginning) then return "http" end
    end
    return nil
end

-- Hands a stream of HTTP or TLS to its dissector. Returns nil for mynah's own.
local function dissect_foreign(proto, stream, tvb, pinfo, tree)
    -- What TLS has decrypted comes back here.
    if pinfo.private["mynah.decrypted"] == "yes" then return nil end
    if stream.foreign == nil then
        stream.foreign = foreign_dissector(proto, tvb:raw(0, math.min(tvb:len(), 16))) or false
    end
    if not stream.foreign then return nil end
    pinfo.private["mynah.decrypted"] = "yes"
    local consumed = Dissector.get(stream.foreign):call(tvb, pinfo, tree)
    pinfo.private["mynah.decrypted"] = "no"
    return consumed
end

---------------------------------------------------------------------------------------------------
-- Messages in a segment

-- Names of the messages of one call, for the Info column.
local function summary_of(names, count)
    local text = table.concat(names, ", ")
    if count > #names then text = text .. string.format(" and %d more", count - #names) end
    return text
end

-- Writes the columns; what earlier calls for this packet wrote stays in front.
local function write_columns(label, proto, pinfo, to_server, names, count)
    if count == 0 then return end
    local is_first = pinfo.private[proto.name .. ".columns"] == nil
    pinfo.private[proto.name .. ".columns"] = "written"
    pinfo.cols.protocol:set(label)
    pinfo.cols.info:clear()
    local arrow = to_server and "→ " or "← "
    pinfo.cols.info:append((is_first and arrow or ", ") .. summary_of(names, count))
    pinfo.cols.info:fence()
end

-- Cuts a segment into messages. `dissect_one(offset)` adds one to the tree and returns its name
-- and length; or nil, and how many more bytes TCP must bring before it can.
local function dissect_messages(tvb, pinfo, dissect_one)
    local names, count, offset = {}, 0, 0
    while offset < tvb:len() do
        local name, len = dissect_one(offset)
        if not name then
            pinfo.desegment_offset, pinfo.desegment_len = offset, len
            break
        end
        count, offset = count + 1, offset + len
        if count <= FRAMES_NAMED then names[count] = name end
    end
    return names, count
end

---------------------------------------------------------------------------------------------------
-- command

-- The longest payload that is waited for.
local function payload_len_max(code, to_server)
    local len_max = math.min(command.prefs.max_frame, PAYLOAD_LEN_LIMIT)
    local is_plugin_reply = not to_server and code >= PLUGIN_FIRST and code <= PLUGIN_LAST
    return is_plugin_reply and math.max(len_max, PLUGIN_REPLY_LEN) or len_max
end

-- What a frame is called. Replies carry code 1, whatever they answer.
local function frame_name(code, to_server, exchange)
    if to_server then
        return code ~= ERROR and NAMES[code] or "unknown command " .. code
    elseif code == ECHO then
        return exchange and exchange.name .. " reply" or "reply"
    elseif code == BROADCAST or code == ERROR then
        return NAMES[code]
    elseif code >= PLUGIN_FIRST then
        return NAMES[code] .. " reply"
    end
    return "unknown code " .. code
end

local function is_known(code, to_server)
    if to_server then return code ~= ERROR and NAMES[code] ~= nil end
    return code == ECHO or code == BROADCAST or code >= PLUGIN_FIRST
end

-- The numbers in the server's errors, each with its field.
local ERROR_PATTERNS = {
    { "^unknown command (%d+)$", cf.error_code, UINT8_MAX },
    { "invalid byte at offset (%d+)$", cf.error_offset, UINT32_MAX },
    { "of (%d+) bytes exceeds the limit of %d+$", cf.error_length, UINT32_MAX },
    { "exceeds the limit of (%d+)$", cf.error_limit, UINT32_MAX },
}

-- Adds a number of a payload's text, if it fits its field.
local function add_number(tree, field, range, digits, max)
    local number = tonumber(digits)
    if number and number <= max then tree:add(field, range, number) end
end

local function add_error(tree, range, bytes)
    local item = tree:add_packet_field(cf.error, range, ENC_UTF_8)
    -- Expert infos take text as it is, so only what is UTF-8.
    item:add_proto_expert_info(cx.failed, is_text(bytes) and bytes or "An error that is not text")
    for _, pattern in ipairs(ERROR_PATTERNS) do
        add_number(item, pattern[2], range, bytes:match(pattern[1]), pattern[3])
    end
end

-- The payload of a LOGIN or REGISTER: NAME NUL PASSWORD.
local function add_credentials(tree, range, bytes)
    local nul_at = bytes:find("\0", 1, true)
    if not nul_at then
        tree:add_proto_expert_info(cx.no_password, "Without NUL and password: login fails")
        return
    end
    local name_len = nul_at - 1
    if name_len > 0 then tree:add_packet_field(cf.account, range(0, name_len), ENC_UTF_8) end
    local password = nul_at < #bytes and range(nul_at, #bytes - nul_at) or range
    tree:add(cf.password_len, password, #bytes - nul_at)
end

local function add_status(tree, range, pinfo)
    local item = tree:add_packet_field(cf.status, range, ENC_UTF_8)
    pcall(function() Dissector.get("json"):call(range:tvb(), pinfo, item) end)
end

-- Adds a request's payload. Returns what the Info column says of it: of credentials the name alone.
local function add_request_payload(code, tree, range, bytes)
    if code == LOGIN or code == REGISTER then
        add_credentials(tree, range, bytes)
        return quote(bytes:match("^[^\0]*"))
    end
    tree:add(cf.payload, range)
    if is_text(bytes) then tree:add_packet_field(cf.text, range, ENC_UTF_8) end
    local invalid_at = code == REVERSE and invalid_utf8_at(bytes)
    if invalid_at then
        local at = tree:add(cf.payload, range(invalid_at, 1))
        at:set_text(string.format("Invalid byte at offset %d", invalid_at))
        at:add_proto_expert_info(cx.not_utf8,
            string.format("REVERSE of bytes that are not UTF-8: invalid byte at offset %d", invalid_at))
    end
    return quote(bytes)
end

local function add_reply_payload(code, exchange, tree, range, bytes, pinfo)
    if code == ERROR then
        add_error(tree, range, bytes)
        return quote(bytes)
    end
    tree:add(cf.payload, range)
    local asked = code == ECHO and exchange and exchange.code
    local looks_like_status = code == ECHO and not exchange and bytes:find('^{"version":')
    if asked == STATUS or looks_like_status then
        add_status(tree, range, pinfo)
        return " " .. #bytes .. " bytes"
    end
    if is_text(bytes) then tree:add_packet_field(cf.text, range, ENC_UTF_8) end
    if asked == BROADCAST then
        add_number(tree, cf.receivers, range, bytes:match("^%d+$"), UINT32_MAX)
    end
    return quote(bytes)
end

-- Whether frames end here in this direction: behind a length that is too much, the server does
-- not read on, and a capture that begins inside a frame shows no borders.
local function is_opaque(stream, pinfo, to_server)
    local since = stream.opaque_since[to_server]
    return since ~= nil and pinfo.number > since
end

local function add_too_long(tree, range, len, len_max)
    local text = string.format("A payload of %d bytes: the limit is %d", len, len_max)
    if len > PAYLOAD_LEN_LIMIT then
        text = string.format("A payload of %d bytes: mynah allows 1 GiB at most", len)
    elseif len_max < PAYLOAD_LEN_LIMIT then
        text = text .. " (Preferences, Protocols, MYNAH.COMMAND)"
    end
    local seen = tcp_completeness()
    if seen and seen.value % 2 == 0 then
        text = text .. "; or the capture began inside of a frame"
    end
    tree:add_proto_expert_info(cx.too_long, text)
end

local function dissect_command_frame(offset, stream, to_server, tvb, pinfo, tree)
    local available = tvb:len() - offset
    local can_wait = pinfo.can_desegment > 0
    if available < HEADER_LEN then
        if can_wait then return nil, DESEGMENT_ONE_MORE_SEGMENT end
        tree:add(command, tvb(offset), "mynah command, part of a header")
            :add_proto_expert_info(cx.cut_short, "The header is not here whole")
        return "part of a header", available
    end
    local code, payload_len = tvb(offset, 1):uint(), tvb(offset + LENGTH_AT, 4):uint()
    local len_max = payload_len_max(code, to_server)
    local is_too_long = payload_len > len_max
    local len = HEADER_LEN + payload_len
    if not is_too_long and available < len and can_wait then return nil, len - available end

    local key, exchange = next_key(pinfo, command), nil
    if to_server and code ~= QUIT then
        local name = code ~= ERROR and NAMES[code] or "command " .. code
        exchange = record_request(stream, key, pinfo, { code = code, name = name })
    elseif not to_server and code ~= BROADCAST then
        exchange = record_reply(stream, key, pinfo)
    end
    local name = frame_name(code, to_server, exchange)

    -- What follows a length that is too much belongs to no frame: the server does not read on.
    local here = is_too_long and available or math.min(len, available)
    local sub = tree:add(command, tvb(offset, here),
        string.format("mynah command, %s, %d bytes", name, payload_len))
    sub:add(cf.request, tvb(offset, 0), to_server):set_generated()
    local code_item = sub:add(cf.code, tvb(offset, 1))
    if not to_server and code == ECHO then code_item:set_text("Code: success (1)") end
    if not is_known(code, to_server) then
        local sender = to_server and "mynah answers it with an error" or "mynah sends no such code"
        code_item:add_proto_expert_info(cx.unknown, string.format("Code %d: %s", code, sender))
        if not to_server then code_item:set_text(string.format("Code: unknown (%d)", code)) end
    end
    local length_item = sub:add(cf.length, tvb(offset + LENGTH_AT, 4))

    local quoted = ""
    if is_too_long then
        add_too_long(length_item, tvb(offset + LENGTH_AT, 4), payload_len, len_max)
        if not stream.opaque_since[to_server] then stream.opaque_since[to_server] = pinfo.number end
        if here > HEADER_LEN then
            sub:add(cf.rest, tvb(offset + HEADER_LEN, here - HEADER_LEN))
        end
        quoted = string.format(" of %d bytes, too long", payload_len)
    elseif here < len then
        sub:add_proto_expert_info(cx.cut_short,
            string.format("%d of %d bytes are here", here, len))
        quoted = " (cut short)"
    elseif payload_len > 0 then
        local range = tvb(offset + HEADER_LEN, payload_len)
        local bytes = range:raw()
        quoted = to_server and add_request_payload(code, sub, range, bytes)
            or add_reply_payload(code, exchange, sub, range, bytes, pinfo)
    end
    if to_server then add_link_to_reply(sub, cf, exchange)
    else add_link_to_request(sub, cf, exchange) end
    return name .. quoted, here
end

local update_command_ports, is_command_port = port_registrar(command)

function command.dissector(tvb, pinfo, tree)
    local stream = stream_of(pinfo, command)
    local consumed = dissect_foreign(command, stream, tvb, pinfo, tree)
    if consumed then return consumed end
    local to_server = is_to_server(pinfo, is_command_port)
    if is_opaque(stream, pinfo, to_server) then
        local sub = tree:add(command, tvb(), "mynah command, undissected")
        sub:add(cf.rest, tvb())
        write_columns("mynah", command, pinfo, to_server, { "undissected" }, 1)
        return tvb:len()
    end
    local names, count = dissect_messages(tvb, pinfo, function(offset)
        return dissect_command_frame(offset, stream, to_server, tvb, pinfo, tree)
    end)
    write_columns("mynah", command, pinfo, to_server, names, count)
    return tvb:len()
end

---------------------------------------------------------------------------------------------------
-- prefixed

local function dissect_prefixed_message(offset, stream, to_server, tvb, pinfo, tree)
    local available, payload_len = tvb:len() - offset, tvb(offset, 1):uint()
    local len = 1 + payload_len
    if available < len and pinfo.can_desegment > 0 then return nil, len - available end

    local here = math.min(len, available)
    local payload = here > 1 and tvb(offset + 1, here - 1)
    local bytes = payload and payload:raw() or ""
    local key, exchange = next_key(pinfo, prefixed), nil
    if to_server then
        exchange = record_request(stream, key, pinfo, { bytes = bytes, is_whole = here == len })
    else
        exchange = record_reply(stream, key, pinfo)
    end

    local name = to_server and "request" or "reply"
    local sub = tree:add(prefixed, tvb(offset, here),
        string.format("mynah prefixed, %s, %d bytes", name, payload_len))
    sub:add(pf.request, tvb(offset, 0), to_server):set_generated()
    sub:add(pf.length, tvb(offset, 1))
    if payload then
        sub:add(pf.payload, payload)
        if here == len and is_text(bytes) then sub:add_packet_field(pf.text, payload, ENC_UTF_8) end
    end
    if here < len then
        sub:add_proto_expert_info(px.cut_short,
            string.format("%d of %d bytes are here", here, len))
    elseif not to_server and exchange and exchange.is_whole and exchange.bytes:reverse() ~= bytes
    then
        sub:add_proto_expert_info(px.not_reversed)
    end
    if to_server then add_link_to_reply(sub, pf, exchange)
    else add_link_to_request(sub, pf, exchange) end
    return name .. (payload_len == 0 and " of 0 bytes" or quote(bytes)), here
end

local update_prefixed_ports, is_prefixed_port = port_registrar(prefixed)

function prefixed.dissector(tvb, pinfo, tree)
    local stream = stream_of(pinfo, prefixed)
    local consumed = dissect_foreign(prefixed, stream, tvb, pinfo, tree)
    if consumed then return consumed end
    local to_server = is_to_server(pinfo, is_prefixed_port)
    local names, count = dissect_messages(tvb, pinfo, function(offset)
        return dissect_prefixed_message(offset, stream, to_server, tvb, pinfo, tree)
    end)
    write_columns("mynah prefixed", prefixed, pinfo, to_server, names, count)
    return tvb:len()
end

---------------------------------------------------------------------------------------------------
-- Registration. `init` runs for each capture, once the preferences are read.

for _, proto in ipairs({ command, prefixed }) do
    DissectorTable.get("tcp.port"):add_for_decode_as(proto)
    DissectorTable.get("tls.port"):add_for_decode_as(proto)
end

command.prefs_changed = update_command_ports
prefixed.prefs_changed = update_prefixed_ports

function command.init()
    forget_streams()
    update_command_ports()
end

prefixed.init = update_prefixed_ports
