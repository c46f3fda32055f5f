//! One plugin: its Lua state, its hooks, and a call of one.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, Table, Value};

use super::call_budget::CallTime;
use super::call_error::{CallError, type_name};
use super::identity::Identity;
use super::limits::PRIORITY_DEFAULT;
use super::sandbox::Sandbox;
use super::shared::Shared;
use crate::conn_id::ConnId;
use crate::protocol::plugin::types::{Client, Notice};

/// A function that a plugin may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// The plugin has been loaded.
    ServerInited,
    /// The listeners are open.
    ServerStarted,
    /// A client sent a package.
    ProcessClientPkg,
    /// A client connected.
    ClientConnected,
    /// A client disconnected.
    ClientDisconnected,
    /// The server is about to stop.
    ServerStopping,
}

impl Hook {
    const ALL: [Hook; 6] = [
        Hook::ServerInited,
        Hook::ServerStarted,
        Hook::ProcessClientPkg,
        Hook::ClientConnected,
        Hook::ClientDisconnected,
        Hook::ServerStopping,
    ];

    /// The field of the plugin's table.
    fn field(self) -> &'static str {
        match self {
            Hook::ServerInited => "server_inited",
            Hook::ServerStarted => "server_started",
            Hook::ProcessClientPkg => "process_client_pkg",
            Hook::ClientConnected => "client_connected",
            Hook::ClientDisconnected => "client_disconnected",
            Hook::ServerStopping => "server_stopping",
        }
    }
}

impl Notice<'_> {
    /// The hook to call.
    pub(super) fn hook(&self) -> Hook {
        match self {
            Notice::Started => Hook::ServerStarted,
            Notice::Connected(_) => Hook::ClientConnected,
            Notice::Disconnected(..) => Hook::ClientDisconnected,
            Notice::Stopping => Hook::ServerStopping,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}

/// The return value of `process_client_pkg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookReturn {
    /// A string, which is in the output.
    Answer,
    /// Nil: the next plugin is asked.
    Nil,
}

/// A plugin that has been loaded.
pub(super) struct Instance {
    identity: Rc<Identity>,
    /// Smaller ones are asked first.
    priority: i64,
    hooks: [Option<Function>; Hook::ALL.len()],
    /// The table of the last client, cached because the next package often is from the same.
    client: Option<(ClientKey, Table)>,
    sandbox: Sandbox,
    shared: Rc<Shared>,
}

/// The key of a client's table. The address need not be in it, as the id has one.
type ClientKey = (ConnId, Option<u8>);

/// The result of a call, and its time.
pub(super) type TimedResult<T> = (Result<T, CallError>, CallTime);

impl Instance {
    /// Runs a plugin's file within `budget`, and checks what it returns.
    ///
    /// # Errors
    ///
    /// The file does not compile or run, or returns no plugin.
    pub(super) fn run_file(
        file: &str,
        stem: &str,
        source: &[u8],
        budget: Duration,
        shared: &Rc<Shared>,
    ) -> Result<Self, CallError> {
        let identity = Rc::new(Identity::new(stem));
        let mut instance = Instance {
            sandbox: Sandbox::new(&identity, shared)?,
            identity,
            priority: PRIORITY_DEFAULT,
            hooks: Default::default(),
            client: None,
            shared: Rc::clone(shared),
        };
        let (table, _) = instance.measure(budget, |this| {
            let chunk = this.sandbox.compile(file, source)?;
            this.sandbox.call(&chunk, Value::Nil, Value::Nil)
        });
        match table? {
            Value::Table(table) => instance.take_fields(&table)?,
            other => {
                let kind = type_name(&other);
                return Err(CallError::Lua(format!("the file returned a {kind}, not a table")));
            }
        }
        Ok(instance)
    }

    /// Reads the fields of the plugin's table. Later changes of them have no effect.
    fn take_fields(&mut self, table: &Table) -> Result<(), CallError> {
        let field = |name: &str| self.sandbox.field(table, name);
        let type_error = |name: &str, value: &Value, wanted: &str| {
            let kind = type_name(value);
            CallError::Lua(format!("{name} is a {kind}, not {wanted}"))
        };
        match field("name")? {
            Value::Nil => self.identity.set_name(None)?,
            Value::String(name) => self.identity.set_name(Some(name.to_string_lossy()))?,
            other => return Err(type_error("name", &other, "a string")),
        }
        match field("priority")? {
            Value::Nil => {}
            Value::Integer(priority) => self.priority = priority,
            other => return Err(type_error("priority", &other, "an integer")),
        }
        for hook in Hook::ALL {
            self.hooks[hook as usize] = match field(hook.field())? {
                Value::Nil => None,
                Value::Function(function) => Some(function),
                other => return Err(type_error(hook.field(), &other, "a function")),
            };
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        self.identity.name()
    }

    pub(super) fn priority(&self) -> i64 {
        self.priority
    }

    pub(super) fn has_hook(&self, hook: Hook) -> bool {
        self.hooks[hook as usize].is_some()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.sandbox.memory_bytes()
    }

    pub(super) fn identity(&self) -> &Rc<Identity> {
        &self.identity
    }

    /// Calls `server_inited`, if the plugin has it.
    pub(super) fn server_inited(&mut self, budget: Duration) -> Result<(), CallError> {
        self.call(Hook::ServerInited, budget, |_| Ok((Value::Nil, Value::Nil))).0.map(drop)
    }

    /// Calls the hook for a notice, if the plugin has it.
    pub(super) fn notify(&mut self, notice: &Notice<'_>, budget: Duration) -> TimedResult<()> {
        let (result, time) = self.call(notice.hook(), budget, |this| match notice {
            Notice::Started => Ok((Value::Table(this.sandbox.server().clone()), Value::Nil)),
            Notice::Connected(client) => Ok((Value::Table(this.client_table(client)?), Value::Nil)),
            Notice::Disconnected(client, reason) => {
                let reason = this.sandbox.string(reason.as_bytes())?;
                Ok((Value::Table(this.client_table(client)?), Value::String(reason)))
            }
            Notice::Stopping => Ok((Value::Nil, Value::Nil)),
        });
        (result.map(drop), time)
    }

    /// Calls `process_client_pkg` within `budget`. A string that it returns is appended to `out`.
    pub(super) fn ask(
        &mut self,
        package: &[u8],
        client: &Client,
        budget: Duration,
        out: &mut Vec<u8>,
    ) -> TimedResult<HookReturn> {
        let (answer, time) = self.call(Hook::ProcessClientPkg, budget, |this| {
            let len = package.len();
            let package =
                this.sandbox.string(package).map_err(|_| CallError::PackageTooLarge { len })?;
            Ok((Value::String(package), Value::Table(this.client_table(client)?)))
        });
        let answer = answer.and_then(|answer| match answer {
            Value::String(answer) => {
                out.extend_from_slice(&answer.as_bytes());
                Ok(HookReturn::Answer)
            }
            Value::Nil => Ok(HookReturn::Nil),
            other => Err(CallError::WrongType { type_name: type_name(&other) }),
        });
        (answer, time)
    }

    /// Calls a hook with two arguments, if the plugin has it.
    fn call(
        &mut self,
        hook: Hook,
        budget: Duration,
        arguments: impl FnOnce(&mut Self) -> Result<(Value, Value), CallError>,
    ) -> TimedResult<Value> {
        self.measure(budget, |this| {
            let Some(function) = this.hooks[hook as usize].clone() else { return Ok(Value::Nil) };
            let (first, second) = arguments(this)?;
            this.sandbox.call(&function, first, second)
        })
    }

    /// Runs `call` within `budget` and measures its time.
    fn measure<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&mut Self) -> Result<T, CallError>,
    ) -> TimedResult<T> {
        let shared = Rc::clone(&self.shared);
        let (mut result, time) = shared.call_budget.measure(budget, || call(self));
        if time.is_exceeded {
            self.sandbox.reset_count_hook();
            result = Err(CallError::OverBudget { budget });
        }
        (result, time)
    }

    /// The Lua table of a client.
    fn client_table(&mut self, client: &Client) -> Result<Table, CallError> {
        let key = (client.id, client.command);
        match &self.client {
            Some((last, table)) if *last == key => Ok(table.clone()),
            _ => {
                let table = self.sandbox.client(client)?;
                self.client = Some((key, table.clone()));
                Ok(table)
            }
        }
    }
}
