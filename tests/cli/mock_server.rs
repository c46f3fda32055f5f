//! Servers that do what a test says. Knows nothing of clients and protocols.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use super::support::PATIENCE;

/// A server that accepts one connection for each of its handlers, one after the other.
pub(crate) struct MockServer {
    pub(crate) addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// Serves one connection, every read and write of which has a timeout.
pub(crate) type Handler = Box<dyn FnOnce(TcpStream) + Send>;

impl MockServer {
    /// A server of one connection.
    pub(crate) fn new(handler: impl FnOnce(TcpStream) + Send + 'static) -> MockServer {
        MockServer::with_handlers(vec![Box::new(handler)])
    }

    /// A server of one connection for each of `handlers`.
    pub(crate) fn with_handlers(handlers: Vec<Handler>) -> MockServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            for handler in handlers {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                handler(stream);
            }
        });
        MockServer { addr, thread: Some(thread) }
    }

    /// A server that reads `request`, writes `reply` and waits for the client to close.
    pub(crate) fn replying(request: &[u8], reply: &[u8]) -> MockServer {
        let (request, reply) = (request.to_vec(), reply.to_vec());
        MockServer::new(move |mut stream| {
            expect(&mut stream, &request);
            stream.write_all(&reply).unwrap();
            read_to_eof(&mut stream);
        })
    }

    /// A server that neither reads nor writes until the sender is dropped.
    pub(crate) fn silent() -> (MockServer, Sender<()>) {
        let (sender, release) = mpsc::channel();
        let mock = MockServer::new(move |stream| {
            let _ = release.recv_timeout(PATIENCE);
            drop(stream);
        });
        (mock, sender)
    }

    /// Waits for the last handler; a handler that panicked fails the test.
    #[track_caller]
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads as many bytes as `expected` has; they must be equal.
pub(crate) fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// Reads until the client has closed, in order or not.
pub(crate) fn read_to_eof(stream: &mut TcpStream) {
    let _ = io::copy(stream, &mut io::sink());
}
