//! Sockets of the load tester: connect, the result of a connect, close; names of errors.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::target::Address;

/// A send on a reset connection fails with EPIPE; Rust's runtime ignores SIGPIPE besides.
const SEND_FLAGS: SendFlags = {
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL;
    flags
};

/// A stream that does not block, over TCP or a Unix socket: a descriptor and nothing else.
#[derive(Debug)]
pub(super) struct Stream(OwnedFd);

impl Stream {
    /// Asks for its events, with `token`.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, both)
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (read, _) = rustix::net::recv(&self.0, buf, RecvFlags::empty())?;
        Ok(read)
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.0, bytes, SEND_FLAGS)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts a connect to `target`, over TCP from `source` and `ports` as [`connect_inet`] does.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2). For one of [`is_backlog_full`] the connect is to be
/// tried again: a Unix socket has no connects that are under way.
pub(super) fn connect(
    target: &Address,
    source: Option<IpAddr>,
    ports: impl Iterator<Item = u16>,
) -> io::Result<Stream> {
    match target {
        Address::Inet(target) => connect_inet(*target, source, ports),
        Address::Unix(path) => connect_unix(path),
    }
}

fn connect_unix(path: &Path) -> io::Result<Stream> {
    let socket = new_socket(Domain::UNIX, None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(Stream(socket.into()))
}

/// Whether a connect failed because the server has as many connections to accept as it lets wait
/// (connect(2): EAGAIN). TCP has no such error.
pub(super) fn is_backlog_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Starts a connect to `target`, from the address `source` if there is one, and from the first of
/// `ports` that is free. If none is, the kernel picks a port.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2). [`connect_result`] has the error of the connect
/// itself, once the stream is writable.
fn connect_inet(
    target: SocketAddr,
    source: Option<IpAddr>,
    ports: impl Iterator<Item = u16>,
) -> io::Result<Stream> {
    for port in ports {
        match connect_from(target, source, Some(port)) {
            Err(error) if is_port_taken(&error) => {}
            result => return result,
        }
    }
    connect_from(target, source, None)
}

/// Whether the port is taken (bind(2)), or its last connection to the target is still in TIME_WAIT
/// (connect(2)).
fn is_port_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL))
}

fn connect_from(
    target: SocketAddr,
    source: Option<IpAddr>,
    port: Option<u16>,
) -> io::Result<Stream> {
    let socket = new_socket(Domain::for_address(target), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    let any = || {
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    };
    match (source, port) {
        (source, Some(port)) => {
            // Closed connections may have left the port in TIME_WAIT. With this, bind(2) takes it
            // nevertheless; connect(2) fails if the last one was to the same target.
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
        _ => Ok(Stream(socket.into())),
    }
}

/// A stream socket that does not block.
#[cfg(target_os = "linux")]
fn new_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    // As flags of socket(2), without further calls.
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(domain, kind, protocol)
}

/// A stream socket that does not block.
#[cfg(not(target_os = "linux"))]
fn new_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds to an address and, on Linux, leaves the port to connect(2) (ip(7): `IP_BIND_ADDRESS_NO_PORT`).
/// bind(2) alone picks the port before it knows the target, and so one without any connection: an
/// address then has no more connections than ports, whatever the targets.
fn bind_address(socket: &Socket, source: IpAddr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Checks that connections can leave from `source`.
///
/// # Errors
///
/// Those of socket(2) and bind(2).
pub(super) fn check_source(source: IpAddr) -> io::Result<()> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    bind_address(&socket, source)
}

/// The result of a connect; `None` if there is none yet.
pub(super) fn connect_result(stream: &Stream) -> Option<io::Result<()>> {
    let socket = SockRef::from(&stream.0);
    if let Some(error) = socket.take_error().transpose() {
        return Some(Err(error.unwrap_or_else(|error| error)));
    }
    match socket.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        result => Some(result.map(drop)),
    }
}

/// Has `stream` close with a reset. In an orderly close, the side that closes first keeps the port in
/// TIME_WAIT for a minute (RFC 9293, 3.6), which the next run would miss, and a firewall keeps its
/// entry for two. Nothing is lost: all requests have been answered or given up.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(super) fn close_by_reset(stream: &Stream) -> io::Result<()> {
    SockRef::from(&stream.0).set_linger(Some(Duration::ZERO))
}

/// The name that errno(3) has for an error.
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
    fn error_names_are_those_of_errno() {
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

    #[cfg(target_os = "linux")]
    #[test]
    fn taken_port_is_skipped() {
        // An address of this test alone: no other test takes its ports.
        let listen = || std::net::TcpListener::bind("127.0.77.1:0").unwrap();
        let target_listener = listen();
        let target = target_listener.local_addr().unwrap();
        let taken_listener = listen();
        let taken = taken_listener.local_addr().unwrap().port();
        let free = listen().local_addr().unwrap().port();
        let from = |ports: &[u16]| {
            let stream = connect_inet(target, Some(target.ip()), ports.iter().copied()).unwrap();
            let local = SockRef::from(&stream.0).local_addr().unwrap();
            local.as_socket().unwrap().port()
        };
        assert_eq!(from(&[taken, free]), free);
        assert_ne!(from(&[taken]), taken, "the kernel picks another");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn source_is_bound_without_a_port() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bind_address(&socket, IpAddr::from([127, 0, 0, 9])).unwrap();
        let bound = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(bound, SocketAddr::from(([127, 0, 0, 9], 0)));
    }

    #[test]
    fn foreign_source_is_refused() {
        assert!(check_source(IpAddr::from([127, 0, 0, 1])).is_ok());
        // TEST-NET-1 of RFC 5737.
        let error = check_source(IpAddr::from([192, 0, 2, 1])).unwrap_err();
        assert_eq!(errno_name(&error), "EADDRNOTAVAIL");
    }
}
