-- The plugin of the simulation: it repeats, tells everyone, fails, or has nothing to say.
local P = { name = "parrot" }
local here = {}

function P.client_connected(client)
  assert(here[client.id] == nil, "came twice")
  here[client.id] = client.addr
end

function P.client_disconnected(client, reason)
  assert(here[client.id] == client.addr and #reason > 0, "went without having come")
  here[client.id] = nil
end

function P.process_client_pkg(data, client)
  -- Clients of command listeners come and go unannounced.
  assert(client.command or here[client.id] == client.addr, "asks before it has come")
  local word, rest = data:match("^(%a+) (.*)$")
  if word == "echo" then return "= " .. rest .. "\n" end
  if word == "cast" then
    server.broadcast("! " .. rest .. "\n")
    return "= \n"
  end
  if word == "whence" then return "= " .. tostring(client.addr) .. "\n" end
  if word == "fail" then error({ "no text" }) end
end

return P
