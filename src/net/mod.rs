//! The system: the loop over mio, TCP sockets, the loop's clock, signals, and the limits of process
//! and machine.
//!
//! The server proper names mio, socket2 and signal-hook here alone, and its core reads no clock:
//! [`EventLoop`] hands it the time. (The server program reads one for its log lines and plugins;
//! client and load tester are programs with loops of their own.)
//!
//! | module | job |
//! |---|---|
//! | `event_loop` | readiness, turns, and requests |
//! | `handle` | requests from other threads |
//! | `program` | calls to the program around the loop |
//! | `signals` | the process's signals, for programs that want them |
//! | `tcp` | listeners and connections |
//! | `heap` | freed pages back to the system |
//! | `fd_limit`, `memory` | open files and bytes that the process may have |

mod event_loop;
mod fd_limit;
mod handle;
mod heap;
mod memory;
mod program;
mod signals;
mod tcp;

pub use event_loop::{EventLoop, Exit};
pub use fd_limit::raise_file_limit;
pub use handle::{Handle, Snapshot};
pub use memory::available_memory;
pub use program::Program;
pub use signals::{SignalRequests, Signals};
pub use tcp::{SocketOptions, TcpAcceptor, TcpTransport};
