//! One connection to the engine, from its address to its end.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::{Registry, Token};

use super::super::socket::token;
use super::address::EngineAddress;
use super::resolver::Resolver;
use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::TlsState;
use crate::clock::Millis;
use crate::cluster::{Engine, Link, Want};
use crate::conn_id::ConnId;
use crate::server::Readiness;
use crate::strerror::strerror;
#[cfg(feature = "tls")]
use crate::tls::client::{ClientTls, Failure};

/// Longest time from the lookup to the end of the TLS handshake. The engine's client would end the
/// attempt 500 ms later, and not know what it waited for.
const ATTEMPT_MS: u64 = 4_500;

/// Time in which all addresses of a host are tried.
const ADDRESSES_MS: u64 = 4_000;

/// Most addresses of a host that are tried in one attempt.
const ADDRESSES_MAX: usize = 8;

/// Where the engine is, and what lies below its bytes.
pub(super) struct Target {
    pub(super) address: EngineAddress,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

/// Why a connection has ended.
enum End {
    Closed,
    Io(io::Error),
    #[cfg(feature = "tls")]
    Tls(Failure),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Io(error)
    }
}

#[cfg(feature = "tls")]
impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Tls(failure)
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Resolving,
    Connecting,
    #[cfg(feature = "tls")]
    Handshaking,
    Open,
}

/// One of the connections to the engine, or none.
pub(super) struct Connection {
    link: Link,
    token: Token,
    state: State,
    pub(super) stream: Option<Stream>,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsState>>,
    is_readable: bool,
    is_writable: bool,
    /// The end, or an error, is to be read behind what has come.
    has_end: bool,
    /// When the attempt is given up.
    ends_at: Millis,
    /// Addresses that are still to be tried.
    untried: VecDeque<SocketAddr>,
    /// When the next of them is tried, and how long each is.
    next_addr_at: Millis,
    addr_ms: u64,
    /// Where among the host's addresses an attempt begins: one that is connected and of no use (a
    /// replica, a server that loads) leads to the next.
    first_addr: usize,
    was_ready: bool,
}

impl Connection {
    pub(super) fn new(link: Link, id: ConnId) -> Self {
        Connection {
            link,
            token: token(id),
            state: State::Idle,
            stream: None,
            #[cfg(feature = "tls")]
            tls: None,
            is_readable: false,
            is_writable: false,
            has_end: false,
            ends_at: Millis(0),
            untried: VecDeque::new(),
            next_addr_at: Millis(0),
            addr_ms: 0,
            first_addr: 0,
            was_ready: false,
        }
    }

    /// Notes an event. One of a socket that is closed by now does no harm: reading finds nothing.
    pub(super) fn on_ready(&mut self, readiness: Readiness, has_end: bool) {
        self.is_readable |= readiness.readable || readiness.read_closed;
        self.is_writable |= readiness.writable;
        self.has_end |= has_end;
    }

    /// Takes the answer of a lookup.
    pub(super) fn on_resolved(
        &mut self,
        answer: &io::Result<Vec<SocketAddr>>,
        engine: &mut Engine,
        registry: &Registry,
        now: Millis,
    ) {
        if self.state != State::Resolving {
            return;
        }
        let addrs = match answer {
            Ok(addrs) if addrs.is_empty() => {
                return self.fail(engine, "the name has no address", now);
            }
            Ok(addrs) => addrs,
            Err(error) => return self.fail(engine, strerror(error), now),
        };
        let first = self.first_addr % addrs.len();
        let (before, from) = addrs.split_at(first);
        self.untried = from.iter().chain(before).take(ADDRESSES_MAX).copied().collect();
        self.addr_ms = ADDRESSES_MS / self.untried.len() as u64;
        if let Err(error) = self.connect_next(registry, now) {
            self.fail(engine, strerror(&error), now);
        }
    }

    /// Goes on as far as it can be gone on without waiting.
    pub(super) fn advance(
        &mut self,
        target: &Target,
        resolver: &mut Resolver,
        buffer: &mut [u8],
        (engine, registry): (&mut Engine, &Registry),
        now: Millis,
    ) {
        if self.state == State::Connecting {
            self.advance_connect(target, engine, registry, now);
        }
        if self.has_stream()
            && let Err(end) = self.transfer(engine, buffer, now)
        {
            self.end(engine, end, now);
        }
        if self.is_attempt() && now >= self.ends_at {
            self.expire(engine, now);
        }
        match engine.want(self.link, now) {
            Want::Nothing => {}
            Want::Close => self.close(),
            Want::Connect => {
                self.close();
                engine.on_connecting(self.link, now);
                self.begin(target, resolver, engine, registry, now);
            }
        }
    }

    /// Sends what there is to say.
    pub(super) fn flush(&mut self, engine: &mut Engine, now: Millis) {
        if self.state == State::Open
            && let Err(end) = self.send(engine)
        {
            self.end(engine, end, now);
        }
    }

    /// Whether it can go on without an event: there is something to read, and the engine's client can
    /// take it (again).
    pub(super) fn has_work(&self, engine: &Engine) -> bool {
        self.state == State::Open && self.is_readable && engine.may_read(self.link)
    }

    /// When the next address is tried, where one is left, or the attempt is given up.
    pub(super) fn due_at(&self) -> Option<Millis> {
        let is_connecting = self.state == State::Connecting;
        let next_addr = (is_connecting && !self.untried.is_empty()).then_some(self.next_addr_at);
        Millis::earliest([next_addr, self.is_attempt().then_some(self.ends_at)])
    }

    fn is_attempt(&self) -> bool {
        !matches!(self.state, State::Idle | State::Open)
    }

    /// Gives up an attempt that has taken too long.
    #[cold]
    fn expire(&mut self, engine: &mut Engine, now: Millis) {
        match self.state {
            State::Resolving => self.fail(engine, "the name server does not answer", now),
            #[cfg(feature = "tls")]
            State::Handshaking => self.end(engine, Failure::TimedOut.into(), now),
            _ => {
                let error = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                self.end(engine, error.into(), now);
            }
        }
    }

    fn has_stream(&self) -> bool {
        !matches!(self.state, State::Idle | State::Resolving | State::Connecting)
    }

    /// Begins an attempt.
    fn begin(
        &mut self,
        target: &Target,
        resolver: &mut Resolver,
        engine: &mut Engine,
        registry: &Registry,
        now: Millis,
    ) {
        self.ends_at = now.after(ATTEMPT_MS);
        let begun = match &target.address {
            EngineAddress::Tcp { host, port } => {
                self.state = State::Resolving;
                resolver.ask(host, *port, now)
            }
            EngineAddress::Unix(path) => {
                Stream::connect_unix(path).and_then(|stream| self.watch(stream, registry))
            }
        };
        if let Err(error) = begun {
            self.fail(engine, strerror(&error), now);
        }
    }

    /// Waits for the connection of a new socket.
    fn watch(&mut self, mut stream: Stream, registry: &Registry) -> io::Result<()> {
        // Closing the last one takes it out of the registry.
        self.stream = None;
        (self.is_readable, self.is_writable, self.has_end) = (false, false, false);
        stream.register(registry, self.token)?;
        self.stream = Some(stream);
        self.state = State::Connecting;
        Ok(())
    }

    /// Begins to connect to the first of the addresses left that can be tried.
    ///
    /// # Errors
    ///
    /// That of the last.
    fn connect_next(&mut self, registry: &Registry, now: Millis) -> io::Result<()> {
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        while let Some(addr) = self.untried.pop_front() {
            self.next_addr_at = now.after(self.addr_ms);
            match Stream::connect_tcp(addr).and_then(|stream| self.watch(stream, registry)) {
                Ok(()) => return Ok(()),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Looks whether the socket is connected by now, or has failed, or has had its time.
    fn advance_connect(
        &mut self,
        target: &Target,
        engine: &mut Engine,
        registry: &Registry,
        now: Millis,
    ) {
        let is_late = !self.untried.is_empty() && now >= self.next_addr_at;
        let Some(stream) = &self.stream else { return };
        if !(self.is_writable || self.is_readable || is_late) {
            return;
        }
        let failed = match stream.is_connected() {
            Ok(true) => return self.on_connected(target, engine, now),
            Ok(false) if !is_late => return,
            Ok(false) => io::Error::from_raw_os_error(libc::ETIMEDOUT),
            Err(error) => error,
        };
        let next =
            if self.untried.is_empty() { Err(failed) } else { self.connect_next(registry, now) };
        if let Err(error) = next {
            self.fail(engine, strerror(&error), now);
        }
    }

    fn on_connected(&mut self, target: &Target, engine: &mut Engine, now: Millis) {
        self.untried = VecDeque::new();
        #[cfg(feature = "tls")]
        if let Some(tls) = &target.tls {
            match TlsState::begin(tls) {
                Ok(state) => {
                    self.tls = Some(Box::new(state));
                    self.state = State::Handshaking;
                }
                Err(failure) => self.end(engine, failure.into(), now),
            }
            return;
        }
        let _ = target;
        self.open(engine, now);
    }

    fn open(&mut self, engine: &mut Engine, now: Millis) {
        self.state = State::Open;
        engine.on_connected(self.link, now);
    }

    /// Reads up to the budget of a turn, and sends.
    fn transfer(&mut self, engine: &mut Engine, buffer: &mut [u8], now: Millis) -> Result<(), End> {
        // What is read may be an answer to what is sent first.
        self.send(engine)?;
        let mut left = buffer.len();
        while left > 0
            && self.is_readable
            && (self.state != State::Open || engine.may_read(self.link))
        {
            let Some(stream) = &mut self.stream else { break };
            match stream.read(&mut buffer[..left])? {
                None => self.is_readable = false,
                Some(0) => return Err(self.closed()),
                Some(len) => {
                    // Less than there was room for is all there is (epoll(7), question 9).
                    self.is_readable = len == left || self.has_end;
                    left -= len;
                    self.receive(&buffer[..len], engine, now)?;
                }
            }
        }
        self.was_ready |= engine.is_ready(self.link);
        self.send(engine)
    }

    fn receive(&mut self, bytes: &[u8], engine: &mut Engine, now: Millis) -> Result<(), End> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            if let Err(failure) = tls.receive(bytes) {
                // The alert that says why: the engine may want to know.
                let _ = self.send_wire();
                return Err(failure.into());
            }
            let (is_open, has_ended) = (tls.is_open(), tls.has_ended);
            if is_open && self.state == State::Handshaking {
                self.open(engine, now);
            }
            if let Some(tls) = &self.tls
                && !tls.plain.is_empty()
            {
                engine.on_bytes(self.link, &tls.plain, now);
            }
            return if has_ended { Err(End::Closed) } else { Ok(()) };
        }
        engine.on_bytes(self.link, bytes, now);
        Ok(())
    }

    /// Sends what there is to say, as far as the socket takes it.
    fn send(&mut self, engine: &mut Engine) -> Result<(), End> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.send_sealed(engine);
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.is_writable {
            let bytes = engine.unsent(self.link);
            if bytes.is_empty() {
                break;
            }
            match stream.write(bytes)? {
                Some(len) => engine.on_sent(self.link, len),
                None => self.is_writable = false,
            }
        }
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn send_sealed(&mut self, engine: &mut Engine) -> Result<(), End> {
        loop {
            self.send_wire()?;
            let Some(tls) = &mut self.tls else { return Ok(()) };
            let bytes = engine.unsent(self.link);
            if !tls.unsent().is_empty() || !tls.is_open() || bytes.is_empty() {
                return Ok(());
            }
            let len = tls.seal(bytes)?;
            engine.on_sent(self.link, len);
        }
    }

    /// Sends sealed bytes, as far as the socket takes them.
    #[cfg(feature = "tls")]
    fn send_wire(&mut self) -> io::Result<()> {
        let (Some(stream), Some(tls)) = (&mut self.stream, &mut self.tls) else { return Ok(()) };
        while self.is_writable && !tls.unsent().is_empty() {
            match stream.write(tls.unsent())? {
                Some(len) => tls.on_sent(len),
                None => self.is_writable = false,
            }
        }
        Ok(())
    }

    fn closed(&self) -> End {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return End::Tls(tls.cut());
        }
        End::Closed
    }

    #[cold]
    fn end(&mut self, engine: &mut Engine, end: End, now: Millis) {
        match end {
            End::Closed => self.fail(engine, "it closed the connection", now),
            End::Io(error) => self.fail(engine, strerror(&error), now),
            #[cfg(feature = "tls")]
            End::Tls(failure) => self.fail(engine, failure.explain_engine(), now),
        }
    }

    #[cold]
    fn fail(&mut self, engine: &mut Engine, reason: impl std::fmt::Display, now: Millis) {
        self.close();
        engine.on_failed(self.link, reason, now);
    }

    /// Closes the socket, if there is one, and gives the attempt up.
    fn close(&mut self) {
        if self.has_stream() && !self.was_ready {
            self.first_addr = self.first_addr.wrapping_add(1);
        }
        self.state = State::Idle;
        self.stream = None;
        #[cfg(feature = "tls")]
        {
            self.tls = None;
        }
        self.untried = VecDeque::new();
        (self.is_readable, self.is_writable, self.has_end) = (false, false, false);
        self.was_ready = false;
    }
}
