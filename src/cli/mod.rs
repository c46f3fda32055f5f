//! The parts of a command line that the three programs share: listener URLs, INI files,
//! printing.
//!
//! | module | job |
//! |---|---|
//! | `options` | tables of options, their parser, `--help` |
//! | `server_options` | the server's options |
//! | `listener_url` | a listener, written as a URL or as keys of a file |
//! | `engine_url` | the engine that joins nodes |
//! | `unix_url` | paths and modes of Unix sockets |
//! | `unix_client_url` | a client's URL of a Unix socket |
//! | `suggest` | the nearest known word |
//! | `ini` | INI files and their errors |
//! | `server_address` | host and port in a file |
//! | `tls_options` | the options of TLS of the client and the load tester |
//! | `print` | standard output and standard error, exit statuses |
//!
//! Code that runs once, and long, is `inline(never)` here and in `app`: inlined and unrolled around
//! their tables, a few functions made the server 18 kB larger.

#[cfg(feature = "cluster")]
mod engine_url;
pub(crate) mod ini;
mod listener_url;
pub(crate) mod options;
mod print;
#[cfg(feature = "client")]
mod server_address;
pub(crate) mod server_options;
pub(crate) mod suggest;
#[cfg(all(feature = "tls", any(feature = "client", feature = "load")))]
pub(crate) mod tls_options;
#[cfg(any(feature = "client", feature = "load"))]
pub(crate) mod unix_client_url;
#[cfg(any(feature = "unix", feature = "client", feature = "cluster", feature = "load"))]
pub(crate) mod unix_url;

#[cfg(feature = "cluster")]
pub use engine_url::{EngineUrl, EngineUrlError, Password};
pub use ini::IniError;
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
pub(crate) use listener_url::name_listeners;
pub(crate) use listener_url::url_for;
pub use listener_url::{ListenerError, ListenerSpec};
#[cfg(feature = "client")]
pub use server_address::ServerAddress;
#[cfg(any(feature = "unix", feature = "client", feature = "cluster", feature = "load"))]
pub use unix_url::UnixPathError;

pub(crate) use print::{EXIT_USAGE, print, print_error, print_usage_error, print_usage_errors};

#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use listener_url::known_keys as known_listener_keys;
