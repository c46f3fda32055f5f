//! The settings of the plugins, and the clock that is handed to them.

use std::path::PathBuf;
use std::time::Duration;

/// Monotonic time since some fixed moment. The server program passes a real clock, tests their own.
pub type Clock = Box<dyn Fn() -> Duration>;

/// The settings of the plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOptions {
    /// The folder whose `*.lua` are loaded, and in which each plugin may have a folder of its own.
    pub dir: PathBuf,
    /// Longest time of one call into a plugin, and of all calls for one package together.
    pub budget: Duration,
    /// Most memory of one plugin, Lua's libraries (74 KB) included.
    pub memory_bytes_max: usize,
    /// Most bytes queued to be broadcast: those of one call, if the caller fetches them after each.
    pub broadcast_bytes_max: usize,
}
