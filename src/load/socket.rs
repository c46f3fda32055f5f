//! Connections that are being made, and the names of what goes wrong with them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Begins to connect to `target`, from `source` if there is one.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2); the outcome of the connect shows when the stream
/// becomes writable.
pub(super) fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // Else bind(2) picks a port before it knows the target, one that nobody else uses at all,
        // and an address has no more connections than ports, wherever they go (ip(7)).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether connections can leave from `source`.
///
/// # Errors
///
/// Those of socket(2) and bind(2).
pub(super) fn try_source(source: IpAddr) -> io::Result<()> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&address.into())
}

/// Whether a connection that was begun has come about: not yet is `None`.
pub(super) fn outcome(stream: &TcpStream) -> Option<io::Result<()>> {
    if let Some(error) = stream.take_error().transpose() {
        return Some(Err(error.unwrap_or_else(|error| error)));
    }
    match stream.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        result => Some(result.map(drop)),
    }
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
    fn sources_must_be_this_machines() {
        assert!(try_source(IpAddr::from([127, 0, 0, 9])).is_ok());
        // TEST-NET-1 of RFC 5737.
        let error = try_source(IpAddr::from([192, 0, 2, 1])).unwrap_err();
        assert_eq!(errno_name(&error), "EADDRNOTAVAIL");
    }
}
