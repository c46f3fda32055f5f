//! The server program, `mynah`: options, configuration file, logging, signals, exit codes.
//!
//! | module | job |
//! |---|---|
//! | `run` | from arguments to exit code |
//! | `cluster` | the engine's password and roots; what this node is called |
//! | `config` | options and file, merged |
//! | `hints` | what would do in place of other servers' arguments |
//! | `help` | the text of `--help` |
//! | `settings` | the server-wide settings and their ranges |
//! | `fit_limits` | limits that fit the process and the machine |
//! | `config_file` | the configuration file |
//! | `control`, `signal_rate_limit` | reloads and status lines, and how often they run |
//! | `reload`, `prepare`, `differences` | putting a configuration into force; reading it beside the loop; what it changes |
//! | `check` | `--check` |
//! | `listeners`, `listen_error` | the sockets of the listeners, and why one cannot be opened |
//! | `accounts` | reading accounts and putting them into service, and the thread that hashes |
//! | `plugins` | loading and reloading plugins |
//! | `tls` | certificates: reading them, warning before they expire |
//! | `admin`, `process` | the admin listener's token; what the system says of this process |
//! | `log_format` | the forms of the console's lines |
//! | `systemd` | what the service manager passes, is told, and reads |
//! | `thread` | threads beside the loop |
//! | `logging` | the process's logger |
//! | `log_queue`, `log_file`, `timestamp` | bounded queues with writer threads; the log file; times of lines |

#[cfg_attr(not(feature = "accounts"), path = "accounts_disabled.rs")]
mod accounts;
#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "admission")]
mod admission;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod config_file;
mod control;
mod differences;
mod fit_limits;
mod help;
mod hints;
mod listen_error;
mod listeners;
mod log_file;
#[cfg(feature = "systemd")]
mod log_format;
mod log_queue;
mod logging;
#[cfg_attr(not(feature = "plugins"), path = "plugins_disabled.rs")]
mod plugins;
mod prepare;
#[cfg(feature = "admin")]
mod process;
mod reload;
mod run;
mod settings;
mod signal_rate_limit;
#[cfg_attr(not(feature = "systemd"), path = "systemd_disabled.rs")]
mod systemd;
mod thread;
mod timestamp;
#[cfg_attr(not(feature = "tls"), path = "tls_disabled.rs")]
mod tls;

pub use config::{Config, ConfigError, Invocation};
pub use config_file::ConfigFile;
#[cfg(feature = "systemd")]
pub use log_format::LogFormat;
pub use run::run;
pub use settings::Settings;
