//! A server with one connection, whose stream is two queues. It echoes.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mynah::internal::address::Peer;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::RawProtocol;
use mynah::internal::server::{
    AcceptError, Acceptor, ListenerConfig, Readiness, Server, Transport,
};
use mynah::internal::tls::{ServerRecords, ServerTls};

use super::Target;

/// Bytes one connection may hold at most: a record, a write and what TLS says.
const HELD_BYTES_MAX: usize = 256 * 1024;

#[derive(Default)]
struct Queues {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    is_shut: bool,
    is_closed: bool,
    is_accepted: bool,
    id: Option<ConnId>,
}

const PEER: Peer = Peer::Inet(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

struct PipeStream(Rc<RefCell<Queues>>);

impl Transport for PipeStream {
    type Registry = ();
    type Acceptor = PipeAcceptor;
    type Layer = ServerRecords;

    fn register(&mut self, (): &(), id: ConnId) -> io::Result<()> {
        self.0.borrow_mut().id = Some(id);
        Ok(())
    }

    fn arm_writable(&mut self, (): &(), _: ConnId) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut queues = self.0.borrow_mut();
        let len = queues.to_server.len().min(buf.len());
        if len == 0 && !queues.is_shut {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(queues.to_server.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let queues = self.0.borrow();
        let len = queues.to_server.len().min(buf.len());
        if len == 0 && !queues.is_shut {
            return Err(ErrorKind::WouldBlock.into());
        }
        buf[..len].copy_from_slice(&queues.to_server[..len]);
        Ok(len)
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let to_client = &mut self.0.borrow_mut().to_client;
        let before = to_client.len();
        bufs.iter().for_each(|buf| to_client.extend_from_slice(buf));
        Ok(to_client.len() - before)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> io::Result<Peer> {
        Ok(PEER)
    }
}

impl Drop for PipeStream {
    fn drop(&mut self) {
        self.0.borrow_mut().is_closed = true;
    }
}

struct PipeAcceptor(Rc<RefCell<Queues>>);

impl Acceptor for PipeAcceptor {
    type Stream = PipeStream;

    fn accept(&mut self) -> Result<(PipeStream, Peer), AcceptError> {
        if std::mem::replace(&mut self.0.borrow_mut().is_accepted, true) {
            return Err(AcceptError::WouldBlock);
        }
        Ok((PipeStream(Rc::clone(&self.0)), PEER))
    }
}

/// The server and the stream of its one connection.
pub(super) struct Piped {
    server: Server<PipeStream>,
    queues: Rc<RefCell<Queues>>,
    /// Bytes in the account without any client.
    idle_bytes: usize,
}

impl Piped {
    pub(super) fn new(tls: &ServerTls) -> Self {
        let queues = Rc::<RefCell<Queues>>::default();
        let mut server = Server::new(Limits::default(), Millis(0));
        let protocol = RawProtocol { prefix: Vec::new() }.into();
        let config = ListenerConfig { name: "pipe".to_owned(), protocol, idle_ms: 0 };
        server.add_listener(PipeAcceptor(Rc::clone(&queues)), config);
        server.set_layer(0, tls.clone());
        server.on_acceptable(0);
        let mut piped = Piped { server, queues, idle_bytes: 0 };
        piped.turns(false);
        piped.idle_bytes = piped.server.memory().used();
        piped
    }

    fn turns(&mut self, readable: bool) {
        self.server.begin_batch(Millis(0));
        let (id, is_shut) = {
            let queues = self.queues.borrow();
            (queues.id.filter(|_| !queues.is_closed), queues.is_shut)
        };
        if let Some(id) = id.filter(|_| readable) {
            let ready = Readiness { readable: true, writable: true, read_closed: is_shut };
            self.server.on_ready(&(), id, ready, Millis(0));
        }
        loop {
            self.server.turn(&(), Millis(0));
            if self.server.poll_timeout(Millis(0)) != Some(0) {
                break;
            }
        }
        self.server.assert_invariants();
        let held = self.server.memory().used().saturating_sub(self.idle_bytes);
        assert!(held <= HELD_BYTES_MAX, "{held} bytes are held");
    }

    /// The client is gone: nothing of it is left.
    pub(super) fn finish(&mut self) {
        self.shut();
        if self.queues.borrow().is_closed {
            assert!(self.server.memory().used() <= self.idle_bytes, "something is left");
        }
    }
}

impl Target for Piped {
    const ECHOES: bool = true;

    fn deliver(&mut self, bytes: &[u8]) {
        let is_closed = self.queues.borrow().is_closed;
        if !is_closed {
            self.queues.borrow_mut().to_server.extend(bytes);
            self.turns(true);
        }
    }

    fn shut(&mut self) {
        self.queues.borrow_mut().is_shut = true;
        self.turns(true);
    }

    fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.queues.borrow_mut().to_client)
    }

    fn opened(&self) -> usize {
        0
    }
}
