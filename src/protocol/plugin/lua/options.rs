//! The settings of the plugins, and the clock that is handed to them.

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
