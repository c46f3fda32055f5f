//! The verdict on a run, and the figures of its record that follow from others.

use super::format::plural;
use super::record::{LoadModel, ModeName, Record, Verdict};
use super::resources::Shape;
use super::stats::Percentiles;
use super::warnings;

impl Record {
    /// Fills what follows from the rest: the verdict, percentiles, figures a connection.
    pub(super) fn derive(mut self) -> Self {
        self.latency_us = Percentiles::of(&self.histograms.latency.0);
        self.connect_us = Percentiles::of(&self.histograms.connect.0);
        self.tester_lag_us = Percentiles::of(&self.histograms.tester_lag.0);
        self.left_late_us = Percentiles::of(&self.histograms.left_late.0);
        self.judge()
    }

    /// Fills what follows from the rest and the percentiles: figures a connection, the verdict.
    pub(super) fn judge(mut self) -> Self {
        let shape = self.shape();
        self.server.derive(shape);
        self.tester.derive(shape);
        self.kernel.derive(shape);
        let is_server_here = self.kernel.ends == 2 || self.settings.server_pid.is_some();
        self.machine.derive(&self.tester, &self.server, is_server_here);
        let misses = misses(&self);
        let (limit, warnings) = (warnings::limit(&self), warnings::warnings(&self));
        self.verdict = Verdict { met: misses.is_empty(), misses, limit, warnings };
        self
    }

    /// The counts by which figures a connection and a request are divided.
    fn shape(&self) -> Shape {
        let in_phase = (self.rate_per_sec * self.measured_secs).round();
        let held = self.connections.held;
        let held_secs = held as f64 * self.measured_secs;
        let (requests, connection_secs) = match self.mode {
            // A negative rate, which a file may have, counts as none.
            ModeName::Echo | ModeName::Fanout => (in_phase as u64, 0.0),
            ModeName::Idle if self.settings.load == LoadModel::None => (0, held_secs),
            ModeName::Idle => (self.requests.answered, 0.0),
            // A few requests among those that sleep.
            ModeName::Wake => (0, held_secs),
            // It is spent on connects as much as on requests.
            ModeName::Storm => (0, 0.0),
        };
        Shape { held, requests, connection_secs, measured_secs: self.measured_secs }
    }
}

/// Reasons why the run is not met; none if it is.
fn misses(record: &Record) -> Vec<String> {
    let mut misses = Vec::new();
    if let Some(phase) = record.interrupted {
        misses.push(format!("interrupted in the {}", phase.name()));
    }
    if record.connections.opened == 0 {
        misses.push("no connection was opened".to_owned());
    }
    let (errors, errors_max) = (record.error_count(), record.settings.max_errors);
    if errors > errors_max {
        misses.push(format!("{}, --max-errors allows {errors_max}", plural(errors, "error")));
    }
    misses.extend(storm_miss(record));
    let unsent = record.requests.unsent;
    if unsent > 0 && record.interrupted.is_none() {
        misses.push(format!("{} could not leave in time", plural(unsent, "request")));
    }
    let has_no_answer = record.latency().is_empty();
    let is_measured = record.measured_secs > 0.0;
    if record.settings.load != LoadModel::None && has_no_answer && is_measured {
        let is_fanout = record.mode == ModeName::Fanout;
        let missing = if is_fanout { "delivered" } else { "answered" };
        misses.push(format!("nothing was {missing}"));
    }
    if let Some(max) = record.settings.max_p99_ms {
        misses.extend(latency_miss(record, max));
    }
    misses
}

/// Storms that were not made, if any: nobody had come back from the one before.
fn storm_miss(record: &Record) -> Option<String> {
    let (made, wanted) = (record.storm.as_ref()?.len(), record.settings.times?);
    let is_short = made < wanted as usize && record.interrupted.is_none();
    let has_begun = record.connections.opened > 0;
    let text =
        || format!("{made} of {}: no connection was left to drop", plural(wanted.into(), "storm"));
    (is_short && has_begun).then(text)
}

/// The reason why the 99th percentile is not below `max` milliseconds, if it is not.
fn latency_miss(record: &Record, max: f64) -> Option<String> {
    let (answered, unanswered) = judged_requests(record);
    if unanswered > answered.saturating_add(unanswered) / 100 && record.interrupted.is_none() {
        // The 99th percentile is then a request without an answer, and the histogram has only
        // those with one.
        let unanswered = plural(unanswered, "request");
        return Some(format!("no p99, {unanswered} without an answer"));
    }
    let lost: u64 = record.lost();
    if lost > record.deliveries.saturating_add(lost) / 100 {
        return Some(format!("no p99, {} lost", plural(lost, "message")));
    }
    let p99 = record.latency_us.p99? / 1e3;
    (p99 > max).then(|| format!("p99 of {p99:.3} ms{}, --max-p99-ms allows {max}", blame(record)))
}

/// Requests with and without an answer whose latencies are judged. Those by which connections join are not
/// among them.
fn judged_requests(record: &Record) -> (u64, u64) {
    let (measured, unanswered) = (record.latency().len(), record.requests.unanswered);
    match record.mode {
        ModeName::Idle | ModeName::Echo => (measured, unanswered),
        ModeName::Fanout => (record.requests.answered, unanswered),
        ModeName::Storm => {
            let missing = record.storm.iter().flatten().map(|storm| storm.unserved);
            (measured, unanswered.saturating_sub(sum(missing)))
        }
        ModeName::Wake => {
            let lost = record.wake.iter().flatten().map(|step| step.lost);
            (measured, sum(lost))
        }
    }
}

/// The sum of counts of a file, which may be anything.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Whose a slow answer is: the target's (or the network's), unless the tester was late itself.
fn blame(record: &Record) -> &'static str {
    match record.tester_lateness_us() {
        None => "",
        Some(_) if record.is_tester_late() => ", with a tester that was late itself",
        Some(_) => ", with a tester on time",
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_record};
    use super::super::stats::{Phase, Stats, TargetCounts};
    use super::super::storm::StormRecord;
    use super::super::wake::WakeStep;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";
    const ECHO: &str =
        "echo --target command://h:1 --connections 10 --depth 1 --size 3 --duration 2";

    fn misses(args: &str, run: Run) -> Vec<String> {
        let mut misses = Vec::new();
        with_record(args, run, |record| misses = super::misses(record));
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
    fn joining_requests_do_not_hide_unanswered_ones() {
        let of = |args: &str, change: fn(&mut Run)| {
            let mut run = Run { unanswered: 2, ..run() };
            run.stats.counts.answered = 10_100;
            change(&mut run);
            misses(&format!("{args} command://h:1 -c 10k --max-errors 9 --max-p99-ms 1000"), run)
        };
        let missed = ["no p99, 2 requests without an answer"];
        fn step(lost: u64) -> Vec<WakeStep> {
            vec![WakeStep { sampled: 100, lost, ..WakeStep::default() }]
        }
        assert_eq!(of("wake", |run| run.wake_steps = step(2)), missed);
        assert_eq!(of("wake", |run| run.wake_steps = step(1)), [""; 0], "one had not joined");
        fn storm(unserved: u64) -> Vec<StormRecord> {
            vec![StormRecord { unserved, ..StormRecord::default() }]
        }
        assert_eq!(of("storm", |run| run.storms = storm(0)), missed, "of the bystanders");
        assert_eq!(of("storm", |run| run.storms = storm(2)), [""; 0], "of those that came back");
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
        assert!(
            missed[0].ends_with(" ms, with a tester on time, --max-p99-ms allows 98"),
            "{missed:?}"
        );
        let mut late = run();
        late.stats.record_left_late(90_000_000);
        let missed = misses(&format!("{IDLE} --max-errors 2 --max-p99-ms 98"), late);
        let expected = " ms, with a tester that was late itself, --max-p99-ms allows 98";
        assert!(missed[0].ends_with(expected), "{missed:?}");
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
            with_record(IDLE, run, |record| assert_eq!(record.server.bytes_per_connection, each));
        }
    }

    #[test]
    fn late_tester_is_told_from_a_slow_target() {
        with_record(IDLE, run(), |record| assert!(!record.is_tester_late()));
        let mut late = run();
        late.stats.record_timer_lag(90_000_000, 10_000_000);
        with_record(IDLE, late, |record| assert!(record.is_tester_late()));
    }

    #[test]
    fn rate_is_of_connects_answers_or_deliveries() {
        with_record(IDLE, run(), |record| assert_eq!(record.rate_per_sec, 18.0));
        with_record(ECHO, run(), |record| assert_eq!(record.rate_per_sec, 50.0));
        let fanout = "fanout --target chat://h:1 --subscribers 9 --size 1 --batch 1 --duration 2";
        with_record(fanout, run(), |record| assert_eq!(record.rate_per_sec, 3.5));
    }
}
