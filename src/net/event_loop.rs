//! The loop: waits for readiness, tells the server, and lets it take its turn.

use std::io;
use std::time::{Duration, Instant};

use log::info;
use mio::event::Event;
use mio::{Events, Poll, Token};

use super::heap::{self, HeapTrimmer};
use super::pacing::Pacing;
use super::readiness::readiness;
use super::retry;
use super::signals::Signals;
use super::tcp::{TcpAcceptor, TcpTransport};
use super::waker::{WAKER, Waker};
use crate::buffer;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::LOOK_BYTES;
use crate::server::{ListenerConfig, Server};

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// Generation 0 names no connection, so tokens that carry it are free for other things: the index
/// is then a listener's number, or this.
const SIGNALS: ConnId = ConnId { index: u32::MAX, generation: 0 };

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A signal stopped it, and everyone was answered or the drain time was over.
    Stopped,
    /// A second signal cut the stop short.
    Aborted,
    /// No listener is left to accept anyone.
    Deaf,
}

/// One thread's worth of server.
pub struct EventLoop {
    poll: Poll,
    signals: Signals,
    reloads: Pacing,
    status_lines: Pacing,
    server: Server<TcpTransport>,
    trimmer: HeapTrimmer,
    started_at: Instant,
    stop: Stop,
}

/// What signals have asked for by way of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    None,
    InOrder,
    AtOnce,
}

impl EventLoop {
    /// A loop that runs the server `make` builds, and minds the process's signals from now on.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for epoll or the signal pipe.
    pub fn new(make: impl FnOnce(Millis) -> Server<TcpTransport>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = Signals::new(poll.registry(), super::tcp::token(SIGNALS))?;
        let started_at = Instant::now();
        let mut server = make(Millis(0));
        let clock = move || u64::try_from(started_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        server.set_clock(Box::new(clock), LOOK_BYTES);
        Ok(EventLoop {
            poll,
            signals,
            reloads: Pacing::default(),
            status_lines: Pacing::default(),
            server,
            trimmer: HeapTrimmer::default(),
            started_at,
            stop: Stop::None,
        })
    }

    /// Adds a listener.
    ///
    /// # Errors
    ///
    /// It cannot be watched.
    ///
    /// # Panics
    ///
    /// As [`Server::add_listener`].
    pub fn add_listener(
        &mut self,
        mut acceptor: TcpAcceptor,
        config: ListenerConfig,
    ) -> io::Result<()> {
        let id = ConnId { index: self.server.listener_count() as u32, generation: 0 };
        acceptor.register(self.poll.registry(), super::tcp::token(id))?;
        self.server.add_listener(acceptor, config);
        Ok(())
    }

    /// The server, before it runs.
    pub fn server(&mut self) -> &mut Server<TcpTransport> {
        &mut self.server
    }

    /// A handle that wakes the loop from other threads. To be asked for once: it holds a descriptor.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry())
    }

    /// Runs until a signal ends it. `on_hangup` is called for SIGHUP: at once, but no more than
    /// once a second, nor for more than about a tenth of the time; however many signals come in
    /// between are one more call. A stop comes first, and ends that.
    ///
    /// Each round: poll → dispatch the batch → accept → resume those out of budget → one slice of
    /// every fan-out → timers → reap the closed → after a burst, freed pages back to the system. A
    /// connection's replies are written when it is dispatched or resumed, all in one write. The poll
    /// does not wait while any work remains.
    ///
    /// # Errors
    ///
    /// epoll itself fails, which no recovery is known for.
    pub fn run(
        &mut self,
        mut on_hangup: impl FnMut(&mut Server<TcpTransport>),
    ) -> io::Result<Exit> {
        self.server.start_plugins();
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let wait_ms = self.poll_timeout();
            if wait_ms != Some(0) {
                self.server.on_idle();
            }
            retry::poll(&mut self.poll, &mut events, wait_ms.map(Duration::from_millis))?;
            let now = self.now();
            self.server.begin_batch(now);
            let mut signalled = false;
            for event in &events {
                signalled |= self.dispatch(event, now);
            }
            if signalled {
                self.on_signals(now);
            }
            if self.stop == Stop::AtOnce {
                return Ok(Exit::Aborted);
            }
            self.run_requested(now, &mut on_hangup);
            self.server.turn(self.poll.registry(), now);
            // What waits to be freed is held still.
            let (memory, retired) = (self.server.memory(), buffer::retired_bytes());
            let freed_total = memory.freed_total().saturating_sub(retired as u64);
            if self.trimmer.poll(memory.used() + retired, freed_total, now) {
                heap::trim();
            }
            if self.server.is_stopped() {
                return Ok(Exit::Stopped);
            }
            if self.stop == Stop::None && !self.server.is_accepting() {
                return Ok(Exit::Deaf);
            }
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        let now = self.now();
        let due = [self.trimmer.due_at(), self.reloads.due_at(), self.status_lines.due_at()];
        let waits_ms = due.into_iter().flatten().map(|at| at.since(now));
        waits_ms.chain(self.server.poll_timeout(now)).min()
    }

    /// Tells the server of one event; true if it is the signals'.
    fn dispatch(&mut self, event: &Event, now: Millis) -> bool {
        let Token(bits) = event.token();
        let id = ConnId::from_bits(bits as u64);
        if id == SIGNALS {
            return true;
        }
        if id == WAKER {
            return false;
        }
        if id.generation == 0 {
            self.server.on_acceptable(id.index as usize);
        } else {
            self.server.on_ready(self.poll.registry(), id, readiness(event), now);
        }
        false
    }

    /// Notes what the signals ask for. A stop is acted on at once, and before all else.
    fn on_signals(&mut self, now: Millis) {
        let requests = self.signals.take();
        if requests.stop {
            self.on_stop(now);
        }
        if requests.reload && self.stop == Stop::None {
            self.reloads.request();
        }
        if requests.status {
            self.status_lines.request();
        }
    }

    fn on_stop(&mut self, now: Millis) {
        if self.stop == Stop::None {
            self.stop = Stop::InOrder;
            self.reloads = Pacing::default();
            self.server.stop(self.poll.registry(), now);
        } else {
            self.stop = Stop::AtOnce;
            info!("a second signal: exiting at once");
        }
    }

    /// Does what signals have asked for, as far as its time has come.
    fn run_requested(
        &mut self,
        now: Millis,
        on_hangup: &mut impl FnMut(&mut Server<TcpTransport>),
    ) {
        if self.status_lines.begin(now) {
            self.server.log_status(now);
            self.status_lines.end(now, now);
        }
        if self.reloads.begin(now) {
            let began_at = self.now();
            on_hangup(&mut self.server);
            self.reloads.end(began_at, self.now());
        }
    }

    fn now(&self) -> Millis {
        let elapsed = self.started_at.elapsed().as_millis();
        Millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}
