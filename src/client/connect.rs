//! From a name and a port to a connection, within a time.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::options::Endpoint;
use crate::strerror::strerror;

/// The end of a time that began when this was made; without one, never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The whole time.
    pub(super) timeout: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Deadline { timeout, at: timeout.map(|timeout| Instant::now() + timeout) }
    }

    /// What is left; zero when it is over, `None` for ever.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}

/// Connects to the first address of the server that answers. Its time is for all of them together,
/// and for finding them.
pub(super) fn connect(endpoint: &Endpoint) -> Result<TcpStream, ClientError> {
    let deadline = Deadline::new(endpoint.timeout);
    let addrs = addresses(endpoint, &deadline)?;
    let stream = first_of(&addrs, &deadline).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => timeout_error(endpoint, &deadline, &error),
        _ => ClientError::Connect {
            endpoint: endpoint.to_string(),
            reason: strerror(&error).to_string(),
        },
    })?;
    // A request is one write, and what it waits for is the answer: nothing is gained by holding the
    // last piece of it back.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The system may give up before we do.
fn timeout_error(endpoint: &Endpoint, deadline: &Deadline, error: &io::Error) -> ClientError {
    match deadline.timeout {
        Some(after) if deadline.is_expired() => {
            ClientError::ConnectTimeout { endpoint: endpoint.to_string(), after }
        }
        _ => ClientError::Connect {
            endpoint: endpoint.to_string(),
            reason: strerror(error).to_string(),
        },
    }
}

/// The addresses of the name. Asking for them cannot be given a time, so a thread does it, which is
/// left behind when it takes too long.
fn addresses(endpoint: &Endpoint, deadline: &Deadline) -> Result<Vec<SocketAddr>, ClientError> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    let resolve = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
    let found: io::Result<Vec<SocketAddr>> = match deadline.remaining() {
        None => resolve(),
        Some(left) => {
            let (sender, receiver) = mpsc::channel();
            let asked = thread::Builder::new().name("resolve".into()).spawn(move || {
                let _ = sender.send(resolve());
            });
            match asked.map(|_| receiver.recv_timeout(left)) {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
                Err(error) => Err(error),
            }
        }
    };
    let reason = match found {
        Ok(addrs) if !addrs.is_empty() => return Ok(addrs),
        Ok(_) => "the name has no address".to_owned(),
        Err(error) => resolver_words(&error),
    };
    Err(ClientError::Resolve { host: endpoint.host.clone(), reason })
}

/// The resolver's words without the name of the function that returned them.
fn resolver_words(error: &io::Error) -> String {
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

/// Connects to the first address that lets us. Each has an equal part of the time that is left, so
/// that one that says nothing does not use up that of the others.
fn first_of(addrs: &[SocketAddr], deadline: &Deadline) -> io::Result<TcpStream> {
    let mut last_error = io::Error::from(io::ErrorKind::TimedOut);
    for (done, addr) in addrs.iter().enumerate() {
        let connected = match deadline.remaining() {
            None => TcpStream::connect(addr),
            Some(left) if left.is_zero() => break,
            Some(left) => {
                let rest = u32::try_from(addrs.len() - done).unwrap_or(u32::MAX);
                // A time of zero is refused.
                let part = (left / rest).max(Duration::from_millis(1));
                TcpStream::connect_timeout(addr, part)
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

    use super::*;

    /// An address that takes a connect and never answers it: its backlog is full.
    fn deaf() -> (SocketAddr, Vec<TcpStream>, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            held.push(stream);
        }
        (addr, held, socket)
    }

    #[test]
    fn an_address_that_says_nothing_leaves_time_for_the_next() {
        let (deaf, _held, _socket) = deaf();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let heard = listener.local_addr().unwrap();
        let deadline = Deadline::new(Some(Duration::from_secs(2)));
        let stream = first_of(&[deaf, heard], &deadline).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), heard);
        assert!(!deadline.is_expired());
    }

    #[test]
    fn the_time_is_for_all_addresses_together() {
        let (deaf, _held, _socket) = deaf();
        let started_at = Instant::now();
        let time = Duration::from_millis(500);
        let error = first_of(&[deaf; 5], &Deadline::new(Some(time))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = started_at.elapsed();
        assert!(took >= Duration::from_millis(450) && took < 5 * time, "{took:?}");
    }

    #[test]
    fn the_last_refusal_is_the_reason() {
        let closed = SocketAddr::from(([127, 0, 0, 9], 1));
        let error = first_of(&[closed, closed], &Deadline::new(None)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
