//! Statistics of a run: counts, errors, latencies, and a row a second. Knows no sockets; times are
//! nanoseconds since the run began.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram::{self, LATENCY_NS_MAX, new_histogram};

/// Most samples of the number of open connections. When there are as many, every other one is dropped.
pub(super) const OPEN_POINTS_MAX: usize = 2_048;

/// Most samples of server memory. When there are as many, every other one is dropped.
const MEMORY_POINTS_MAX: usize = 4_096;

/// Most rows whose latencies are kept, of an hour. Some kilobytes each.
pub(super) const SECONDS_MAX: usize = 3_600;

/// Phase of a run, in the order of phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Connections are opened.
    Ramp,
    /// `idle`: connections are held and probed.
    Hold,
    /// `echo`, `fanout`: connections send requests.
    Traffic,
    /// `storm`: connections are held, before a storm and after the last.
    Calm,
    /// `storm`: connections are dropped and come back.
    Storm,
    /// `wake`: connections sleep, and are woken.
    Asleep,
    /// No request is started; the answers to earlier ones are awaited.
    Drain,
}

/// How far a storm or a sleep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connections that are served again, of those that were dropped.
    Served(u64, u64),
    /// Nanoseconds until the next connection is woken.
    WakeIn(u64),
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Ramp => "ramp",
            Phase::Hold => "hold",
            Phase::Traffic => "traffic",
            Phase::Calm => "calm",
            Phase::Storm => "storm",
            Phase::Asleep => "asleep",
            Phase::Drain => "drain",
        }
    }
}

/// Counts that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Opened, and closed by the target or by an error.
    pub(super) dropped: u64,
    /// Opened, and closed in a storm: by the tester, or because they were to try again.
    pub(super) closed: u64,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) deliveries: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl Counts {
    /// The counts since `before`.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        self.zip_with(before, |now, before| now - before)
    }

    /// The sum of both counts. Those of a file may be anything, so it stops at the largest number.
    pub(super) fn plus(&self, other: &Counts) -> Counts {
        self.zip_with(other, u64::saturating_add)
    }

    fn zip_with(&self, other: &Counts, join: fn(u64, u64) -> u64) -> Counts {
        Counts {
            opened: join(self.opened, other.opened),
            failed: join(self.failed, other.failed),
            dropped: join(self.dropped, other.dropped),
            closed: join(self.closed, other.closed),
            sent: join(self.sent, other.sent),
            answered: join(self.answered, other.answered),
            deliveries: join(self.deliveries, other.deliveries),
            bytes_sent: join(self.bytes_sent, other.bytes_sent),
            bytes_received: join(self.bytes_received, other.bytes_received),
        }
    }
}

/// Counts of the connections to one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TargetCounts {
    pub(super) opened: u64,
    /// Messages that its subscribers have received in time.
    pub(super) deliveries: u64,
    /// Messages that were published while they were connected, and that they have not.
    pub(super) lost: u64,
}

/// Errors of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ErrorStats {
    pub(super) count: u64,
    /// Times of the first and the last.
    pub(super) first_at: u64,
    pub(super) last_at: u64,
}

/// One second. Counts are those of the second; `connected` is the number at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "FlatRow", into = "FlatRow")]
pub(super) struct Row {
    /// Seconds since the run began, at the end of the row.
    pub(super) t: f64,
    pub(super) phase: Phase,
    pub(super) connected: u64,
    pub(super) counts: Counts,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) max_us: Option<f64>,
    pub(super) server_rss_bytes: Option<u64>,
    pub(super) p999_us: Option<f64>,
    /// Longest tester lag of the second, at the timer or with a due request.
    pub(super) tester_lag_us: Option<f64>,
}

/// A row as `--json` and `--csv` write it: flat, as CSV demands. (The csv crate does not take serde's
/// `flatten`.)
#[derive(Serialize, Deserialize)]
struct FlatRow {
    t: f64,
    phase: Phase,
    connected: u64,
    opened: u64,
    failed: u64,
    dropped: u64,
    sent: u64,
    answered: u64,
    deliveries: u64,
    bytes_sent: u64,
    bytes_received: u64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<f64>,
    server_rss_bytes: Option<u64>,
    // Later columns stand behind, for those who count them.
    p999_us: Option<f64>,
    tester_lag_us: Option<f64>,
    closed: u64,
}

impl From<Row> for FlatRow {
    fn from(row: Row) -> Self {
        let Row { counts, .. } = row;
        FlatRow {
            t: row.t,
            phase: row.phase,
            connected: row.connected,
            opened: counts.opened,
            failed: counts.failed,
            dropped: counts.dropped,
            sent: counts.sent,
            answered: counts.answered,
            deliveries: counts.deliveries,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            p50_us: row.p50_us,
            p99_us: row.p99_us,
            max_us: row.max_us,
            server_rss_bytes: row.server_rss_bytes,
            p999_us: row.p999_us,
            tester_lag_us: row.tester_lag_us,
            closed: counts.closed,
        }
    }
}

impl From<FlatRow> for Row {
    fn from(row: FlatRow) -> Self {
        let counts = Counts {
            opened: row.opened,
            failed: row.failed,
            dropped: row.dropped,
            closed: row.closed,
            sent: row.sent,
            answered: row.answered,
            deliveries: row.deliveries,
            bytes_sent: row.bytes_sent,
            bytes_received: row.bytes_received,
        };
        Row {
            t: row.t,
            phase: row.phase,
            connected: row.connected,
            counts,
            p50_us: row.p50_us,
            p99_us: row.p99_us,
            max_us: row.max_us,
            server_rss_bytes: row.server_rss_bytes,
            p999_us: row.p999_us,
            tester_lag_us: row.tester_lag_us,
        }
    }
}

/// A sample of server memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryPoint {
    pub(super) connected: u64,
    pub(super) rss_bytes: u64,
}

/// Percentiles in microseconds; `None` if nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) p999: Option<f64>,
    pub(super) max: Option<f64>,
}

impl Percentiles {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| quantile_us(histogram, quantile);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }

    /// The same, none above `max`: a histogram that was encoded has its maximum to three digits.
    pub(super) fn at_most(self, max: Option<f64>) -> Self {
        let Some(max) = max else { return self };
        let cap = |value: Option<f64>| value.map(|value| value.min(max));
        let Percentiles { p50, p90, p99, p999, max } = self;
        Percentiles { p50: cap(p50), p90: cap(p90), p99: cap(p99), p999: cap(p999), max: cap(max) }
    }
}

fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    // The upper end of the bucket, but not more than was ever measured.
    let ns = histogram.value_at_quantile(quantile).min(histogram.max());
    (!histogram.is_empty()).then_some(ns as f64 / 1000.0)
}

/// TLS handshakes that ended well, and what the first agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TlsStats {
    pub(super) handshakes: u64,
    /// Those that went on with what an earlier one had agreed on.
    pub(super) resumed: u64,
    /// `TLS 1.3`.
    pub(super) version: Option<String>,
    /// The name that IANA has for it.
    pub(super) cipher_suite: Option<String>,
}

/// Statistics of a run.
#[derive(Debug)]
pub(super) struct Stats {
    pub(super) phase: Phase,
    /// Each phase after the ramp, with its start and the connections open then.
    pub(super) phases: Vec<(Phase, u64, u64)>,
    pub(super) counts: Counts,
    pub(super) errors: BTreeMap<String, ErrorStats>,
    /// `None` outside of storms and sleeps.
    pub(super) stage: Option<Stage>,
    /// Text of the target's first refusal.
    pub(super) refusal: Option<String>,
    /// Why the first TLS connection failed, or what the target seems to speak, and what would help.
    pub(super) reason: Option<String>,
    /// `None` unless a TLS handshake has ended well.
    pub(super) tls: Option<TlsStats>,
    /// Latencies of the seconds that have a row.
    latency: Histogram<u64>,
    /// Latencies since the last row.
    current_latency: Histogram<u64>,
    pub(super) connect: Histogram<u64>,
    /// Tester lag: how late the tester's own loop ran at its timer, whatever the target did.
    pub(super) lag: Histogram<u64>,
    /// Open loop: how late requests left because the tester did not run when they were due.
    pub(super) left_late: Histogram<u64>,
    /// Longest of both since the last row.
    current_lag_ns: Option<u64>,
    /// Time and number of open connections, where it has changed.
    pub(super) open_points: Vec<(u64, u64)>,
    pub(super) series: Vec<Row>,
    /// Latencies of each row, encoded; none of those behind [`SECONDS_MAX`].
    pub(super) seconds: Vec<Option<String>>,
    counts_at_last_row: Counts,
    pub(super) memory: Vec<MemoryPoint>,
    /// One in this many samples of memory is kept.
    memory_every: u32,
    memory_skipped: u32,
    pub(super) rss_now: Option<u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Stats {
            phase: Phase::Ramp,
            phases: Vec::new(),
            counts: Counts::default(),
            errors: BTreeMap::new(),
            stage: None,
            refusal: None,
            reason: None,
            tls: None,
            latency: new_histogram(),
            current_latency: new_histogram(),
            connect: new_histogram(),
            lag: new_histogram(),
            left_late: new_histogram(),
            current_lag_ns: None,
            open_points: vec![(0, 0)],
            series: Vec::new(),
            seconds: Vec::new(),
            counts_at_last_row: Counts::default(),
            memory: Vec::new(),
            memory_every: 1,
            memory_skipped: 0,
            rss_now: None,
        }
    }

    /// Starts `phase` at `now`.
    pub(super) fn start_phase(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        self.phases.push((phase, now, self.connected()));
    }

    /// Number of connections open now.
    pub(super) fn connected(&self) -> u64 {
        self.counts.opened - self.counts.dropped - self.counts.closed
    }

    /// Counts an error called `name` at `now`.
    pub(super) fn record_error(&mut self, name: &str, now: u64) {
        if let Some(errors) = self.errors.get_mut(name) {
            errors.count += 1;
            errors.last_at = now;
        } else {
            let first = ErrorStats { count: 1, first_at: now, last_at: now };
            self.errors.insert(name.to_owned(), first);
        }
    }

    /// Records the latency `ns` of `count` answers or deliveries.
    #[inline]
    pub(super) fn record(&mut self, ns: u64, count: u32) {
        let ns = ns.clamp(1, LATENCY_NS_MAX);
        // Clamped values are within the bounds of the histogram, so this cannot fail.
        let _ = self.current_latency.record_n(ns, u64::from(count));
    }

    pub(super) fn record_connect(&mut self, ns: u64) {
        self.connect.saturating_record(ns.max(1));
    }

    /// Records that the loop was late by `ns` for a request that was due.
    pub(super) fn record_left_late(&mut self, ns: u64) {
        self.left_late.saturating_record(ns.max(1));
        self.current_lag_ns = self.current_lag_ns.max(Some(ns));
    }

    /// Records that the loop was late by `ns` for a timer of `interval_ns`. The expirations that were
    /// missed meanwhile would have been late as well, and count.
    pub(super) fn record_timer_lag(&mut self, ns: u64, interval_ns: u64) {
        // A clamped value is within the bounds of the histogram, so this cannot fail.
        let _ = self.lag.record_correct(ns.clamp(1, LATENCY_NS_MAX), interval_ns);
        self.current_lag_ns = self.current_lag_ns.max(Some(ns));
    }

    /// Records the number of open connections at `now`, if it has changed.
    pub(super) fn record_open(&mut self, now: u64) {
        let connected = self.connected();
        if self.open_points.last().is_some_and(|(_, last)| *last == connected) {
            return;
        }
        self.open_points.push((now, connected));
        if self.open_points.len() >= OPEN_POINTS_MAX {
            drop_every_other(&mut self.open_points);
        }
    }

    /// p50 and p99 since the last row, or those of the last row.
    pub(super) fn recent_latency(&self) -> (Option<f64>, Option<f64>) {
        if self.current_latency.is_empty() {
            return self.series.last().map_or((None, None), |row| (row.p50_us, row.p99_us));
        }
        (quantile_us(&self.current_latency, 0.5), quantile_us(&self.current_latency, 0.99))
    }

    /// Whether counts or latencies have changed since the last row.
    pub(super) fn has_changes(&self) -> bool {
        self.counts != self.counts_at_last_row || !self.current_latency.is_empty()
    }

    /// Adds a row that ends at `now`.
    pub(super) fn end_row(&mut self, now: u64) -> &Row {
        self.series.push(Row {
            t: (now as f64 / 1e6).round() / 1e3,
            phase: self.phase,
            connected: self.connected(),
            counts: self.counts.since(&self.counts_at_last_row),
            p50_us: quantile_us(&self.current_latency, 0.5),
            p99_us: quantile_us(&self.current_latency, 0.99),
            max_us: quantile_us(&self.current_latency, 1.0),
            server_rss_bytes: self.rss_now,
            p999_us: quantile_us(&self.current_latency, 0.999),
            tester_lag_us: self.current_lag_ns.take().map(|ns| ns as f64 / 1e3),
        });
        self.counts_at_last_row = self.counts;
        if self.seconds.len() < SECONDS_MAX {
            self.seconds.push(histogram::encode(&self.current_latency));
        }
        self.latency += &self.current_latency;
        self.current_latency.reset();
        let last = self.series.len() - 1;
        &self.series[last]
    }

    /// All latencies of the seconds that have a row.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Records the server's memory, with the connections open now.
    pub(super) fn record_memory(&mut self, rss_bytes: u64) {
        self.rss_now = Some(rss_bytes);
        self.memory_skipped += 1;
        if self.memory_skipped < self.memory_every {
            return;
        }
        self.memory_skipped = 0;
        self.memory.push(MemoryPoint { connected: self.connected(), rss_bytes });
        if self.memory.len() >= MEMORY_POINTS_MAX {
            drop_every_other(&mut self.memory);
            self.memory_every = self.memory_every.saturating_mul(2);
        }
    }
}

/// Drops the second, the fourth and so on.
pub(super) fn drop_every_other<T>(points: &mut Vec<T>) {
    let mut number = 0;
    points.retain(|_| {
        number += 1;
        number % 2 == 1
    });
}

#[cfg(test)]
mod tests {
    use super::super::rate::NS_PER_SEC;
    use super::*;

    #[test]
    fn row_has_counts_of_its_second() {
        let mut stats = Stats::new();
        stats.counts = Counts { opened: 10, dropped: 1, sent: 5, ..Counts::default() };
        stats.record(2_000, 3);
        assert_eq!(stats.recent_latency().0, Some(2.0));
        let row = stats.end_row(NS_PER_SEC).clone();
        assert_eq!((row.t, row.connected, row.counts.opened, row.counts.sent), (1.0, 9, 10, 5));
        assert_eq!(row.p50_us, Some(2.0));
        stats.counts.sent = 7;
        let row = stats.end_row(2 * NS_PER_SEC + 400_000).clone();
        assert_eq!((row.t, row.connected, row.counts.opened, row.counts.sent), (2.0, 9, 0, 2));
        assert_eq!((row.p50_us, row.max_us), (None, None), "nothing was answered");
        assert_eq!(stats.latency().len(), 3);
    }

    #[test]
    fn percentiles_are_at_most_the_maximum() {
        let mut stats = Stats::new();
        for us in 1..=1000 {
            stats.record(us * 1_000, 1);
        }
        stats.end_row(NS_PER_SEC);
        let found = Percentiles::of(stats.latency());
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() / expected - 1.0).abs() < 0.002, "{value:?} is not {expected}");
        };
        near(found.p50, 500.0);
        near(found.p90, 900.0);
        near(found.p99, 990.0);
        near(found.p999, 999.0);
        near(found.max, 1000.0);
        assert!(found.p999 <= found.max);
        assert_eq!(Percentiles::of(&Stats::new().latency), Percentiles::default());
    }

    #[test]
    fn latencies_out_of_bounds_are_clamped() {
        let mut stats = Stats::new();
        stats.record(0, 1);
        stats.record(u64::MAX, 1);
        stats.end_row(1);
        assert_eq!(stats.latency().len(), 2);
        let max_us = Percentiles::of(stats.latency()).max.unwrap();
        assert!(max_us >= 3_600e6);
    }

    #[test]
    fn timer_lag_counts_missed_expirations() {
        let mut stats = Stats::new();
        let ms = 1_000_000;
        stats.record_timer_lag(1_500 * ms, 10 * ms);
        assert_eq!(stats.lag.len(), 150, "as many would have been late");
        stats.record_left_late(2 * ms);
        assert_eq!((stats.lag.len(), stats.left_late.len()), (150, 1), "of requests alone");
        assert_eq!(stats.end_row(1).tester_lag_us, Some(1_500_000.0), "the longest of the second");
        assert_eq!(stats.end_row(2).tester_lag_us, None);
    }

    #[test]
    fn open_connections_are_sampled_where_they_change() {
        let mut stats = Stats::new();
        for (now, opened) in [(1, 0), (2, 5), (3, 5), (4, 6)] {
            stats.counts.opened = opened;
            stats.record_open(now);
        }
        assert_eq!(stats.open_points, [(0, 0), (2, 5), (4, 6)]);
        for now in 5..50_000 {
            stats.counts.opened = now;
            stats.record_open(now);
        }
        assert!(stats.open_points.len() < OPEN_POINTS_MAX);
        assert_eq!(stats.open_points[0], (0, 0));
    }

    #[test]
    fn errors_are_counted_by_name_with_times() {
        let mut stats = Stats::new();
        for (name, at) in [("ECONNRESET", 5), ("EOF", 6), ("ECONNRESET", 9)] {
            stats.record_error(name, at);
        }
        let resets = ErrorStats { count: 2, first_at: 5, last_at: 9 };
        assert_eq!(stats.errors["ECONNRESET"], resets);
        assert_eq!(stats.errors.len(), 2);
    }

    #[test]
    fn memory_samples_are_thinned() {
        let mut stats = Stats::new();
        for n in 0..50_000 {
            stats.record_memory(n);
        }
        let points = stats.memory.len();
        assert!(points < MEMORY_POINTS_MAX && points > 1_000, "{points}");
        assert!(stats.memory.is_sorted_by_key(|point| point.rss_bytes));
        assert_eq!(stats.rss_now, Some(49_999));
    }
}
