//! The loop: which phase it is, what is due, and whom the events are for. What is done with a
//! connection is in [`talk`].
//!
//! One thread and one epoll, edge-triggered as in the server. Each round: what the phase has to do
//! (connects, requests that are due, the next batch) → poll → dispatch → resume those out of budget
//! → ticks. A connection's requests leave in one write a turn, and its answers are decoded where
//! they were read.

mod talk;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::connection::{Connection, State};
use super::machine::{ignores, resident_bytes};
use super::options::{Mode, Plan};
use super::pace::{SECOND, Schedule, TokenBucket};
use super::screen::Screen;
use super::socket;
use super::sources::Sources;
use super::tally::{Counts, Phase, Row, Tally};
use super::target::Speech;
use super::wire::{Topic, Wire};

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// Bytes one `read` may return.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// How long a connect, and a hello, may take.
const CONNECT_NS_MAX: u64 = 10 * SECOND;

/// How long the drain waits for answers.
const DRAIN_NS_MAX: u64 = 5 * SECOND;

/// How often the screen and the figure of server memory are renewed.
const TICK_NS: u64 = SECOND / 10;

const SIGNALS: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

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
    /// Requests that were due and never answered, and those of them that never left.
    pub(super) unanswered: u64,
    pub(super) unsent: u64,
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
        // A terminal that goes must not take an hour's figures with it.
        let hangup = (!ignores(SIGHUP)).then_some(SIGHUP);
        let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
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
                unsent: 0,
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
                self.connections[index].resumes = false;
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
        let due_at = due_at.filter(|_| !self.has_backlog());
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
                let due = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(now));
                let waits = self.unanswered > 0 || self.fanout.owed > 0 || due > 0;
                !waits || connected == 0 || now >= self.phase_ends_at
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
                    // What was due before may still have to leave.
                    if let Some(schedule) = &mut self.schedule {
                        schedule.close(now);
                    }
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
        self.run.tally.begin(phase, now);
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
        self.run.unsent = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(now));
        self.run.unanswered += self.unanswered + self.run.unsent;
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
