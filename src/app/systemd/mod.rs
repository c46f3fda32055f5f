//! The service manager, systemd: sockets that it passes, what it is told, and how it reads the log.
//! Without one nothing happens.
//!
//! | module | job |
//! |---|---|
//! | `passed_sockets` | listeners that it opened, by name |
//! | `notifier` | messages to it |
//! | `supervised` | what they say, and when |
//! | `journal` | log lines as journald takes them |

mod journal;
mod notifier;
mod passed_sockets;
mod supervised;

pub(super) use journal::ConsoleFormat;
pub(super) use passed_sockets::PassedSockets;
pub(super) use supervised::{Reloads, supervise};
