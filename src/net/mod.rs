//! The real world: sockets, signals and the clock. The only place that names mio, signal-hook or
//! `Instant`.

mod event_loop;
mod files;
mod heap;
mod memory;
mod pacing;
mod readiness;
mod retry;
mod signal_pipe;
mod signals;
mod tcp;
mod waker;

pub use event_loop::{EventLoop, Exit};
pub use files::raise_file_limit;
pub use memory::available_memory;
pub use tcp::{SocketOptions, TcpAcceptor, TcpTransport};
pub use waker::Waker;

#[cfg(feature = "load")]
pub(crate) use {
    readiness::readiness,
    retry::{poll, retry_interrupted},
    signal_pipe::SignalPipe,
};
