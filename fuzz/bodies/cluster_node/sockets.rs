//! Streams of clients that are two queues.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mynah::internal::address::Peer;
use mynah::internal::conn_id::ConnId;
use mynah::internal::server::{AcceptError, Acceptor, NoLayer, Transport};

const PEER: Peer = Peer::Inet(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

/// What a client has sent and not been read, and what it has been sent.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) to_server: Vec<u8>,
    pub(super) to_client: Vec<u8>,
    pub(super) id: Option<ConnId>,
}

/// A client's end.
pub(super) type Client = Rc<RefCell<Queues>>;

/// A server's end.
pub(super) struct Stream(Client);

impl Transport for Stream {
    type Registry = ();
    type Acceptor = Clients;
    type Layer = NoLayer;

    fn register(&mut self, (): &(), id: ConnId) -> io::Result<()> {
        self.0.borrow_mut().id = Some(id);
        Ok(())
    }

    fn arm_writable(&mut self, (): &(), _: ConnId) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.peek(buf)?;
        self.0.borrow_mut().to_server.drain(..len);
        Ok(len)
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let queues = self.0.borrow();
        let len = queues.to_server.len().min(buf.len());
        if len == 0 {
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

/// Clients that come to one listener.
pub(super) struct Clients(pub(super) Vec<Client>);

impl Acceptor for Clients {
    type Stream = Stream;

    fn accept(&mut self) -> Result<(Stream, Peer), AcceptError> {
        let client = self.0.pop().ok_or(AcceptError::WouldBlock)?;
        Ok((Stream(client), PEER))
    }
}
