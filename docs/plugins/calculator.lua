-- Evaluates the expression in a frame of command 128: numbers, + - * / % ^ and parentheses.
--
--   2 + 3 * 4     14
--   -2 ^ 2        -4      ^ binds tighter than the sign, and from the right, as in Lua
--   7 % 4 / 2     1.5
--
-- An invalid expression is answered with a line that begins with ERROR.
local P = {}

local COMMAND <const> = 128
local LENGTH_MAX <const> = 1000
-- Most levels of nested parentheses, signs and powers.
local DEPTH_MAX <const> = 100

local OPERATIONS = {
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b) return a / b end,
  ["%"] = function(a, b) return a % b end,
  ["^"] = function(a, b) return a ^ b end,
}

-- The text and the position in it. Errors for the client are raised as tables with a reason, so that
-- no other error is taken for one of them.
local Reader = {}
Reader.__index = Reader

function Reader:fail(reason)
  error({ reason = reason .. " at character " .. self.at })
end

-- The next character that is not a blank; an empty string at the end.
function Reader:peek()
  self.at = self.text:find("%S", self.at) or #self.text + 1
  return self.text:sub(self.at, self.at)
end

function Reader:take()
  local character = self:peek()
  self.at = self.at + 1
  return character
end

function Reader:deeper(parse)
  self.depth = self.depth + 1
  if self.depth > DEPTH_MAX then self:fail("too deep") end
  local value = parse(self)
  self.depth = self.depth - 1
  return value
end

function Reader:number()
  self:peek()
  local digits = self.text:match("^%d+%.?%d*", self.at) or self.text:match("^%.%d+", self.at)
  if not digits then self:fail("a number is missing") end
  local exponent = self.text:match("^[eE][+-]?%d+", self.at + #digits) or ""
  self.at = self.at + #digits + #exponent
  -- A float: integers wrap around.
  return tonumber(digits .. exponent) + 0.0
end

function Reader:atom()
  if self:peek() ~= "(" then return self:number() end
  self:take()
  local value = self:deeper(self.sum)
  if self:peek() ~= ")" then self:fail("a ) is missing") end
  self:take()
  return value
end

function Reader:power()
  local value = self:atom()
  if self:peek() ~= "^" then return value end
  self:take()
  return OPERATIONS["^"](value, self:deeper(self.signed))
end

function Reader:signed()
  local sign = self:peek()
  if sign ~= "-" and sign ~= "+" then return self:power() end
  self:take()
  local value = self:deeper(self.signed)
  return sign == "-" and -value or value
end

-- Operands joined by left-associative operators of one precedence.
function Reader:joined(operators, operand)
  local value = operand(self)
  while self:peek() ~= "" and operators:find(self:peek(), 1, true) do
    local operation = OPERATIONS[self:take()]
    value = operation(value, operand(self))
  end
  return value
end

function Reader:product()
  return self:joined("*/%", self.signed)
end

function Reader:sum()
  return self:joined("+-", self.product)
end

local function calculate(text)
  if #text > LENGTH_MAX then error({ reason = "longer than " .. LENGTH_MAX .. " characters" }) end
  local reader = setmetatable({ text = text, at = 1, depth = 0 }, Reader)
  local value = reader:sum()
  if reader:peek() ~= "" then reader:fail("an operator is missing") end
  return value
end

-- The shorter of two formats that reads back as the number.
local function format_number(value)
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

function P.process_client_pkg(data, client)
  if client.command ~= COMMAND then return nil end
  local ok, result = pcall(calculate, data)
  if ok then return format_number(result) end
  if type(result) == "table" then return "ERROR " .. result.reason end
  error(result, 0)
end

return P
