//! Storms: all connections but the bystanders are dropped together, come back, and try again where a
//! connect fails. [`connection_io`](super::connection_io) does the work on one connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::time::Duration;

use super::super::backoff::Backoff;
use super::super::connection::{Connection, State};
use super::super::plan::Mode;
use super::super::rate::RequestSchedule;
use super::super::socket;
use super::super::stats::Phase;
use super::super::storm::StormRecord;
use super::Engine;
use super::backlog_wait::BacklogWait;

/// Most connections dropped a turn, or begun, so that the answers to bystanders are measured in time.
const CONNECTIONS_PER_TURN: usize = 16;

/// State of the storms of a run. The bystanders have the first indices.
#[derive(Debug)]
pub(super) struct Storms {
    bystanders: usize,
    times: u32,
    spread_ns: u64,
    /// Longest storm, from when the last connection was due to come back.
    timeout_ns: u64,
    is_orderly: bool,
    backoff: Backoff,
    /// Those that have begun with their calm; the last may be the calm after the last storm.
    all: Vec<Storm>,
    /// Index of the next connection to drop.
    next_drop: usize,
    /// Time at which the first was dropped, and at which the last was.
    drop_started_at: u64,
    dropped_at: u64,
    /// Indices of those that were dropped.
    dropped: Vec<usize>,
    /// State of those that come back, by the index of the connection without the bystanders.
    clients: Vec<Client>,
    /// Times at which connects are due, and their connections.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Dropped, and not served again.
    missing: usize,
}

/// A calm and the storm behind it.
#[derive(Debug)]
struct Storm {
    calm_at: u64,
    /// `u64::MAX` until it begins.
    storm_at: u64,
    record: StormRecord,
}

/// A connection that comes back.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    due_at: u64,
    /// Attempts of this storm, and those that failed.
    attempts: u32,
    failures: u32,
}

impl Storms {
    /// Those of `mode`; `None` if it has no storms.
    pub(super) fn new(mode: Mode) -> Option<Box<Self>> {
        let Mode::Storm {
            connections,
            times,
            spread,
            is_orderly,
            has_backoff,
            timeout,
            bystanders,
            ..
        } = mode
        else {
            return None;
        };
        Some(Box::new(Storms {
            bystanders: bystanders as usize,
            times,
            spread_ns: nanos(spread),
            timeout_ns: nanos(timeout),
            is_orderly,
            backoff: if has_backoff {
                Backoff::Exponential(fastrand::Rng::new())
            } else {
                Backoff::None
            },
            all: Vec::new(),
            next_drop: 0,
            drop_started_at: 0,
            dropped_at: 0,
            dropped: Vec::new(),
            clients: vec![Client::default(); connections as usize],
            due: BinaryHeap::new(),
            missing: 0,
        }))
    }

    /// Number of connections that send in an open loop.
    pub(super) fn bystanders(&self) -> usize {
        self.bystanders
    }

    /// Records the latency of a bystander's request that was due at `at`.
    pub(super) fn record_bystander(&mut self, at: u64, ns: u64, count: u32) {
        let Some(storm) = self.all.iter_mut().rev().find(|storm| storm.calm_at <= at) else {
            return;
        };
        let histograms = &mut storm.record.histograms;
        let histogram = if at < storm.storm_at {
            &mut histograms.bystanders_before
        } else {
            &mut histograms.bystanders_during
        };
        histogram.0.saturating_record_n(ns.max(1), count.into());
    }

    /// Records how late the tester's loop was at a timer of `interval_ns`.
    pub(super) fn record_timer_lag(&mut self, ns: u64, interval_ns: u64) {
        if let Some(storm) = self.all.last_mut().filter(|storm| storm.storm_at != u64::MAX) {
            // A longer one than the histogram has is recorded in the run's.
            let _ = storm.record.histograms.tester_lag.0.record_correct(ns.max(1), interval_ns);
        }
    }

    /// Records a connect that took `ns`.
    pub(super) fn record_connect(&mut self, ns: u64) {
        if let Some(record) = self.record() {
            record.connected += 1;
            record.histograms.connect.0.saturating_record(ns.max(1));
        }
    }

    /// Whether the next turn drops connections, so that the poll must not wait.
    pub(super) fn is_dropping(&self) -> bool {
        self.dropped_at == 0
    }

    /// Time at which a connect is due; `u64::MAX` if none is.
    pub(super) fn next_at(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((at, _))| *at)
    }

    pub(super) fn are_all_served(&self) -> bool {
        !self.is_dropping() && self.missing == 0
    }

    /// Dropped connections that are served again, and all that were dropped.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.dropped.len() - self.missing, self.dropped.len())
    }

    /// The records of the storms that have begun.
    pub(super) fn into_records(self) -> Vec<StormRecord> {
        let begun = self.all.into_iter().filter(|storm| storm.storm_at != u64::MAX);
        begun.map(|storm| storm.record.derive()).collect()
    }

    /// Number of connections before those of the current storm, if each storm took ports of its own:
    /// a connection that the tester closes in order keeps its port in TIME_WAIT.
    fn ports_before(&self, mode: Mode) -> usize {
        let storm = self.all.len();
        (storm % mode.generations() as usize) * self.clients.len()
    }

    /// The record of the current storm.
    fn record(&mut self) -> Option<&mut StormRecord> {
        self.all.last_mut().map(|storm| &mut storm.record)
    }

    fn client(&mut self, index: usize) -> &mut Client {
        &mut self.clients[index - self.bystanders]
    }

    /// All are dropped, at `now`: they come back.
    fn end_drop(&mut self, now: u64) {
        self.dropped_at = now;
        self.missing = self.dropped.len();
        let count = self.missing.max(1) as u128;
        let bystanders = self.bystanders;
        let due = self.dropped.iter().enumerate().map(|(number, index)| {
            let after = u128::from(self.spread_ns) * number as u128 / count;
            let due_at = now.saturating_add(u64::try_from(after).unwrap_or(u64::MAX));
            self.clients[*index - bystanders] = Client { due_at, ..Client::default() };
            Reverse((due_at, *index))
        });
        self.due = due.collect();
        let (dropped, started_at) = (self.dropped.len() as u64, self.drop_started_at);
        if let Some(record) = self.record() {
            record.dropped = dropped;
            record.drop_secs = now.saturating_sub(started_at) as f64 / 1e9;
        }
    }

    /// Counts an attempt of connection `index` that begins at `now`.
    fn count_attempt(&mut self, index: usize, now: u64) {
        let client = self.client(index);
        client.attempts += 1;
        let is_first = client.attempts == 1;
        let started_secs = now.saturating_sub(self.dropped_at) as f64 / 1e9;
        if let Some(record) = self.record() {
            record.attempts += 1;
            if is_first {
                record.started_secs = record.started_secs.max(started_secs);
            } else {
                record.retries += 1;
            }
        }
    }

    /// Counts a failed attempt of connection `index`, and has it try again later.
    fn count_failure(&mut self, index: usize, name: &str, now: u64) {
        let client = self.client(index);
        client.failures += 1;
        let failures = client.failures;
        self.due.push(Reverse((now.saturating_add(self.backoff.wait_ns(failures)), index)));
        if let Some(record) = self.record() {
            *record.failed_attempts.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn count_served(&mut self, index: usize, now: u64) {
        self.missing = self.missing.saturating_sub(1);
        let due_at = self.client(index).due_at;
        let dropped_at = self.dropped_at;
        if let Some(record) = self.record() {
            let histograms = &mut record.histograms;
            histograms.served.0.saturating_record(now.saturating_sub(dropped_at).max(1));
            histograms.served_after.0.saturating_record(now.saturating_sub(due_at).max(1));
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine<'_> {
    /// Starts the calm before a storm, or after the last.
    pub(super) fn start_calm(&mut self, now: u64) {
        self.start_phase(Phase::Calm, now, self.mode.ns());
        let has_requests = self.workload.request_len() > 0;
        let Some(storms) = &mut self.storms else { return };
        storms.all.push(Storm { calm_at: now, storm_at: u64::MAX, record: StormRecord::default() });
        let has_bystanders = storms.bystanders > 0;
        if let (None, true, true) = (&self.schedule, has_requests, has_bystanders) {
            let per_sec = self.mode.requests_per_sec().unwrap_or(1);
            self.schedule = Some(RequestSchedule::new(now, u64::MAX, per_sec));
        }
    }

    /// Starts the storm behind a calm that is over. False if there is none, or nothing to drop.
    pub(super) fn start_storm(&mut self, now: u64) -> bool {
        let Some(storms) = &mut self.storms else { return false };
        let rest = self.connections.get(storms.bystanders..).unwrap_or_default();
        let is_last = storms.all.len() > storms.times as usize;
        if is_last || !rest.iter().any(|connection| connection.state == State::Open) {
            return false;
        }
        storms.next_drop = storms.bystanders;
        storms.dropped.clear();
        (storms.drop_started_at, storms.dropped_at) = (now, 0);
        if let Some(storm) = storms.all.last_mut() {
            storm.storm_at = now;
        }
        self.ports_skipped.fill(0);
        self.start_phase(Phase::Storm, now, u64::MAX);
        true
    }

    /// Drops connections until all are, then begins the connects that are due.
    pub(super) fn drive_storm(&mut self) {
        for _ in 0..CONNECTIONS_PER_TURN {
            let Some(storms) = &mut self.storms else { return };
            if storms.is_dropping() {
                let index = storms.next_drop;
                storms.next_drop += 1;
                if index < self.connections.len() {
                    self.drop_connection(index);
                } else {
                    self.end_drop();
                    return;
                }
            } else if !self.start_reconnect() {
                return;
            }
        }
    }

    fn drop_connection(&mut self, index: usize) {
        let Some(storms) = &mut self.storms else { return };
        let connection = &mut self.connections[index];
        if connection.state != State::Open {
            return;
        }
        if let (false, Some(stream)) = (storms.is_orderly, &connection.stream) {
            // An error changes nothing: the connection ends in either case.
            let _ = socket::close_by_reset(stream);
        }
        storms.dropped.push(index);
        connection.state = State::Closed;
        connection.stream = None;
        connection.active = None;
        self.run.stats.counts.closed += 1;
        if let Some(tls) = &mut self.tls {
            tls.close(index);
        }
    }

    fn end_drop(&mut self) {
        let now = self.now();
        let Some(storms) = &mut self.storms else { return };
        storms.end_drop(now);
        self.phase_ends_at = now.saturating_add(storms.spread_ns).saturating_add(storms.timeout_ns);
        // Nobody is left: what the bystanders feel is no longer the storm's.
        self.run.stats.record_open(now);
    }

    /// Begins the connect that is due next. False if none is.
    fn start_reconnect(&mut self) -> bool {
        let now = self.now();
        let is_paused = now < self.connect_retry_at;
        let Some(storms) = &mut self.storms else { return false };
        let Some(Reverse((_, index))) = storms.due.peek().copied().filter(|due| due.0.0 <= now)
        else {
            return false;
        };
        if is_paused {
            return false;
        }
        let ports_before = storms.ports_before(self.mode);
        let connected = self.connect(index, ports_before);
        let Some(storms) = &mut self.storms else { return false };
        if let Err(error) = &connected
            && socket::is_backlog_full(error)
            && let Some(retry_at) = self.backlog_wait.next_try_at(now)
        {
            self.connect_retry_at = retry_at;
            return false;
        }
        storms.due.pop();
        let started_at = self.backlog_wait.end(now);
        storms.count_attempt(index, now);
        match connected {
            Ok(stream) => {
                self.connections[index] = Connection::new(Some(stream), started_at);
                self.connecting.push_back((started_at, index));
                self.pending += 1;
            }
            Err(error) if socket::is_backlog_full(&error) => {
                storms.count_failure(index, "ETIMEDOUT", now);
            }
            Err(error) => storms.count_failure(index, &socket::errno_name(&error), now),
        }
        true
    }

    /// Whether connection `index` is coming back, so that it tries again when it fails.
    pub(super) fn is_coming_back(&self, index: usize) -> bool {
        let is_client = self.storms.as_ref().is_some_and(|storms| index >= storms.bystanders);
        let is_storm = self.run.stats.phase == Phase::Storm;
        is_storm && is_client && self.connections[index].state.is_pending()
    }

    /// Closes connection `index`, which is coming back and has failed, and has it try again.
    pub(super) fn fail_attempt(&mut self, index: usize, name: &str, now: u64) {
        let connection = &mut self.connections[index];
        if connection.state.is_opened() {
            self.run.stats.counts.closed += 1;
        }
        connection.state = State::Closed;
        connection.stream = None;
        let active = mem::take(&mut connection.active).unwrap_or_default();
        self.unanswered -= active.in_flight.unanswered();
        self.pending -= 1;
        if let Some(tls) = &mut self.tls {
            tls.close(index);
        }
        if let Some(storms) = &mut self.storms {
            storms.count_failure(index, name, now);
        }
    }

    /// Connection `index` is served again.
    pub(super) fn on_served(&mut self, index: usize, now: u64) {
        if let Some(storms) = &mut self.storms
            && index >= storms.bystanders
        {
            storms.count_served(index, now);
        }
    }

    /// Gives up the connections that have not come back. To be called when the storm is over.
    pub(super) fn give_up_missing(&mut self, now: u64) {
        let Some(storms) = &mut self.storms else { return };
        storms.due.clear();
        self.backlog_wait = BacklogWait::default();
        if storms.missing == 0 {
            return;
        }
        for index in mem::take(&mut storms.dropped) {
            let state = self.connections[index].state;
            // One that is open was served, one with attempts and closed may have been dropped since.
            if state.is_pending() {
                self.fail(index, "ETIMEDOUT");
            } else if state == State::Closed && self.has_never_returned(index) {
                self.run.stats.counts.failed += 1;
                self.run.stats.record_error("ETIMEDOUT", now);
            }
        }
    }

    /// Whether every attempt of connection `index` has failed.
    fn has_never_returned(&mut self, index: usize) -> bool {
        let Some(storms) = &mut self.storms else { return false };
        let Client { attempts, failures, .. } = *storms.client(index);
        attempts == failures
    }
}
