//! The loop: waits for readiness, passes events to the server, and calls its turn.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry, Token};

#[cfg(feature = "cluster")]
use super::engine_link::{EngineLink, link_of};
use super::handle::{Handle, RequestReceiver, Snapshot, WAKE};
use super::heap::{self, HeapTrimmer};
use super::program::Program;
use super::readiness::readiness;
use super::retry;
use super::running::Running;
use super::socket::{SocketAcceptor, SocketTransport};
use super::tcp::{SocketOptions, TcpAcceptor};
use crate::buffer;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::{CLOCK_CHECK_BYTES, Limits};
use crate::protocol::Protocol;
use crate::server::{ListenerConfig, NextTurn, Server};

/// Events taken from the kernel at a time. Among 128, 200, 256 and 1,024 no size was better than
/// the noise (docs/benchmarks.md); with this one a batch and the connections it touches stay in the
/// cache.
const EVENTS_MAX: usize = 256;

/// The end of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// [`Handle::stop`]: graceful stop, drained or timed out.
    Stopped,
    /// [`Handle::abort`]: replies may be unsent.
    Aborted,
    /// Every listener has closed.
    NoListeners,
}

/// A server on one thread, with the loop that waits for readiness of its sockets.
///
/// It owns nothing of the process: signals are taken over by [`Signals`](super::Signals) where a
/// program wants that, log lines go to the `log` crate's logger, and [`run`](Self::run) returns.
/// A loop is built and run on one thread; other threads steer it by a [`Handle`].
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::net::{Ipv4Addr, TcpStream};
/// use std::thread;
///
/// use mynah::{EventLoop, Exit, Limits, PrefixedProtocol};
///
/// let mut event_loop = EventLoop::new(Limits::default())?;
/// let addr = event_loop.bind((Ipv4Addr::LOCALHOST, 0).into(), PrefixedProtocol)?;
/// let handle = event_loop.handle();
/// let client = thread::spawn(move || {
///     let mut stream = TcpStream::connect(addr)?;
///     stream.write_all(b"\x02ab")?;
///     let mut reply = [0; 3];
///     stream.read_exact(&mut reply)?;
///     handle.stop();
///     io::Result::Ok(reply)
/// });
/// assert_eq!(event_loop.run()?, Exit::Stopped);
/// assert_eq!(&client.join().unwrap()?, b"\x02ba");
/// # io::Result::Ok(())
/// ```
pub struct EventLoop {
    poll: Poll,
    requests: RequestReceiver,
    server: Server<SocketTransport>,
    trimmer: HeapTrimmer,
    /// The sockets of the server's engine.
    #[cfg(feature = "cluster")]
    engine_link: Option<EngineLink>,
    started_at: Instant,
    is_stopping: bool,
}

impl EventLoop {
    /// A loop around a server without listeners. Its clock starts now.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for epoll or the waker.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let requests = RequestReceiver::new(poll.registry())?;
        let started_at = Instant::now();
        let mut server = Server::new(limits, Millis(0));
        let clock = move || u64::try_from(started_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        server.set_clock(Box::new(clock), CLOCK_CHECK_BYTES);
        let trimmer = HeapTrimmer::default();
        Ok(EventLoop {
            poll,
            requests,
            server,
            trimmer,
            #[cfg(feature = "cluster")]
            engine_link: None,
            started_at,
            is_stopping: false,
        })
    }

    /// Listens on `addr` without keepalive and without an idle timeout, and returns the address
    /// with the port that was picked. The log calls the listener `tcp://ADDR`. To set any of this,
    /// bind a [`TcpAcceptor`] and pass it with a [`ListenerConfig`] to
    /// [`add_listener`](Self::add_listener).
    ///
    /// # Errors
    ///
    /// As [`TcpAcceptor::bind`] and [`add_listener`](Self::add_listener).
    pub fn bind(
        &mut self,
        addr: SocketAddr,
        protocol: impl Into<Protocol>,
    ) -> io::Result<SocketAddr> {
        let acceptor = TcpAcceptor::bind(addr, SocketOptions::default())?;
        let addr = acceptor.local_addr()?;
        let name = format!("tcp://{addr}");
        let config = ListenerConfig { name, protocol: protocol.into(), idle_ms: 0 };
        self.add_listener(acceptor, config)?;
        Ok(addr)
    }

    /// Adds a listener that is bound already, a [`TcpAcceptor`] or a `UnixAcceptor`, and returns its
    /// number: how many there were before. To a loop that runs, [`Running::add_listener`] adds one.
    ///
    /// ```
    /// use mynah::{EventLoop, Limits, ListenerConfig, PrefixedProtocol, SocketOptions, TcpAcceptor};
    ///
    /// # let mut event_loop = EventLoop::new(Limits::default())?;
    /// let acceptor = TcpAcceptor::bind("[::1]:0".parse().unwrap(), SocketOptions::default())?;
    /// let name = format!("prefixed://{}", acceptor.local_addr()?);
    /// let config = ListenerConfig { name, protocol: PrefixedProtocol.into(), idle_ms: 60_000 };
    /// event_loop.add_listener(acceptor, config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Running::add_listener`].
    pub fn add_listener(
        &mut self,
        acceptor: impl Into<SocketAcceptor>,
        config: ListenerConfig,
    ) -> io::Result<usize> {
        self.as_running().add_listener(acceptor, config)
    }

    /// A handle that steers the loop from other threads, before it runs and while it does.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.requests.handle()
    }

    /// The loop as its program sees it while it runs, before that.
    pub fn as_running(&mut self) -> Running<'_> {
        Running::new(&mut self.server, self.poll.registry())
    }

    /// The server, before it runs.
    pub fn server_mut(&mut self) -> &mut Server<SocketTransport> {
        &mut self.server
    }

    /// Has the loop connect the engine's client of its server, where that has one.
    #[cfg(feature = "cluster")]
    pub fn set_engine(&mut self, link: EngineLink) {
        self.engine_link = Some(link);
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Runs until a [`Handle`] ends it, or no listener is left.
    ///
    /// # Errors
    ///
    /// As [`run_with`](Self::run_with).
    pub fn run(self) -> io::Result<Exit> {
        self.run_with(&mut ())
    }

    /// Runs as [`run`](Self::run) does, and lets `program` take part.
    ///
    /// Each round: poll → dispatch the batch → requests of handles and the program →
    /// [`Server::turn`] → after a burst, freed pages back to the system. A connection's replies are
    /// written when it is dispatched or resumed, all in one write. The poll does not wait while any
    /// work remains.
    ///
    /// # Errors
    ///
    /// epoll itself fails, from which there is no recovery.
    // The program's one call of it, out of line, would be 700 bytes more.
    #[inline(always)]
    pub fn run_with(mut self, program: &mut (impl Program + ?Sized)) -> io::Result<Exit> {
        if !self.server.is_accepting() {
            return Ok(Exit::NoListeners);
        }
        self.server.start_plugins();
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let mut program_due_at = program.due_at();
            #[cfg(not(feature = "cluster"))]
            let wait_ms = self.poll_timeout(program_due_at);
            #[cfg(feature = "cluster")]
            let wait_ms = if self.engine_link.is_some() {
                self.poll_timeout_of_node(program_due_at)
            } else {
                self.poll_timeout(program_due_at)
            };
            if wait_ms != Some(0) {
                self.server.on_idle();
            }
            retry::poll(&mut self.poll, &mut events, wait_ms.map(Duration::from_millis))?;
            let now = self.now();
            self.server.begin_batch(now);
            let mut is_woken = false;
            for event in &events {
                is_woken |= self.dispatch(event, now);
            }
            if is_woken {
                if self.take_requests(program, now) {
                    return Ok(Exit::Aborted);
                }
                program_due_at = program.due_at();
            }
            #[cfg(feature = "cluster")]
            if self.engine_link.is_some() {
                self.advance_engine(now);
            }
            if program_due_at.is_some_and(|at| at <= now) {
                #[cfg(feature = "admin")]
                self.server.begin_program();
                program.on_due(&mut Running::new(&mut self.server, self.poll.registry()), now);
            }
            self.server.turn(self.poll.registry(), now);
            #[cfg(feature = "cluster")]
            if self.engine_link.is_some() {
                self.flush_engine(now);
            }
            #[cfg(feature = "admin")]
            if self.server.take_reload_request() {
                program.on_reload(&mut self.server);
            }
            // Retired buffers are not freed yet.
            let (memory, retired) = (self.server.memory(), buffer::retired_bytes());
            let freed_total = memory.freed_total().saturating_sub(retired as u64);
            if self.trimmer.poll(memory.used() + retired, freed_total, now) {
                heap::trim();
            }
            if self.server.is_stopped() {
                return Ok(Exit::Stopped);
            }
            if !self.is_stopping && !self.server.is_accepting() {
                return Ok(Exit::NoListeners);
            }
        }
    }

    /// How long the poll may wait, in milliseconds, but for what a node has to do. Where nothing is
    /// due, the clock is not read.
    fn poll_timeout(&self, program_due_at: Option<Millis>) -> Option<u64> {
        let server_due_at = match self.server.next_turn_alone() {
            NextTurn::AtOnce => return Some(0),
            NextTurn::At(at) => Some(at),
            NextTurn::OnEvent => None,
        };
        let due_at = Millis::earliest([self.trimmer.due_at(), program_due_at, server_due_at])?;
        Some(due_at.since(self.now()))
    }

    /// Passes one event to the server. Returns true if it woke the loop for a request instead.
    fn dispatch(&mut self, event: &Event, now: Millis) -> bool {
        let Token(bits) = event.token();
        let id = ConnId::from_bits(bits as u64);
        if id.generation != 0 {
            self.server.on_ready(self.poll.registry(), id, readiness(event), now);
            return false;
        }
        #[cfg(feature = "cluster")]
        if let Some(link) = link_of(id) {
            if let Some(engine_link) = &mut self.engine_link {
                engine_link.on_event(link, event);
            }
            return false;
        }
        let is_wake = id == WAKE;
        if !is_wake {
            self.server.on_acceptable(id.index as usize);
        }
        is_wake
    }

    /// Goes on with the connections to the engine.
    // Cold is what it is in a server that has none, which is not to pay for it; as the two below.
    #[cfg(feature = "cluster")]
    #[cold]
    fn advance_engine(&mut self, now: Millis) {
        if let (Some(link), Some(engine)) =
            (&mut self.engine_link, self.server.cluster_engine_mut())
        {
            link.advance(engine, self.poll.registry(), now);
        }
    }

    /// Sends the engine what the turn has to say.
    #[cfg(feature = "cluster")]
    #[cold]
    fn flush_engine(&mut self, now: Millis) {
        if let (Some(link), Some(engine)) =
            (&mut self.engine_link, self.server.cluster_engine_mut())
        {
            link.flush(engine, now);
        }
    }

    /// How long the poll may wait where there are connections to an engine.
    #[cfg(feature = "cluster")]
    #[cold]
    fn poll_timeout_of_node(&self, program_due_at: Option<Millis>) -> Option<u64> {
        let (Some(link), Some(engine)) = (&self.engine_link, self.server.cluster_engine()) else {
            return self.poll_timeout(program_due_at);
        };
        if link.has_work(engine) || self.server.has_cluster_work() {
            return Some(0);
        }
        let node_due_at = [self.server.cluster_due_at(), link.due_at(engine)];
        let due_at = Millis::earliest([program_due_at, Millis::earliest(node_due_at)]);
        self.poll_timeout(due_at)
    }

    /// Acts on the requests of handles, a stop before all else. Returns true for an abort.
    fn take_requests(&mut self, program: &mut (impl Program + ?Sized), now: Millis) -> bool {
        program.on_wake();
        let requested = self.requests.take();
        if requested.has_abort() {
            return true;
        }
        if requested.has_stop() && !self.is_stopping {
            self.is_stopping = true;
            program.on_stop();
            self.server.stop(self.poll.registry(), now);
        }
        if requested.has_reload() && !self.is_stopping {
            program.on_reload(&mut self.server);
        }
        if requested.has_stats() {
            self.requests.publish(Snapshot { stats: self.server.stats(), now });
        }
        false
    }

    fn now(&self) -> Millis {
        let elapsed = self.started_at.elapsed().as_millis();
        Millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::thread;

    use super::*;
    use crate::protocol::PrefixedProtocol;

    const PATIENCE: Duration = Duration::from_secs(20);

    const fn assert_send_and_sync<T: Send + Sync>() {}
    const _: () = assert_send_and_sync::<Handle>();

    fn event_loop() -> (EventLoop, SocketAddr) {
        let mut event_loop = EventLoop::new(Limits::default()).unwrap();
        let addr = event_loop.bind((Ipv4Addr::LOCALHOST, 0).into(), PrefixedProtocol).unwrap();
        (event_loop, addr)
    }

    /// Counts its calls; reloads and the time to be due stop the loop.
    struct Recorder {
        handle: Handle,
        due_at: Option<Millis>,
        calls: Vec<&'static str>,
    }

    impl Recorder {
        fn new(event_loop: &EventLoop, due_at: Option<Millis>) -> Self {
            Recorder { handle: event_loop.handle(), due_at, calls: Vec::new() }
        }
    }

    impl Program for Recorder {
        fn on_stop(&mut self) {
            self.calls.push("stop");
        }

        fn on_reload(&mut self, _: &mut Server<SocketTransport>) {
            self.calls.push("reload");
            self.handle.stop();
        }

        fn due_at(&self) -> Option<Millis> {
            self.due_at
        }

        fn on_due(&mut self, _: &mut Running<'_>, now: Millis) {
            assert!(self.due_at.take().is_some_and(|at| at <= now));
            self.calls.push("due");
            self.handle.stop();
        }
    }

    #[test]
    fn loop_without_listeners_ends() {
        let event_loop = EventLoop::new(Limits::default()).unwrap();
        assert_eq!(event_loop.run().unwrap(), Exit::NoListeners);
    }

    #[test]
    fn abort_does_not_wait_for_connections() {
        let (event_loop, addr) = event_loop();
        let handle = event_loop.handle();
        let client = thread::spawn(move || {
            let stream = TcpStream::connect(addr).unwrap();
            while handle.stats(PATIENCE).unwrap().stats.connections == 0 {}
            handle.abort();
            stream
        });
        assert_eq!(event_loop.run().unwrap(), Exit::Aborted);
        client.join().unwrap();
    }

    #[test]
    fn reloads_that_come_together_are_one_call() {
        let (event_loop, _) = event_loop();
        let mut recorder = Recorder::new(&event_loop, None);
        (0..3).for_each(|_| event_loop.handle().reload());
        assert_eq!(event_loop.run_with(&mut recorder).unwrap(), Exit::Stopped);
        assert_eq!(recorder.calls, ["reload", "stop"]);
    }

    #[test]
    fn stop_comes_before_a_reload() {
        let (event_loop, _) = event_loop();
        let mut recorder = Recorder::new(&event_loop, None);
        event_loop.handle().reload();
        event_loop.handle().stop();
        assert_eq!(event_loop.run_with(&mut recorder).unwrap(), Exit::Stopped);
        assert_eq!(recorder.calls, ["stop"]);
    }

    #[test]
    fn due_program_ends_an_idle_wait() {
        let (event_loop, _) = event_loop();
        let mut recorder = Recorder::new(&event_loop, Some(Millis(30)));
        assert_eq!(event_loop.run_with(&mut recorder).unwrap(), Exit::Stopped);
        assert_eq!(recorder.calls, ["due", "stop"]);
    }

    #[test]
    fn stats_of_an_ended_loop_are_none() {
        let (event_loop, _) = event_loop();
        let handle = event_loop.handle();
        let waiting = thread::spawn(move || (handle.stats(PATIENCE), handle));
        drop(event_loop);
        let (answer, handle) = waiting.join().unwrap();
        assert_eq!(answer, None);
        assert_eq!(handle.stats(PATIENCE), None);
    }

    #[test]
    fn snapshot_is_displayed_as_status_json() {
        let (event_loop, _) = event_loop();
        let handle = event_loop.handle();
        let observer = thread::spawn(move || {
            let snapshot = handle.stats(PATIENCE);
            handle.stop();
            snapshot
        });
        event_loop.run().unwrap();
        let json = observer.join().unwrap().unwrap().to_string();
        assert!(json.starts_with("{\"version\":") && json.contains("\"connections\":0"), "{json}");
    }
}
