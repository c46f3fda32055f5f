//! The real world: sockets, signals and the clock. The only place that names mio, signal-hook or
//! `Instant`.

mod event_loop;
mod fd_limit;
mod heap;
mod memory;
mod pacing;
mod signals;
mod tcp;
mod waker;

pub use event_loop::{EventLoop, Exit};
pub use fd_limit::raise_file_limit;
pub use memory::available_memory;
pub use tcp::{SocketOptions, TcpAcceptor, TcpTransport};
pub use waker::Waker;
