//! TCP sockets as the server core's [`Transport`] and [`Acceptor`].

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::address::Peer;
use crate::conn_id::ConnId;
use crate::server::{AcceptError, Acceptor, Transport};

/// A send on a reset connection fails with EPIPE instead of raising SIGPIPE. (macOS has an option
/// of the socket instead, and Rust's runtime ignores the signal anyway.)
const SEND_FLAGS: SendFlags = {
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL;
    flags
};

/// A TCP connection; in a release build a descriptor and nothing else.
#[derive(Debug)]
pub struct TcpTransport(TcpStream);

/// Asserts the size: a table entry with overhead must stay within 64 bytes. (In a debug build mio
/// stores for each stream where it was registered.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<TcpTransport>() == 4);

impl Transport for TcpTransport {
    type Registry = Registry;
    type Acceptor = TcpAcceptor;
    #[cfg(feature = "tls")]
    type Layer = crate::tls::ServerRecords;
    #[cfg(not(feature = "tls"))]
    type Layer = crate::server::NoLayer;

    fn register(&mut self, registry: &Registry, id: ConnId) -> io::Result<()> {
        registry.register(&mut self.0, token(id), Interest::READABLE)
    }

    fn arm_writable(&mut self, registry: &Registry, id: ConnId) -> io::Result<()> {
        registry.reregister(&mut self.0, token(id), Interest::READABLE | Interest::WRITABLE)
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
        self.0.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> io::Result<Peer> {
        self.0.peer_addr().map(|addr| unmapped(addr).into())
    }
}

/// Packs an id into the token of its events.
pub(super) fn token(id: ConnId) -> Token {
    const { assert!(usize::BITS >= 64, "a token holds index and generation") };
    Token(id.to_bits() as usize)
}

/// Options of a listening socket. Linux hands them down to the connections it accepts, so that an
/// accept costs no further system call (tcp(7); `inet_csk_clone_lock` copies them).
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// Silence after which the kernel probes a peer; `None` for never.
    pub keepalive: Option<Duration>,
    /// Whether a socket on `[::]` accepts IPv4 as well (ipv6(7): `IPV6_V6ONLY`). Without it, `[::]` and
    /// `0.0.0.0` can be listened on side by side.
    pub is_dual_stack: bool,
}

/// Most connection errors of accept(2) in a row. An error that stays, such as that of a security
/// module that denies every accept(2), must not spin the loop.
const RETRIES_MAX: u32 = 64;

/// "Machine is not on the network": an error number that only Linux has.
#[cfg(target_os = "linux")]
const ENONET: i32 = libc::ENONET;
/// Never an errno.
#[cfg(not(target_os = "linux"))]
const ENONET: i32 = 0;

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    /// Connection errors since the last accepted connection.
    retries: u32,
}

impl TcpAcceptor {
    /// Binds and listens on `addr`, with the longest backlog the system allows.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = bound_socket(addr, options)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(idle) = options.keepalive {
            socket.set_tcp_keepalive(&keepalive(idle))?;
        }
        socket.set_nonblocking(true)?;
        // The kernel lowers it to net.core.somaxconn (listen(2)).
        socket.listen(i32::MAX)?;
        Ok(TcpAcceptor { listener: TcpListener::from_std(socket.into()), retries: 0 })
    }

    /// Whether `addr` can be bound now. It is bound and released, without listening: no client can
    /// connect, and on Linux no other program notices, because among sockets with SO_REUSEADDR only
    /// one that listens takes an address from the others (socket(7)).
    ///
    /// # Errors
    ///
    /// Those of socket(2) and bind(2).
    pub fn check(addr: SocketAddr, options: SocketOptions) -> io::Result<()> {
        bound_socket(addr, options).map(drop)
    }

    /// The bound address, with the port that the system picked for port 0.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }
}

fn bound_socket(addr: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!options.is_dual_stack)?;
    }
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// The address as its owner writes it: IPv4 for a client that reached a dual-stack socket over IPv4.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    let ipv4 = match addr {
        SocketAddr::V6(addr) => addr.ip().to_ipv4_mapped(),
        SocketAddr::V4(_) => None,
    };
    ipv4.map_or(addr, |ip| (ip, addr.port()).into())
}

/// Probes after `idle`, then three times at a third of it: a dead peer is found after twice `idle`,
/// as with Redis' `tcp-keepalive`.
fn keepalive(idle: Duration) -> TcpKeepalive {
    let interval = (idle / 3).max(Duration::from_secs(1));
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3)
}

impl Acceptor for TcpAcceptor {
    type Stream = TcpTransport;

    fn accept(&mut self) -> Result<(TcpTransport, Peer), AcceptError> {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                self.retries = 0;
                Ok((TcpTransport(stream), unmapped(peer).into()))
            }
            Err(error) => Err(classify(error, &mut self.retries)),
        }
    }
}

/// Classifies errors of accept(2) by remedy. Linux also reports errors of the connection to be
/// accepted there; these are retried, up to [`RETRIES_MAX`] times in a row. Unknown errors pause
/// the listener and do not close it.
fn classify(error: io::Error, retries: &mut u32) -> AcceptError {
    if error.kind() == ErrorKind::WouldBlock {
        *retries = 0;
        return AcceptError::WouldBlock;
    }
    match error.raw_os_error() {
        // accept(2), "Error handling", and what various kernels return besides.
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPERM
            | libc::EACCES
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::EOPNOTSUPP
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::ENETRESET
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | ENONET
            | libc::ETIMEDOUT,
        ) if *retries < RETRIES_MAX => {
            *retries += 1;
            AcceptError::Retry
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => {
            AcceptError::Fatal(error)
        }
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSR, and unknown errors.
        _ => {
            *retries = 0;
            AcceptError::Exhausted(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: i32) -> AcceptError {
        classify(io::Error::from_raw_os_error(errno), &mut 0)
    }

    #[test]
    fn ipv4_client_of_a_dual_stack_socket_has_an_ipv4_address() {
        for (addr, shown) in [
            ("[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
        ] {
            assert_eq!(unmapped(addr.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn accept_errors_are_sorted_by_remedy() {
        assert!(matches!(class(libc::EAGAIN), AcceptError::WouldBlock));
        // Those of TCP/IP that accept(2) lists, and those of firewalls.
        for errno in [
            libc::ECONNABORTED,
            libc::EINTR,
            libc::ENETDOWN,
            libc::EPROTO,
            libc::ENOPROTOOPT,
            libc::EHOSTDOWN,
            ENONET,
            libc::EHOSTUNREACH,
            libc::EOPNOTSUPP,
            libc::ENETUNREACH,
            libc::ETIMEDOUT,
            libc::ECONNRESET,
            libc::EPERM,
        ] {
            assert!(matches!(class(errno), AcceptError::Retry), "{errno}");
        }
        // Memory and files; the last two are not errors of accept(2) at all.
        for errno in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOSR,
            libc::EIO,
            libc::EXDEV,
        ] {
            assert!(matches!(class(errno), AcceptError::Exhausted(_)), "{errno}");
        }
        assert!(matches!(classify(io::Error::other("new"), &mut 0), AcceptError::Exhausted(_)));
        for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert!(matches!(class(errno), AcceptError::Fatal(_)), "{errno}");
        }
    }

    #[test]
    fn persistent_accept_error_pauses_the_listener() {
        let (mut retries, errno) = (0, libc::EPERM);
        let mut again = || classify(io::Error::from_raw_os_error(errno), &mut retries);
        for _ in 0..2 {
            for _ in 0..RETRIES_MAX {
                assert!(matches!(again(), AcceptError::Retry));
            }
            assert!(matches!(again(), AcceptError::Exhausted(_)));
        }
    }
}
