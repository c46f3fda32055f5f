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
mod identity;
mod instance;
mod limits;
mod load;
mod load_error;
mod log_lines;
mod options;
mod pattern;
mod plugin_file;
mod reload;
mod sandbox;
mod shared;
mod strings;

pub use host::PluginHost;
pub use load::Loaded;
pub use load_error::{LoadError, PluginError};
pub use options::{Clock, PluginOptions};
pub use reload::{Reload, ReloadStep};
