//! The server program, around the server: options, configuration file, logging, exit codes.

mod config;
mod ini_file;
mod log_file;
mod log_queue;
mod logging;
#[cfg_attr(not(feature = "plugins"), path = "plugins_disabled.rs")]
mod plugins;
mod run;
mod settings;

pub use config::{Config, ConfigError, Invocation};
pub use ini_file::IniFile;
pub use run::run;
pub use settings::Settings;
