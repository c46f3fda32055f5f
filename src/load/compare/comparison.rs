//! A finished comparison: the changes, what they mean, and what is to be known beside them. It is the
//! layout of `--json`, too.

use serde::Serialize;

use super::super::format::{rate, short_duration};
use super::super::record::ModeName;
use super::super::summary_line::excerpt;
use super::metrics::{self, Source};
use super::seconds::QUANTILES;
use super::set::Set;
use super::statistics::{self, Change, Method, Outcome, Sample, Unit, Worse};

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
    pub(super) after: f64,
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
        let samples = samples(before, after);
        let (method, changes) = statistics::compare(&samples, tolerance_percent / 100.0);
        Comparison {
            schema: SCHEMA,
            mode: before.first.mode,
            before: SetFacts::of(before),
            after: SetFacts::of(after),
            tolerance_percent,
            method: method_name(method),
            warnings: warnings(before, after),
            verdict: verdict(&changes, method),
            metrics: changes.iter().map(row).collect(),
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

/// The metrics that all runs have. Counts that are always 0 are left out.
fn samples(before: &Set, after: &Set) -> Vec<Sample> {
    let sources = metrics::sources(&before.first);
    // Runs warn of a busy machine, and of a tester that was late for it.
    let is_busy = before.warned + after.warned > 0;
    let columns = sources.iter().zip(&before.values).zip(&after.values);
    let sample = |((source, before_values), after_values): ((&Source, &Vec<_>), &Vec<_>)| {
        let all = |values: &[Option<f64>]| values.iter().copied().collect::<Option<Vec<f64>>>();
        let metric = if is_busy { metrics::on_busy_machine(source.metric) } else { source.metric };
        let (values, after_values) = (all(before_values)?, all(after_values)?);
        let is_silent = metric.unit == Unit::Count
            && values.iter().chain(&after_values).all(|value| *value == 0.0);
        let seconds_error =
            seconds_error(metric.name, before).hypot(seconds_error(metric.name, after));
        (!is_silent).then_some(Sample {
            metric,
            before: values,
            after: after_values,
            seconds_error,
        })
    };
    columns.filter_map(sample).collect()
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
    let is_judged = change.outcome != Outcome::NotJudged;
    let percent = |fraction: f64| (*before > 0.0).then_some(fraction * 100.0);
    MetricRow {
        name: metric.name,
        unit: match metric.unit {
            Unit::PerSec => "per_sec",
            Unit::Microseconds => "us",
            Unit::Bytes => "bytes",
            Unit::Count => "count",
        },
        before: *before,
        after: *after,
        change_percent: percent(change.change),
        low_percent: percent(change.low),
        high_percent: percent(change.high),
        p_worse: is_judged.then_some(change.p_worse),
        p_better: is_judged.then_some(change.p_better),
        detectable_percent: percent(change.detectable).filter(|_| is_judged),
        outcome: match change.outcome {
            Outcome::Worse => "worse",
            Outcome::Better => "better",
            Outcome::Same => "~",
            Outcome::NotJudged => "",
        },
        shown: Shown {
            before: value(metric.unit, *before),
            after: value(metric.unit, *after),
            change: change_text(change),
        },
    }
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSec => rate(value),
        Unit::Microseconds => short_duration(Some(value)),
        Unit::Bytes => format!("{value:.1} B"),
        Unit::Count => rate(value),
    }
}

/// `-3.0 % ± 0.6 %`.
fn change_text(change: &Change) -> String {
    if change.metric.unit == Unit::Count {
        return if change.before == 0.0 { "from 0".to_owned() } else { percent(change.change) };
    }
    if change.outcome == Outcome::NotJudged {
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
    for difference in before.differences.iter().chain(&after.differences) {
        if !warnings.contains(difference) {
            warnings.push(difference.clone());
        }
    }
    for (name, set) in [("before", before), ("after", after)] {
        let of = |count: usize| match set.runs() {
            1 => format!("the run {name}"),
            runs => format!("{count} of the {runs} runs {name}"),
        };
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

fn verdict(changes: &[Change], method: Method) -> ComparisonVerdict {
    let with = |outcome: Outcome| -> Vec<String> {
        let found = changes.iter().filter(|change| change.outcome == outcome);
        found.map(|change| format!("{} {}", change.metric.name, change_text(change))).collect()
    };
    let (worse, better) = (with(Outcome::Worse), with(Outcome::Better));
    let mut text = match (worse.is_empty(), better.is_empty()) {
        (false, _) => format!("WORSE: {}", worse.join(", ")),
        (true, false) => format!("not worse; better: {}", better.join(", ")),
        (true, true) => "not worse".to_owned(),
    };
    for change in changes {
        let is_told = change.metric.unit == Unit::Count
            && change.outcome != Outcome::Worse
            && change.after > change.before;
        if is_told {
            let (before, after) = (rate(change.before), rate(change.after));
            text += &format!("; {} grew from {before} to {after} a run", change.metric.name);
        }
    }
    ComparisonVerdict { is_worse: !worse.is_empty(), text, power: power(changes, method) }
}

/// The smallest change of the first judged metric that could have been found, and the method.
fn power(changes: &[Change], method: Method) -> String {
    let judged = changes.iter().find(|change| change.outcome != Outcome::NotJudged);
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
