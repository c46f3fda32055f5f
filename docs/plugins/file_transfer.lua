-- Stores files for clients in this plugin's folder.
--
--   zt_LIST                 the names of the files, one a line; [] if there are none
--   zt_UPLOAD name base64   OK
--   zt_DOWNLOAD name        base64
--
-- A command that fails is answered with a line that begins with ERROR.
local P = {}

-- The command and its trimmed arguments: `echo` and nc end what they send with a line break. Two patterns,
-- because the single "%s*(.-)%s*$" takes quadratic time.
local function split_command(data)
  local name, rest = data:match("^(zt_%u+)%s*(.*)$")
  return name, rest and rest:match("^(.*%S)") or ""
end

-- The answer for an error, without its position in this file.
local function error_answer(message)
  return "ERROR " .. message:gsub("^file_transfer%.lua:%d+: ", "")
end

local COMMANDS = {}

function COMMANDS.zt_LIST(rest)
  if rest ~= "" then return "ERROR usage: zt_LIST" end
  local names = folder.list()
  -- An empty answer would be none at all, and its client waits for one. The ancestor's is [] too.
  return #names > 0 and table.concat(names, "\n") or "[]"
end

function COMMANDS.zt_UPLOAD(rest)
  local name, data = rest:match("^(%S+)%s+(%S+)$")
  if not name then return "ERROR usage: zt_UPLOAD name base64" end
  folder.write(name, base64.decode(data))
  return "OK"
end

function COMMANDS.zt_DOWNLOAD(rest)
  if not rest:find("^%S+$") then return "ERROR usage: zt_DOWNLOAD name" end
  return base64.encode(folder.read(rest))
end

function P.process_client_pkg(data)
  local name, rest = split_command(data)
  if not COMMANDS[name] then return nil end
  local ok, answer = pcall(COMMANDS[name], rest)
  return ok and answer or error_answer(answer)
end

return P
