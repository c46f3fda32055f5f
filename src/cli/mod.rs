//! The parts of a command line that the three programs share: listener URLs, INI files,
//! printing.
//!
//! | module | job |
//! |---|---|
//! | `listener_url` | a listener, written as a URL or as keys of a file |
//! | `ini` | INI files and their errors |
//! | `server_address` | host and port in a file |
//! | `print` | standard output and standard error, exit statuses |

pub(crate) mod ini;
mod listener_url;
mod print;
#[cfg(feature = "client")]
mod server_address;

pub use ini::IniError;
pub use listener_url::{ListenerError, ListenerSpec};
#[cfg(feature = "client")]
pub use server_address::ServerAddress;

pub(crate) use print::{EXIT_USAGE, print, print_error, print_usage_error};
#[cfg(all(test, feature = "client"))]
pub(crate) use server_address::SERVER_OPTIONS;
