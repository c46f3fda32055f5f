//! A Lua state with few libraries and bounded memory, in which a call stops when its time is up.

use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, LuaOptions, LuaString, StdLib, Table, Value, VmState};

use super::call_error::{CallError, SANDBOX, out_of_time, type_name};
use super::identity::Identity;
use super::limits::instructions_per_check;
use super::shared::Shared;
use super::{api, strings};
use crate::address::Peer;
use crate::protocol::plugin::types::Client;

/// The Lua chunk that runs in every state before the plugin does.
const PRELUDE: &str = include_str!("prelude.lua");

/// One plugin's Lua state.
pub(super) struct Sandbox {
    lua: Lua,
    /// The prelude's function that calls one of the plugin with two arguments. Returns true and the
    /// result, or false and the error's message.
    run: Function,
    /// The prelude's function that creates a client's table.
    client: Function,
    /// The plugin's globals.
    environment: Table,
    /// The plugin's `server`.
    server: Table,
    shared: Rc<Shared>,
}

impl Sandbox {
    pub(super) fn new(identity: &Rc<Identity>, shared: &Rc<Shared>) -> Result<Self, CallError> {
        Self::build(identity, shared)
            .map_err(|error| CallError::from_lua(&error, shared.memory_bytes_max))
    }

    fn build(identity: &Rc<Identity>, shared: &Rc<Shared>) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::UTF8;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        // For mlua, 0 means unlimited.
        lua.set_memory_limit(shared.memory_bytes_max.max(1))?;
        let native = lua.create_table()?;
        api::register(&lua, &native, identity, shared)?;
        strings::register(&lua, &native, shared)?;
        let prelude = lua.load(PRELUDE).set_name(format!("={SANDBOX}")).set_mode(ChunkMode::Text);
        let parts: Table = prelude.into_function()?.call(native)?;
        let sandbox = Sandbox {
            run: parts.raw_get("run")?,
            client: parts.raw_get("client")?,
            environment: parts.raw_get("environment")?,
            server: parts.raw_get("server")?,
            shared: Rc::clone(shared),
            lua,
        };
        set_count_hook(&sandbox.lua, shared, instructions_per_check(sandbox.memory_bytes()))?;
        Ok(sandbox)
    }

    /// Compiles a plugin's file. Byte code is refused: Lua does not check it, so it could do
    /// anything.
    pub(super) fn compile(&self, file: &str, source: &[u8]) -> Result<Function, CallError> {
        self.lua
            .load(strip_preamble(source))
            .set_name(format!("@{file}"))
            .set_mode(ChunkMode::Text)
            .set_environment(self.environment.clone())
            .into_function()
            .map_err(|error| self.failure(&error))
    }

    /// Calls a function of the plugin.
    pub(super) fn call(
        &self,
        function: &Function,
        first: Value,
        second: Value,
    ) -> Result<Value, CallError> {
        match self.run.call((function, first, second)) {
            Ok((true, result)) => Ok(result),
            Ok((false, Value::String(error))) => {
                Err(CallError::from_text(error.to_string_lossy(), self.shared.memory_bytes_max))
            }
            Ok((false, error)) => {
                Err(CallError::Lua(format!("an error that is a {}", type_name(&error))))
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Creates a Lua string.
    pub(super) fn string(&self, bytes: &[u8]) -> Result<LuaString, CallError> {
        self.lua.create_string(bytes).map_err(|error| self.failure(&error))
    }

    /// The value of a field; the table's metatable is ignored.
    pub(super) fn field(&self, table: &Table, name: &str) -> Result<Value, CallError> {
        table.raw_get(name).map_err(|error| self.failure(&error))
    }

    /// Creates the table of a client.
    pub(super) fn client(&self, client: &Client) -> Result<Table, CallError> {
        let addr = client.addr.map(shown_addr);
        self.client
            .call((client.id.generation, addr, client.command))
            .map_err(|error| self.failure(&error))
    }

    pub(super) fn server(&self) -> &Table {
        &self.server
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Resets the count hook after a call that was out of time, so that the next one can run.
    pub(super) fn reset_count_hook(&self) {
        let instructions = instructions_per_check(self.memory_bytes());
        set_count_hook(&self.lua, &self.shared, instructions)
            .expect("setting a hook on the main thread allocates nothing in Lua");
    }

    fn failure(&self, error: &mlua::Error) -> CallError {
        CallError::from_lua(error, self.shared.memory_bytes_max)
    }
}

/// Strips a UTF-8 byte order mark and the text of a first line that begins with `#`, as
/// `luaL_loadfilex` of Lua's auxiliary library does. The line's end stays, so that errors name the
/// right line.
fn strip_preamble(source: &[u8]) -> &[u8] {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    if source.first() != Some(&b'#') {
        return source;
    }
    let end = source.iter().position(|&byte| byte == b'\n').unwrap_or(source.len());
    &source[end..]
}

/// Sets a hook that checks the clock every `instructions`, more often the more memory is used. Once
/// the time is up, every instruction fails until [`Sandbox::reset_count_hook`]: code that catches
/// the first error runs into the next.
fn set_count_hook(lua: &Lua, shared: &Rc<Shared>, instructions: u32) -> mlua::Result<()> {
    let shared = Rc::clone(shared);
    let triggers = HookTriggers::new().every_nth_instruction(instructions);
    lua.set_global_hook(triggers, move |lua, _| {
        let in_time = shared.call_budget.check().is_ok();
        let wanted = if in_time { instructions_per_check(lua.used_memory()) } else { 1 };
        if wanted != instructions {
            set_count_hook(lua, &shared, wanted)?;
        }
        if in_time { Ok(VmState::Continue) } else { Err(out_of_time()) }
    })
}

/// The address as plugins see it: `192.0.2.7:51234`, or `unix`.
fn shown_addr(peer: Peer) -> String {
    match peer {
        Peer::Inet(addr) => addr.to_string(),
        #[cfg(feature = "unix")]
        Peer::Unix { .. } => "unix".to_owned(),
    }
}
