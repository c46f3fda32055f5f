//! What the binary does around the server: options, the configuration file, logging, exit codes.

mod config;
mod ini;
mod ini_file;
mod listener_url;
mod log_file;
mod logging;
mod one_line;
#[cfg_attr(not(feature = "plugins"), path = "plugins_disabled.rs")]
mod plugins;
mod run;
mod settings;

pub use config::{Config, ConfigError, Invocation};
pub use ini_file::{BadFile, IniFile, ServerAddress};
pub use listener_url::{BadListener, ListenerSpec, ProtocolName};
pub use run::run;
pub use settings::{BadSetting, Settings};

// What the command lines of the client and of the load tester share with the server's.
#[cfg(any(feature = "client", feature = "load"))]
pub(crate) use one_line::OneLine;
#[cfg(feature = "client")]
pub(crate) use one_line::reorders;
#[cfg(feature = "load")]
pub(crate) use settings::number;
