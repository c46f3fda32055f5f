//! Plugins: Lua files that answer packages. Knows no sockets, no listeners and no clock of its own;
//! the caller fetches what plugins broadcast.
//!
//! Each plugin has a Lua state of its own, so none sees another, and every call is bounded in time
//! and memory. `docs/plugins.md` is the manual for authors of plugins.
//!
//! | file | job |
//! |---|---|
//! | `host.rs` | all plugins: the order of calls, and disabling those that fail |
//! | `load.rs`, `plugin_file.rs`, `load_error.rs` | loading the files of a folder |
//! | `reload.rs` | loading them again while the loop serves |
//! | `instance.rs`, `identity.rs` | one plugin: its hooks, its name, one call |
//! | `call_budget.rs` | the time that a call has left |
//! | `call_error.rs` | why a call failed |
//! | `sandbox.rs`, `prelude.lua` | the Lua state, and the libraries a plugin sees |
//! | `pattern.rs`, `strings.rs` | Lua's patterns, interruptible |
//! | `api.rs`, `folder.rs` | `server`, `base64` and `folder` |
//! | `shared.rs` | state that all plugins of a host share |
//! | `log_lines.rs` | the limit on log lines that plugins cause |
//! | `options.rs`, `limits.rs` | the settings; the bounds that no option sets |

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
