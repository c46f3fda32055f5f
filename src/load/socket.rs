//! Connections that are being made, and the names of what goes wrong with them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Begins to connect to `target`, from the address `source` if there is one, and the first of
/// `ports` that is free; where none is, the kernel looks for one.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2); the result of the connect shows when the stream
/// becomes writable.
pub(super) fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    ports: impl Iterator<Item = u16>,
) -> io::Result<TcpStream> {
    for port in ports {
        match connect_from(target, source, Some(port)) {
            Err(error) if is_port_taken(&error) => {}
            result => return result,
        }
    }
    connect_from(target, source, None)
}

/// What bind(2) says of a port that is taken, and connect(2) of one whose last connection to the
/// target has just gone.
fn is_port_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL))
}

fn connect_from(
    target: SocketAddr,
    source: Option<IpAddr>,
    port: Option<u16>,
) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    let any = || {
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    };
    match (source, port) {
        (source, Some(port)) => {
            // Connections that are gone may have left the port in TIME_WAIT. That is no reason for
            // bind(2) then; connect(2) says whether the target's end of it is free.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(source.unwrap_or_else(any), port).into())?;
        }
        (Some(source), None) => {
            bind_address(&socket, source)?;
        }
        (None, None) => {}
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Binds to an address and leaves the port to connect(2). Else bind(2) would pick one before it knows
/// the target, one that nobody else uses at all, and an address would have no more connections than
/// ports, wherever they go (ip(7)).
fn bind_address(socket: &Socket, source: IpAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Whether connections can leave from `source`.
///
/// # Errors
///
/// Those of socket(2) and bind(2).
pub(super) fn check_source(source: IpAddr) -> io::Result<()> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    bind_address(&socket, source)
}

/// Whether a connection that was begun has come about: not yet is `None`.
pub(super) fn connect_result(stream: &TcpStream) -> Option<io::Result<()>> {
    if let Some(error) = stream.take_error().transpose() {
        return Some(Err(error.unwrap_or_else(|error| error)));
    }
    match stream.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        result => Some(result.map(drop)),
    }
}

/// Lets `stream` end with a reset. Everything has been answered by then, so nothing is lost; and the
/// side that closes first in order keeps each port in TIME_WAIT for a minute (RFC 9293, 3.6), in
/// which the next run would look for its own among them, and a firewall keeps its entry for two.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(super) fn close_by_reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// What errno(3) calls an error.
pub(super) fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::UnknownErrno) | None => format!("{:?}", error.kind()),
        Some(errno) => format!("{errno:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_errno() {
        for (number, name) in [
            (libc::ECONNREFUSED, "ECONNREFUSED"),
            (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
            (libc::EMFILE, "EMFILE"),
            (libc::EAGAIN, "EAGAIN"),
        ] {
            assert_eq!(errno_name(&io::Error::from_raw_os_error(number)), name);
        }
        assert_eq!(errno_name(&io::ErrorKind::UnexpectedEof.into()), "UnexpectedEof");
    }

    #[test]
    fn a_port_that_is_port_taken_makes_way_for_the_next() {
        // An address of the test's own, where nobody else takes ports.
        let listen = || std::net::TcpListener::bind("127.0.77.1:0").unwrap();
        let target_listener = listen();
        let target = target_listener.local_addr().unwrap();
        let taken_listener = listen();
        let taken = taken_listener.local_addr().unwrap().port();
        let free = listen().local_addr().unwrap().port();
        let from = |ports: &[u16]| {
            let stream = connect(target, Some(target.ip()), ports.iter().copied()).unwrap();
            stream.local_addr().unwrap().port()
        };
        assert_eq!(from(&[taken, free]), free);
        assert_ne!(from(&[taken]), taken, "the kernel finds another");
    }

    #[test]
    fn an_address_is_bound_without_a_port() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bind_address(&socket, IpAddr::from([127, 0, 0, 9])).unwrap();
        let bound = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(bound, SocketAddr::from(([127, 0, 0, 9], 0)));
    }

    #[test]
    fn sources_must_be_this_machines() {
        assert!(check_source(IpAddr::from([127, 0, 0, 9])).is_ok());
        // TEST-NET-1 of RFC 5737.
        let error = check_source(IpAddr::from([192, 0, 2, 1])).unwrap_err();
        assert_eq!(errno_name(&error), "EADDRNOTAVAIL");
    }
}
