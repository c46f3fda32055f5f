-- Runs random calls of `string` and `table` and tells what came of them. The host's plugins and
-- Lua's own libraries must tell the same.

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

local function tell(ok, ...)
  if ok then
    for i = 1, select("#", ...) do put((select(i, ...))) end
  else
    -- Without the place, which is not the same.
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
  tell(true)
  tell(pcall(string.find, s, p, init))
  tell(pcall(string.find, s, p, init, true))
  tell(pcall(string.match, s, p, init))
  tell(pcall(all, s, p, init))
  tell(pcall(string.gsub, s, p, made_of(REPLACEMENTS, 3), count))
  tell(pcall(string.gsub, s, p, { a = "A", ["1"] = 1, b = false, [1] = 1.5, [""] = "-" }, count))
  tell(pcall(string.gsub, s, p, function(a, b) return b or (a ~= "b" and a) end, count))
  tell(pcall(string.gsub, s, p, function(a) if a == "c" then return {} end end, count))
  tell(pcall(string.rep, s, random(5) - 2, maybe(p)))
  tell(pcall(string.upper, s))
  tell(pcall(string.reverse, p))
  tell(pcall(string.format, "%s %5.2f %d %q %-5s|", s, random(100) / 7, random(9), p, "x"))
  tell(pcall(utf8.len, s, init))
  tell(pcall(utf8.len, s, maybe(1), maybe(-1), true))
end

-- A table that may have holes and a metatable that adds up to nothing.
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
  tell(true)
  tell(pcall(table.concat, t, maybe(","), maybe(a), maybe(b)))
  tell(pcall(table.unpack, t, maybe(a), maybe(b)))
  tell(pcall(table.insert, t, a))
  tell(pcall(table.insert, t, b, c))
  tell(pcall(table.remove, t, maybe(a)))
  put(inner)
  tell(pcall(table.move, t, a, b, c, maybe({})))
  put(inner)
  local u, sorted = list()
  -- Lua's leaves a list that cannot be sorted in some order, ours in its own.
  if pcall(table.sort, u, maybe(function(x, y) return x > y end)) then put(sorted) end
  tell(pcall(table.insert, t))
  tell(pcall(table.insert, t, 1, 2, 3))
  tell(pcall(table.concat, { 1, {}, 3 }))
  tell(pcall(table.move, t, 1, math.maxinteger, 2))
  tell(pcall(table.move, t, math.mininteger, math.maxinteger, 2))
  tell(pcall(table.unpack, t, 1, math.maxinteger))
  tell(pcall(table.unpack, t, math.mininteger, math.maxinteger))
end

local function arguments()
  for _, f in ipairs { "find", "match", "gmatch", "gsub", "rep", "upper", "lower", "reverse" } do
    line[1] = f
    for _, bad in ipairs { false, {}, print or tostring } do
      tell(pcall(string[f], bad))
      tell(pcall(string[f], "x", bad))
      tell(pcall(string[f], "x", "1", bad))
      tell(pcall(string[f], "x", "1", "1", 1.5))
    end
    tell(pcall(string[f]))
    tell(pcall(string[f], 12, 1, 1))
    tell(pcall(string[f], 12, "2", "1"))
    tell(pcall(string[f], 12, "2", "y", "1"))
  end
  for _, f in ipairs { "insert", "remove", "concat", "sort", "move" } do
    line[1] = f
    tell(pcall(table[f]))
    tell(pcall(table[f], "x"))
    tell(pcall(table[f], {}, {}))
    tell(pcall(table[f], {}, "x", 1))
  end
  local mt = { __metatable = "mine" }
  local t = setmetatable({}, mt)
  line[1] = "metatables"
  tell(pcall(setmetatable, t, {}))
  tell(true, getmetatable(t), getmetatable(1), getmetatable(getmetatable))
  tell(pcall(setmetatable, 1, {}))
  tell(pcall(setmetatable, {}, 1))
  local plain, other = {}, {}
  tell(true, getmetatable(setmetatable(plain, other)) == other, setmetatable(plain, nil) == plain)
  tell(true, getmetatable(plain))
  tell(pcall(xpcall, error, 1))
  tell(xpcall(error, function(e) return e, 2 end, "thrown"))
  tell(xpcall(function(...) return ... end, print or tostring, 1, nil, 3))
  tell(pcall(error))
  tell(pcall(error, { 1, 2 }))
  tell(pcall(error, "with a level", 0))
end

-- Every byte against every class, whatever letter or sign names it.
local function classes()
  for class = 0, 255 do
    local found = {}
    for byte = 0, 255 do
      if string.find(string.char(byte), "^%" .. string.char(class) .. "$") then
        found[#found + 1] = byte
      end
      if class == 98 or class == 102 then break end -- %b and %f are something else
      if class >= 48 and class <= 57 then break end -- back references
    end
    line[1] = "class " .. class .. ": " .. table.concat(found, " ")
    tell(true)
  end
end

return {
  process_client_pkg = function(seed)
    state, lines, line = tonumber(seed), {}, {}
    arguments()
    if state == 1 then tell(pcall(classes)) end
    for _ = 1, 300 do
      strings()
      tables()
    end
    return table.concat(lines, "\n")
  end,
}
