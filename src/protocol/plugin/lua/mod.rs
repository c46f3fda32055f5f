//! Plugins: Lua files that answer what clients send. Knows no sockets, no listeners and no clock of
//! its own; a client is a number, and what a plugin wants sent waits until it is fetched.
//!
//! Each plugin has a Lua state of its own, so none sees another, and every call into it is bounded
//! in time and memory. `docs/plugins.md` is the manual for those who write plugins.
//!
//! | file | job |
//! |---|---|
//! | `host.rs` | who is asked, in which order, and what becomes of those who fail |
//! | `load.rs` | the files of a folder, and what is wrong with them |
//! | `reload.rs` | loading them anew beside a loop that serves |
//! | `instance.rs` | one plugin: its hooks, one call |
//! | `call_budget.rs` | the time a call has left |
//! | `call_error.rs` | why a call failed, as a line of the log |
//! | `sandbox.rs`, `prelude.lua` | what of Lua a plugin sees |
//! | `pattern.rs`, `strings.rs` | Lua's patterns, interruptible |
//! | `api.rs`, `folder.rs` | `server`, `base64` and `folder` |
//! | `shared.rs` | what plugins share |
//! | `log_lines.rs` | how many lines of the log they cause |
//! | `limits.rs` | every bound, in one place |

mod api;
mod call_budget;
mod call_error;
mod folder;
mod host;
mod instance;
mod limits;
mod load;
mod log_lines;
mod pattern;
mod reload;
mod sandbox;
mod shared;
mod strings;

pub use host::PluginHost;
pub use load::{LoadError, Loaded, PluginError};
pub use reload::{Reload, ReloadStep};

use super::types::{Client, HookResult, Notice};

use std::path::PathBuf;
use std::time::Duration;

/// Tells the time since some fixed moment, never backwards. The last layer hands in a real one,
/// tests hand in their own.
pub type Clock = Box<dyn Fn() -> Duration>;

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOptions {
    /// The folder whose `*.lua` are loaded, and in which plugins have folders of their own.
    pub dir: PathBuf,
    /// Longest one call into a plugin may run, and all calls for one package together.
    pub budget: Duration,
    /// Most memory one plugin may hold, Lua's own libraries (74 KB) included.
    pub memory_bytes_max: usize,
    /// Most bytes that may wait to be broadcast: those of one call, if the caller fetches them
    /// after each.
    pub broadcast_bytes_max: usize,
}
