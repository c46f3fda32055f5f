//! A connection to the engine as its socket: TCP or Unix, without its bytes' meaning.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A socket that is connected or about to be.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Begins to connect to `addr`.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and connect(2) but EINPROGRESS.
    pub(super) fn connect_tcp(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        // What a turn publishes goes out at once, before the answers to what went before.
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and connect(2); a full backlog is EAGAIN.
    pub(super) fn connect_unix(path: &Path) -> io::Result<Self> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Stream::Unix(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::other("its backlog is full"))
            }
            Err(error) => Err(error),
        }
    }

    /// Watches it, by edges.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }

    /// Whether it is connected, after an event.
    ///
    /// # Errors
    ///
    /// Why it cannot be.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Stream::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        if let Some(error) = error {
            return Err(error);
        }
        match peer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads what there is; `None` if there is nothing now.
    ///
    /// # Errors
    ///
    /// Those of recv(2) but EAGAIN and EINTR.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        until_blocked(|| match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        })
    }

    /// Writes what the kernel takes; `None` if it takes nothing now.
    ///
    /// # Errors
    ///
    /// Those of send(2) but EAGAIN and EINTR.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        until_blocked(|| match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        })
    }
}

fn until_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(len) => return Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
