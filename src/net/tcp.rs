//! Listening TCP sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::accept_error::classify;
use crate::address::Peer;
use crate::server::AcceptError;

/// Options of a listening socket. Linux hands them down to the connections it accepts, so that an
/// accept costs no further system call (tcp(7); `inet_csk_clone_lock` copies them).
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// Silence after which the kernel probes a peer; `None` for never.
    pub keepalive: Option<Duration>,
    /// Whether a socket on `[::]` accepts IPv4 as well (ipv6(7): `IPV6_V6ONLY`). Without it, `[::]` and
    /// `0.0.0.0` can be listened on side by side.
    pub is_dual_stack: bool,
    /// Whether other sockets may listen on the address too, those of this user that allow it as well:
    /// the kernel deals connections out among them (socket(7): `SO_REUSEPORT`).
    #[cfg(feature = "cluster")]
    pub reuse_port: bool,
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    /// Connection errors since the last accepted connection.
    retries: u32,
    /// Whether the socket was passed to this process, and is not its own.
    #[cfg(feature = "systemd")]
    is_passed: bool,
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
        Ok(TcpAcceptor::new(socket))
    }

    fn new(socket: Socket) -> Self {
        TcpAcceptor {
            listener: TcpListener::from_std(socket.into()),
            retries: 0,
            #[cfg(feature = "systemd")]
            is_passed: false,
        }
    }

    /// A socket that listens already and does not block.
    #[cfg(feature = "systemd")]
    pub(super) fn adopt(socket: Socket, options: SocketOptions) -> io::Result<Self> {
        socket.set_tcp_nodelay(true)?;
        if let Some(idle) = options.keepalive {
            socket.set_tcp_keepalive(&keepalive(idle))?;
        }
        Ok(TcpAcceptor { is_passed: true, ..TcpAcceptor::new(socket) })
    }

    /// Whether the socket was passed to this process, see [`SocketAcceptor::adopt`](super::SocketAcceptor::adopt).
    #[must_use]
    #[cfg(feature = "systemd")]
    pub fn is_passed(&self) -> bool {
        self.is_passed
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

    #[cfg(feature = "systemd")]
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.listener)
    }

    pub(super) fn accept(&mut self) -> Result<(OwnedFd, Peer), AcceptError> {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                self.retries = 0;
                Ok((stream.into(), unmapped(peer).into()))
            }
            Err(error) => Err(classify(error, &mut self.retries)),
        }
    }
}

fn bound_socket(addr: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!options.is_dual_stack)?;
    }
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    #[cfg(feature = "cluster")]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Probes after `idle`, then three times at a third of it: a dead peer is found after twice `idle`,
/// as with Redis' `tcp-keepalive`.
fn keepalive(idle: Duration) -> TcpKeepalive {
    let interval = (idle / 3).max(Duration::from_secs(1));
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3)
}

/// The address as its owner writes it: IPv4 for a client that reached a dual-stack socket over IPv4.
pub(super) fn unmapped(addr: SocketAddr) -> SocketAddr {
    let ipv4 = match addr {
        SocketAddr::V6(addr) => addr.ip().to_ipv4_mapped(),
        SocketAddr::V4(_) => None,
    };
    ipv4.map_or(addr, |ip| (ip, addr.port()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
