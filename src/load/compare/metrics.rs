//! The metrics of a record that are compared, and the direction in which each gets worse.

use serde_json::Number;

use super::super::histogram::{nth_value, share_of};
use super::super::record::{LoadModel, ModeName, Record};
use super::super::stats::Phase;
use super::super::storm::StormRecord;
use super::super::wake::WakeStep;
use super::statistics::{Metric, Unit, Worse};

/// A metric and its value in a record; `None` if it was not measured.
pub(super) struct Source {
    pub(super) metric: Metric,
    pub(super) value: fn(&Record) -> Option<f64>,
    /// Whether a run without a value is worse than any with one: nothing was answered. Without it, the
    /// value could not be measured.
    pub(super) is_worse_absent: bool,
    /// The setting that changes the value and may differ between runs.
    pub(super) setting: Option<Setting>,
}

/// A setting that may differ between runs, and changes some of their figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Pace of the connects.
    Pace,
    /// Length of the hold or the traffic, with which counts grow.
    Length,
}

impl Source {
    fn worse_absent(self) -> Self {
        Source { is_worse_absent: true, ..self }
    }

    fn set_by(self, setting: Setting) -> Self {
        Source { setting: Some(setting), ..self }
    }
}

/// Time after which the request of a woken connection is lost, in microseconds.
const WAKE_TIMEOUT_US: f64 = 10e6;

/// Standard deviations between runs of ten seconds of one server on a machine that does nothing else, as
/// fractions.
mod run_to_run {
    pub(super) const RATE: f64 = 0.015;
    pub(super) const MEDIAN: f64 = 0.02;
    pub(super) const TAIL: f64 = 0.1;
    pub(super) const FAR_TAIL: f64 = 0.5;
    pub(super) const CONNECT: f64 = 0.2;
    pub(super) const CPU: f64 = 0.03;
    pub(super) const MEMORY: f64 = 0.005;
}

/// Least standard deviation of rates and times on a machine that does other work as well
/// (docs/benchmarks.md, "Runs of one server").
const BUSY_RUN_TO_RUN: f64 = 0.15;

/// `metric` as it varies on a busy machine.
pub(super) fn on_busy_machine(metric: Metric) -> Metric {
    let is_steady = metric.unit == Unit::Bytes || metric.unit.is_count();
    let least = if is_steady { 0.0 } else { BUSY_RUN_TO_RUN };
    Metric { run_to_run: metric.run_to_run.max(least), ..metric }
}

/// The metrics of a mode. The first is what the mode measures.
pub(super) fn sources(record: &Record) -> Vec<Source> {
    let headline_rate = source(rate(record.mode), run_to_run::RATE, |r| Some(r.rate_per_sec));
    let mut sources = vec![
        match record.mode {
            ModeName::Echo | ModeName::Fanout => headline_rate,
            ModeName::Idle | ModeName::Storm | ModeName::Wake => {
                headline_rate.set_by(Setting::Pace)
            }
        },
        source(time("latency p50"), run_to_run::MEDIAN, |r| r.latency_us.p50).worse_absent(),
        source(time("latency p90"), run_to_run::MEDIAN, |r| r.latency_us.p90).worse_absent(),
        source(time("latency p99"), run_to_run::TAIL, |r| r.latency_us.p99).worse_absent(),
        source(time("latency p99.9"), run_to_run::FAR_TAIL, |r| r.latency_us.p999).worse_absent(),
        shown_only(time("latency max"), |record| record.latency_us.max),
        source(time("connect p50"), run_to_run::CONNECT, |record| record.connect_us.p50)
            .worse_absent()
            .set_by(Setting::Pace),
        source(time("connect p99"), run_to_run::FAR_TAIL, |record| record.connect_us.p99)
            .worse_absent()
            .set_by(Setting::Pace),
        source(bytes("memory/connection"), run_to_run::MEMORY, |record| {
            record.server.bytes_per_connection
        }),
        source(time("server CPU/request"), run_to_run::CPU, |record| {
            record.server.cpu_us_per_request
        }),
        source(time("served p50"), run_to_run::TAIL, |record| served_us(record, 50)).worse_absent(),
        source(time("served p99"), run_to_run::TAIL, |record| served_us(record, 99)).worse_absent(),
        // A short storm has no request of theirs.
        source(time("bystanders p99"), run_to_run::FAR_TAIL, |record| {
            storms(record, |storm| storm.bystanders_during_us.p99)
        }),
        source(lost("unserved"), 0.0, |record| storms(record, |storm| Some(storm.unserved as f64))),
        source(time("first after sleep p50"), run_to_run::CONNECT, |record| first_us(record, 50))
            .worse_absent(),
        source(time("first after sleep p99"), run_to_run::FAR_TAIL, |record| first_us(record, 99))
            .worse_absent(),
        source(lost("lost in sleep"), 0.0, lost_in_sleep),
        source(count("errors"), 0.0, |record| Some(record.error_count() as f64))
            .set_by(Setting::Length),
        source(count("unanswered"), 0.0, |record| Some(record.requests.unanswered as f64))
            .set_by(Setting::Length),
    ];
    // The rate of an open loop is a setting.
    let headline = match (record.mode, record.settings.load) {
        (ModeName::Echo, LoadModel::Open) => "latency p50",
        (ModeName::Idle, _) => "memory/connection",
        (ModeName::Storm, _) => "served p99",
        (ModeName::Wake, _) => "first after sleep p50",
        _ => return sources,
    };
    if let Some(at) = sources.iter().position(|source| source.metric.name == headline) {
        let source = sources.remove(at);
        sources.insert(0, source);
    }
    sources
}

/// Mean of a figure over the storms of a run; `None` if one does not have it, or a signal ended one.
fn storms(record: &Record, figure: impl Fn(&StormRecord) -> Option<f64>) -> Option<f64> {
    let storms = record.storm.as_ref().filter(|storms| !storms.is_empty())?;
    if record.interrupted == Some(Phase::Storm) {
        return None;
    }
    let sum: f64 = storms.iter().map(figure).sum::<Option<f64>>()?;
    Some(sum / storms.len() as f64)
}

/// Microseconds in which a share of those dropped was served, each from when it was due to come back.
/// Where fewer ever were, it is at least the time after which they were given up.
fn served_us(record: &Record, percent: u8) -> Option<f64> {
    let timeout_secs = record.settings.timeout_secs.as_ref().and_then(Number::as_f64);
    storms(record, |storm| {
        let served_secs = storm.served_after_secs(percent);
        let at_least = timeout_secs.filter(|_| storm.dropped > 0);
        served_secs.or(at_least).map(|secs| secs * 1e6)
    })
}

/// Microseconds in which a share of the first requests after the longest sleep was answered. One that is
/// lost was not answered in [`WAKE_TIMEOUT_US`].
fn first_us(record: &Record, percent: u8) -> Option<f64> {
    let step = longest_sleep(record)?;
    let first = &step.histograms.first.0;
    let count = share_of(first.len().saturating_add(step.lost), percent);
    match count {
        0 => None,
        count => Some(nth_value(first, count).map_or(WAKE_TIMEOUT_US, |ns| ns as f64 / 1e3)),
    }
}

/// Connections that were lost in any sleep.
fn lost_in_sleep(record: &Record) -> Option<f64> {
    let steps = record.wake.as_ref()?;
    Some(steps.iter().map(|step| step.lost as f64).sum())
}

fn longest_sleep(record: &Record) -> Option<&WakeStep> {
    let steps = record.wake.iter().flatten();
    steps.max_by(|a, b| a.sleep_secs.total_cmp(&b.sleep_secs))
}

fn source(metric: Metric, run_to_run: f64, value: fn(&Record) -> Option<f64>) -> Source {
    let metric = Metric { run_to_run, ..metric };
    Source { metric, value, is_worse_absent: false, setting: None }
}

fn shown_only(metric: Metric, value: fn(&Record) -> Option<f64>) -> Source {
    source(Metric { is_judged: false, ..metric }, 0.0, value)
}

fn rate(mode: ModeName) -> Metric {
    let name = match mode {
        ModeName::Echo => "answers/s",
        ModeName::Fanout => "deliveries/s",
        ModeName::Idle | ModeName::Storm | ModeName::Wake => "connects/s",
    };
    metric(name, Unit::PerSec, Worse::Lower)
}

fn time(name: &'static str) -> Metric {
    metric(name, Unit::Microseconds, Worse::Higher)
}

fn bytes(name: &'static str) -> Metric {
    metric(name, Unit::Bytes, Worse::Higher)
}

fn count(name: &'static str) -> Metric {
    metric(name, Unit::Count, Worse::Higher)
}

/// Connections that a server must not lose.
fn lost(name: &'static str) -> Metric {
    Metric { is_worse_from_0: true, ..count(name) }
}

fn metric(name: &'static str, unit: Unit, worse: Worse) -> Metric {
    Metric { name, unit, worse, is_judged: true, is_worse_from_0: false, run_to_run: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{run, with_record};
    use super::*;

    #[test]
    fn first_metric_is_what_the_mode_measures() {
        for (args, name) in [
            ("echo command://h:1", "answers/s"),
            ("echo command://h:1 --rate 50", "latency p50"),
            ("fanout command://h:1", "deliveries/s"),
            ("idle command://h:1", "memory/connection"),
            ("storm command://h:1", "served p99"),
            ("wake command://h:1", "first after sleep p50"),
        ] {
            with_record(args, run(), |record| {
                let sources = sources(record);
                assert_eq!(sources[0].metric.name, name, "{args}");
                assert!(
                    sources.iter().all(
                        |source| source.metric.is_judged || source.metric.name == "latency max"
                    )
                );
            });
        }
    }

    #[test]
    fn figures_of_storms_are_means() {
        let storm = |secs: Option<u64>| {
            let mut storm = StormRecord { dropped: 4, ..StormRecord::default() };
            if let Some(secs) = secs {
                storm.histograms.served_after.0.record_n(secs * 1_000_000_000, 4).unwrap();
            }
            storm
        };
        with_record("storm command://h:1 --timeout 60", run(), |record| {
            let served = |storms: Vec<StormRecord>, interrupted| {
                let record = Record { storm: Some(storms), interrupted, ..record.clone() };
                let secs = (sources(&record)[0].value)(&record)? / 1e6;
                Some(secs.round())
            };
            assert_eq!(served(vec![storm(Some(10)), storm(Some(30))], None), Some(20.0));
            assert_eq!(served(vec![storm(Some(10)), storm(None)], None), Some(35.0), "at least");
            let signal = Some(Phase::Storm);
            assert_eq!(served(vec![storm(Some(10)), storm(None)], signal), None, "not known");
            assert_eq!(served(vec![StormRecord::default()], None), None, "none was dropped");
            assert_eq!(served(Vec::new(), None), None);
        });
    }
}
