//! The system: the loop over mio, sockets, the loop's clock, signals, and the limits of process
//! and machine.
//!
//! Only this module of the server uses mio, socket2 and signal-hook. The layers below read no
//! clock: the loop reads it and hands them the time. Above, the three programs read one for log
//! lines, plugins and timeouts. (`tests/core/layers.rs` checks all of this; client and load tester
//! have loops of their own.)
//!
//! | module | job |
//! |---|---|
//! | `event_loop` | readiness, turns, and requests |
//! | `handle` | requests from other threads |
//! | `program`, `running` | calls to the program around the loop, and what it may do then |
//! | `engine_link` | the connections to the engine that joins nodes |
//! | `signals` | the process's signals, for programs that want them |
//! | `signal_pipe`, `readiness`, `retry` | pieces that the load tester's loop shares |
//! | `socket` | connections, and listeners of any family |
//! | `tcp`, `unix` | listeners of TCP and of Unix sockets |
//! | `passed_socket` | listeners that another process opened |
//! | `accept_error` | errors of accept(2), by remedy |
//! | `heap` | freed pages back to the system |
//! | `fd_limit`, `available_memory` | open files and bytes that the process may have |

mod accept_error;
mod available_memory;
#[cfg(feature = "cluster")]
mod engine_link;
mod event_loop;
mod fd_limit;
mod handle;
mod heap;
#[cfg(feature = "systemd")]
mod passed_socket;
mod program;
mod readiness;
mod retry;
mod running;
mod signal_pipe;
mod signals;
mod socket;
mod tcp;
#[cfg(feature = "unix")]
mod unix;

pub use available_memory::available_memory;
#[cfg(feature = "cluster")]
pub use engine_link::{EngineAddress, EngineLink};
pub use event_loop::{EventLoop, Exit};
pub use fd_limit::raise_file_limit;
pub use handle::{Handle, Snapshot};
#[cfg(feature = "systemd")]
pub use passed_socket::PassedSocketError;
pub use program::Program;
pub use running::Running;
pub use signals::{SignalRequests, Signals};
pub use socket::{SocketAcceptor, SocketTransport};
pub use tcp::{SocketOptions, TcpAcceptor};
#[cfg(feature = "unix")]
pub use unix::UnixAcceptor;

#[cfg(feature = "load")]
pub(crate) use {
    readiness::readiness,
    retry::{poll, retry_interrupted},
    signal_pipe::SignalPipe,
};
