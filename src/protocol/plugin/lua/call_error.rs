//! Errors of calls into plugins: what Lua raises, and how one line of the log says it.

use std::fmt;
use std::time::Duration;

use mlua::{Lua, Value};

use super::limits::{FRAMES_SEARCHED_MAX, REASON_BYTES_MAX};
use crate::escape::SanitizedExcerpt;

/// The message of Lua's memory error, which has no position in front.
pub(super) const OUT_OF_MEMORY: &str = "not enough memory";

/// The message of the error that a check of the clock raises.
pub(super) const OUT_OF_TIME: &str = "out of time";

/// The prelude's chunk name in positions of errors.
pub(super) const SANDBOX: &str = "sandbox";

/// The reason why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// The call exceeded the budget.
    OverBudget {
        /// The budget.
        budget: Duration,
    },
    /// The call exceeded what earlier plugins had left of the package's budget.
    OverSharedBudget {
        /// Time of this call.
        took: Duration,
        /// Time of the plugins asked before.
        used_before: Duration,
        /// The budget of the package.
        budget: Duration,
    },
    /// The plugin needs more memory than it may have.
    OutOfMemory {
        /// Most memory of a plugin.
        bytes_max: usize,
    },
    /// The package did not fit into the plugin's memory, so the hook was not called.
    PackageTooLarge {
        /// Length of the package, in bytes.
        len: usize,
    },
    /// The hook returned neither a string nor nil.
    WrongType {
        /// Lua's name of the returned type.
        type_name: &'static str,
    },
    /// Lua raised an error with this message.
    Lua(String),
}

impl CallError {
    /// Whether the plugin is at fault, so that the failure counts toward disabling it. Failures
    /// that a client or another plugin can cause alone do not count.
    pub(super) fn is_plugin_fault(&self) -> bool {
        match self {
            CallError::OverSharedBudget { took, budget, .. } => *took > *budget / 2,
            CallError::PackageTooLarge { .. } => false,
            _ => true,
        }
    }

    /// The error of a plugin that had `left` of the package's budget and ran for `took`.
    pub(super) fn with_shared_budget(
        self,
        left: Duration,
        budget: Duration,
        took: Duration,
    ) -> Self {
        match self {
            CallError::OverBudget { .. } if left < budget => {
                CallError::OverSharedBudget { took, used_before: budget - left, budget }
            }
            other => other,
        }
    }

    /// Converts an error of mlua; a plugin may have `bytes_max` of memory.
    pub(super) fn from_lua(error: &mlua::Error, bytes_max: usize) -> Self {
        match error {
            mlua::Error::MemoryError(_) => CallError::OutOfMemory { bytes_max },
            error => CallError::from_text(message_of(error), bytes_max),
        }
    }

    /// Converts the message of a Lua error.
    pub(super) fn from_text(text: String, bytes_max: usize) -> Self {
        match text.as_str() {
            OUT_OF_MEMORY => CallError::OutOfMemory { bytes_max },
            _ => CallError::Lua(text),
        }
    }
}

/// The message of an error of mlua, without its stack traces.
fn message_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } => message_of(cause),
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        mlua::Error::MemoryError(_) => OUT_OF_MEMORY.to_owned(),
        other => other.to_string(),
    }
}

/// Lua's name of the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        value => value.type_name(),
    }
}

/// Displays as one line of bounded length, safe for a terminal.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::OverBudget { budget } => {
                write!(f, "ran longer than {} ms", budget.as_millis())
            }
            CallError::OverSharedBudget { took, used_before, budget } => {
                let [took, used] = [took, used_before].map(Duration::as_secs_f64).map(|s| s * 1e3);
                let budget = budget.as_millis();
                write!(
                    f,
                    "stopped after {took:.1} ms, since plugins asked before it had used {used:.1} of \
                     the {budget} ms a package may take"
                )?;
                if self.is_plugin_fault() {
                    Ok(())
                } else {
                    write!(f, "; not counted as its failure")
                }
            }
            CallError::OutOfMemory { bytes_max } => {
                write!(f, "needs more than the {bytes_max} bytes of memory it may have")
            }
            CallError::PackageTooLarge { len } => {
                write!(f, "a package of {len} bytes does not fit into its memory")
            }
            CallError::WrongType { type_name } => write!(f, "returned a {type_name}, not a string"),
            CallError::Lua(text) => {
                SanitizedExcerpt { text: text.as_bytes(), bytes_max: REASON_BYTES_MAX }.fmt(f)
            }
        }
    }
}

/// A Lua error with this message; [`message_handler`] adds the position.
pub(super) fn lua_error(error: impl fmt::Display) -> mlua::Error {
    mlua::Error::RuntimeError(error.to_string())
}

pub(super) fn out_of_memory() -> mlua::Error {
    mlua::Error::MemoryError(OUT_OF_MEMORY.to_owned())
}

pub(super) fn out_of_time() -> mlua::Error {
    mlua::Error::RuntimeError(OUT_OF_TIME.to_owned())
}

/// The message handler of every `pcall`: turns errors of natives into strings, and replaces the
/// sandbox as the position of an error by the line of the plugin that called it. Errors that a
/// plugin raises are passed on unchanged.
pub(super) fn message_handler(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let message = match &error {
        Value::Error(error) => message_of(error).into_bytes(),
        Value::String(text) => match strip_position(&text.as_bytes()) {
            Some(message) => message.to_vec(),
            None => return Ok(error),
        },
        _ => return Ok(error),
    };
    if message == OUT_OF_MEMORY.as_bytes() || message == OUT_OF_TIME.as_bytes() {
        return lua.create_string(message).map(Value::String);
    }
    let position =
        (1..=FRAMES_SEARCHED_MAX).find_map(|level| position(lua, level)).unwrap_or_default();
    lua.create_string([position.as_bytes(), &message].concat()).map(Value::String)
}

/// A message without the sandbox as its position; `None` if it has another.
fn strip_position(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(SANDBOX.as_bytes())?.strip_prefix(b":")?;
    let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b": ")
}

/// `file:line: ` of the function at this level of the stack, unless it is the sandbox's.
fn position(lua: &Lua, level: usize) -> Option<String> {
    lua.inspect_stack(level, |frame| {
        let line = frame.current_line()?;
        let file = frame.source().short_src?.into_owned();
        (file != SANDBOX).then(|| format!("{file}:{line}: "))
    })
    .flatten()
}
