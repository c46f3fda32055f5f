//! What has happened so far: counts, latencies, and a row a second. Knows no sockets; times are
//! nanoseconds since the run began.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::pace::SECOND;

/// An hour: what is slower counts as that slow.
const LATENCY_NS_MAX: u64 = 3_600 * SECOND;

/// Figures that are told apart in a latency.
const DIGITS: u8 = 3;

/// Points of server memory that are kept; when there are more, every other one goes.
const MEMORY_POINTS_MAX: usize = 4_096;

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Connections are opened.
    Ramp,
    /// They are held, and probed.
    Hold,
    /// They are worked.
    Traffic,
    /// What is on its way is waited for.
    Drain,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Ramp => "ramp",
            Phase::Hold => "hold",
            Phase::Traffic => "traffic",
            Phase::Drain => "drain",
        }
    }
}

/// Counts that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Opened, and lost before we closed them.
    pub(super) dropped: u64,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) deliveries: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl Counts {
    /// What has come since `before`.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        self.with(before, |now, before| now - before)
    }

    /// Those of two times together.
    pub(super) fn plus(&self, other: &Counts) -> Counts {
        self.with(other, |a, b| a + b)
    }

    fn with(&self, other: &Counts, join: fn(u64, u64) -> u64) -> Counts {
        Counts {
            opened: join(self.opened, other.opened),
            failed: join(self.failed, other.failed),
            dropped: join(self.dropped, other.dropped),
            sent: join(self.sent, other.sent),
            answered: join(self.answered, other.answered),
            deliveries: join(self.deliveries, other.deliveries),
            bytes_sent: join(self.bytes_sent, other.bytes_sent),
            bytes_received: join(self.bytes_received, other.bytes_received),
        }
    }
}

/// One kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// When the first and the last of them happened.
    pub(super) first_at: u64,
    pub(super) last_at: u64,
}

/// One second; counts are those of the second, `connected` is what is open at its end.
#[derive(Debug, Clone, PartialEq)]
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
}

/// A row of the files: flat, which a CSV has to be (and serde's own flattening is not, to it).
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { t, phase, connected, counts, p50_us, p99_us, max_us, server_rss_bytes } = self;
        let mut row = serializer.serialize_struct("Row", 15)?;
        row.serialize_field("t", t)?;
        row.serialize_field("phase", phase)?;
        row.serialize_field("connected", connected)?;
        row.serialize_field("opened", &counts.opened)?;
        row.serialize_field("failed", &counts.failed)?;
        row.serialize_field("dropped", &counts.dropped)?;
        row.serialize_field("sent", &counts.sent)?;
        row.serialize_field("answered", &counts.answered)?;
        row.serialize_field("deliveries", &counts.deliveries)?;
        row.serialize_field("bytes_sent", &counts.bytes_sent)?;
        row.serialize_field("bytes_received", &counts.bytes_received)?;
        row.serialize_field("p50_us", p50_us)?;
        row.serialize_field("p99_us", p99_us)?;
        row.serialize_field("max_us", max_us)?;
        row.serialize_field("server_rss_bytes", server_rss_bytes)?;
        row.end()
    }
}

/// Server memory at one moment of the ramp or the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryPoint {
    pub(super) connected: u64,
    pub(super) rss_bytes: u64,
}

/// Percentiles, in microseconds; `None` where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
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
}

fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    // The bucket's upper end, but no more than what was ever measured.
    let ns = histogram.value_at_quantile(quantile).min(histogram.max());
    (!histogram.is_empty()).then_some(ns as f64 / 1000.0)
}

/// What has happened so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) phase: Phase,
    /// When each phase after the ramp began, and how many connections were open then.
    pub(super) phases: Vec<(Phase, u64, u64)>,
    pub(super) counts: Counts,
    pub(super) errors: BTreeMap<String, Failures>,
    /// The first words with which the target refused.
    pub(super) words: Option<String>,
    /// Requests in the seconds that have a row.
    latency: Histogram<u64>,
    /// Requests in the second that has none yet.
    latency_now: Histogram<u64>,
    pub(super) connect: Histogram<u64>,
    /// Open-loop: how late requests left the tester that were not waiting for an answer.
    pub(super) lag: Histogram<u64>,
    pub(super) series: Vec<Row>,
    counts_before: Counts,
    pub(super) memory: Vec<MemoryPoint>,
    /// One in so many points of memory is kept.
    memory_every: u32,
    memory_skipped: u32,
    pub(super) rss_now: Option<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
                .expect("1 to an hour in three figures is a histogram")
        };
        Tally {
            phase: Phase::Ramp,
            phases: Vec::new(),
            counts: Counts::default(),
            errors: BTreeMap::new(),
            words: None,
            latency: histogram(),
            latency_now: histogram(),
            connect: histogram(),
            lag: histogram(),
            series: Vec::new(),
            counts_before: Counts::default(),
            memory: Vec::new(),
            memory_every: 1,
            memory_skipped: 0,
            rss_now: None,
        }
    }

    /// A phase begins at `now`.
    pub(super) fn begin(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        self.phases.push((phase, now, self.connected()));
    }

    /// Connections open now.
    pub(super) fn connected(&self) -> u64 {
        self.counts.opened - self.counts.dropped
    }

    /// All failures together.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|failures| failures.count).sum()
    }

    /// Something failed at `now`, in a way called `name`.
    pub(super) fn fail(&mut self, name: &str, now: u64) {
        if let Some(failures) = self.errors.get_mut(name) {
            failures.count += 1;
            failures.last_at = now;
        } else {
            let first = Failures { count: 1, first_at: now, last_at: now };
            self.errors.insert(name.to_owned(), first);
        }
    }

    /// `count` answers or deliveries took `ns`.
    #[inline]
    pub(super) fn record(&mut self, ns: u64, count: u32) {
        let ns = ns.clamp(1, LATENCY_NS_MAX);
        // The bounds hold every value that is clamped to them.
        let _ = self.latency_now.record_n(ns, u64::from(count));
    }

    pub(super) fn record_connect(&mut self, ns: u64) {
        self.connect.saturating_record(ns.max(1));
    }

    pub(super) fn record_lag(&mut self, ns: u64) {
        self.lag.saturating_record(ns.max(1));
    }

    /// p50 and p99 of the second that has no row yet, else of the last one that has.
    pub(super) fn latency_lately(&self) -> (Option<f64>, Option<f64>) {
        if self.latency_now.is_empty() {
            return self.series.last().map_or((None, None), |row| (row.p50_us, row.p99_us));
        }
        (quantile_us(&self.latency_now, 0.5), quantile_us(&self.latency_now, 0.99))
    }

    /// Whether anything has happened since the last row.
    pub(super) fn has_news(&self) -> bool {
        self.counts != self.counts_before || !self.latency_now.is_empty()
    }

    /// Ends a second, at `now`.
    pub(super) fn end_row(&mut self, now: u64) -> &Row {
        self.series.push(Row {
            t: (now as f64 / 1e6).round() / 1e3,
            phase: self.phase,
            connected: self.connected(),
            counts: self.counts.since(&self.counts_before),
            p50_us: quantile_us(&self.latency_now, 0.5),
            p99_us: quantile_us(&self.latency_now, 0.99),
            max_us: quantile_us(&self.latency_now, 1.0),
            server_rss_bytes: self.rss_now,
        });
        self.counts_before = self.counts;
        self.latency += &self.latency_now;
        self.latency_now.reset();
        let last = self.series.len() - 1;
        &self.series[last]
    }

    /// All latencies of the seconds that have a row.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// The server holds so much memory with as many connections as there are now.
    pub(super) fn note_memory(&mut self, rss_bytes: u64) {
        self.rss_now = Some(rss_bytes);
        self.memory_skipped += 1;
        if self.memory_skipped < self.memory_every {
            return;
        }
        self.memory_skipped = 0;
        self.memory.push(MemoryPoint { connected: self.connected(), rss_bytes });
        if self.memory.len() >= MEMORY_POINTS_MAX {
            let mut number = 0;
            self.memory.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.memory_every = self.memory_every.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_counts_of_its_second_and_the_level_at_its_end() {
        let mut tally = Tally::new();
        tally.counts = Counts { opened: 10, dropped: 1, sent: 5, ..Counts::default() };
        tally.record(2_000, 3);
        assert_eq!(tally.latency_lately().0, Some(2.0));
        let row = tally.end_row(SECOND).clone();
        assert_eq!((row.t, row.connected, row.counts.opened, row.counts.sent), (1.0, 9, 10, 5));
        assert_eq!(row.p50_us, Some(2.0));
        tally.counts.sent = 7;
        let row = tally.end_row(2 * SECOND + 400_000).clone();
        assert_eq!((row.t, row.connected, row.counts.opened, row.counts.sent), (2.0, 9, 0, 2));
        assert_eq!((row.p50_us, row.max_us), (None, None), "nothing was answered");
        assert_eq!(tally.latency().len(), 3);
    }

    #[test]
    fn percentiles_are_microseconds_and_never_above_the_largest() {
        let mut tally = Tally::new();
        for us in 1..=1000 {
            tally.record(us * 1_000, 1);
        }
        tally.end_row(SECOND);
        let found = Percentiles::of(tally.latency());
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() / expected - 1.0).abs() < 0.002, "{value:?} is not {expected}");
        };
        near(found.p50, 500.0);
        near(found.p90, 900.0);
        near(found.p99, 990.0);
        near(found.p999, 999.0);
        near(found.max, 1000.0);
        assert!(found.p999 <= found.max);
        assert_eq!(Percentiles::of(&Tally::new().latency), Percentiles::default());
    }

    #[test]
    fn the_ends_of_the_scale_are_kept_not_lost() {
        let mut tally = Tally::new();
        tally.record(0, 1);
        tally.record(u64::MAX, 1);
        tally.end_row(1);
        assert_eq!(tally.latency().len(), 2);
        let max_us = Percentiles::of(tally.latency()).max.unwrap();
        assert!(max_us >= 3_600e6);
    }

    #[test]
    fn failures_are_counted_by_name_with_their_times() {
        let mut tally = Tally::new();
        for (name, at) in [("ECONNRESET", 5), ("EOF", 6), ("ECONNRESET", 9)] {
            tally.fail(name, at);
        }
        let resets = Failures { count: 2, first_at: 5, last_at: 9 };
        assert_eq!(tally.errors["ECONNRESET"], resets);
        assert_eq!(tally.error_count(), 3);
    }

    #[test]
    fn points_of_memory_are_thinned_and_never_too_many() {
        let mut tally = Tally::new();
        for n in 0..50_000 {
            tally.note_memory(n);
        }
        let points = tally.memory.len();
        assert!(points < MEMORY_POINTS_MAX && points > 1_000, "{points}");
        assert!(tally.memory.is_sorted_by_key(|point| point.rss_bytes));
        assert_eq!(tally.rss_now, Some(49_999));
    }
}
