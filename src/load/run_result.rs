//! Result of a run: rates, and the thresholds that were missed.

use std::net::IpAddr;

use super::engine::Run;
use super::format::plural;
use super::plan::{LoadModel, Mode, Plan};
use super::route::Route;
use super::stats::{Percentiles, TargetCounts, TlsStats};
use super::sysinfo::Host;
use super::target::Target;
use super::workload::Pattern;

/// Fewest bytes that a connection takes: a server keeps a descriptor and a pointer for each.
const CONNECTION_BYTES_MIN: u64 = 16;

/// Smallest growth that is one. A few pages come and go on their own.
const GROWTH_BYTES_MIN: u64 = 32 * 1024;

/// Text for a server whose memory did not grow.
pub(super) const NOT_MEASURED: &str = "not measured: the server's memory did not grow";

/// Result of a run, with its settings.
pub(super) struct RunResult<'a> {
    pub(super) plan: &'a Plan,
    /// One for each target, the first one first.
    pub(super) routes: &'a [Route],
    pub(super) host: Host,
    /// Version of the server, as its STATUS says; `None` is unknown.
    pub(super) server_version: Option<String>,
    pub(super) run: Run,
}

impl RunResult<'_> {
    /// Reasons why the run is not met; none if it is.
    pub(super) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let (plan, stats) = (self.plan, &self.run.stats);
        if let Some(phase) = self.run.interrupted {
            misses.push(format!("interrupted in the {}", phase.name()));
        }
        if stats.counts.opened == 0 {
            misses.push("no connection was opened".to_owned());
        }
        let errors = stats.error_count();
        if errors > plan.errors_max {
            let errors = plural(errors, "error");
            misses.push(format!("{errors}, --max-errors allows {}", plan.errors_max));
        }
        if self.run.unsent > 0 && self.run.interrupted.is_none() {
            let requests = plural(self.run.unsent, "request");
            misses.push(format!("{requests} could not leave in time"));
        }
        let has_no_answer = stats.latency().is_empty();
        if plan.mode.load_model() != LoadModel::None && has_no_answer && self.run.measured_ns > 0 {
            let is_fanout = plan.mode.pattern() == Pattern::Fanout;
            let missing = if is_fanout { "delivered" } else { "answered" };
            misses.push(format!("nothing was {missing}"));
        }
        if let Some(max) = plan.p99_ms_max {
            misses.extend(self.latency_miss(max));
        }
        misses
    }

    /// The reason why the 99th percentile is not below `max` milliseconds, if it is not.
    fn latency_miss(&self, max: f64) -> Option<String> {
        let (answered, unanswered) = (self.run.stats.counts.answered, self.run.unanswered);
        if unanswered > (answered + unanswered) / 100 && self.run.interrupted.is_none() {
            // The 99th percentile is then a request without an answer, and the histogram has only
            // those with one.
            let unanswered = plural(unanswered, "request");
            return Some(format!("no p99, {unanswered} without an answer"));
        }
        let lost: u64 = self.targets().iter().map(|(_, counts)| counts.lost).sum();
        if lost > (self.run.stats.counts.deliveries + lost) / 100 {
            return Some(format!("no p99, {} lost", plural(lost, "message")));
        }
        let p99 = self.latency().p99? / 1e3;
        (p99 > max).then(|| format!("p99 of {p99:.3} ms, --max-p99-ms allows {max}"))
    }

    pub(super) fn latency(&self) -> Percentiles {
        Percentiles::of(self.run.stats.latency())
    }

    /// Rate per second of connections opened in the ramp (`idle`), answers (`echo`) or deliveries
    /// (`fanout`).
    pub(super) fn rate_per_sec(&self) -> f64 {
        let (count, ns) = match self.plan.mode {
            Mode::Idle { .. } => (self.run.stats.counts.opened, self.run.ramp_ns),
            Mode::Echo { .. } => (self.run.measured.answered, self.run.measured_ns),
            Mode::Fanout { .. } => (self.run.measured.deliveries, self.run.measured_ns),
        };
        if ns == 0 { 0.0 } else { round(count as f64 * 1e9 / ns as f64) }
    }

    /// Figures of TLS, where the target speaks it.
    pub(super) fn tls(&self) -> Option<TlsStats> {
        #[cfg(feature = "tls")]
        let is_tls = !self.plan.tls.is_empty();
        #[cfg(not(feature = "tls"))]
        let is_tls = false;
        is_tls.then(|| self.run.stats.tls.unwrap_or_default())
    }

    /// Growth of the server's memory over the connections held, in bytes. `None` if it was not watched,
    /// or did not grow with them: a server that had as many before takes them into memory it has.
    pub(super) fn bytes_per_connection(&self) -> Option<f64> {
        let growth = self.run.rss_held?.saturating_sub(self.run.rss_before?);
        let least = self.run.held.saturating_mul(CONNECTION_BYTES_MIN).max(GROWTH_BYTES_MIN);
        let has_grown = self.run.held > 0 && growth >= least;
        has_grown.then(|| round(growth as f64 / self.run.held as f64))
    }

    /// Growth of the kernel's memory for sockets over the connections held, in bytes: that of slabs,
    /// and of buffers.
    pub(super) fn kernel_bytes_per_connection(&self) -> (Option<f64>, Option<f64>) {
        let (before, held) = (self.run.kernel_before, self.run.kernel_held);
        let growth = |before: Option<u64>, held: Option<u64>| {
            let growth = held?.saturating_sub(before?);
            (self.run.held > 0).then(|| round(growth as f64 / self.run.held as f64))
        };
        let slab = growth(before.slab_bytes, held.slab_bytes);
        // Those of TCP: the kernel does not tell what Unix sockets have.
        let is_tcp = self.routes.iter().any(|route| route.address.ip().is_some());
        (slab, growth(before.buffer_bytes, held.buffer_bytes).filter(|_| is_tcp))
    }

    /// Number of ends of each connection on this machine.
    pub(super) fn ends_here(&self) -> u32 {
        let is_here = |Route { address, sources }: &Route| {
            address.ip().is_none_or(|ip| ip.is_loopback() || sources.addresses().contains(&ip))
        };
        if self.routes.iter().all(is_here) { 2 } else { 1 }
    }

    /// The local addresses of connections: those of the target that needs most.
    pub(super) fn source_ips(&self) -> &[IpAddr] {
        let all = self.routes.iter().map(|route| route.sources.addresses());
        all.max_by_key(|addresses| addresses.len()).unwrap_or_default()
    }

    /// Several targets with their counts, that of the publisher first; none if there is one.
    pub(super) fn targets(&self) -> Vec<(&Target, &TargetCounts)> {
        if !self.plan.spread().is_over_several() {
            return Vec::new();
        }
        self.plan.targets().zip(&self.run.targets).collect()
    }

    pub(super) fn tester_lag(&self) -> Percentiles {
        Percentiles::of(&self.run.stats.lag)
    }

    /// Whether the tester ran so late that its lag is a good part of the latencies.
    pub(super) fn is_tester_late(&self) -> bool {
        let (lag, latency) = (self.tester_lag().p99, self.latency().p99);
        lag.zip(latency).is_some_and(|(lag, latency)| lag > latency / 2.0)
    }
}

/// Rounds to a tenth: further digits were not measured.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{run, with_result};
    use super::super::stats::{Phase, Stats};
    use super::*;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";
    const ECHO: &str =
        "echo --target command://h:1 --connections 10 --depth 1 --size 3 --duration 2";

    fn misses(args: &str, run: Run) -> Vec<String> {
        let mut misses = Vec::new();
        with_result(args, run, |result| misses = result.misses());
        misses
    }

    #[test]
    fn p99_is_missed_if_over_1_percent_are_unanswered() {
        let args = format!("{IDLE} --max-errors 9 --max-p99-ms 1000");
        assert_eq!(misses(&args, run()), [""; 0], "one of a hundred and one");
        let lost = Run { unanswered: 2, ..run() };
        assert_eq!(misses(&args, lost), ["no p99, 2 requests without an answer"]);
    }

    #[test]
    fn unsent_requests_are_missed() {
        let late = Run { unsent: 7, ..run() };
        let missed = misses(&format!("{IDLE} --max-errors 9"), late);
        assert_eq!(missed, ["7 requests could not leave in time"]);
        let stopped = Run { unsent: 7, interrupted: Some(Phase::Hold), ..run() };
        let missed = misses(&format!("{IDLE} --max-errors 9"), stopped);
        assert_eq!(missed, ["interrupted in the hold"]);
    }

    #[test]
    fn errors_are_missed_unless_they_are_allowed() {
        assert_eq!(misses(IDLE, run()), ["2 errors, --max-errors allows 0"]);
        assert_eq!(misses(&format!("{IDLE} --max-errors 1"), run()).len(), 1);
        assert_eq!(misses(&format!("{IDLE} --max-errors 2"), run()), [""; 0]);
    }

    #[test]
    fn slow_p99_is_missed() {
        let bar = |ms: &str| misses(&format!("{IDLE} --max-errors 2 --max-p99-ms {ms}"), run());
        assert_eq!(bar("99.5"), [""; 0]);
        let missed = bar("98");
        assert!(missed[0].starts_with("p99 of 99."), "{missed:?}");
        assert!(missed[0].ends_with(" ms, --max-p99-ms allows 98"), "{missed:?}");
    }

    #[test]
    fn p99_is_missed_if_over_1_percent_are_lost() {
        let args = "fanout chat://h:1 chat://h:2 --max-errors 9 --max-p99-ms 1000";
        let counts = |lost| TargetCounts { opened: 9, deliveries: 7, lost };
        let lost = Run { targets: vec![counts(0), counts(1)], ..run() };
        assert_eq!(misses(args, lost), ["no p99, 1 message lost"]);
        let none = Run { targets: vec![counts(0), counts(0)], ..run() };
        assert_eq!(misses(args, none), [""; 0]);
        let one = "fanout chat://h:1 --max-errors 9 --max-p99-ms 1000";
        assert_eq!(misses(one, Run { targets: vec![counts(1)], ..run() }), [""; 0]);
    }

    #[test]
    fn run_without_answers_or_end_is_missed() {
        let none = Run { stats: Stats::new(), ..run() };
        let found = misses(&format!("{IDLE} --max-errors 9"), none);
        assert_eq!(found, ["no connection was opened", "nothing was answered"]);
        let cut = Run { interrupted: Some(Phase::Hold), ..run() };
        assert_eq!(misses(&format!("{IDLE} --max-errors 9"), cut), ["interrupted in the hold"]);
    }

    #[test]
    fn memory_that_did_not_grow_is_not_measured() {
        for (held, before, after, each) in [
            (10_000, 1_000_000, 1_570_000, Some(57.0)),
            (10_000, 1_000_000, 1_014_000, None),
            (10_000, 1_000_000, 1_000_000, None),
            (10_000, 1_000_000, 900_000, None),
            (10, 1_000_000, 1_004_096, None),
            (0, 1_000_000, 2_000_000, None),
        ] {
            let run = Run { held, rss_before: Some(before), rss_held: Some(after), ..run() };
            with_result(IDLE, run, |result| assert_eq!(result.bytes_per_connection(), each));
        }
    }

    #[test]
    fn late_tester_is_told_from_a_slow_target() {
        with_result(IDLE, run(), |result| assert!(!result.is_tester_late()));
        let mut late = run();
        late.stats.record_timer_lag(90_000_000, 10_000_000);
        with_result(IDLE, late, |result| assert!(result.is_tester_late()));
    }

    #[test]
    fn rate_is_of_connects_answers_or_deliveries() {
        with_result(IDLE, run(), |result| assert_eq!(result.rate_per_sec(), 18.0));
        with_result(ECHO, run(), |result| assert_eq!(result.rate_per_sec(), 50.0));
        let fanout = "fanout --target chat://h:1 --subscribers 9 --size 1 --batch 1 --duration 2";
        with_result(fanout, run(), |result| assert_eq!(result.rate_per_sec(), 3.5));
    }
}
