//! The fake network: sockets with two bounded queues each, listeners with a backlog, and an epoll
//! that is edge-triggered to the letter.
//!
//! An edge is what `ep_poll_callback` is called for: bytes or an end of stream arrive, room is made
//! after a write found none, a registration finds the socket ready. It puts the socket on the ready
//! list. A poll takes sockets off that list and reports for each everything that is true of it at
//! that moment. Nothing else is ever reported, so whoever stops reading early is not told again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, IoSlice};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::rc::Rc;

use mynah::internal::address::Peer;
use mynah::internal::conn_id::ConnId;
use mynah::internal::server::{AcceptError, Acceptor, Layer, NoLayer, Readiness, Transport};

use super::origins::Origin;
use crate::support::rng::Rng;

/// One TCP connection, seen from outside.
#[derive(Debug, Default)]
pub struct Socket {
    pub to_server: VecDeque<u8>,
    pub to_server_max: usize,
    pub to_client: VecDeque<u8>,
    pub to_client_max: usize,
    /// The client has shut its side.
    pub client_shut: bool,
    /// The client has reset the connection.
    pub client_reset: bool,
    /// The server has shut its side, or closed.
    pub server_shut: bool,
    /// The server has shut its side and waited for the client's.
    pub lingered: bool,
    /// The server has dropped the socket.
    pub server_closed: bool,
    /// The server closed it with unread input.
    pub reset_by_server: bool,
    /// Unread bytes came after the last read: nothing could have kept a close from being a reset.
    pub has_late_bytes: bool,
    /// The same when the server shut its side.
    pub was_late_at_shut: bool,
    /// It has been full at some time: its client reads slowly.
    pub was_full: bool,
    /// Its registration failed: the server may drop it without a word.
    pub register_failed: bool,
    /// The network delivers what is sent at a time at a time: its client ends no message, so that
    /// time alone tells where one ends.
    pub undivided: bool,
    /// How often the server asked for bytes, and how many it got where there were some.
    pub read_calls: usize,
    pub reads: Vec<usize>,
    /// How often it sent some.
    pub writes: usize,
    /// How often it asked who is there.
    pub peer_addr_calls: usize,
    /// Where it comes from, where the network does not say by its number.
    pub from: Option<SocketAddr>,
    /// Bytes of the PROXY header that it begins with, and bytes the server has read in all.
    pub header_len: usize,
    pub read_len: usize,
    /// The server had its events announced.
    pub was_registered: bool,
    /// In the network's moments: when it was accepted, when its header had been taken, and when
    /// the server shut its side, or closed.
    pub accepted_at: Option<u64>,
    pub header_at: Option<u64>,
    pub shut_at: Option<u64>,
    /// Bytes a peek has shown: a read finds them.
    peeked: usize,
    id: Option<ConnId>,
    writable_armed: bool,
    /// A write found no room, and nobody has been told of any since.
    wants_room: bool,
    on_ready_list: bool,
}

impl Socket {
    /// It comes from there.
    pub fn begin(&mut self, origin: &Origin) {
        self.from = Some(origin.from);
        if origin.manner.expects_header() {
            self.header_len =
                if origin.manner.is_good() { origin.header.len() } else { usize::MAX };
            // A header has to fit.
            self.to_server_max = self.to_server_max.max(1_024);
        }
    }

    /// The server has shut its side.
    fn note_shut(&mut self, moments: &mut u64) {
        *moments += 1;
        if !self.server_shut {
            self.shut_at = Some(*moments);
            self.was_late_at_shut = self.has_late_bytes;
        }
        self.server_shut = true;
    }

    fn room(&self) -> usize {
        self.to_client_max - self.to_client.len().min(self.to_client_max)
    }

    fn readiness(&self) -> Readiness {
        let ended = self.client_shut || self.client_reset;
        Readiness {
            readable: !self.to_server.is_empty() || ended,
            writable: self.writable_armed && (self.room() > 0 || self.client_reset),
            read_closed: ended,
        }
    }
}

/// Which faults there are; what is 0 never happens, what is N happens once in N times.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub struct Faults {
    pub short_read: usize,
    pub short_write: usize,
    pub would_block: usize,
    pub interrupted: usize,
    pub accept_retry: usize,
    pub accept_exhausted: usize,
    pub register: usize,
    pub spurious_event: usize,
    pub stale_event: usize,
    pub late_event: usize,
}

/// Everything outside the server.
#[derive(Debug)]
pub struct Network {
    pub sockets: Vec<Socket>,
    backlogs: Vec<VecDeque<usize>>,
    acceptable: Vec<bool>,
    ready_list: VecDeque<usize>,
    /// Names of connections there were, with their sockets.
    past_ids: Vec<(ConnId, usize)>,
    pub faults: Faults,
    pub rng: Rng,
    /// Listeners fail for good.
    pub listeners_fail: bool,
    /// The server is handling a batch of events: no descriptor may be closed.
    pub in_batch: bool,
    /// How often the server has asked a listener for a connection.
    pub accepts: usize,
    /// Descriptors the server has, and the most it had at once.
    pub open: usize,
    pub open_max: usize,
    /// The same bytes come of the same seed, so that they are remembered and not only counted.
    pub is_replayable: bool,
    /// Accepts and headers that the server has taken, in order, with their moments; for whoever
    /// looks at them.
    pub arrivals: Vec<(u64, Arrival)>,
    /// Events that are put in order.
    moments: u64,
    trace: DefaultHasher,
}

/// A step of a connection on its way into the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The server has accepted this socket.
    Accepted(usize),
    /// It has read the last byte of its PROXY header, and none behind.
    HeaderTaken(usize),
}

/// The network, as its sockets see it.
pub type Shared = Rc<RefCell<Network>>;

/// Events that one poll reports.
#[derive(Debug, Hash)]
pub enum Event {
    Acceptable(usize),
    Ready(ConnId, Readiness),
}

impl Network {
    pub fn new(listeners: usize, faults: Faults, rng: Rng) -> Shared {
        Rc::new(RefCell::new(Network {
            sockets: Vec::new(),
            backlogs: vec![VecDeque::new(); listeners],
            acceptable: vec![false; listeners],
            ready_list: VecDeque::new(),
            past_ids: Vec::new(),
            faults,
            rng,
            listeners_fail: false,
            in_batch: false,
            accepts: 0,
            open: 0,
            open_max: 0,
            is_replayable: true,
            arrivals: Vec::new(),
            moments: 0,
            trace: DefaultHasher::new(),
        }))
    }

    /// Forgets all sockets; only for when none is left.
    pub fn forget_everyone(&mut self) {
        assert!(self.sockets.iter().all(|socket| socket.server_closed));
        self.sockets = Vec::new();
        self.past_ids = Vec::new();
        self.arrivals = Vec::new();
    }

    /// Adds to what is remembered of the run.
    pub fn note(&mut self, what: impl Hash) {
        what.hash(&mut self.trace);
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.finish()
    }

    /// A client connects; returns its socket's number.
    pub fn connect(
        &mut self,
        listener: usize,
        to_server_max: usize,
        to_client_max: usize,
    ) -> usize {
        let number = self.sockets.len();
        self.sockets.push(Socket { to_server_max, to_client_max, ..Socket::default() });
        self.backlogs[listener].push_back(number);
        self.acceptable[listener] = true;
        number
    }

    /// A client sends a beginning of `bytes`; returns how much the network took.
    pub fn send(&mut self, number: usize, bytes: &[u8]) -> usize {
        let socket = &mut self.sockets[number];
        if socket.server_closed {
            return bytes.len();
        }
        let room = socket.to_server_max - socket.to_server.len();
        let n = if socket.undivided && room < bytes.len() { 0 } else { room.min(bytes.len()) };
        socket.to_server.extend(&bytes[..n]);
        if n > 0 {
            self.wake(number);
        }
        n
    }

    /// A client reads at most `most` bytes.
    pub fn receive(&mut self, number: usize, most: usize) -> Vec<u8> {
        let socket = &mut self.sockets[number];
        let n = most.min(socket.to_client.len());
        let bytes: Vec<u8> = socket.to_client.drain(..n).collect();
        // tcp(7), `sk_stream_write_space`: a writer is told once a third of the buffer is free.
        if socket.wants_room && socket.room() * 3 >= socket.to_client_max {
            socket.wants_room = false;
            if socket.writable_armed {
                self.wake(number);
            }
        }
        bytes
    }

    pub fn shut(&mut self, number: usize) {
        self.sockets[number].client_shut = true;
        self.wake(number);
    }

    pub fn reset(&mut self, number: usize) {
        let socket = &mut self.sockets[number];
        socket.client_reset = true;
        socket.to_server.clear();
        socket.to_client.clear();
        self.wake(number);
    }

    /// Takes at most `most` events, spurious and stale ones among them.
    pub fn poll(&mut self, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for (listener, acceptable) in self.acceptable.iter_mut().enumerate() {
            if std::mem::take(acceptable) {
                events.push(Event::Acceptable(listener));
            }
        }
        for _ in 0..self.ready_list.len() {
            if events.len() >= most {
                break;
            }
            let Some(number) = self.ready_list.pop_front() else { break };
            if self.rng.one_in(self.faults.late_event) {
                self.ready_list.push_back(number);
                continue;
            }
            let socket = &mut self.sockets[number];
            socket.on_ready_list = false;
            let ready = socket.readiness();
            if let Some(id) = socket.id
                && (ready.readable || ready.writable)
            {
                events.push(Event::Ready(id, ready));
            }
        }
        if !self.sockets.is_empty() && self.rng.one_in(self.faults.spurious_event) {
            let number = self.rng.below(self.sockets.len());
            let socket = &self.sockets[number];
            if let Some(id) = socket.id {
                let writable = socket.writable_armed;
                let ready = Readiness { readable: true, writable, read_closed: false };
                events.push(Event::Ready(id, ready));
            }
        }
        if !self.past_ids.is_empty() && self.rng.one_in(self.faults.stale_event) {
            let (id, number) = self.past_ids[self.rng.below(self.past_ids.len())];
            let socket = &self.sockets[number];
            // That a header has been cut short can only be told by this (epoll(7): `EPOLLRDHUP` is
            // set only where it is so).
            let is_hint = socket.header_len <= socket.read_len;
            let read_closed = is_hint || socket.client_shut || socket.client_reset;
            let ready = Readiness { readable: true, writable: true, read_closed };
            events.push(Event::Ready(id, ready));
        }
        for event in &events {
            event.hash(&mut self.trace);
        }
        events
    }

    /// The socket of the connection with that generation.
    pub fn socket_of(&self, generation: u32) -> Option<usize> {
        let found = self.past_ids.iter().find(|(id, _)| id.generation == generation);
        found.map(|(_, number)| *number)
    }

    /// The generation of the connection of that socket, if it was registered.
    #[cfg(feature = "admin")]
    pub fn generation_of(&self, number: usize) -> Option<u32> {
        let found = self.past_ids.iter().find(|(_, other)| *other == number);
        found.map(|(id, _)| id.generation)
    }

    /// Nothing will happen unless a client or the clock does something.
    pub fn is_quiet(&self) -> bool {
        self.ready_list.is_empty() && !self.acceptable.contains(&true)
    }

    fn wake(&mut self, number: usize) {
        let socket = &mut self.sockets[number];
        if socket.id.is_some() && !socket.on_ready_list {
            socket.on_ready_list = true;
            self.ready_list.push_back(number);
        }
    }

    fn wake_if_ready(&mut self, number: usize) {
        let ready = self.sockets[number].readiness();
        if ready.readable || ready.writable {
            self.wake(number);
        }
    }
}

/// The server's end of a connection.
pub struct FakeStream<L = NoLayer> {
    network: Shared,
    number: usize,
    layer: PhantomData<L>,
}

impl<L: Layer> Transport for FakeStream<L> {
    type Registry = ();
    type Acceptor = FakeAcceptor<L>;
    type Layer = L;

    fn register(&mut self, (): &(), id: ConnId) -> io::Result<()> {
        let mut network = self.network.borrow_mut();
        let fails = network.faults.register;
        if network.rng.one_in(fails) {
            network.sockets[self.number].register_failed = true;
            return Err(ErrorKind::OutOfMemory.into());
        }
        network.past_ids.push((id, self.number));
        network.sockets[self.number].was_registered = true;
        network.note((self.number, id));
        network.sockets[self.number].id = Some(id);
        network.wake_if_ready(self.number);
        Ok(())
    }

    fn arm_writable(&mut self, (): &(), id: ConnId) -> io::Result<()> {
        let mut network = self.network.borrow_mut();
        assert_eq!(network.sockets[self.number].id, Some(id), "armed under its own name");
        network.sockets[self.number].writable_armed = true;
        network.wake_if_ready(self.number);
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let network = &mut *self.network.borrow_mut();
        let Network { sockets, rng, faults, arrivals, moments, .. } = network;
        let socket = &mut sockets[self.number];
        socket.read_calls += 1;
        if rng.one_in(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if socket.client_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let there = socket.to_server.len().min(buf.len());
        if there == 0 {
            return if socket.client_shut { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        // A read that finds less than there is, is one that came before the rest: what it left
        // arrives afterwards, with an edge of its own.
        let late = rng.one_in(faults.would_block) && !socket.undivided;
        let n = if late {
            0
        } else if rng.one_in(faults.short_read) && !socket.undivided {
            rng.skewed(there)
        } else {
            there
        };
        // What has been looked at is there.
        let n = n.max(socket.peeked.min(there));
        socket.peeked -= n.min(socket.peeked);
        for (to, from) in buf.iter_mut().zip(socket.to_server.drain(..n)) {
            *to = from;
        }
        if n > 0 {
            socket.reads.push(n);
            socket.read_len += n;
            // Whoever asks for no more knows where it ends; a close discards all there is.
            if socket.read_len == socket.header_len && n == buf.len() {
                *moments += 1;
                socket.header_at = Some(*moments);
                arrivals.push((*moments, Arrival::HeaderTaken(self.number)));
            }
        }
        socket.has_late_bytes = n < there;
        if n < there {
            network.wake(self.number);
        }
        network.note((self.number, "read", n));
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let network = &mut *self.network.borrow_mut();
        let Network { sockets, rng, faults, .. } = network;
        let socket = &mut sockets[self.number];
        if rng.one_in(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if socket.client_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let there = socket.to_server.len().min(buf.len());
        if there == 0 {
            return if socket.client_shut { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        // As a read that finds less than there is; but before its end all is there.
        let is_late = rng.one_in(faults.short_read) && !socket.undivided && !socket.client_shut;
        let n = if is_late { rng.skewed(there) } else { there };
        for (to, from) in buf.iter_mut().zip(socket.to_server.iter().take(n)) {
            *to = *from;
        }
        socket.peeked = socket.peeked.max(n);
        if n < there {
            network.wake(self.number);
        }
        network.note((self.number, "peek", n));
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let network = &mut *self.network.borrow_mut();
        let Network { sockets, rng, faults, .. } = network;
        let socket = &mut sockets[self.number];
        if rng.one_in(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if socket.client_reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        assert!(!socket.server_shut, "a write after the server has shut its side");
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        assert!(!bytes.is_empty(), "a write of nothing");
        let room = socket.room().min(bytes.len());
        let n = if room > 0 && rng.one_in(faults.short_write) {
            rng.between(0, room - 1)
        } else {
            room
        };
        socket.to_client.extend(&bytes[..n]);
        socket.writes += 1;
        if n < bytes.len() {
            socket.wants_room = true;
            socket.was_full = true;
            // The kernel was short of memory for a moment, not the client of time.
            if n < room && socket.writable_armed {
                socket.wants_room = false;
                network.wake(self.number);
            }
        }
        let seen = if network.is_replayable { &bytes[..n] } else { &[] };
        network.note((self.number, "write", n, seen));
        if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let network = &mut *self.network.borrow_mut();
        let socket = &mut network.sockets[self.number];
        if socket.client_reset {
            return Err(ErrorKind::NotConnected.into());
        }
        socket.note_shut(&mut network.moments);
        socket.lingered = true;
        Ok(())
    }

    fn peer(&self) -> io::Result<Peer> {
        let socket = &mut self.network.borrow_mut().sockets[self.number];
        socket.peer_addr_calls += 1;
        Ok(socket.from.map_or_else(|| address(self.number), Peer::from))
    }
}

impl<L> Drop for FakeStream<L> {
    fn drop(&mut self) {
        let network = &mut *self.network.borrow_mut();
        assert!(!network.in_batch || std::thread::panicking(), "a descriptor closed in a batch");
        network.note((self.number, "closed"));
        network.open -= 1;
        let socket = &mut network.sockets[self.number];
        socket.id = None;
        socket.note_shut(&mut network.moments);
        socket.server_closed = true;
        // Closing with unread input resets the connection, and a reset overtakes what is on its way
        // to the client (RFC 2525, 2.17).
        socket.reset_by_server = !socket.to_server.is_empty();
        if socket.reset_by_server {
            socket.to_client.clear();
        }
    }
}

/// A listening socket.
pub struct FakeAcceptor<L = NoLayer> {
    network: Shared,
    listener: usize,
    layer: PhantomData<L>,
}

impl<L> FakeAcceptor<L> {
    pub fn new(network: &Shared, listener: usize) -> Self {
        FakeAcceptor { network: Rc::clone(network), listener, layer: PhantomData }
    }
}

impl<L> Acceptor for FakeAcceptor<L> {
    type Stream = FakeStream<L>;

    fn accept(&mut self) -> Result<(FakeStream<L>, Peer), AcceptError> {
        let mut network = self.network.borrow_mut();
        network.accepts += 1;
        let Network { rng, faults, backlogs, listeners_fail, .. } = &mut *network;
        let backlog = &mut backlogs[self.listener];
        if *listeners_fail {
            return Err(AcceptError::Fatal(io::Error::other("not a socket")));
        }
        if !backlog.is_empty() && rng.one_in(faults.accept_retry) {
            return Err(AcceptError::Retry);
        }
        if !backlog.is_empty() && rng.one_in(faults.accept_exhausted) {
            return Err(AcceptError::Exhausted(io::Error::other("too many open files")));
        }
        let number = backlog.pop_front().ok_or(AcceptError::WouldBlock)?;
        network.open += 1;
        network.open_max = network.open_max.max(network.open);
        network.moments += 1;
        let moment = network.moments;
        network.arrivals.push((moment, Arrival::Accepted(number)));
        let socket = &mut network.sockets[number];
        socket.accepted_at = Some(moment);
        let peer = socket.from.map_or_else(|| address(number), Peer::from);
        drop(network);
        let stream = FakeStream { network: Rc::clone(&self.network), number, layer: PhantomData };
        Ok((stream, peer))
    }
}

fn address(number: usize) -> Peer {
    // Four hosts, of which the first has most of the clients.
    let host = [127, 0, 0, 1 + (number % 7 / 4 * (number % 4)) as u8];
    SocketAddr::from((host, number as u16)).into()
}
