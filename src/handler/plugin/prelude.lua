-- Runs in every plugin's state before the plugin does.
local native = ...
local pcall, tostring, type = pcall, tostring, type

local environment = {}
for _, name in ipairs {
  "assert", "error", "ipairs", "math", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
  "rawset", "select", "string", "table", "tonumber", "tostring", "type", "utf8",
} do
  environment[name] = _G[name]
end
local server = { log = function() end, broadcast = native.broadcast }
environment.server = server

local function outcome(ok, result)
  if ok or type(result) == "string" then return ok, result end
  return false, "(error object is a " .. type(result) .. " value)"
end

local function run(f, first, second)
  return outcome(pcall(f, first, second))
end

local function client(id, addr, command)
  return { id = id, addr = addr, command = command }
end

return { run = run, client = client, environment = environment, server = server }
