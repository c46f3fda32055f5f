//! Many TLS clients on one thread: each makes its handshake, asks once, and stays.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use mynah::internal::buffer::WireBuffer;
use mynah::internal::tls::Records;
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};

use crate::certificate::client_config;

/// The request each client sends once, and how long the answer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) request: &'static [u8],
    pub(crate) answer_len: usize,
}

pub(crate) struct Crowd {
    addr: SocketAddr,
    exchange: Exchange,
    config: Arc<ClientConfig>,
    poll: Poll,
    clients: Vec<Client>,
    resumed: usize,
}

struct Client {
    stream: TcpStream,
    records: Records<UnbufferedClientConnection>,
    received: Vec<u8>,
    has_asked: bool,
    answered: usize,
}

impl Crowd {
    pub(crate) fn new(addr: SocketAddr, exchange: Exchange) -> Self {
        let config = client_config(Resumption::in_memory_sessions(64));
        let poll = Poll::new().unwrap();
        Crowd { addr, exchange, config, poll, clients: Vec::new(), resumed: 0 }
    }

    /// From now on every handshake is a full one.
    pub(crate) fn forget_tickets(&mut self) {
        self.config = client_config(Resumption::disabled());
    }

    /// How many handshakes were resumptions.
    pub(crate) fn resumed(&self) -> usize {
        self.resumed
    }

    /// Opens `n` connections, `at_once` of them at a time, and has each answered once.
    pub(crate) fn open(&mut self, n: usize, at_once: usize) {
        let mut events = Events::with_capacity(1024);
        let (mut plain, mut wire) = (Vec::new(), WireBuffer::default());
        let first = self.clients.len();
        let (mut begun, mut served) = (0, 0);
        while served < n {
            while begun < n && begun - served < at_once {
                self.connect();
                begun += 1;
            }
            self.poll.poll(&mut events, None).unwrap();
            for event in &events {
                let Token(at) = event.token();
                let client = &mut self.clients[at];
                if at < first || client.answered >= self.exchange.answer_len {
                    continue;
                }
                client.go_on(self.exchange.request, &mut plain, &mut wire);
                if client.answered >= self.exchange.answer_len {
                    served += 1;
                    self.resumed += usize::from(client.records.is_resumed() == Some(true));
                }
            }
        }
    }

    fn connect(&mut self) {
        let name = "localhost".try_into().unwrap();
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let token = Token(self.clients.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest).unwrap();
        stream.set_nodelay(true).unwrap();
        self.clients.push(Client {
            stream,
            records: Records::new(connection),
            received: Vec::new(),
            has_asked: false,
            answered: 0,
        });
    }

    /// Closes all connections, each with a close_notify.
    pub(crate) fn close(&mut self) {
        let mut wire = WireBuffer::default();
        for mut client in self.clients.drain(..) {
            client.records.seal_end(&mut wire);
            let _ = client.stream.write(&wire);
            wire.clear();
        }
    }
}

impl Client {
    fn go_on(&mut self, request: &[u8], plain: &mut Vec<u8>, wire: &mut WireBuffer) {
        let mut buffer = [0; 16 * 1024];
        let mut has_ended = false;
        while !has_ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => has_ended = true,
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) => panic!("{error}"),
            }
        }
        plain.clear();
        let received = self.records.receive(&mut self.received, plain, wire).unwrap();
        self.received.drain(..received.taken);
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        self.answered += plain.len();
        if received.is_open && !self.has_asked {
            self.has_asked = true;
            self.records.seal(request, wire).unwrap();
        }
        let sent = self.stream.write(wire).unwrap();
        assert_eq!(sent, wire.len(), "a socket takes a handshake");
        wire.clear();
    }
}
