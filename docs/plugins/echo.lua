-- Answers `ECHO text` with the text.
local P = {}

function P.process_client_pkg(data)
  if data:sub(1, 5) == "ECHO " then
    return data:sub(6)
  end
end

return P
