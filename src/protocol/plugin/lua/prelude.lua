-- The plugin's environment. Runs in every state before the plugin does.
--
-- A count hook interrupts Lua code but not C, so every function that could stay in C for long is
-- replaced here: by Lua, which the hook interrupts; by natives, which check the clock themselves; or
-- by a check of the clock before C processes something large. A plugin has no reference to a function
-- that is replaced, and nothing here looks up a table that a plugin can change.
--
-- Errors name this chunk as their position; `message_handler` puts the plugin's line there instead.

local native = ...
local check, message_handler, step = native.check, native.message_handler, native.step

local error, getmetatable, next, rawequal, rawget, rawset, select, setmetatable, tonumber, tostring,
      type, xpcall =
      error, getmetatable, next, rawequal, rawget, rawset, select, setmetatable, tonumber, tostring,
      type, xpcall
local math, string, table, utf8 = math, string, table, utf8
local byte, format, sub = string.byte, string.format, string.sub
local concat, insert, move, unpack = table.concat, table.insert, table.move, table.unpack
local maxinteger, tointeger = math.maxinteger, math.tointeger

-- Bytes or elements that C may process without a check of the clock before.
local UNCHECKED_MAX <const> = 4096
-- Bytes of all strings in a call of a C function that parses numbers, the same string counted each time.
local ARGUMENT_BYTES_MAX <const> = 4194304
-- Elements that C may process at all; more are processed in Lua.
local C_ELEMENTS_MAX <const> = 65536
-- Arguments of string.format. Lua's compiler allows no more in a call; table.unpack does.
local ARGUMENTS_MAX <const> = 250
-- Longest string that is parsed as a number.
local NUMERAL_LEN_MAX <const> = 1024

---------------------------------------------------------------------------------------------------
-- Arguments. Errors are worded as Lua's are.

local function bad(index, name, why)
  error(format("bad argument #%d to '%s' (%s)", index, name, why))
end

local function expected(index, name, what, value)
  bad(index, name, what .. " expected, got " .. (value == nil and "no value" or type(value)))
end

local function text(value, index, name)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(value) end
  return expected(index, name, "string", value)
end

local function integer(value, index, name, default)
  if value == nil and default then return default end
  if type(value) == "string" and #value > NUMERAL_LEN_MAX then value = nil end
  local whole = tointeger(value)
  if whole then return whole end
  if type(value) == "number" then bad(index, name, "number has no integer representation") end
  return expected(index, name, "number", value)
end

local function list(value, name)
  if type(value) ~= "table" then expected(1, name, "table", value) end
  return value
end

-- Avoids a tail call of a C function, whose errors would not name the function.
local function all(...)
  return ...
end

local function check_for(size)
  if size > UNCHECKED_MAX then check() end
end

---------------------------------------------------------------------------------------------------
-- Errors. The handler of xpcall runs before the stack is unwound and, if the error comes from the hook,
-- with hooks off. So the only handler is a native, and a plugin's handler is called afterwards.

local function pcall(f, ...)
  return xpcall(f, message_handler, ...)
end

local function handled(handler, ok, ...)
  if ok then return true, ... end
  local _, result = pcall(handler, ...)
  return false, result
end

local function handled_pcall(f, handler, ...)
  if type(handler) ~= "function" then expected(2, "xpcall", "function", handler) end
  return handled(handler, pcall(f, ...))
end

---------------------------------------------------------------------------------------------------
-- Metatables. A table gets a copy of the metatable it is given, so that none of these is added later:
--   __gc     runs with hooks off;
--   __close  runs while an error unwinds the stack, once a frame, and every one of them fails;
--   __mode   with weak keys makes the collector's atomic phase quadratic.

local EVENTS <const> = {
  "__index", "__newindex", "__call", "__tostring", "__name", "__metatable", "__pairs", "__len",
  "__eq", "__lt", "__le", "__concat", "__unm", "__add", "__sub", "__mul", "__div", "__mod", "__pow",
  "__idiv", "__band", "__bor", "__bxor", "__shl", "__shr", "__bnot",
}
local REFUSED <const> = { "__gc", "__close" }
-- The key of a copy's original. No plugin can have it.
local ORIGINAL <const> = {}
-- The latest copies by original, as one metatable often is given to many tables.
local COPIES_MAX <const> = 16
local copies, copied = {}, 0

local function refuse(original)
  for i = 1, #REFUSED do
    if rawget(original, REFUSED[i]) ~= nil then
      error(REFUSED[i] .. " is not available to plugins")
    end
  end
  local mode = rawget(original, "__mode")
  if mode ~= nil and not rawequal(mode, "v") then
    error("of __mode, only 'v' is available to plugins")
  end
  return mode
end

local function is_copy_of(copy, original, mode)
  if getmetatable(original) ~= nil then return false end
  for i = 1, #EVENTS do
    local event = EVENTS[i]
    if not rawequal(copy[event], original[event]) then return false end
  end
  return copy.__mode == mode
end

local function copy_of(original)
  local mode = refuse(original)
  local copy = copies[original]
  if copy and is_copy_of(copy, original, mode) then return copy end
  copy = { [ORIGINAL] = original, __mode = mode }
  for i = 1, #EVENTS do
    local event = EVENTS[i]
    copy[event] = rawget(original, event)
  end
  if copied >= COPIES_MAX then copies, copied = {}, 0 end
  copies[original], copied = copy, copied + 1
  return copy
end

-- The key of a client's fields in its metatable.
local FIELDS <const> = {}

-- The metatable that a table was given; false for a client, whose metatable is hidden.
local function original_metatable(value)
  local found = getmetatable(value)
  if type(found) ~= "table" then return found end
  local original = rawget(found, ORIGINAL)
  if original ~= nil then return original end
  if rawget(found, FIELDS) ~= nil then return false end
  return found
end

local function set_metatable(value, metatable)
  list(value, "setmetatable")
  if metatable ~= nil and type(metatable) ~= "table" then
    expected(2, "setmetatable", "nil or table", metatable)
  end
  local found = getmetatable(value)
  if found ~= nil and (type(found) ~= "table" or rawget(found, ORIGINAL) == nil) then
    error("cannot change a protected metatable")
  end
  return setmetatable(value, metatable and copy_of(metatable))
end

getmetatable("").__metatable = false

---------------------------------------------------------------------------------------------------
-- string. Methods of strings are these, too.

local find, match, gsub, rep = native.find, native.match, native.gsub, native.rep

-- The index at which a search begins, from 0.
local function beginning(init, size, name)
  init = integer(init, 3, name, 1)
  if init > 0 then return init - 1 end
  if init == 0 or init < -size then return 0 end
  return size + init
end

function string.find(s, pattern, init, plain)
  s, pattern = text(s, 1, "find"), text(pattern, 2, "find")
  return find(s, pattern, beginning(init, #s, "find"), plain and true or false)
end

function string.match(s, pattern, init)
  s, pattern = text(s, 1, "match"), text(pattern, 2, "match")
  return match(s, pattern, beginning(init, #s, "match"), false)
end

function string.gmatch(s, pattern, init)
  s, pattern = text(s, 1, "gmatch"), text(pattern, 2, "gmatch")
  local from, last = beginning(init, #s, "gmatch"), nil
  local function advance(first, stop, ...)
    if not first then
      from = #s + 1
      return nil
    end
    from, last = stop, stop
    return ...
  end
  return function()
    return advance(step(s, pattern, from, last, false, false))
  end
end

-- A match and its replacement.
local function substitute(replacement, kind, first, stop, ...)
  if not first then return nil end
  local value
  if kind == "function" then
    value = replacement(...)
  else
    value = replacement[(...)]
  end
  if value and type(value) ~= "string" and type(value) ~= "number" then
    error("invalid replacement value (a " .. type(value) .. ")")
  end
  return first, stop, value
end

local function gsub_with(s, pattern, replacement, kind, times)
  local anchored = byte(pattern) == 94
  if anchored then pattern = sub(pattern, 2) end
  local parts, size, count, from, last, copied = {}, 0, 0, 0, nil, 0
  while count < times do
    local first, stop, value =
      substitute(replacement, kind, step(s, pattern, from, last, anchored, kind == "table"))
    if not first then break end
    count = count + 1
    if value then
      parts[size + 1], parts[size + 2] = sub(s, copied + 1, first), value
      size, copied = size + 2, stop
    end
    from, last = stop, stop
    if anchored then break end
  end
  if size == 0 then return s, count end
  parts[size + 1] = sub(s, copied + 1)
  check()
  return concat(parts), count
end

function string.gsub(s, pattern, replacement, times)
  s, pattern = text(s, 1, "gsub"), text(pattern, 2, "gsub")
  times = integer(times, 4, "gsub", #s + 1)
  local kind = type(replacement)
  if kind == "string" or kind == "number" then
    return gsub(s, pattern, text(replacement, 3, "gsub"), times)
  end
  if kind ~= "function" and kind ~= "table" then
    expected(3, "gsub", "string/function/table", replacement)
  end
  return gsub_with(s, pattern, replacement, kind, times)
end

function string.rep(s, times, separator)
  s, times = text(s, 1, "rep"), integer(times, 2, "rep")
  separator = separator == nil and "" or text(separator, 3, "rep")
  if times <= 0 or #s + #separator == 0 then return "" end
  return rep(s, times, separator)
end

local char, lower, reverse, upper = string.char, string.lower, string.reverse, string.upper

function string.lower(s)
  s = text(s, 1, "lower")
  check_for(#s)
  return (lower(s))
end

function string.reverse(s)
  s = text(s, 1, "reverse")
  check_for(#s)
  return (reverse(s))
end

function string.upper(s)
  s = text(s, 1, "upper")
  check_for(#s)
  return (upper(s))
end

-- Bytes of all arguments that are strings. A string that is passed twice counts twice, because C parses
-- it twice where it expects a number.
local function string_bytes(...)
  local count = select("#", ...)
  if count <= 3 then
    local a, b, c = ...
    return (type(a) == "string" and #a or 0) + (type(b) == "string" and #b or 0)
      + (type(c) == "string" and #c or 0)
  end
  local values, sum = { ... }, 0
  for i = 1, count do
    if type(values[i]) == "string" then sum = sum + #values[i] end
  end
  return sum
end

local function check_arguments(name, ...)
  local bytes = string_bytes(...)
  if bytes > ARGUMENT_BYTES_MAX then error("arguments to '" .. name .. "' are too long") end
  check_for(bytes)
  return bytes
end

function string.char(...)
  check_arguments("char", ...)
  return (char(...))
end

function string.format(template, ...)
  template = text(template, 1, "format")
  if select("#", ...) > ARGUMENTS_MAX then error("too many arguments to 'format'") end
  check_for(#template)
  -- The only conversion that is slow for each byte of its argument.
  if check_arguments("format", ...) > C_ELEMENTS_MAX and find(template, "%q", 0, true) then
    error("a string is too long for '%q'")
  end
  return (format(template, ...))
end

do
  local pack, packsize, unpack = string.pack, string.packsize, string.unpack

  local function layout(template, name)
    template = text(template, 1, name)
    if #template > UNCHECKED_MAX then bad(1, name, "format is too long") end
    return template
  end

  function string.pack(template, ...)
    check_arguments("pack", ...)
    return (pack(layout(template, "pack"), ...))
  end

  function string.packsize(template)
    return (packsize(layout(template, "packsize")))
  end

  function string.unpack(template, s, init)
    template, s = layout(template, "unpack"), text(s, 2, "unpack")
    check_for(#s)
    return all(unpack(template, s, init))
  end
end

string.dump = nil

---------------------------------------------------------------------------------------------------
-- math: the two functions with any number of arguments.

local max, min = math.max, math.min

function math.max(...)
  check_arguments("max", ...)
  return (max(...))
end

function math.min(...)
  check_arguments("min", ...)
  return (min(...))
end

---------------------------------------------------------------------------------------------------
-- utf8. All functions are linear, so a check of the clock before is enough.

local codepoint, codes, len, offset = utf8.codepoint, utf8.codes, utf8.len, utf8.offset

local utf8_char = utf8.char

function utf8.char(...)
  check_arguments("char", ...)
  return (utf8_char(...))
end

function utf8.codepoint(s, ...)
  s = text(s, 1, "codepoint")
  check_for(#s)
  return all(codepoint(s, ...))
end

function utf8.codes(s, ...)
  s = text(s, 1, "codes")
  check_for(#s)
  return all(codes(s, ...))
end

function utf8.len(s, ...)
  s = text(s, 1, "len")
  check_for(#s)
  return all(len(s, ...))
end

function utf8.offset(s, ...)
  s = text(s, 1, "offset")
  check_for(#s)
  return (offset(s, ...))
end

---------------------------------------------------------------------------------------------------
-- table. C processes tables without a metatable and of moderate length. `#t` can be far larger than the
-- number of elements, with a metatable or without.

local function length(t)
  local size = #t
  if type(size) ~= "number" then error("object length is not an integer") end
  return tointeger(size) or error("object length is not an integer")
end

-- Whether C may process this many elements of a table.
local function may_use_c(t, elements)
  if getmetatable(t) ~= nil or elements < 0 or elements > C_ELEMENTS_MAX then return false end
  check_for(elements)
  return true
end

local function concat_in_parts(t, separator, first, last)
  local parts, part, filled = {}, {}, 0
  for i = first, last do
    local value = t[i]
    if type(value) ~= "string" and type(value) ~= "number" then
      error("invalid value (" .. type(value) .. ") at index " .. i .. " in table for 'concat'")
    end
    filled = filled + 1
    part[filled] = value
    if filled == UNCHECKED_MAX or i == last then
      check()
      parts[#parts + 1] = concat(part, separator, 1, filled)
      filled = 0
    end
  end
  check()
  return concat(parts, separator)
end

function table.concat(t, separator, first, last)
  list(t, "concat")
  separator = separator == nil and "" or text(separator, 2, "concat")
  first = integer(first, 3, "concat", 1)
  if last == nil then last = length(t) else last = integer(last, 4, "concat") end
  if first > last then return "" end
  if may_use_c(t, last - first) then return (concat(t, separator, first, last)) end
  return concat_in_parts(t, separator, first, last)
end

function table.insert(t, ...)
  local count, size = select("#", ...), length(list(t, "insert"))
  if count == 1 then
    t[size + 1] = (...)
    return
  end
  if count ~= 2 then error("wrong number of arguments to 'insert'") end
  local at, value = ...
  at = integer(at, 2, "insert")
  if at < 1 or at > size + 1 then bad(2, "insert", "position out of bounds") end
  if may_use_c(t, size - at) then return insert(t, at, value) end
  for i = size, at, -1 do t[i + 1] = t[i] end
  t[at] = value
end

function table.remove(t, at)
  local size = length(list(t, "remove"))
  if at == nil then at = size else at = integer(at, 2, "remove") end
  if at ~= size and (at < 1 or at > size + 1) then bad(2, "remove", "position out of bounds") end
  local removed = t[at]
  if at < size and may_use_c(t, size - at) then
    move(t, at + 1, size, at)
    at = size
  end
  for i = at, size - 1 do t[i] = t[i + 1] end
  t[at < size and size or at] = nil
  return removed
end

function table.move(source, first, last, to, target)
  first, last = integer(first, 2, "move"), integer(last, 3, "move")
  to = integer(to, 4, "move")
  list(source, "move")
  if target == nil then target = source elseif type(target) ~= "table" then
    expected(5, "move", "table", target)
  end
  if first > last then return target end
  if first <= 0 and last >= maxinteger + first then bad(3, "move", "too many elements to move") end
  local more = last - first
  if to > maxinteger - more then bad(4, "move", "destination wrap around") end
  if getmetatable(target) == nil and may_use_c(source, more) then
    return move(source, first, last, to, target)
  end
  if to > last or to <= first or not rawequal(source, target) then
    for i = 0, more do target[to + i] = source[first + i] end
  else
    for i = more, 0, -1 do target[to + i] = source[first + i] end
  end
  return target
end

function table.unpack(t, first, last)
  first = integer(first, 2, "unpack", 1)
  if last == nil then last = length(t) else last = integer(last, 3, "unpack") end
  if first > last then return end
  local more = last - first
  if more < 0 or more >= 1000000 then error("too many results to unpack") end
  if type(t) == "table" and may_use_c(t, more) then return unpack(t, first, last) end
  local plain = {}
  for i = 0, more do plain[i + 1] = t[first + i] end
  check()
  return unpack(plain, 1, more + 1)
end

local function less_than(a, b)
  return a < b
end

-- Merges from[low..middle-1] and from[middle..high-1], each in order, into to[low..high-1].
local function merge(from, to, low, middle, high, less)
  local left, right = low, middle
  for i = low, high - 1 do
    if left < middle and (right >= high or not less(from[right], from[left])) then
      to[i] = from[left]
      left = left + 1
    else
      to[i] = from[right]
      right = right + 1
    end
  end
end

-- A merge sort: never quadratic, and equal elements keep their order.
function table.sort(t, less)
  local size = length(list(t, "sort"))
  if size < 2 then return end
  if less ~= nil and type(less) ~= "function" then expected(2, "sort", "function", less) end
  less = less or less_than
  local from, to, width = {}, {}, 1
  for i = 1, size do from[i] = t[i] end
  while width < size do
    for low = 1, size, 2 * width do
      merge(from, to, low, min(low + width, size + 1), min(low + 2 * width, size + 1), less)
    end
    from, to, width = to, from, 2 * width
  end
  for i = 1, size do t[i] = from[i] end
end

---------------------------------------------------------------------------------------------------
-- The functions that the host calls, and the plugin's globals.

-- The fields of a client; nil for any other value.
local function client_fields(value)
  local found = getmetatable(value)
  return type(found) == "table" and rawget(found, FIELDS) or nil
end

-- Raw access must not bypass the metamethods of a client: its table is empty, and raw reads return its
-- fields.
local function raw_get(t, key)
  return (rawget(client_fields(t) or t, key))
end

local function raw_set(t, key, value)
  if client_fields(t) then error("a client cannot be changed") end
  return (rawset(t, key, value))
end

local function following(t, key)
  return all(next(client_fields(t) or t, key))
end

-- A client is read-only: its table is reused for the next package of the same client.
local function client(id, addr, command)
  local fields = { id = id, addr = addr, command = command }
  return setmetatable({}, {
    [FIELDS] = fields,
    __index = fields,
    __newindex = function() error("a client cannot be changed") end,
    __pairs = function() return function(_, key) return next(fields, key) end end,
  })
end

local function outcome(ok, result)
  if ok or type(result) == "string" then return ok, result end
  local found = getmetatable(result)
  if type(result) == "table" and type(found) == "table" and rawget(found, "__tostring") then
    local succeeded, message = pcall(tostring, result)
    if succeeded then return false, message end
  end
  return false, "(error object is a " .. type(result) .. " value)"
end

local function run(f, first, second)
  return outcome(pcall(f, first, second))
end

local function number(value, base)
  if type(value) == "string" and #value > NUMERAL_LEN_MAX then return nil end
  if base == nil then return tonumber(value) end
  return tonumber(value, base)
end

local server = {
  log = function(line) native.log(text(line, 1, "log")) end,
  broadcast = function(bytes) native.broadcast(text(bytes, 1, "broadcast")) end,
}

local base64 = {
  encode = function(bytes) return native.encode(text(bytes, 1, "encode")) end,
  decode = function(digits) return native.decode(text(digits, 1, "decode")) end,
}

local folder = {
  list = function() return native.list() end,
  read = function(file) return native.read(text(file, 1, "read")) end,
  write = function(file, data) native.write(text(file, 1, "write"), text(data, 2, "write")) end,
  remove = function(file) native.remove(text(file, 1, "remove")) end,
}

local environment = {
  _VERSION = _VERSION, assert = assert, error = error, getmetatable = original_metatable,
  ipairs = ipairs, next = following, pairs = pairs, pcall = pcall, rawequal = rawequal,
  rawget = raw_get, rawlen = rawlen, rawset = raw_set, select = select, setmetatable = set_metatable,
  tonumber = number, tostring = tostring, type = type, xpcall = handled_pcall,
  math = math, string = string, table = table, utf8 = utf8,
  base64 = base64, folder = folder, server = server,
}

return { run = run, client = client, environment = environment, server = server }
