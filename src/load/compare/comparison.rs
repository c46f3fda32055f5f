//! A finished comparison: the changes, what they mean, and what is to be known beside them. It is the
//! layout of `--json`, too.

use serde::Serialize;

use super::super::format::{rate, short_duration};
use super::super::record::ModeName;
use super::super::summary_line::excerpt;
use super::metrics::{self, Setting, Source};
use super::seconds::QUANTILES;
use super::set::Set;
use super::statistics::{self, Change, Method, Metric, Outcome, Sample, Unit, Worse};

/// Version of the layout. A change that breaks readers raises it.
const SCHEMA: u32 = 1;

/// Runs of a set from which noise is measured, not assumed.
const RUNS_WANTED: usize = 7;

/// A finished comparison, as `--json` writes it.
#[derive(Serialize)]
pub(super) struct Comparison {
    schema: u32,
    pub(super) mode: ModeName,
    pub(super) before: SetFacts,
    pub(super) after: SetFacts,
    pub(super) tolerance_percent: f64,
    method: &'static str,
    pub(super) metrics: Vec<MetricRow>,
    pub(super) warnings: Vec<String>,
    pub(super) verdict: ComparisonVerdict,
}

/// A set in short.
#[derive(Serialize)]
pub(super) struct SetFacts {
    pub(super) runs: usize,
    files: Vec<String>,
    pub(super) target: String,
    /// Of the first run.
    pub(super) command: String,
    pub(super) started_at: String,
    pub(super) host: Option<String>,
}

/// A metric in both sets. Percentages are of the value before.
#[derive(Serialize)]
pub(super) struct MetricRow {
    pub(super) name: &'static str,
    unit: &'static str,
    /// Medians of the runs.
    pub(super) before: f64,
    /// `None` if no run after has the metric, and that is worse than any value.
    pub(super) after: Option<f64>,
    /// `None` if it was 0 before.
    pub(super) change_percent: Option<f64>,
    /// Interval of 95 %.
    low_percent: Option<f64>,
    high_percent: Option<f64>,
    /// Probability of such a change for the worse, or the better, if nothing has changed.
    p_worse: Option<f64>,
    p_better: Option<f64>,
    /// Smallest change for the worse that would have been found 95 times in 100.
    detectable_percent: Option<f64>,
    pub(super) outcome: &'static str,
    #[serde(skip)]
    shown: Shown,
}

/// Texts of a row.
pub(super) struct Shown {
    pub(super) before: String,
    pub(super) after: String,
    pub(super) change: String,
}

impl MetricRow {
    pub(super) fn shown(&self) -> &Shown {
        &self.shown
    }
}

#[derive(Serialize)]
pub(super) struct ComparisonVerdict {
    pub(super) is_worse: bool,
    /// The verdict in words.
    pub(super) text: String,
    /// The smallest change that could have been found, and the method.
    pub(super) power: String,
}

impl Comparison {
    /// Compares two sets with a tolerance in percent.
    pub(super) fn new(before: &Set, after: &Set, tolerance_percent: f64) -> Self {
        let columns = columns(before, after);
        let samples: Vec<Sample> = columns.iter().filter_map(Column::sample).cloned().collect();
        let (method, changes) = statistics::compare(&samples, tolerance_percent / 100.0);
        let absent: Vec<&str> = columns.iter().filter_map(Column::absent).collect();
        let mut tested = changes.iter();
        let rows = columns.iter().filter_map(|column| match column {
            Column::Sample(_) => tested.next().map(row),
            Column::Absent(metric, before) => Some(absent_row(metric, before)),
        });
        Comparison {
            schema: SCHEMA,
            mode: before.first.mode,
            before: SetFacts::of(before),
            after: SetFacts::of(after),
            tolerance_percent,
            method: method_name(method),
            metrics: rows.collect(),
            warnings: warnings(before, after),
            verdict: verdict(&changes, &absent, method),
        }
    }
}

impl SetFacts {
    fn of(set: &Set) -> Self {
        let first = &set.first;
        SetFacts {
            runs: set.runs(),
            files: set.files.iter().map(|file| file.display().to_string()).collect(),
            target: excerpt(&first.target),
            command: excerpt(&first.command),
            started_at: excerpt(&first.host.started_at),
            host: first.host.name.as_deref().map(excerpt),
        }
    }
}

/// A metric of both sets.
enum Column {
    Sample(Sample),
    /// One that all runs before have, with their values, and no run after, which is worse than any value.
    Absent(Metric, Vec<f64>),
}

impl Column {
    fn sample(&self) -> Option<&Sample> {
        match self {
            Column::Sample(sample) => Some(sample),
            Column::Absent(..) => None,
        }
    }

    fn absent(&self) -> Option<&'static str> {
        match self {
            Column::Sample(_) => None,
            Column::Absent(metric, _) => Some(metric.name),
        }
    }
}

/// The metrics that can be compared: those that all runs have, and those that none after has any more.
/// Counts that are always 0 are left out.
fn columns(before: &Set, after: &Set) -> Vec<Column> {
    let sources = metrics::sources(&before.first);
    let columns = sources.iter().zip(&before.values).zip(&after.values);
    let column = |((source, before_values), after_values): ((&Source, &Vec<_>), &Vec<_>)| {
        let metric = metric(source, before, after);
        let all = |values: &[Option<f64>], set: &Set| -> Option<Vec<f64>> {
            let is_per_sec = metric.unit == Unit::CountPerSec;
            let value = |(value, secs): (&Option<f64>, &f64)| match value {
                Some(count) if is_per_sec => (*secs > 0.0).then_some(count / secs),
                value => *value,
            };
            values.iter().zip(&set.measured_secs).map(value).collect()
        };
        let values = all(before_values, before)?;
        if source.is_worse_absent && is_absent(after_values, after) {
            return Some(Column::Absent(metric, values));
        }
        let after_values = all(after_values, after)?;
        let is_silent =
            metric.unit.is_count() && values.iter().chain(&after_values).all(|value| *value == 0.0);
        let seconds_error =
            seconds_error(metric.name, before).hypot(seconds_error(metric.name, after));
        let sample = Sample { metric, before: values, after: after_values, seconds_error };
        (!is_silent).then_some(Column::Sample(sample))
    };
    columns.filter_map(column).collect()
}

/// Whether no run of `set` has a value of a metric. One that a signal ended may not have come to it.
fn is_absent(values: &[Option<f64>], set: &Set) -> bool {
    values.iter().all(Option::is_none) && set.interrupted == 0
}

/// The metric of `source` as the runs of both sets allow to judge it.
fn metric(source: &Source, before: &Set, after: &Set) -> Metric {
    // Runs warn of a busy machine, and of a tester that was late for it.
    let is_busy = before.warned + after.warned > 0;
    let metric = if is_busy { metrics::on_busy_machine(source.metric) } else { source.metric };
    match source.setting.filter(|setting| is_different(*setting, before, after)) {
        // What was set is no property of the target.
        Some(Setting::Pace) => Metric { is_judged: false, ..metric },
        Some(Setting::Length) => Metric { unit: Unit::CountPerSec, ..metric },
        None => metric,
    }
}

fn is_different(setting: Setting, before: &Set, after: &Set) -> bool {
    [before, after].iter().any(|set| set.differences.settings.contains(&setting))
}

fn seconds_error(metric: &str, set: &Set) -> f64 {
    let [p50, p90, p99, p999] = set.seconds.latency;
    debug_assert_eq!(QUANTILES, [0.5, 0.9, 0.99, 0.999]);
    match metric {
        "answers/s" | "deliveries/s" => set.seconds.rate,
        "latency p50" => p50,
        "latency p90" => p90,
        "latency p99" => p99,
        "latency p99.9" => p999,
        _ => 0.0,
    }
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Permutation => "permutation",
        Method::RunToRun => "run_to_run",
        Method::Seconds => "seconds",
    }
}

fn row(change: &Change) -> MetricRow {
    let Change { metric, before, after, .. } = change;
    let percent = |fraction: f64| (*before > 0.0).then_some(fraction * 100.0);
    MetricRow {
        name: metric.name,
        unit: unit_name(metric.unit),
        before: *before,
        after: Some(*after),
        change_percent: percent(change.change),
        low_percent: percent(change.low),
        high_percent: percent(change.high),
        p_worse: change.p_worse,
        p_better: change.p_better,
        detectable_percent: percent(change.detectable).filter(|_| change.is_tested()),
        outcome: outcome_name(change.outcome),
        shown: Shown {
            before: value(metric.unit, *before),
            after: value(metric.unit, *after),
            change: change_text(change),
        },
    }
}

/// The row of a metric that no run after has any more.
fn absent_row(metric: &Metric, before: &[f64]) -> MetricRow {
    let before = statistics::median(before);
    MetricRow {
        name: metric.name,
        unit: unit_name(metric.unit),
        before,
        after: None,
        change_percent: None,
        low_percent: None,
        high_percent: None,
        p_worse: None,
        p_better: None,
        detectable_percent: None,
        outcome: outcome_name(Outcome::Worse),
        shown: Shown {
            before: value(metric.unit, before),
            after: "none".to_owned(),
            change: String::new(),
        },
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::PerSec | Unit::CountPerSec => "per_sec",
        Unit::Microseconds => "us",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Worse => "worse",
        Outcome::Better => "better",
        Outcome::Same => "~",
        Outcome::NotJudged => "",
    }
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSec | Unit::Count => rate(value),
        Unit::CountPerSec => format!("{}/s", rate(value)),
        Unit::Microseconds => short_duration(Some(value)),
        Unit::Bytes => format!("{value:.1} B"),
    }
}

/// `-3.0 % ± 0.6 %`.
fn change_text(change: &Change) -> String {
    if change.metric.unit.is_count() {
        return if change.before == 0.0 { "from 0".to_owned() } else { percent(change.change) };
    }
    if !change.is_tested() {
        return percent(change.change);
    }
    let half = (change.high - change.low) / 2.0 * 100.0;
    let digits = digits(half);
    format!("{} ± {half:.digits$} %", signed_percent(change.change, digits))
}

fn percent(fraction: f64) -> String {
    signed_percent(fraction, digits(fraction * 100.0))
}

fn signed_percent(fraction: f64, digits: usize) -> String {
    let text = format!("{:+.digits$} %", fraction * 100.0);
    // Nothing lost is not `-0`.
    if text.trim_start_matches(['-', '0', '.']) == " %" { text.replace('-', "+") } else { text }
}

/// Digits behind the point of a percentage.
fn digits(percent: f64) -> usize {
    usize::from(percent.abs() < 10.0)
}

/// Reasons to doubt the figures.
fn warnings(before: &Set, after: &Set) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for difference in before.differences.texts.iter().chain(&after.differences.texts) {
        if !warnings.contains(difference) {
            warnings.push(difference.clone());
        }
    }
    warnings.extend(missing(before, after));
    for (name, set) in [("before", before), ("after", after)] {
        let of = |count| runs_text(count, set, name);
        if set.runs() == 1 && set.first.has_coarse_rows() {
            warnings.push(format!(
                "the rows of the run {name} are of several seconds, as those of a page of a longer \
                 run, and do not show how its latencies swung: give its file of --json"
            ));
        }
        if set.interrupted > 0 {
            warnings.push(format!("a signal ended {}", of(set.interrupted)));
        }
        if let Some(warning) = &set.warning {
            warnings.push(format!("{}: {warning}", of(set.warned)));
        }
    }
    warnings
}

/// Metrics that only some runs have, though each should, so that they are not compared; one text for each
/// set with such runs.
fn missing(before: &Set, after: &Set) -> Vec<String> {
    let count = |values: &[Option<f64>]| values.iter().filter(|value| value.is_none()).count();
    let sources = metrics::sources(&before.first);
    let mut found = [(0, Vec::new()), (0, Vec::new())];
    for (at, source) in sources.iter().enumerate().filter(|(_, source)| source.is_worse_absent) {
        let (of_before, of_after) = (&before.values[at], &after.values[at]);
        let counts = [count(of_before), count(of_after)];
        let has_none = counts == [before.runs(), after.runs()];
        let is_worse = counts[0] == 0 && is_absent(of_after, after);
        for ((most, names), count) in found.iter_mut().zip(counts) {
            if count > 0 && !has_none && !is_worse {
                *most = count.max(*most);
                names.push(source.metric.name);
            }
        }
    }
    let sets = [("before", before), ("after", after)].into_iter().zip(found);
    let sets = sets.filter(|(_, (_, names))| !names.is_empty());
    let text = |((name, set), (count, names)): ((&str, &Set), (usize, Vec<&str>))| {
        let runs = runs_text(count, set, name);
        format!("not compared: {}, missing in {runs}", names.join(", "))
    };
    sets.map(text).collect()
}

/// `the run before`, `3 of the 8 runs after`.
fn runs_text(count: usize, set: &Set, name: &str) -> String {
    match set.runs() {
        1 => format!("the run {name}"),
        runs => format!("{count} of the {runs} runs {name}"),
    }
}

fn verdict(changes: &[Change], absent: &[&str], method: Method) -> ComparisonVerdict {
    let with = |outcome: Outcome| -> Vec<String> {
        changes.iter().filter(|change| change.outcome == outcome).map(finding).collect()
    };
    let mut worse: Vec<String> = absent.iter().map(|name| format!("no {name}")).collect();
    worse.extend(with(Outcome::Worse));
    let better = with(Outcome::Better);
    let mut text = match (worse.is_empty(), better.is_empty()) {
        (false, _) => format!("WORSE: {}", worse.join(", ")),
        (true, false) => format!("not worse; better: {}", better.join(", ")),
        (true, true) => "not worse".to_owned(),
    };
    for change in changes {
        let is_told = change.metric.unit.is_count()
            && change.outcome != Outcome::Worse
            && change.after > change.before;
        if is_told {
            text += &format!("; {} grew {}", change.metric.name, from_to(change));
        }
    }
    ComparisonVerdict { is_worse: !worse.is_empty(), text, power: power(changes, method) }
}

/// `latency p50 +3.0 % ± 0.6 %`, `unserved from 0 to 12 a run`.
fn finding(change: &Change) -> String {
    let name = change.metric.name;
    if change.metric.unit.is_count() && change.before == 0.0 {
        return format!("{name} {}", from_to(change));
    }
    format!("{name} {}", change_text(change))
}

/// `from 0 to 12 a run`.
fn from_to(change: &Change) -> String {
    let unit = if change.metric.unit == Unit::Count { "run" } else { "second" };
    format!("from {} to {} a {unit}", rate(change.before), rate(change.after))
}

/// The smallest change of the first judged metric that could have been found, and the method.
fn power(changes: &[Change], method: Method) -> String {
    let judged = changes.iter().find(|change| change.is_tested());
    let Some(Change { metric, detectable, .. }) = judged else {
        return "nothing was measured that could be worse".to_owned();
    };
    let direction = if metric.worse == Worse::Higher { "growth" } else { "loss" };
    let size = detectable.min(9.99) * 100.0;
    let found = format!(
        "a {direction} of {size:.*} % of {} would have been found 95 times in 100",
        digits(size),
        metric.name
    );
    let assumed =
        format!("runs of one server are assumed to differ by {:.1} %", metric.run_to_run * 100.0);
    match method {
        Method::Permutation => found,
        Method::RunToRun => {
            format!(
                "{found}; {assumed} besides what these show, {RUNS_WANTED} runs a set measure it"
            )
        }
        Method::Seconds => format!(
            "{found}; one run against one cannot tell a change from what differs between any two runs: \
             {assumed}, {RUNS_WANTED} runs a set measure it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::engine::Run;
    use super::super::super::fixtures::{run, with_record};
    use super::super::super::record::Record;
    use super::super::super::stats::{Percentiles, Phase};
    use super::super::super::storm::StormRecord;
    use super::super::super::wake::WakeStep;
    use super::*;

    const STORM: &str = "storm command://h:1 -c 10k --timeout 60";
    const WAKE: &str = "wake command://h:1 --hold 10";

    fn record(args: &str, run: Run) -> Record {
        let mut found = None;
        with_record(args, run, |record| found = Some(record.clone()));
        let mut record = found.unwrap();
        // Those of the machine that the test runs on.
        record.verdict.warnings.clear();
        record
    }

    /// A run whose 10,000 connections were dropped; the first `served` came back, each after as long.
    fn storm(served: u64, secs: u64) -> Record {
        let mut storm = StormRecord { dropped: 10_000, ..StormRecord::default() };
        for histogram in [&mut storm.histograms.served, &mut storm.histograms.served_after] {
            histogram.0.record_n(secs * 1_000_000_000, served).unwrap();
        }
        record(STORM, Run { storms: vec![storm.derive()], ..run() })
    }

    /// A run that woke ten connections, of which `lost` did not answer.
    fn wake(lost: u64) -> Record {
        let mut step = WakeStep { sleep_secs: 10.0, sampled: 10, lost, ..WakeStep::default() };
        step.histograms.first.0.record_n(300_000, 10 - lost).unwrap();
        record(WAKE, Run { wake_steps: vec![step.derive()], ..run() })
    }

    fn compare(before: &[Record], after: &[Record]) -> Comparison {
        let mut reference = None;
        let mut set = |name: &str, records: &[Record]| {
            let files: Vec<PathBuf> =
                (0..records.len()).map(|at| PathBuf::from(format!("{name}/{at}"))).collect();
            Set::of(&files, records.iter().cloned().map(Ok), &mut reference).unwrap().unwrap()
        };
        Comparison::new(&set("before", before), &set("after", after), 2.0)
    }

    fn outcome(comparison: &Comparison, name: &str) -> &'static str {
        let row = comparison.metrics.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("no {name}")).outcome
    }

    #[test]
    fn connections_that_never_come_back_are_worse() {
        let found = compare(&[storm(10_000, 5)], &[storm(9_000, 1)]);
        assert_eq!(outcome(&found, "served p50"), "better");
        assert_eq!(outcome(&found, "served p99"), "worse");
        assert_eq!(outcome(&found, "unserved"), "worse");
        assert!(found.verdict.text.starts_with("WORSE: served p99 +1"), "{}", found.verdict.text);
        assert!(found.verdict.text.contains("unserved from 0 to 1,000 a run"));
        let found = compare(&[storm(10_000, 5)], &[storm(0, 1)]);
        assert_eq!(found.metrics[0].name, "served p99");
        assert_eq!(found.metrics[0].after, Some(60e6), "the time after which they are given up");
        assert!(found.verdict.is_worse);
        let back = compare(&[storm(9_000, 1)], &[storm(10_000, 5)]);
        assert_eq!(outcome(&back, "served p99"), "better");
        assert_eq!(outcome(&back, "unserved"), "");
    }

    #[test]
    fn unserved_is_judged_of_any_number_of_runs() {
        // Too few to move the percentile.
        for runs in [1, 3, 8] {
            let found = compare(&vec![storm(10_000, 5); runs], &vec![storm(9_999, 5); runs]);
            assert_eq!(outcome(&found, "unserved"), "worse", "{runs}");
            assert_eq!(outcome(&found, "served p99"), "~", "{runs}");
        }
        let mut after = vec![storm(10_000, 5); 8];
        after[3] = storm(9_999, 5);
        assert!(!compare(&vec![storm(10_000, 5); 8], &after).verdict.is_worse, "one run of eight");
    }

    #[test]
    fn connections_lost_in_sleep_are_worse() {
        let found = compare(&[wake(0)], &[wake(1)]);
        assert_eq!(outcome(&found, "first after sleep p50"), "~");
        assert_eq!(outcome(&found, "first after sleep p99"), "worse");
        assert_eq!(outcome(&found, "lost in sleep"), "worse");
        let found = compare(&[wake(0)], &[wake(10)]);
        assert_eq!(found.metrics[0].after, Some(10e6), "a request is lost after 10 s");
        assert!(found.verdict.is_worse);
    }

    #[test]
    fn metric_that_no_run_after_has_is_worse() {
        const ECHO: &str = "echo command://h:1 --rate 50";
        let whole = record(ECHO, run());
        let one = std::slice::from_ref(&whole);
        let mut none = whole.clone();
        none.latency_us = Percentiles::default();
        let found = compare(one, &[none.clone()]);
        assert_eq!((found.metrics[0].name, found.metrics[0].after), ("latency p50", None));
        assert_eq!(outcome(&found, "latency p50"), "worse");
        assert!(found.verdict.text.starts_with("WORSE: no latency p50, no latency p90, no"));
        // What was not measured is no loss.
        let mut unwatched = whole.clone();
        unwatched.server.bytes_per_connection = None;
        assert!(!compare(one, &[unwatched]).verdict.is_worse);
        let mut stopped = none.clone();
        stopped.interrupted = Some(Phase::Ramp);
        assert!(!compare(one, &[stopped]).verdict.is_worse);
        let found = compare(&[whole.clone(), whole.clone()], &[whole.clone(), none]);
        assert!(!found.verdict.is_worse);
        let warning = "not compared: latency p50, latency p90, latency p99, latency p99.9, missing \
                       in 1 of the 2 runs after";
        assert!(found.warnings.iter().any(|text| text == warning), "{:?}", found.warnings);
    }

    #[test]
    fn pace_that_was_set_is_not_judged() {
        let paced = |rate: u64| {
            let mut record = record(&format!("idle command://h:1 --rate {rate}"), run());
            record.rate_per_sec = rate as f64;
            record.connect_us.p99 = Some(rate as f64);
            record
        };
        let found = compare(&[paced(10_000)], &[paced(1_000)]);
        assert_eq!(outcome(&found, "connects/s"), "");
        assert!(!found.verdict.is_worse, "{}", found.verdict.text);
        let found = compare(&[paced(1_000)], &[paced(10_000)]);
        assert_eq!(outcome(&found, "connect p99"), "");
        assert!(!found.verdict.is_worse, "{}", found.verdict.text);
        let mut slow = paced(10_000);
        slow.rate_per_sec = 1_000.0;
        assert_eq!(outcome(&compare(&[paced(10_000)], &[slow]), "connects/s"), "worse");
    }

    #[test]
    fn counts_of_runs_of_other_length_are_per_second() {
        let runs = |secs: u64, errors: u64| -> Vec<Record> {
            let mut record = record(&format!("echo command://h:1 -d {secs}"), run());
            record.measured_secs = secs as f64;
            record.errors = [("EOF".to_owned(), errors)].into();
            record.requests.unanswered = 0;
            vec![record; 8]
        };
        let found = compare(&runs(10, 20), &runs(30, 60));
        assert_eq!(outcome(&found, "errors"), "~");
        let errors = found.metrics.iter().find(|row| row.name == "errors").unwrap();
        assert_eq!((errors.before, errors.after, errors.unit), (2.0, Some(2.0), "per_sec"));
        assert!(!found.verdict.is_worse && !found.verdict.text.contains("errors"));
        assert_eq!(outcome(&compare(&runs(10, 20), &runs(10, 60)), "errors"), "worse");
        assert_eq!(outcome(&compare(&runs(30, 20), &runs(10, 20)), "errors"), "worse");
    }
}
