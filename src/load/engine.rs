//! The loop: opens the connections, keeps them as the mode says, and notes what happens.
//!
//! One thread and one epoll, edge-triggered as in the server. Each round: what the phase has to do
//! (connects, requests that are due, the next batch) → poll → dispatch → resume those out of budget
//! → ticks. A connection's requests leave in one write a turn, and its answers are decoded where
//! they were read.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::connection::{Connection, State};
use super::machine::resident_bytes;
use super::options::{Loop, Mode, Plan};
use super::pace::{SECOND, Schedule, TokenBucket};
use super::screen::Screen;
use super::socket;
use super::sources::Sources;
use super::tally::{Counts, Phase, Row, Tally};
use super::target::Speech;
use super::wire::{Fault, Topic, Wire};

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// Bytes one `read` may return.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Reads from one connection in one turn before the others have theirs.
const READS_PER_TURN: u32 = 8;

/// Connections begun in one turn, so that those begun before are noticed in time.
const CONNECTS_PER_TURN: u64 = 64;

/// Requests taken from the schedule in one turn.
const DUE_PER_TURN: usize = 1024;

/// How long a connect, and a hello, may take.
const CONNECT_NS_MAX: u64 = 10 * SECOND;

/// How long the drain waits for answers.
const DRAIN_NS_MAX: u64 = 5 * SECOND;

/// How often the screen and the figure of server memory are renewed.
const TICK_NS: u64 = SECOND / 10;

const SIGNALS: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// A connection that was lost without an error number: the peer closed it.
const CLOSED_BY_PEER: &str = "EOF";

/// The connection that publishes.
const PUBLISHER: usize = 0;

/// Messages that are published and not yet with everyone.
#[derive(Debug, Default)]
struct Fanout {
    published: u64,
    /// Deliveries still to come, over all subscribers.
    owed: u64,
    published_at: u64,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) tally: Tally,
    /// What the hold or the traffic itself brought, and how long it was.
    pub(super) worked: Counts,
    pub(super) worked_ns: u64,
    pub(super) ramp_ns: u64,
    pub(super) rss_before: Option<u64>,
    pub(super) rss_held: Option<u64>,
    /// Connections open at the end of the hold or the traffic.
    pub(super) held: u64,
    /// Requests that were due and never answered.
    pub(super) unanswered: u64,
    /// The phase a signal ended.
    pub(super) interrupted: Option<Phase>,
}

/// A run under way.
pub(super) struct Engine<'a> {
    mode: Mode,
    target: SocketAddr,
    sources: &'a Sources,
    wire: Wire,
    deaf: bool,
    poll: Poll,
    signals: Signals,
    timer: TimerFd,
    /// For when the timer is set.
    timer_at: Option<u64>,
    started_at: Instant,
    connections: Vec<Connection>,
    /// Connections the ramp waits for, and all that may be too slow, in the order they were begun.
    settling: usize,
    begun: VecDeque<usize>,
    bucket: TokenBucket,
    /// Ports that were tried by name and are taken.
    ports_skipped: usize,
    schedule: Option<Schedule>,
    /// Whose turn it is to be asked something, and how far the next one is.
    cursor: usize,
    stride: usize,
    fanout: Fanout,
    /// Requests that are due and have no answer.
    unanswered: u64,
    resume: Vec<usize>,
    phase_began_at: u64,
    phase_ends_at: u64,
    counts_before: Counts,
    next_tick_at: u64,
    next_row_at: u64,
    /// What a chat's members are called, but for their number.
    nickname: String,
    done: bool,
    run: Run,
    buffer: Box<[u8]>,
}

impl<'a> Engine<'a> {
    /// A run that has not begun.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for epoll, the timer or the signal pipe.
    pub(super) fn new(plan: &Plan, target: SocketAddr, sources: &'a Sources) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        let fd = timer.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        let mode = plan.mode;
        let wanted = mode.connections() as usize;
        // Unique in a room that other testers may be in.
        let nickname = format!("l{:x}-", std::process::id());
        let publisher = format!("{nickname}{PUBLISHER}");
        let wire = Wire::new(&plan.target.speech, mode.topic(), mode.size() as usize, &publisher);
        Ok(Engine {
            mode,
            target,
            sources,
            wire,
            deaf: plan.target.speech == Speech::Tcp,
            poll,
            signals,
            timer,
            timer_at: None,
            started_at: Instant::now(),
            connections: Vec::with_capacity(wanted),
            settling: 0,
            begun: VecDeque::new(),
            bucket: TokenBucket::new(plan.connects_per_sec, 0),
            ports_skipped: 0,
            schedule: None,
            cursor: 0,
            stride: if matches!(mode, Mode::Idle { .. }) { stride(wanted) } else { 1 },
            fanout: Fanout::default(),
            unanswered: 0,
            resume: Vec::new(),
            phase_began_at: 0,
            phase_ends_at: u64::MAX,
            counts_before: Counts::default(),
            next_tick_at: 0,
            next_row_at: SECOND,
            nickname,
            done: false,
            run: Run {
                tally: Tally::new(),
                worked: Counts::default(),
                worked_ns: 0,
                ramp_ns: 0,
                rss_before: None,
                rss_held: None,
                held: 0,
                unanswered: 0,
                interrupted: None,
            },
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// Runs to the end, or until a signal. `on_row` is shown each second as it ends.
    ///
    /// # Errors
    ///
    /// epoll itself fails, or `on_row` does.
    pub(super) fn run(
        mut self,
        screen: &mut Screen,
        mut on_row: impl FnMut(&Row) -> io::Result<()>,
    ) -> io::Result<Run> {
        self.run.rss_before = self.mode.server_pid().and_then(resident_bytes);
        self.started_at = Instant::now();
        screen.phase(&self.run.tally, self.mode);
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.done {
            self.work();
            let wait = self.wait()?;
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.on_signals(),
                    TIMER => self.timer_at = None,
                    Token(index) => self.on_ready(
                        index,
                        event.is_readable() || event.is_error(),
                        event.is_writable() || event.is_error() || event.is_write_closed(),
                        event.is_read_closed() || event.is_error(),
                    ),
                }
            }
            for index in std::mem::take(&mut self.resume) {
                self.on_ready(index, true, false, true);
            }
            let now = self.now();
            if now >= self.next_tick_at {
                self.tick(now, screen, &mut on_row)?;
            }
            // A phase may have nothing to wait for, and the next one then neither.
            while self.advance(now) && !self.done {
                screen.phase(&self.run.tally, self.mode);
            }
        }
        self.finish(&mut on_row)?;
        Ok(self.run)
    }

    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long there is nothing to do but to wait for events; sets the timer where a millisecond,
    /// which is what epoll_wait(2) counts in, is too coarse.
    fn wait(&mut self) -> io::Result<Option<Duration>> {
        let now = self.now();
        let mut until = self.next_tick_at.min(self.phase_ends_at);
        if self.run.tally.phase == Phase::Ramp && self.connections.len() < self.wanted() {
            until = until.min(self.bucket.next_at());
        }
        let due_at = self.schedule.as_ref().and_then(Schedule::next_at);
        if let Some(due_at) = due_at.filter(|at| *at < until) {
            if due_at <= now {
                return Ok(Some(Duration::ZERO));
            }
            if self.timer_at != Some(due_at) {
                let after = TimeSpec::from_duration(Duration::from_nanos(due_at - now));
                self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
                self.timer_at = Some(due_at);
            }
        }
        let busy = !self.resume.is_empty() || self.must_publish();
        let wait = if busy { 0 } else { until.saturating_sub(now) };
        Ok(Some(Duration::from_nanos(wait)))
    }

    fn wanted(&self) -> usize {
        self.mode.connections() as usize
    }

    /// What the phase has to do without being asked.
    fn work(&mut self) {
        if self.run.tally.phase == Phase::Ramp {
            self.begin_connections();
        }
        if self.schedule.is_some() {
            self.send_what_is_due();
        }
        if self.must_publish() {
            self.publish();
        }
    }

    fn begin_connections(&mut self) {
        let missing = (self.wanted() - self.connections.len()) as u64;
        if missing == 0 {
            return;
        }
        for _ in 0..self.bucket.take(self.now(), missing.min(CONNECTS_PER_TURN)) {
            let index = self.connections.len();
            let now = self.now();
            let mut tried = 0;
            let ports = self.sources.ports(index, self.ports_skipped).inspect(|_| tried += 1);
            let source = self.sources.address(index);
            let begun = socket::connect(self.target, source, ports).and_then(|mut stream| {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index), both)?;
                Ok(stream)
            });
            self.ports_skipped += usize::saturating_sub(tried, 1);
            match begun {
                Ok(stream) => {
                    self.connections.push(Connection::new(Some(stream), now));
                    self.begun.push_back(index);
                    self.settling += 1;
                }
                Err(error) => {
                    self.connections.push(Connection::new(None, now));
                    self.run.tally.counts.failed += 1;
                    self.run.tally.fail(&socket::errno_name(&error), now);
                }
            }
        }
    }

    /// Open loop: what should have left by now leaves, each connection's share in one write.
    fn send_what_is_due(&mut self) {
        let mut touched = Vec::new();
        let now = self.now();
        for _ in 0..DUE_PER_TURN {
            let Some(at) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) else {
                break;
            };
            let Some(index) = self.next_open() else { return };
            let connection = &mut self.connections[index];
            let busy = connection.busy();
            busy.lane.push(at, 1);
            self.unanswered += 1;
            if busy.unsent == 0 {
                touched.push(index);
            }
            if self.depart(index) > 0 {
                self.run.tally.record_lag(now.saturating_sub(at));
            }
        }
        for index in touched {
            self.flush(index);
        }
    }

    /// Whose turn it is, among those that are open.
    fn next_open(&mut self) -> Option<usize> {
        for _ in 0..self.connections.len() {
            let index = self.cursor;
            self.cursor = (self.cursor + self.stride) % self.connections.len();
            if self.connections[index].state == State::Open {
                return Some(index);
            }
        }
        None
    }

    /// Requests of connection `index` that wait and may leave join its unsent bytes.
    fn depart(&mut self, index: usize) -> u32 {
        let Some(busy) = &mut self.connections[index].busy else { return 0 };
        let count = busy.lane.depart(self.mode.depth());
        busy.unsent += u64::from(count) * self.wire.request_len() as u64;
        self.run.tally.counts.sent += u64::from(count);
        count
    }

    /// `count` more requests of connection `index` are meant to leave at `now`.
    fn ask(&mut self, index: usize, now: u64, count: u32) {
        self.connections[index].busy().lane.push(now, count);
        self.unanswered += u64::from(count);
        self.depart(index);
    }

    /// Everyone has the last batch, and there is time for another.
    fn must_publish(&self) -> bool {
        let idle = |publisher: &Connection| {
            let busy = publisher.busy.as_ref();
            busy.is_none_or(|busy| busy.unsent == 0 && busy.lane.unanswered() == 0)
        };
        self.mode.topic() == Topic::Fanout
            && self.run.tally.phase == Phase::Traffic
            && self.fanout.owed == 0
            && self.connections.get(PUBLISHER).is_some_and(idle)
    }

    fn publish(&mut self) {
        let now = self.now();
        if now >= self.phase_ends_at || self.connections[PUBLISHER].state != State::Open {
            return;
        }
        let batch = self.mode.depth();
        // The publisher is no subscriber of its own.
        let subscribers = self.run.tally.connected().saturating_sub(1);
        self.fanout.published += u64::from(batch);
        self.fanout.owed = u64::from(batch) * subscribers;
        self.fanout.published_at = now;
        if self.wire.confirms() {
            self.ask(PUBLISHER, now, batch);
        } else {
            let len = self.wire.request_len() as u64;
            self.connections[PUBLISHER].busy().unsent += u64::from(batch) * len;
            self.run.tally.counts.sent += u64::from(batch);
        }
        self.flush(PUBLISHER);
    }

    fn on_ready(&mut self, index: usize, readable: bool, writable: bool, read_closed: bool) {
        let Some(connection) = self.connections.get(index) else { return };
        if connection.state == State::Connecting && (writable || readable) {
            self.on_connecting(index);
        }
        if readable && self.is_up(index) {
            self.read(index, read_closed);
        }
        let unsent = |busy: &super::connection::Busy| busy.unsent > 0;
        if self.connections[index].busy.as_deref().is_some_and(unsent) {
            self.flush(index);
        }
    }

    fn is_up(&self, index: usize) -> bool {
        matches!(self.connections[index].state, State::Open | State::Joining)
    }

    fn on_connecting(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(outcome) = connection.stream.as_ref().and_then(socket::outcome) else { return };
        if let Err(error) = outcome {
            return self.lose(index, &socket::errno_name(&error));
        }
        let begun_at = connection.begun_at;
        let now = self.now();
        self.run.tally.counts.opened += 1;
        self.run.tally.record_connect(now.saturating_sub(begun_at));
        if self.mode.topic() == Topic::Echo {
            self.connections[index].state = State::Open;
            self.settling -= 1;
            return;
        }
        let hello = self.wire.hello(&format!("{}{index}", self.nickname));
        let connection = &mut self.connections[index];
        connection.state = State::Joining;
        connection.busy().lane.push(now, 1);
        connection.busy().lane.depart(1);
        self.unanswered += 1;
        let sent = connection.stream.as_mut().map_or(Ok(0), |stream| stream.write(&hello));
        match sent {
            Ok(sent) => self.run.tally.counts.bytes_sent += sent as u64,
            Err(error) => self.lose(index, &socket::errno_name(&error)),
        }
    }

    /// Reads until the socket is empty, or has had its turn.
    fn read(&mut self, index: usize, read_closed: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = &mut self.connections[index].stream else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => return self.lose(index, CLOSED_BY_PEER),
                Ok(len) => {
                    self.run.tally.counts.bytes_received += len as u64;
                    if !self.deaf {
                        self.digest(index, len);
                    }
                    // A short read has emptied the socket, unless its end is still to be read.
                    if len < self.buffer.len() && !read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, &socket::errno_name(&error)),
            }
        }
        self.resume.push(index);
    }

    /// Takes in what was read from connection `index`.
    fn digest(&mut self, index: usize, len: usize) {
        let now = self.now();
        let connection = &mut self.connections[index];
        let joining = connection.state == State::Joining;
        let busy = connection.busy.get_or_insert_default();
        let input = &self.buffer[..len];
        let seen = if busy.tail.is_empty() {
            let seen = self.wire.take(input, joining, &mut busy.carry);
            if seen.consumed < len {
                busy.tail.extend(&input[seen.consumed..]);
            }
            seen
        } else {
            busy.tail.extend(input);
            let seen = self.wire.take(&busy.tail, joining, &mut busy.carry);
            busy.tail.consume(seen.consumed);
            seen
        };
        if seen.answers > 0 && !self.on_answers(index, seen.answers, now) {
            let fault = self.wire.unasked(&self.buffer[..len]);
            return self.on_fault(index, fault);
        }
        if seen.deliveries > 0 && !self.on_deliveries(index, seen.deliveries, now) {
            return self.on_fault(index, Fault::Junk);
        }
        if let Some(fault) = seen.fault {
            self.on_fault(index, fault);
        }
    }

    /// False if nobody had asked.
    fn on_answers(&mut self, index: usize, count: u32, now: u64) -> bool {
        let connection = &mut self.connections[index];
        let joining = connection.state == State::Joining;
        let echo = self.mode.topic() == Topic::Echo;
        let tally = &mut self.run.tally;
        let known = connection.busy().lane.answer(count, |at, count| {
            if echo {
                tally.record(now.saturating_sub(at), count);
            }
        });
        if !known {
            return false;
        }
        self.unanswered -= u64::from(count);
        if joining {
            connection.state = State::Open;
            self.settling -= 1;
            return true;
        }
        tally.counts.answered += u64::from(count);
        let closed = self.mode.load() == Loop::Closed;
        if echo && closed && tally.phase == Phase::Traffic && now < self.phase_ends_at {
            self.ask(index, now, count);
        } else {
            self.depart(index);
        }
        true
    }

    /// False if there were not so many on their way.
    fn on_deliveries(&mut self, index: usize, count: u32, now: u64) -> bool {
        let busy = self.connections[index].busy();
        busy.received += u64::from(count);
        if busy.received > self.fanout.published {
            busy.received = self.fanout.published;
            return false;
        }
        self.fanout.owed = self.fanout.owed.saturating_sub(u64::from(count));
        self.run.tally.counts.deliveries += u64::from(count);
        self.run.tally.record(now.saturating_sub(self.fanout.published_at), count);
        true
    }

    fn on_fault(&mut self, index: usize, fault: Fault) {
        match fault {
            Fault::Refused(words) => {
                self.run.tally.words.get_or_insert(words);
                self.lose(index, "EPROTO");
            }
            Fault::Junk => self.lose(index, "EBADMSG"),
        }
    }

    /// Sends what connection `index` has to send, as far as its socket takes it.
    #[inline]
    fn flush(&mut self, index: usize) {
        let Connection { stream: Some(stream), busy: Some(busy), .. } =
            &mut self.connections[index]
        else {
            return;
        };
        while busy.unsent > 0 {
            let bytes = self.wire.unsent(busy.done, busy.unsent);
            match stream.write(bytes) {
                Ok(sent) => {
                    busy.done += sent as u64;
                    busy.unsent -= sent as u64;
                    self.run.tally.counts.bytes_sent += sent as u64;
                    if sent < bytes.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, &socket::errno_name(&error)),
            }
        }
    }

    /// Connection `index` failed, or is no more.
    #[cold]
    fn lose(&mut self, index: usize, name: &str) {
        let now = self.now();
        let connection = &mut self.connections[index];
        if connection.state == State::Connecting {
            self.run.tally.counts.failed += 1;
        } else {
            self.run.tally.counts.dropped += 1;
        }
        self.settling -= usize::from(connection.state.is_settling());
        let was_open = connection.state == State::Open;
        connection.state = State::Gone;
        connection.stream = None;
        let busy = connection.busy.take().unwrap_or_default();
        self.unanswered -= busy.lane.unanswered();
        self.run.unanswered += busy.lane.unanswered();
        if self.mode.topic() == Topic::Fanout && index != PUBLISHER && was_open {
            let missed = self.fanout.published - busy.received;
            self.fanout.owed = self.fanout.owed.saturating_sub(missed);
        }
        self.run.tally.fail(name, now);
    }

    fn on_signals(&mut self) {
        if self.signals.pending().count() > 0 {
            self.run.interrupted.get_or_insert(self.run.tally.phase);
        }
    }

    fn tick(
        &mut self,
        now: u64,
        screen: &mut Screen,
        on_row: &mut impl FnMut(&Row) -> io::Result<()>,
    ) -> io::Result<()> {
        self.next_tick_at = now - now % TICK_NS + TICK_NS;
        self.give_up_on_slow_connects(now);
        if let Some(rss_bytes) = self.mode.server_pid().and_then(resident_bytes) {
            self.run.tally.note_memory(rss_bytes);
        }
        if now >= self.next_row_at {
            self.next_row_at = now - now % SECOND + SECOND;
            on_row(self.run.tally.end_row(now))?;
        }
        screen.tick(&self.run.tally, self.mode, now.saturating_sub(self.phase_began_at));
        Ok(())
    }

    fn give_up_on_slow_connects(&mut self, now: u64) {
        while let Some(&index) = self.begun.front() {
            let connection = &self.connections[index];
            if connection.state.is_settling() {
                if connection.begun_at.saturating_add(CONNECT_NS_MAX) > now {
                    return;
                }
                self.lose(index, "ETIMEDOUT");
            }
            self.begun.pop_front();
        }
    }

    /// Goes on to the next phase where this one is over; whether it was.
    fn advance(&mut self, now: u64) -> bool {
        let connected = self.run.tally.connected();
        let over = match self.run.tally.phase {
            Phase::Ramp => self.connections.len() == self.wanted() && self.settling == 0,
            Phase::Hold | Phase::Traffic => {
                now >= self.phase_ends_at || connected == 0 || self.has_lost_its_publisher()
            }
            Phase::Drain => {
                let waits = self.unanswered > 0 || self.fanout.owed > 0;
                !waits || now >= self.phase_ends_at
            }
        };
        if self.run.interrupted.is_some() {
            self.end_phase(now);
            self.done = true;
        } else if over {
            self.end_phase(now);
            match self.run.tally.phase {
                Phase::Ramp if connected == 0 || self.has_lost_its_publisher() => self.done = true,
                Phase::Ramp => self.begin_work(now),
                Phase::Hold | Phase::Traffic => {
                    self.schedule = None;
                    self.begin(Phase::Drain, now, DRAIN_NS_MAX);
                }
                Phase::Drain => self.done = true,
            }
        }
        over || self.done
    }

    fn has_lost_its_publisher(&self) -> bool {
        self.mode.topic() == Topic::Fanout && self.connections[PUBLISHER].state == State::Gone
    }

    fn begin(&mut self, phase: Phase, now: u64, lasts_ns: u64) {
        self.run.tally.phase = phase;
        self.run.tally.phases.push((phase, now));
        self.phase_began_at = now;
        self.phase_ends_at = now.saturating_add(lasts_ns);
        self.counts_before = self.run.tally.counts;
    }

    fn begin_work(&mut self, now: u64) {
        let idle = matches!(self.mode, Mode::Idle { .. });
        let phase = if idle { Phase::Hold } else { Phase::Traffic };
        self.begin(phase, now, self.mode.secs().saturating_mul(SECOND));
        if let Some(per_sec) = self.mode.requests_per_sec() {
            self.schedule = Some(Schedule::new(now, self.phase_ends_at, per_sec));
        } else if let Mode::Echo { depth, .. } = self.mode {
            for index in 0..self.connections.len() {
                if self.connections[index].state == State::Open {
                    self.ask(index, self.now(), depth);
                    self.flush(index);
                }
            }
        }
    }

    fn end_phase(&mut self, now: u64) {
        let lasted_ns = now.saturating_sub(self.phase_began_at);
        match self.run.tally.phase {
            Phase::Ramp => self.run.ramp_ns = lasted_ns,
            Phase::Hold | Phase::Traffic => {
                self.run.worked_ns = lasted_ns;
                self.run.worked = self.run.tally.counts.since(&self.counts_before);
                self.run.held = self.run.tally.connected();
                self.run.rss_held = self.mode.server_pid().and_then(resident_bytes);
            }
            Phase::Drain => {}
        }
    }

    /// Who still owes an answer has failed, unless nobody waited for it.
    fn finish(&mut self, on_row: &mut impl FnMut(&Row) -> io::Result<()>) -> io::Result<()> {
        let now = self.now();
        self.run.unanswered += self.unanswered;
        if self.run.interrupted.is_none() {
            let fanout = self.mode.topic() == Topic::Fanout;
            for (index, connection) in self.connections.iter().enumerate() {
                let Some(busy) = &connection.busy else { continue };
                let owed = fanout && index != PUBLISHER && busy.received < self.fanout.published;
                if owed || busy.lane.unanswered() > 0 {
                    self.run.tally.fail("ETIMEDOUT", now);
                }
            }
        }
        let last_row_at = self.run.tally.series.last().map_or(0.0, |row| row.t);
        if self.run.tally.has_news() || now as f64 / 1e9 > last_row_at + 0.1 {
            on_row(self.run.tally.end_row(now))?;
        }
        for stream in self.connections.iter().filter_map(|connection| connection.stream.as_ref()) {
            // It is gone either way.
            let _ = socket::close_by_reset(stream);
        }
        self.connections.clear();
        Ok(())
    }
}

/// A step that visits each of `count` before it comes back to any, and goes far each time, so that
/// the probes are spread over all connections however few they are.
fn stride(count: usize) -> usize {
    fn divisor(a: usize, b: usize) -> usize {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    // The golden ratio spreads points most evenly.
    let step = (count as f64 * 0.618) as usize;
    (step.max(1)..).find(|step| divisor(*step, count) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_visit_every_connection_before_any_twice() {
        for count in [1, 2, 3, 10, 97, 1000, 19_000] {
            let step = stride(count);
            let mut at = 0;
            let mut seen = vec![false; count];
            for _ in 0..count {
                assert!(!std::mem::replace(&mut seen[at], true), "{count}");
                at = (at + step) % count;
            }
        }
    }
}
