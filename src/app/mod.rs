//! The server program, around the server: options, configuration file, logging, exit codes.

mod config;
mod control;
mod ini_file;
mod log_file;
mod log_queue;
mod logging;
mod pacing;
#[cfg_attr(not(feature = "plugins"), path = "plugins_disabled.rs")]
mod plugins;
mod run;
mod settings;

pub use config::{Config, ConfigError, Invocation};
pub use ini_file::IniFile;
pub use run::run;
pub use settings::Settings;
