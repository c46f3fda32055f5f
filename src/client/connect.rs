//! Connecting to an endpoint within its timeout: name resolution, then one address after another.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::endpoint::Endpoint;
use super::error::ClientError;
use super::sigint::spawn_helper;
use super::stream::Stream;
use super::timeout::Deadline;
#[cfg(feature = "tls")]
use super::timeout::is_timeout;
#[cfg(feature = "tls")]
use super::tls_stream::TlsStream;
use crate::strerror::strerror;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;

/// Connects to the first address of `endpoint` that accepts.
///
/// The timeout covers name resolution, all addresses and the handshake together.
pub(super) fn connect(endpoint: &Endpoint) -> Result<Stream, ClientError> {
    let deadline = Deadline::new(endpoint.timeout);
    let connected = match &endpoint.path {
        Some(path) => connect_unix(path, &deadline),
        None => connect_first(&resolve(endpoint, &deadline)?, &deadline).map(|stream| {
            // A request is one write and its reply is waited for: Nagle's algorithm would only delay
            // the last segment.
            let _ = stream.set_nodelay(true);
            stream.into()
        }),
    };
    let stream: Socket = connected.map_err(|error| match deadline.timeout {
        // The system may give up earlier than the deadline, with the same kind of error.
        Some(timeout) if error.kind() == io::ErrorKind::TimedOut && deadline.is_expired() => {
            ClientError::ConnectTimeout { endpoint: endpoint.to_string(), timeout }
        }
        _ => ClientError::connect(endpoint, &error),
    })?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &endpoint.tls {
        return shake_hands(stream, tls, endpoint, &deadline);
    }
    Ok(Stream::Plain(stream))
}

#[cfg(feature = "tls")]
fn shake_hands(
    socket: Socket,
    tls: &ClientTls,
    endpoint: &Endpoint,
    deadline: &Deadline,
) -> Result<Stream, ClientError> {
    let plain_url = endpoint.url("");
    let stream = TlsStream::connect(socket, tls, plain_url.clone(), deadline);
    stream.map(Stream::Tls).map_err(|error| match deadline.timeout {
        Some(timeout) if is_timeout(&error) => ClientError::Connect {
            endpoint: endpoint.to_string(),
            reason: format!(
                "no TLS handshake within {} s; if the server does not speak TLS: use {plain_url}, \
                 without +tls",
                timeout.as_secs_f64()
            ),
        },
        _ => ClientError::connect(endpoint, &error),
    })
}

/// Connects to the Unix socket at `path`.
fn connect_unix(path: &Path, deadline: &Deadline) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog is waited for as long as a write may take (socket(7): `SO_SNDTIMEO`).
    let remaining = deadline.remaining().map(|time| time.max(Duration::from_millis(1)));
    socket.set_write_timeout(remaining)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => socket.set_write_timeout(None).map(|()| socket),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(error) => Err(explain_unix(path, error)),
    }
}

/// Says what is wrong at `path`, and what to do about it.
fn explain_unix(path: &Path, error: io::Error) -> io::Error {
    let file_type = || path.metadata().map(|found| found.file_type());
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "; is the server running, and does it listen at this path?".to_owned()
        }
        io::ErrorKind::ConnectionRefused if file_type().is_ok_and(|found| !found.is_socket()) => {
            return io::Error::other("there is a file that is not a socket");
        }
        io::ErrorKind::ConnectionRefused => {
            "; the server that made this socket is gone, start it again".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "; the socket's mode= and its folder decide who may connect".to_owned()
        }
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            return io::Error::other("the socket there is not a stream socket");
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{}{advice}", strerror(&error)))
}

/// Returns the addresses of the endpoint's name.
///
/// getaddrinfo(3) has no timeout, so a thread calls it and is left behind if it takes too long.
fn resolve(endpoint: &Endpoint, deadline: &Deadline) -> Result<Vec<SocketAddr>, ClientError> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    let resolve = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
    let found: io::Result<Vec<SocketAddr>> = match deadline.remaining() {
        None => resolve(),
        Some(remaining) => {
            let (sender, receiver) = mpsc::channel();
            let spawned = spawn_helper("resolve", move || {
                let _ = sender.send(resolve());
            });
            match spawned.map(|_| receiver.recv_timeout(remaining)) {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
                Err(error) => Err(error),
            }
        }
    };
    let reason = match found {
        Ok(addrs) if !addrs.is_empty() => return Ok(addrs),
        Ok(_) => "the name has no address".to_owned(),
        Err(error) => resolver_error(&error),
    };
    Err(ClientError::Resolve { host: endpoint.host.clone(), reason })
}

/// The text of gai_strerror(3) in lower case, without the prefix that std puts before it.
fn resolver_error(error: &io::Error) -> String {
    let text = strerror(error).to_string();
    match text.split_once(": ") {
        Some((_, words)) if text.starts_with("failed to lookup") => words
            .chars()
            .take(1)
            .flat_map(char::to_lowercase)
            .chain(words.chars().skip(1))
            .collect(),
        _ => text,
    }
}

/// Connects to the first of `addrs` that accepts; the error is that of the last one.
///
/// Each address gets an equal share of the remaining time, so that an unresponsive one does not use up
/// the time of those after it.
fn connect_first(addrs: &[SocketAddr], deadline: &Deadline) -> io::Result<TcpStream> {
    let mut last_error = io::Error::from(io::ErrorKind::TimedOut);
    for (tried, addr) in addrs.iter().enumerate() {
        let connected = match deadline.remaining() {
            None => TcpStream::connect(addr),
            Some(remaining) if remaining.is_zero() => break,
            Some(remaining) => {
                let untried = u32::try_from(addrs.len() - tried).unwrap_or(u32::MAX);
                // std refuses a timeout of zero.
                let share = (remaining / untried).max(Duration::from_millis(1));
                TcpStream::connect_timeout(addr, share)
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// An address that drops connection requests, because its backlog is full; with the sockets that
    /// keep it so.
    fn unresponsive() -> (SocketAddr, Vec<TcpStream>, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let mut backlog = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            backlog.push(stream);
        }
        (addr, backlog, socket)
    }

    #[test]
    fn unresponsive_address_leaves_time_for_the_next() {
        let (unresponsive, _backlog, _socket) = unresponsive();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = listener.local_addr().unwrap();
        let deadline = Deadline::new(Some(Duration::from_secs(2)));
        let stream = connect_first(&[unresponsive, accepting], &deadline).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), accepting);
        assert!(!deadline.is_expired());
    }

    #[test]
    fn timeout_covers_all_addresses_together() {
        let (unresponsive, _backlog, _socket) = unresponsive();
        let started_at = Instant::now();
        let timeout = Duration::from_millis(500);
        let deadline = Deadline::new(Some(timeout));
        let error = connect_first(&[unresponsive; 5], &deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = started_at.elapsed();
        assert!(took >= Duration::from_millis(450) && took < 5 * timeout, "{took:?}");
    }

    #[test]
    fn last_refusal_is_the_error() {
        // The system never picks port 1. On macOS, 127.0.0.1 is the only loopback address.
        let closed = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = connect_first(&[closed, closed], &Deadline::new(None)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
