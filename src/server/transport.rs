//! Network abstraction of the core, implemented by `net/` and the simulator.

use std::io;

use super::layer::Layer;
use crate::address::Peer;
use crate::conn_id::ConnId;

/// One non-blocking stream of bytes in each direction, with edge-triggered readiness.
///
/// The contract is that of epoll(7) with `EPOLLET`: an event comes when a stream *becomes* readable
/// or writable, and once only. Whoever stops short of [`io::ErrorKind::WouldBlock`] has to come
/// back unasked. A read or write that moves fewer bytes than it could is as good as `WouldBlock`
/// (epoll(7), questions and answers, 9), except that a peer's end of stream may stand behind a
/// short read, and that TCP ends a read at urgent data, a Unix socket behind descriptors that were
/// sent along: what follows is found with the next edge (which only its sender can bring about).
///
/// Dropping a transport closes it.
pub trait Transport: Sized {
    /// Where interest in events is registered.
    type Registry;
    /// Where such streams come from.
    type Acceptor: Acceptor<Stream = Self>;
    /// The layer between such a stream and a session: [`NoLayer`](super::NoLayer), or TLS.
    type Layer: Layer;

    /// Asks for readable events with token `id`.
    ///
    /// # Errors
    ///
    /// The system is out of memory or watches.
    fn register(&mut self, registry: &Self::Registry, id: ConnId) -> io::Result<()>;

    /// Asks for writable events too, from now on. If the stream is writable already, an event
    /// comes at once.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    fn arm_writable(&mut self, registry: &Self::Registry, id: ConnId) -> io::Result<()>;

    /// Reads into `buf`; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when there is nothing yet; any other is final.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Copies what [`read`](Self::read) would return and leaves it there. Where the stream has not
    /// been drained, more that comes is announced by an edge of its own.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes a beginning of `bufs`, one after the other.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when the send buffer is full; any other is final.
    fn write(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our direction of the stream, after all that was written.
    ///
    /// # Errors
    ///
    /// The stream has failed already.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Where the connection comes from.
    ///
    /// # Errors
    ///
    /// The stream has failed already.
    fn peer(&self) -> io::Result<Peer>;

    /// Closes a source of such streams.
    fn close_acceptor(_registry: &Self::Registry, acceptor: Self::Acceptor) {
        drop(acceptor);
    }
}

/// A source of new connections, edge-triggered like a [`Transport`].
pub trait Acceptor {
    /// The streams it accepts.
    type Stream;

    /// The next connection that waits.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`].
    fn accept(&mut self) -> Result<(Self::Stream, Peer), AcceptError>;

    /// Whether another process has it, too, and hands it to a successor: connections that wait when
    /// a server stops are left to that one.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Failure of accept(2), by remedy (accept(2), "Errors").
#[derive(Debug)]
pub enum AcceptError {
    /// The backlog is empty.
    WouldBlock,
    /// This one is gone, others may wait: try again at once.
    Retry,
    /// Out of descriptors or memory, or an unknown error: pause accepting.
    Exhausted(io::Error),
    /// The listener is unusable.
    Fatal(io::Error),
}

/// Readiness of a stream, as an event said. Every field is a hint: an event may be spurious.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// There is something to read, or an error to fetch.
    pub readable: bool,
    /// The stream is writable, or has an error to fetch.
    pub writable: bool,
    /// The peer will send no more: its end of stream stands behind what is left to read.
    pub read_closed: bool,
}
