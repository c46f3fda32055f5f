//! What the binary does around the server: options, the configuration file, logging, exit codes.

mod config;
mod ini_file;
mod listener_url;
mod logging;
mod one_line;
mod run;
mod settings;

pub use config::{Config, ConfigError, Invocation};
pub use ini_file::{BadFile, IniFile};
pub use listener_url::{BadListener, ListenerSpec, ProtocolName};
pub use run::run;
pub use settings::{BadSetting, Settings};

// What the load tester's command line shares with the server's.
#[cfg(feature = "load")]
pub(crate) use {one_line::OneLine, run::plain, settings::number};
