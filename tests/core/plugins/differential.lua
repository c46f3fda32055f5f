-- Makes random calls of `string`, `table` and `utf8` and reports their results. A plugin and plain Lua must
-- report the same.

local state
local function random(n)
  state = (state * 6364136223846793005 + 1442695040888963407)
  return (state >> 33) % n + 1
end

local function pick(list) return list[random(#list)] end

local lines, line
local function put(value)
  line[#line + 1] = math.type(value) or type(value)
  if type(value) == "table" then
    for i = 1, 12 do
      local element = rawget(value, i)
      line[#line + 1] = type(element) == "table" and "table" or tostring(element)
    end
  elseif type(value) ~= "function" then
    line[#line + 1] = tostring(value)
  end
end

local function report(ok, ...)
  if ok then
    for i = 1, select("#", ...) do put((select(i, ...))) end
  else
    -- Without the position, which differs.
    local why = type(...) == "string" and (...) or type(...)
    local at = why:find(": ", 1, true)
    line[#line + 1] = "error " .. (at and why:sub(at + 2) or why)
  end
  lines[#lines + 1] = table.concat(line, "\t")
  line = {}
end

local PIECES = {
  "a", "b", "c", "1", " ", ".", "%a", "%d", "%s", "%w", "%A", "%W", "%p", "%l", "%u", "%x", "%c",
  "%g", "%z", "%.", "%%", "[ab]", "[^a]", "[a-c]", "[%w_]", "[]]", "[^]]", "[a-]", "[%a-z]", "[",
  "]", "%b()", "%bab", "%b", "%f[%w]", "%f[^a]", "%f", "(", "(", ")", ")", "()", "(a*)", "(.-)",
  "%1", "%2", "%0", "*", "+", "-", "?", "*", "-", "$", "^", "%", "\0", "\xff", "[\0-\x1f]", "[+--]",
  "[%]", "[a%", "(.*)b", "x*",
}
local CHARACTERS = { "a", "b", "c", "1", " ", "(", ")", "x", "A", "_", "%", "\0", "\xff", "\n", "\v", "]" }
local REPLACEMENTS = { "x", "%0", "%1", "%2", "%%", "%", "%a", "<%0>", "", "%9", "\0" }

local function made_of(pieces, most)
  local made = {}
  for i = 1, random(most + 1) - 1 do made[i] = pick(pieces) end
  return table.concat(made)
end

local function maybe(value)
  if random(3) == 1 then return value end
end

local function all(s, p, init)
  local found = {}
  for a, b in s:gmatch(p, init) do
    found[#found + 1] = tostring(a) .. "," .. tostring(b)
    if #found > 50 then break end
  end
  return table.concat(found, ";")
end

local function strings()
  local s, p = made_of(CHARACTERS, 16), made_of(PIECES, 7)
  local init, count = maybe(random(40) - 20), maybe(random(6) - 2)
  line[1] = ("%q %q %s %s"):format(s, p, init, count)
  report(true)
  report(pcall(string.find, s, p, init))
  report(pcall(string.find, s, p, init, true))
  report(pcall(string.match, s, p, init))
  report(pcall(all, s, p, init))
  report(pcall(string.gsub, s, p, made_of(REPLACEMENTS, 3), count))
  report(pcall(string.gsub, s, p, { a = "A", ["1"] = 1, b = false, [1] = 1.5, [""] = "-" }, count))
  report(pcall(string.gsub, s, p, function(a, b) return b or (a ~= "b" and a) end, count))
  report(pcall(string.gsub, s, p, function(a) if a == "c" then return {} end end, count))
  report(pcall(string.rep, s, random(5) - 2, maybe(p)))
  report(pcall(string.upper, s))
  report(pcall(string.reverse, p))
  report(pcall(string.format, "%s %5.2f %d %q %-5s|", s, random(100) / 7, random(9), p, "x"))
  report(pcall(utf8.len, s, init))
  report(pcall(utf8.len, s, maybe(1), maybe(-1), true))
end

-- A table that may have holes, or a metatable that only forwards.
local function list()
  local t = {}
  for i = 1, random(8) - 1 do t[i] = random(9) end
  if random(6) == 1 then t[random(10)] = nil end
  if random(4) == 1 then
    local inner = t
    t = setmetatable({}, {
      __index = function(_, k) return inner[k] end,
      __newindex = function(_, k, v) inner[k] = v end,
      __len = function() return #inner end,
    })
    return t, inner
  end
  return t, t
end

local function some() return random(12) - 3 end

local function tables()
  local t, inner = list()
  local a, b, c = some(), some(), some()
  line[1] = ("%d %d %d"):format(a, b, c)
  report(true)
  report(pcall(table.concat, t, maybe(","), maybe(a), maybe(b)))
  report(pcall(table.unpack, t, maybe(a), maybe(b)))
  report(pcall(table.insert, t, a))
  report(pcall(table.insert, t, b, c))
  report(pcall(table.remove, t, maybe(a)))
  put(inner)
  report(pcall(table.move, t, a, b, c, maybe({})))
  put(inner)
  local u, sorted = list()
  -- After an error the order of a list is not specified.
  if pcall(table.sort, u, maybe(function(x, y) return x > y end)) then put(sorted) end
  report(pcall(table.insert, t))
  report(pcall(table.insert, t, 1, 2, 3))
  report(pcall(table.concat, { 1, {}, 3 }))
  report(pcall(table.move, t, 1, math.maxinteger, 2))
  report(pcall(table.move, t, math.mininteger, math.maxinteger, 2))
  report(pcall(table.unpack, t, 1, math.maxinteger))
  report(pcall(table.unpack, t, math.mininteger, math.maxinteger))
end

local function arguments()
  for _, f in ipairs { "find", "match", "gmatch", "gsub", "rep", "upper", "lower", "reverse" } do
    line[1] = f
    for _, bad in ipairs { false, {}, print or tostring } do
      report(pcall(string[f], bad))
      report(pcall(string[f], "x", bad))
      report(pcall(string[f], "x", "1", bad))
      report(pcall(string[f], "x", "1", "1", 1.5))
    end
    report(pcall(string[f]))
    report(pcall(string[f], 12, 1, 1))
    report(pcall(string[f], 12, "2", "1"))
    report(pcall(string[f], 12, "2", "y", "1"))
  end
  for _, f in ipairs { "insert", "remove", "concat", "sort", "move" } do
    line[1] = f
    report(pcall(table[f]))
    report(pcall(table[f], "x"))
    report(pcall(table[f], {}, {}))
    report(pcall(table[f], {}, "x", 1))
  end
  local mt = { __metatable = "mine" }
  local t = setmetatable({}, mt)
  line[1] = "metatables"
  report(pcall(setmetatable, t, {}))
  report(true, getmetatable(t), getmetatable(1), getmetatable(getmetatable))
  report(pcall(setmetatable, 1, {}))
  report(pcall(setmetatable, {}, 1))
  local plain, other = {}, {}
  report(true, getmetatable(setmetatable(plain, other)) == other, setmetatable(plain, nil) == plain)
  report(true, getmetatable(plain))
  report(pcall(xpcall, error, 1))
  report(xpcall(error, function(e) return e, 2 end, "thrown"))
  report(xpcall(function(...) return ... end, print or tostring, 1, nil, 3))
  report(pcall(error))
  report(pcall(error, { 1, 2 }))
  report(pcall(error, "with a level", 0))
end

-- Every byte against every class, also those that no letter names.
local function classes()
  for class = 0, 255 do
    local found = {}
    for byte = 0, 255 do
      if string.find(string.char(byte), "^%" .. string.char(class) .. "$") then
        found[#found + 1] = byte
      end
      if class == 98 or class == 102 then break end -- %b and %f are not classes
      if class >= 48 and class <= 57 then break end -- back references
    end
    line[1] = "class " .. class .. ": " .. table.concat(found, " ")
    report(true)
  end
end

return {
  process_client_pkg = function(seed)
    state, lines, line = tonumber(seed), {}, {}
    arguments()
    if state == 1 then report(pcall(classes)) end
    for _ = 1, 300 do
      strings()
      tables()
    end
    return table.concat(lines, "\n")
  end,
}
