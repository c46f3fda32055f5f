//! Sockets as the server core's [`Transport`] and [`Acceptor`], whatever their family.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use socket2::SockRef;

use super::tcp::{TcpAcceptor, unmapped};
#[cfg(feature = "unix")]
use super::unix::{self, UnixAcceptor};
use crate::address::Peer;
use crate::conn_id::ConnId;
use crate::server::{AcceptError, Acceptor, Transport};
#[cfg(feature = "systemd")]
use crate::strerror::strerror;

/// A send on a reset connection fails with EPIPE instead of raising SIGPIPE. (macOS has an option
/// of the socket instead, and Rust's runtime ignores the signal anyway.)
const SEND_FLAGS: SendFlags = {
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL;
    flags
};

/// A connection over TCP or a Unix socket: a descriptor and nothing else.
#[derive(Debug)]
pub struct SocketTransport(OwnedFd);

/// Asserts the size: a table entry with overhead must stay within 64 bytes.
const _: () = assert!(size_of::<SocketTransport>() == 4);

impl Transport for SocketTransport {
    type Registry = Registry;
    type Acceptor = SocketAcceptor;
    #[cfg(feature = "tls")]
    type Layer = crate::tls::ServerRecords;
    #[cfg(not(feature = "tls"))]
    type Layer = crate::server::NoLayer;

    fn register(&mut self, registry: &Registry, id: ConnId) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token(id), Interest::READABLE)
    }

    fn arm_writable(&mut self, registry: &Registry, id: ConnId) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(&mut SourceFd(&self.0.as_raw_fd()), token(id), both)
    }

    // Not by way of std: the C library's recv(2) and send(2) are cancellation points, which cost a
    // program with threads a hundred instructions an echo.
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (read, _) = rustix::net::recv(&self.0, buf, RecvFlags::empty())?;
        Ok(read)
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (read, _) = rustix::net::recv(&self.0, buf, RecvFlags::PEEK)?;
        Ok(read)
    }

    #[inline]
    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(match bufs {
            // The common case; send(2) spares the kernel copying the vector in.
            [buf] => rustix::net::send(&self.0, buf, SEND_FLAGS)?,
            bufs => rustix::io::writev(&self.0, bufs)?,
        })
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?)
    }

    /// A closed descriptor leaves epoll only with its last copy (epoll(7), questions and answers, 6),
    /// and a passed socket has one elsewhere.
    #[cfg(feature = "systemd")]
    fn close_acceptor(registry: &Registry, mut acceptor: SocketAcceptor) {
        if let Err(error) = acceptor.deregister(registry) {
            log::debug!("a closed listener is still watched: {}", strerror(&error));
        }
    }

    fn peer(&self) -> io::Result<Peer> {
        match SockRef::from(&self.0).peer_addr().map(|addr| addr.as_socket()) {
            Ok(Some(addr)) => Ok(unmapped(addr).into()),
            #[cfg(feature = "unix")]
            _ if unix::is_unix(&self.0) => unix::peer(&self.0),
            Ok(None) => Err(io::ErrorKind::NotConnected.into()),
            Err(error) => Err(error),
        }
    }
}

/// Packs an id into the token of its events.
pub(super) fn token(id: ConnId) -> Token {
    const { assert!(usize::BITS >= 64, "a token holds index and generation") };
    Token(id.to_bits() as usize)
}

/// A listening socket. Made from a [`TcpAcceptor`] or a `UnixAcceptor`.
#[derive(Debug)]
pub enum SocketAcceptor {
    /// A TCP socket.
    Tcp(TcpAcceptor),
    /// A Unix stream socket.
    #[cfg(feature = "unix")]
    Unix(UnixAcceptor),
}

impl From<TcpAcceptor> for SocketAcceptor {
    fn from(acceptor: TcpAcceptor) -> Self {
        SocketAcceptor::Tcp(acceptor)
    }
}

#[cfg(feature = "unix")]
impl From<UnixAcceptor> for SocketAcceptor {
    fn from(acceptor: UnixAcceptor) -> Self {
        SocketAcceptor::Unix(acceptor)
    }
}

impl SocketAcceptor {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            SocketAcceptor::Tcp(acceptor) => acceptor.register(registry, token),
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(acceptor) => acceptor.register(registry, token),
        }
    }

    /// Whether another process opened it, and keeps it.
    #[cfg(feature = "systemd")]
    pub(crate) fn is_passed(&self) -> bool {
        match self {
            SocketAcceptor::Tcp(acceptor) => acceptor.is_passed(),
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(acceptor) => acceptor.is_passed(),
        }
    }

    #[cfg(feature = "systemd")]
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            SocketAcceptor::Tcp(acceptor) => acceptor.deregister(registry),
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(acceptor) => acceptor.deregister(registry),
        }
    }
}

impl Acceptor for SocketAcceptor {
    type Stream = SocketTransport;

    fn accept(&mut self) -> Result<(SocketTransport, Peer), AcceptError> {
        let (socket, peer) = match self {
            SocketAcceptor::Tcp(acceptor) => acceptor.accept()?,
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(acceptor) => acceptor.accept()?,
        };
        Ok((SocketTransport(socket), peer))
    }

    #[cfg(feature = "systemd")]
    fn is_shared(&self) -> bool {
        match self {
            SocketAcceptor::Tcp(acceptor) => acceptor.is_passed(),
            #[cfg(feature = "unix")]
            SocketAcceptor::Unix(acceptor) => acceptor.is_passed(),
        }
    }
}
