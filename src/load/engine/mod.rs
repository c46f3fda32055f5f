//! The loop: phases, times and events of a run. [`connection_io`] does the work on one connection.
//!
//! One thread and one poll, edge-triggered as in the server. Each round: what the phase starts on its
//! own (connects, due requests, the next batch) → poll → dispatch → connections on the resume list →
//! tick. A connection's requests leave in one write a turn, and its replies are decoded in the read
//! buffer.

mod backlog_wait;
mod connection_io;
mod due_timer;
mod storm;
#[cfg_attr(not(feature = "tls"), path = "tls_disabled.rs")]
mod tls_io;
mod wake;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::connection::{Connection, State};
use super::job_link::JobLink;
use super::job_link::messages::Tick;
use super::plan::{ConnectPacing, Mode, Pattern, Plan};
use super::progress::Progress;
use super::rate::{NS_PER_SEC, Pacer, Ramp, RequestSchedule, TokenBucket};
use super::route::{Route, Spread};
use super::share::Share;
use super::signals;
use super::socket;
use super::stats::{Counts, Phase, Row, Stage, Stats, TargetCounts};
use super::storm::StormRecord;
use super::sysinfo::{self, KernelMemory};
use super::usage::Usage;
use super::wake::WakeStep;
use super::workload::{Workload, random_letters};
use crate::net::{SignalPipe, poll, readiness};
use crate::server::Readiness;
use backlog_wait::BacklogWait;
use due_timer::DueTimer;
use storm::Storms;
use tls_io::TlsLayer;
use wake::Sleepers;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// Bytes one `read` may return.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Longest time for a connect, and for the reply to a hello.
const CONNECT_NS_MAX: u64 = 10 * NS_PER_SEC;

/// Longest time that the drain waits for replies, and in a fan-out for the next delivery.
const DRAIN_NS_MAX: u64 = 5 * NS_PER_SEC;

/// Longest time without a delivery, after which those of the batch that are missing are lost where
/// there are several targets: what lies between them may lose messages, and nobody says which.
const DELIVERY_NS_MAX: u64 = 5 * NS_PER_SEC;

/// Interval at which the loop checks how late it runs.
const LAG_INTERVAL_NS: u64 = NS_PER_SEC / 100;

/// Interval at which progress is shown and timeouts are checked.
const TICK_NS: u64 = NS_PER_SEC / 10;

const SIGNALS: Token = Token(usize::MAX);
const DUE_TIMER: Token = Token(usize::MAX - 1);
const JOB_LINK: Token = Token(usize::MAX - 2);

/// Index of the connection that publishes in a fan-out.
const PUBLISHER: usize = 0;

/// Random letters in the nicknames of a tester.
const NICKNAME_LETTERS: usize = 6;

/// State of a fan-out: messages that have been published and not yet delivered to all.
#[derive(Debug, Default)]
struct Fanout {
    published: u64,
    /// Deliveries still expected, over all subscribers.
    undelivered: u64,
    /// Time at which the current batch left.
    published_at: u64,
    /// Time of the last delivery, or of the current batch.
    moved_at: u64,
}

/// Measurements of one run. Times are nanoseconds.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) stats: Stats,
    /// Counts and length of the hold or the traffic, without ramp and drain.
    pub(super) measured: Counts,
    pub(super) measured_ns: u64,
    pub(super) ramp_ns: u64,
    /// Anonymous memory of the server before the first connect, and at the end of the hold.
    pub(super) rss_before: Option<u64>,
    pub(super) rss_held: Option<u64>,
    /// The kernel's memory at the same times.
    pub(super) kernel_before: KernelMemory,
    pub(super) kernel_held: KernelMemory,
    /// Connections open at the end of the hold or the traffic.
    pub(super) held: u64,
    /// Requests that were due and never answered, `unsent` among them.
    pub(super) unanswered: u64,
    /// Requests that were due and never sent.
    pub(super) unsent: u64,
    /// The phase that a signal ended.
    pub(super) interrupted: Option<Phase>,
    /// Counts of each target, the first one first.
    pub(super) targets: Vec<TargetCounts>,
    /// `storm`: those that have begun; else none.
    pub(super) storms: Vec<StormRecord>,
    /// `wake`: its sleeps; else none.
    pub(super) wake_steps: Vec<WakeStep>,
    /// Memory and processor time of all who took part.
    pub(super) usage: Usage,
}

impl Run {
    /// A run in which nothing has been measured yet.
    pub(super) fn new(targets: usize) -> Self {
        Run {
            stats: Stats::new(),
            measured: Counts::default(),
            measured_ns: 0,
            ramp_ns: 0,
            rss_before: None,
            rss_held: None,
            kernel_before: KernelMemory::default(),
            kernel_held: KernelMemory::default(),
            held: 0,
            unanswered: 0,
            unsent: 0,
            interrupted: None,
            targets: vec![TargetCounts::default(); targets],
            storms: Vec::new(),
            wake_steps: Vec::new(),
            usage: Usage::default(),
        }
    }
}

/// A run in progress.
pub(super) struct Engine<'a> {
    mode: Mode,
    /// Share of this process.
    share: Share,
    /// The clock of a run of several processes; `None` if this is the only one.
    link: Option<&'a mut JobLink>,
    /// Time since which the other processes are waited for.
    arrived_at: Option<u64>,
    /// Process whose memory is watched.
    server_pid: Option<u32>,
    routes: &'a [Route],
    spread: Spread,
    workload: Workload,
    /// Input is counted and discarded: it means nothing.
    ignores_input: bool,
    poll: Poll,
    signals: SignalPipe,
    is_signalled: Arc<AtomicBool>,
    due_timer: DueTimer,
    started_at: Instant,
    connections: Vec<Connection>,
    /// TLS, where the target speaks it.
    tls: Option<TlsLayer>,
    /// Connections that are connecting or joining: the ramp waits for them.
    pending: usize,
    /// Connects in their order, with their times. The front is the first to time out; connections
    /// that are no longer pending, or have been started anew, are skipped.
    connecting: VecDeque<(u64, usize)>,
    pacer: Pacer,
    /// The connect that waits for a full backlog, and the time of its next try.
    backlog_wait: BacklogWait,
    connect_retry_at: u64,
    /// Ports that were tried by number and found taken, for each target.
    ports_skipped: Vec<usize>,
    /// Times at which requests are due; `None` unless the load is open-loop.
    schedule: Option<RequestSchedule>,
    /// Index that is next to send a due request, and the step to the one after it.
    cursor: usize,
    stride: usize,
    /// Connections that send due requests: the first ones.
    senders: usize,
    fanout: Fanout,
    /// `None` unless the mode has storms.
    storms: Option<Box<Storms>>,
    /// `None` unless the mode has sleepers.
    sleepers: Option<Box<Sleepers>>,
    /// Requests that were due and have no answer, over all connections.
    unanswered: u64,
    /// Connections that stopped reading at their share of a turn.
    resume_list: Vec<usize>,
    phase_started_at: u64,
    phase_ends_at: u64,
    counts_at_phase_start: Counts,
    next_tick_at: u64,
    next_lag_check_at: u64,
    /// The schedule waits for answers, so what is taken from it late is not the tester's fault.
    was_backlogged: bool,
    next_row_at: u64,
    next_memory_at: u64,
    /// Prefix of the chat nicknames; the index follows.
    nickname: String,
    is_done: bool,
    run: Run,
    buffer: Box<[u8]>,
}

impl<'a> Engine<'a> {
    /// A run that has not started, with a route to each target of `plan`.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for the poll, the timer or the signal pipe.
    pub(super) fn new(plan: &Plan, routes: &'a [Route]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (signals, is_signalled) =
            signals::watch(poll.registry(), SIGNALS, plan.share.jobs() > 1)?;
        let due_timer = DueTimer::new(poll.registry(), DUE_TIMER)?;
        let mode = plan.mode;
        let wanted = mode.connections() as usize;
        let storms = Storms::new(mode);
        // Keeps nicknames of several testers in one room apart. With eight digits of an index, it has the
        // 16 characters that mynah allows.
        let nickname = format!("l{}-", random_letters(NICKNAME_LETTERS));
        let publisher = format!("{nickname}{PUBLISHER}");
        let workload = Workload::of_plan(plan, &publisher);
        Ok(Engine {
            mode,
            share: plan.share,
            link: None,
            arrived_at: None,
            routes,
            spread: plan.spread(),
            ignores_input: workload.ignores_input(),
            workload,
            poll,
            signals,
            is_signalled,
            due_timer,
            started_at: Instant::now(),
            connections: Vec::with_capacity(wanted),
            tls: TlsLayer::new(plan),
            pending: 0,
            connecting: VecDeque::new(),
            pacer: match plan.pacing {
                ConnectPacing::PerSec(rate) => {
                    Pacer::Bucket(TokenBucket::new(rate, 0).of(plan.share))
                }
                ConnectPacing::Ramp(ramp) => {
                    let ns = u64::try_from(ramp.as_nanos()).unwrap_or(u64::MAX);
                    let all = plan.share.all(wanted as u64);
                    Pacer::Ramp(Ramp::new(0, ns, all).of(plan.share, wanted as u64))
                }
            },
            server_pid: plan.server_pid,
            backlog_wait: BacklogWait::default(),
            connect_retry_at: 0,
            ports_skipped: vec![0; routes.len()],
            schedule: None,
            cursor: 0,
            stride: if matches!(mode, Mode::Idle { .. }) { stride(wanted) } else { 1 },
            senders: storms.as_ref().map_or(wanted, |storms| storms.bystanders()),
            fanout: Fanout::default(),
            storms,
            sleepers: Sleepers::new(mode, plan.share),
            unanswered: 0,
            resume_list: Vec::new(),
            phase_started_at: 0,
            phase_ends_at: u64::MAX,
            counts_at_phase_start: Counts::default(),
            next_tick_at: 0,
            next_lag_check_at: u64::MAX,
            was_backlogged: false,
            next_row_at: NS_PER_SEC,
            next_memory_at: 0,
            nickname,
            is_done: false,
            run: Run::new(routes.len()),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// Makes this run one of several processes, whose clock is at the other end of `link`.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(super) fn join(&mut self, link: &'a mut JobLink) -> io::Result<()> {
        link.register(self.poll.registry(), JOB_LINK)?;
        self.link = Some(link);
        self.run.usage.is_of_job = true;
        Ok(())
    }

    /// Runs to the end, or until a signal. `on_row` is called with the row of each second as it ends.
    ///
    /// # Errors
    ///
    /// The poll fails.
    pub(super) fn run(
        mut self,
        progress: &mut Progress,
        mut on_row: impl FnMut(&Row),
    ) -> io::Result<Run> {
        self.run.rss_before = self.server_pid.and_then(sysinfo::anonymous_bytes_exact);
        self.run.kernel_before = self.run.usage.kernel_memory();
        self.run.usage.start();
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.wait_for_start(&mut events)?;
        self.started_at = Instant::now();
        progress.show_phase(&self.run.stats, self.mode);
        while !self.is_done {
            self.start_due_work();
            let timeout = self.poll_timeout()?;
            poll(&mut self.poll, &mut events, Some(timeout))?;
            for event in &events {
                match event.token() {
                    SIGNALS => self.on_signals(),
                    DUE_TIMER => self.due_timer.on_expired(),
                    JOB_LINK => self.on_link(),
                    Token(index) => self.on_ready(index, readiness(event)),
                }
            }
            for index in std::mem::take(&mut self.resume_list) {
                self.connections[index].is_resuming = false;
                let may_read = Readiness { readable: true, writable: false, read_closed: true };
                self.on_ready(index, may_read);
            }
            let now = self.now();
            self.check_lag(now);
            if now >= self.next_tick_at {
                self.tick(now, progress, &mut on_row);
            }
            // A phase may have nothing to wait for, and the next one neither.
            while self.advance(now) && !self.is_done {
                progress.show_phase(&self.run.stats, self.mode);
            }
        }
        self.finish(&mut on_row);
        Ok(self.run)
    }

    /// Waits for the other processes of the run, if there are any.
    fn wait_for_start(&mut self, events: &mut Events) -> io::Result<()> {
        // What came with the first line makes no event of its own.
        self.on_link();
        while !self.may_go_on(0) && self.run.interrupted.is_none() {
            poll(&mut self.poll, events, None)?;
            for event in &*events {
                match event.token() {
                    SIGNALS => self.on_signals(),
                    JOB_LINK => self.on_link(),
                    _ => {}
                }
            }
        }
        self.arrived_at = None;
        self.is_done = self.run.interrupted.is_some();
        Ok(())
    }

    /// Whether all processes of the run have come this far. The first call says so of this one.
    fn may_go_on(&mut self, now: u64) -> bool {
        let tick = self.job_tick();
        let Some(link) = &mut self.link else { return true };
        self.arrived_at.get_or_insert(now);
        link.may_go_on(tick)
    }

    /// State of this process, as the parent is told it.
    fn job_tick(&self) -> Tick {
        let Stats { phase, counts, .. } = self.run.stats;
        Tick { phase, counts, pending: self.pending as u64 }
    }

    /// Tells the parent how far the run is, if there is one.
    fn send_tick(&mut self) {
        let tick = self.job_tick();
        if let Some(link) = &mut self.link {
            link.send_tick(tick);
        }
    }

    /// Acts on what the parent says. One that has gone cannot say any more, and ends the run.
    fn on_link(&mut self) {
        if self.link.as_mut().is_some_and(|link| link.must_stop()) {
            self.run.interrupted.get_or_insert(self.run.stats.phase);
        }
    }

    /// Nanoseconds since the run began.
    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Longest time that the poll may wait for events. Arms the timer for the next due request.
    fn poll_timeout(&mut self) -> io::Result<Duration> {
        let now = self.now();
        if !self.resume_list.is_empty() || self.must_publish() {
            return Ok(Duration::ZERO);
        }
        let mut until = self.next_tick_at;
        if self.arrived_at.is_none() {
            until = until.min(self.phase_ends_at);
        }
        if self.run.stats.phase == Phase::Ramp && self.connections.len() < self.wanted() {
            until = until.min(self.pacer.next_at().max(self.connect_retry_at));
        }
        let due_at = self.schedule.as_ref().and_then(RequestSchedule::next_at);
        let due_at = due_at.filter(|_| !self.has_backlog()).unwrap_or(u64::MAX);
        let due_at = due_at.min(self.next_lag_check_at).min(self.next_stage_at());
        if due_at <= now {
            until = now;
        } else if due_at <= until {
            until = until.min(self.due_timer.arm(due_at, now)?);
        }
        Ok(Duration::from_nanos(until.saturating_sub(now)))
    }

    /// Time at which a storm or a sleep has something to do; 0 is at once, `u64::MAX` never.
    fn next_stage_at(&self) -> u64 {
        match (self.run.stats.phase, &self.storms, &self.sleepers) {
            (Phase::Storm, Some(storms), _) if storms.is_dropping() => 0,
            (Phase::Storm, Some(storms), _) => storms.next_at().max(self.connect_retry_at),
            (Phase::Asleep, _, Some(sleepers)) => sleepers.next_at(),
            _ => u64::MAX,
        }
    }

    fn wanted(&self) -> usize {
        self.mode.connections() as usize
    }

    /// Measures how late the loop is at its timer, which is due whatever the target does.
    fn check_lag(&mut self, now: u64) {
        if let Some(ns) = now.checked_sub(self.next_lag_check_at) {
            self.run.stats.record_timer_lag(ns, LAG_INTERVAL_NS);
            if let Some(storms) = &mut self.storms {
                storms.record_timer_lag(ns, LAG_INTERVAL_NS);
            }
            self.next_lag_check_at = now - now % LAG_INTERVAL_NS + LAG_INTERVAL_NS;
        }
    }

    /// Starts what is due without an event: connects, scheduled requests, the next batch.
    fn start_due_work(&mut self) {
        match self.run.stats.phase {
            Phase::Ramp => self.start_connects(),
            Phase::Storm => self.drive_storm(),
            Phase::Asleep => self.drive_sleepers(),
            Phase::Hold | Phase::Traffic | Phase::Calm | Phase::Drain => {}
        }
        if self.schedule.is_some() {
            self.send_due_requests();
        }
        if self.must_publish() {
            self.publish();
        }
    }

    fn on_signals(&mut self) {
        self.signals.drain();
        if self.is_signalled.swap(false, Ordering::AcqRel) {
            self.run.interrupted.get_or_insert(self.run.stats.phase);
        }
    }

    fn tick(&mut self, now: u64, progress: &mut Progress, on_row: &mut impl FnMut(&Row)) {
        self.next_tick_at = now - now % TICK_NS + TICK_NS;
        self.expire_connects(now);
        self.expire_batch(now);
        self.run.stats.record_open(now);
        if now >= self.next_memory_at {
            self.next_memory_at = now - now % TICK_NS + sysinfo::MEMORY_INTERVAL_NS;
            if let Some(bytes) = self.server_pid.and_then(sysinfo::anonymous_bytes) {
                self.run.stats.record_memory(bytes);
            }
            let stats = &self.run.stats;
            self.run.usage.on_tick(stats.phase, self.pending as u64, stats.connected());
        }
        if now >= self.next_row_at {
            self.next_row_at = now - now % NS_PER_SEC + NS_PER_SEC;
            on_row(self.run.stats.end_row(now));
            if let Some(link) = &mut self.link {
                link.send_row(&self.run.stats);
            }
        }
        self.send_tick();
        self.run.stats.stage = self.stage(now);
        let phase_ns = now.saturating_sub(self.phase_started_at);
        progress.show_tick(&self.run.stats, self.mode, phase_ns);
    }

    /// The part of a storm or a sleep that the progress line tells.
    fn stage(&self, now: u64) -> Option<Stage> {
        match (self.run.stats.phase, &self.storms, &self.sleepers) {
            (Phase::Storm, Some(storms), _) => {
                let (served, dropped) = storms.progress();
                Some(Stage::Served(served as u64, dropped as u64))
            }
            (Phase::Asleep, _, Some(sleepers)) => {
                let wake_at = sleepers.next_wake_at()?;
                Some(Stage::WakeIn(wake_at.saturating_sub(now)))
            }
            _ => None,
        }
    }

    /// Fails connections that have been pending for too long.
    fn expire_connects(&mut self, now: u64) {
        while let Some(&(started_at, index)) = self.connecting.front() {
            let connection = &self.connections[index];
            if connection.state.is_pending() && connection.connect_started_at == started_at {
                if started_at.saturating_add(CONNECT_NS_MAX) > now {
                    return;
                }
                self.expire_connect(index);
            }
            self.connecting.pop_front();
        }
    }

    fn expire_connect(&mut self, index: usize) {
        if self.connections[index].state == State::Handshaking {
            return self.expire_handshake(index);
        }
        self.fail(index, "ETIMEDOUT");
    }

    /// Ends the phase if it is over, and starts the next. Returns whether it was over.
    fn advance(&mut self, now: u64) -> bool {
        let connected = self.run.stats.connected();
        let is_over = match self.run.stats.phase {
            Phase::Ramp => self.connections.len() == self.wanted() && self.pending == 0,
            Phase::Hold | Phase::Traffic => {
                now >= self.phase_ends_at || connected == 0 || self.has_lost_publisher()
            }
            Phase::Calm => now >= self.phase_ends_at || connected == 0,
            Phase::Storm => {
                let is_served = self.storms.as_ref().is_none_or(|storms| storms.are_all_served());
                is_served || now >= self.phase_ends_at
            }
            Phase::Asleep => {
                let is_done = self.sleepers.as_ref().is_none_or(|sleep| sleep.are_all_done());
                is_done || connected == 0
            }
            Phase::Drain => {
                let overdue = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(now));
                let awaits = self.unanswered > 0 || self.fanout.undelivered > 0 || overdue > 0;
                // A broadcast to a million may take longer; it is over when nothing comes any more.
                let ends_at = self.phase_ends_at.max(self.fanout.moved_at + DRAIN_NS_MAX);
                !awaits || connected == 0 || now >= ends_at
            }
        };
        if self.run.interrupted.is_some() {
            self.end_phase(now);
            self.is_done = true;
            return true;
        }
        // They begin the hold together, and none closes its connections before all have ended it.
        let is_met = matches!(self.run.stats.phase, Phase::Ramp | Phase::Storm | Phase::Drain);
        let is_over = is_over && (!is_met || self.may_go_on(now));
        if is_over {
            self.end_phase(now);
            self.arrived_at = None;
            match self.run.stats.phase {
                Phase::Ramp if connected == 0 || self.has_lost_publisher() => self.is_done = true,
                Phase::Ramp => self.start_main_phase(),
                Phase::Calm => {
                    if !self.start_storm(now) {
                        self.end_measured();
                        self.start_drain(now);
                    }
                }
                Phase::Storm => {
                    self.start_calm(now);
                    self.give_up_missing(now);
                }
                Phase::Hold | Phase::Traffic | Phase::Asleep => self.start_drain(now),
                Phase::Drain => self.is_done = true,
            }
        }
        is_over || self.is_done
    }

    fn start_drain(&mut self, now: u64) {
        // Requests that were due before may still have to leave.
        if let Some(schedule) = &mut self.schedule {
            schedule.close(now);
        }
        self.start_phase(Phase::Drain, now, DRAIN_NS_MAX);
    }

    fn has_lost_publisher(&self) -> bool {
        self.mode.pattern() == Pattern::Fanout && self.connections[PUBLISHER].state == State::Closed
    }

    fn start_phase(&mut self, phase: Phase, now: u64, ns_max: u64) {
        self.run.stats.start_phase(phase, now);
        self.run.stats.stage = None;
        self.run.stats.record_open(now);
        self.phase_started_at = now;
        self.phase_ends_at = now.saturating_add(ns_max);
        self.counts_at_phase_start = self.run.stats.counts;
        self.send_tick();
    }

    /// Starts what follows the ramp in this mode, with its first requests.
    fn start_main_phase(&mut self) {
        self.run.usage.start_measured(self.server_pid, self.run.stats.connected());
        // The readings take milliseconds, in which nothing may be due.
        let now = self.now();
        self.next_lag_check_at = now - now % LAG_INTERVAL_NS + LAG_INTERVAL_NS;
        let phase = match self.mode {
            Mode::Storm { .. } => return self.start_calm(now),
            Mode::Wake { .. } => return self.start_sleep(now),
            Mode::Idle { .. } => Phase::Hold,
            Mode::Echo { .. } | Mode::Fanout { .. } => Phase::Traffic,
        };
        self.start_phase(phase, now, self.mode.ns());
        if self.mode.pattern() == Pattern::Fanout {
            self.publish();
        } else if let Some(per_sec) = self.mode.requests_per_sec() {
            let schedule = RequestSchedule::new(now, self.phase_ends_at, per_sec);
            self.schedule = Some(schedule.of(self.share));
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
        let phase_ns = now.saturating_sub(self.phase_started_at);
        if !matches!(self.run.stats.phase, Phase::Ramp | Phase::Drain) {
            self.run.usage.read_cpu(self.server_pid);
        }
        match self.run.stats.phase {
            // Without the time for which it waited for other processes.
            Phase::Ramp => self.run.ramp_ns = self.arrived_at.unwrap_or(now),
            Phase::Hold | Phase::Traffic | Phase::Asleep => {
                self.run.measured_ns = phase_ns;
                self.run.measured = self.run.stats.counts.since(&self.counts_at_phase_start);
                self.end_measured();
            }
            Phase::Calm | Phase::Storm => {
                self.run.measured_ns += phase_ns;
                let counts = self.run.stats.counts.since(&self.counts_at_phase_start);
                self.run.measured = self.run.measured.plus(&counts);
                if self.run.interrupted.is_some() {
                    self.end_measured();
                }
            }
            Phase::Drain => {}
        }
    }

    /// Reads what the connections held cost, before the next phase changes it.
    fn end_measured(&mut self) {
        self.run.held = self.run.stats.connected();
        self.run.usage.end_measured(self.run.held);
        self.run.rss_held = self.server_pid.and_then(sysinfo::anonymous_bytes_exact);
        self.run.kernel_held = self.run.usage.held();
        // The readings take milliseconds, in which answers wait: that is the tester's lag.
        self.check_lag(self.now());
        self.next_lag_check_at = u64::MAX;
    }

    /// Counts outstanding requests as timeouts, one a connection, unless a signal cut the run short;
    /// writes the last row; closes all connections.
    fn finish(&mut self, on_row: &mut impl FnMut(&Row)) {
        let now = self.now();
        let overdue = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(now));
        let active = self.connections.iter().filter_map(|connection| connection.active.as_ref());
        let waiting: u64 = active.map(|active| u64::from(active.in_flight.waiting())).sum();
        self.run.unsent += overdue + waiting;
        self.run.unanswered += self.unanswered + overdue;
        if self.mode.pattern() == Pattern::Fanout {
            for index in 0..self.connections.len() {
                self.count_deliveries(index);
            }
        }
        if self.run.interrupted.is_none() {
            let is_fanout = self.mode.pattern() == Pattern::Fanout;
            for (index, connection) in self.connections.iter().enumerate() {
                let Some(active) = &connection.active else { continue };
                let is_subscriber = is_fanout && index != PUBLISHER;
                let has_missed = active.received < self.fanout.published || active.lost > 0;
                let has_missed = is_subscriber && has_missed;
                if has_missed || active.in_flight.unanswered() > 0 {
                    if let Some(reason) = self.workload.explain_partial(active.partial_bytes) {
                        self.run.stats.reason.get_or_insert(reason);
                    }
                    self.run.stats.record_error("ETIMEDOUT", now);
                }
            }
        }
        let last_row_at = self.run.stats.series.last().map_or(0.0, |row| row.t);
        if self.run.stats.has_changes() || now as f64 / 1e9 > last_row_at + 0.1 {
            on_row(self.run.stats.end_row(now));
        }
        for stream in self.connections.iter().filter_map(|connection| connection.stream.as_ref()) {
            // An error changes nothing: the connection ends in either case.
            let _ = socket::close_by_reset(stream);
        }
        self.connections.clear();
        self.run.storms = self.storms.take().map_or_else(Vec::new, |storms| storms.into_records());
        let steps = self.sleepers.take().map(|sleepers| sleepers.into_records());
        self.run.wake_steps = steps.unwrap_or_default();
        self.run.usage.on_closed(self.server_pid, &self.run.kernel_before);
    }
}

/// A step that visits each of `count` connections before it returns to any. It is long, so that few
/// probes are still spread over all connections.
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
    fn stride_visits_each_connection_once_a_round() {
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
