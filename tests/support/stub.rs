//! Sockets that cost nothing: for what the server core costs by itself. A stub of a stream is as
//! large as a descriptor, has said what the test wants it to have said, and takes whatever is
//! written.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};

use mynah::internal::address::Peer;
use mynah::internal::conn_id::ConnId;
use mynah::internal::server::{AcceptError, Acceptor, NoLayer, Transport};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

thread_local! {
    /// Bytes that the next read returns; then the stream is dry.
    pub(crate) static INPUT: Cell<&'static [u8]> = const { Cell::new(b"") };
    /// Bytes written so far.
    pub(crate) static WRITTEN: Cell<usize> = const { Cell::new(0) };
    /// Connections that wait to be accepted.
    pub(crate) static BACKLOG: Cell<usize> = const { Cell::new(0) };
    /// Connections that were accepted, in order, where a benchmark has set it: tests that count memory have not.
    pub(crate) static ACCEPTED: RefCell<Option<Vec<ConnId>>> = const { RefCell::new(None) };
}

/// A stream.
pub(crate) struct Stub(#[allow(dead_code, reason = "stands for a descriptor")] u32);

impl Transport for Stub {
    type Registry = ();
    type Acceptor = Backlog;
    type Layer = NoLayer;

    fn register(&mut self, (): &(), id: ConnId) -> io::Result<()> {
        ACCEPTED.with_borrow_mut(|accepted| accepted.iter_mut().for_each(|ids| ids.push(id)));
        Ok(())
    }

    fn arm_writable(&mut self, (): &(), _: ConnId) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = INPUT.take();
        if input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        buf[..input.len()].copy_from_slice(input);
        Ok(input.len())
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = INPUT.get();
        if input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        buf[..input.len()].copy_from_slice(input);
        Ok(input.len())
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = bufs.iter().map(|buf| buf.len()).sum();
        WRITTEN.set(WRITTEN.get() + n);
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> io::Result<Peer> {
        Ok(PEER.into())
    }
}

/// A listening socket.
pub(crate) struct Backlog;

impl Acceptor for Backlog {
    type Stream = Stub;

    fn accept(&mut self) -> Result<(Stub, Peer), AcceptError> {
        match BACKLOG.get().checked_sub(1) {
            None => Err(AcceptError::WouldBlock),
            Some(left) => {
                BACKLOG.set(left);
                Ok((Stub(7), PEER.into()))
            }
        }
    }
}
