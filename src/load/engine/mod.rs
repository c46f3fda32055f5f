//! The loop: which phase it is, what is due, and whom the events are for. What is is_done with a
//! connection is in [`connection_io`].
//!
//! One thread and one epoll, edge-triggered as in the server. Each round: what the phase has to do
//! (connects, requests that are due, the next batch) → poll → dispatch → resume_list those out of budget
//! → ticks. A connection's requests leave in one write a turn, and its answers are decoded where
//! they were read.

mod connection_io;

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
use super::options::{Mode, Plan};
use super::pacing::{NS_PER_SEC, Schedule, TokenBucket};
use super::progress::Progress;
use super::socket;
use super::sources::Sources;
use super::stats::{Counts, Phase, Row, Stats};
use super::sysinfo::{is_ignored, resident_bytes};
use super::target::Protocol;
use super::workload::{Pattern, Workload};

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// Bytes one `read` may return.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// How long a connect, and a hello, may take.
const CONNECT_NS_MAX: u64 = 10 * NS_PER_SEC;

/// How long the drain waits for answers.
const DRAIN_NS_MAX: u64 = 5 * NS_PER_SEC;

/// How often the progress and the figure of server memory are renewed.
const TICK_NS: u64 = NS_PER_SEC / 10;

const SIGNALS: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// The connection that publishes.
const PUBLISHER: usize = 0;

/// Messages that are published and not yet with everyone.
#[derive(Debug, Default)]
struct Fanout {
    published: u64,
    /// Deliveries still to come, over all subscribers.
    undelivered: u64,
    published_at: u64,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) stats: Stats,
    /// What the hold or the traffic itself brought, and how long it was.
    pub(super) measured: Counts,
    pub(super) measured_ns: u64,
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
    workload: Workload,
    ignores_input: bool,
    poll: Poll,
    signals: Signals,
    timer: TimerFd,
    /// For when the timer is set.
    timer_at: Option<u64>,
    started_at: Instant,
    connections: Vec<Connection>,
    /// Connections the ramp waits for, and all that may be too slow, in the order they were connecting.
    pending: usize,
    connecting: VecDeque<usize>,
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
    resume_list: Vec<usize>,
    phase_started_at: u64,
    phase_ends_at: u64,
    counts_at_phase_start: Counts,
    next_tick_at: u64,
    next_row_at: u64,
    /// What a chat's members are called, but for their number.
    nickname: String,
    is_done: bool,
    run: Run,
    buffer: Box<[u8]>,
}

impl<'a> Engine<'a> {
    /// A run that has not connecting.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for epoll, the timer or the signal pipe.
    pub(super) fn new(plan: &Plan, target: SocketAddr, sources: &'a Sources) -> io::Result<Self> {
        let poll = Poll::new()?;
        // A terminal that goes must not take an hour's figures with it.
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
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
        let workload =
            Workload::new(&plan.target.protocol, mode.pattern(), mode.size() as usize, &publisher);
        Ok(Engine {
            mode,
            target,
            sources,
            workload,
            ignores_input: plan.target.protocol == Protocol::Tcp,
            poll,
            signals,
            timer,
            timer_at: None,
            started_at: Instant::now(),
            connections: Vec::with_capacity(wanted),
            pending: 0,
            connecting: VecDeque::new(),
            bucket: TokenBucket::new(plan.connects_per_sec, 0),
            ports_skipped: 0,
            schedule: None,
            cursor: 0,
            stride: if matches!(mode, Mode::Idle { .. }) { stride(wanted) } else { 1 },
            fanout: Fanout::default(),
            unanswered: 0,
            resume_list: Vec::new(),
            phase_started_at: 0,
            phase_ends_at: u64::MAX,
            counts_at_phase_start: Counts::default(),
            next_tick_at: 0,
            next_row_at: NS_PER_SEC,
            nickname,
            is_done: false,
            run: Run {
                stats: Stats::new(),
                measured: Counts::default(),
                measured_ns: 0,
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
        progress: &mut Progress,
        mut on_row: impl FnMut(&Row) -> io::Result<()>,
    ) -> io::Result<Run> {
        self.run.rss_before = self.mode.server_pid().and_then(resident_bytes);
        self.started_at = Instant::now();
        progress.phase(&self.run.stats, self.mode);
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_done {
            self.start_due_work();
            let wait = self.poll_timeout()?;
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
            for index in std::mem::take(&mut self.resume_list) {
                self.connections[index].is_resuming = false;
                self.on_ready(index, true, false, true);
            }
            let now = self.now();
            if now >= self.next_tick_at {
                self.tick(now, progress, &mut on_row)?;
            }
            // A phase may have nothing to wait for, and the next one then neither.
            while self.advance(now) && !self.is_done {
                progress.phase(&self.run.stats, self.mode);
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
    fn poll_timeout(&mut self) -> io::Result<Option<Duration>> {
        let now = self.now();
        let mut until = self.next_tick_at.min(self.phase_ends_at);
        if self.run.stats.phase == Phase::Ramp && self.connections.len() < self.wanted() {
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
        let has_work = !self.resume_list.is_empty() || self.must_publish();
        let wait = if has_work { 0 } else { until.saturating_sub(now) };
        Ok(Some(Duration::from_nanos(wait)))
    }

    fn wanted(&self) -> usize {
        self.mode.connections() as usize
    }

    /// What the phase has to do without being asked.
    fn start_due_work(&mut self) {
        if self.run.stats.phase == Phase::Ramp {
            self.start_connects();
        }
        if self.schedule.is_some() {
            self.send_due_requests();
        }
        if self.must_publish() {
            self.publish();
        }
    }

    fn on_signals(&mut self) {
        if self.signals.pending().count() > 0 {
            self.run.interrupted.get_or_insert(self.run.stats.phase);
        }
    }

    fn tick(
        &mut self,
        now: u64,
        progress: &mut Progress,
        on_row: &mut impl FnMut(&Row) -> io::Result<()>,
    ) -> io::Result<()> {
        self.next_tick_at = now - now % TICK_NS + TICK_NS;
        self.expire_connects(now);
        if let Some(rss_bytes) = self.mode.server_pid().and_then(resident_bytes) {
            self.run.stats.record_memory(rss_bytes);
        }
        if now >= self.next_row_at {
            self.next_row_at = now - now % NS_PER_SEC + NS_PER_SEC;
            on_row(self.run.stats.end_row(now))?;
        }
        progress.tick(&self.run.stats, self.mode, now.saturating_sub(self.phase_started_at));
        Ok(())
    }

    fn expire_connects(&mut self, now: u64) {
        while let Some(&index) = self.connecting.front() {
            let connection = &self.connections[index];
            if connection.state.is_pending() {
                if connection.connect_started_at.saturating_add(CONNECT_NS_MAX) > now {
                    return;
                }
                self.fail(index, "ETIMEDOUT");
            }
            self.connecting.pop_front();
        }
    }

    /// Goes on to the next phase where this one is over; whether it was.
    fn advance(&mut self, now: u64) -> bool {
        let connected = self.run.stats.connected();
        let over = match self.run.stats.phase {
            Phase::Ramp => self.connections.len() == self.wanted() && self.pending == 0,
            Phase::Hold | Phase::Traffic => {
                now >= self.phase_ends_at || connected == 0 || self.has_lost_publisher()
            }
            Phase::Drain => {
                let due = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(now));
                let waits = self.unanswered > 0 || self.fanout.undelivered > 0 || due > 0;
                !waits || connected == 0 || now >= self.phase_ends_at
            }
        };
        if self.run.interrupted.is_some() {
            self.end_phase(now);
            self.is_done = true;
        } else if over {
            self.end_phase(now);
            match self.run.stats.phase {
                Phase::Ramp if connected == 0 || self.has_lost_publisher() => self.is_done = true,
                Phase::Ramp => self.start_main_phase(now),
                Phase::Hold | Phase::Traffic => {
                    // What was due before may still have to leave.
                    if let Some(schedule) = &mut self.schedule {
                        schedule.close(now);
                    }
                    self.start_phase(Phase::Drain, now, DRAIN_NS_MAX);
                }
                Phase::Drain => self.is_done = true,
            }
        }
        over || self.is_done
    }

    fn has_lost_publisher(&self) -> bool {
        self.mode.pattern() == Pattern::Fanout && self.connections[PUBLISHER].state == State::Gone
    }

    fn start_phase(&mut self, phase: Phase, now: u64, lasts_ns: u64) {
        self.run.stats.start_phase(phase, now);
        self.phase_started_at = now;
        self.phase_ends_at = now.saturating_add(lasts_ns);
        self.counts_at_phase_start = self.run.stats.counts;
    }

    fn start_main_phase(&mut self, now: u64) {
        let idle = matches!(self.mode, Mode::Idle { .. });
        let phase = if idle { Phase::Hold } else { Phase::Traffic };
        self.start_phase(phase, now, self.mode.secs().saturating_mul(NS_PER_SEC));
        if let Some(per_sec) = self.mode.requests_per_sec() {
            self.schedule = Some(Schedule::new(now, self.phase_ends_at, per_sec));
        } else if let Mode::Echo { depth, .. } = self.mode {
            for index in 0..self.connections.len() {
                if self.connections[index].state == State::Open {
                    self.queue_requests(index, self.now(), depth);
                    self.flush(index);
                }
            }
        }
    }

    fn end_phase(&mut self, now: u64) {
        let lasted_ns = now.saturating_sub(self.phase_started_at);
        match self.run.stats.phase {
            Phase::Ramp => self.run.ramp_ns = lasted_ns,
            Phase::Hold | Phase::Traffic => {
                self.run.measured_ns = lasted_ns;
                self.run.measured = self.run.stats.counts.since(&self.counts_at_phase_start);
                self.run.held = self.run.stats.connected();
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
            let fanout = self.mode.pattern() == Pattern::Fanout;
            for (index, connection) in self.connections.iter().enumerate() {
                let Some(active) = &connection.active else { continue };
                let undelivered =
                    fanout && index != PUBLISHER && active.received < self.fanout.published;
                if undelivered || active.in_flight.unanswered() > 0 {
                    self.run.stats.record_error("ETIMEDOUT", now);
                }
            }
        }
        let last_row_at = self.run.stats.series.last().map_or(0.0, |row| row.t);
        if self.run.stats.has_changes() || now as f64 / 1e9 > last_row_at + 0.1 {
            on_row(self.run.stats.end_row(now))?;
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
            let mut visited = vec![false; count];
            for _ in 0..count {
                assert!(!std::mem::replace(&mut visited[at], true), "{count}");
                at = (at + step) % count;
            }
        }
    }
}
