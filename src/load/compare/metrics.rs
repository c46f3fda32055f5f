//! The metrics of a record that are compared, and the direction in which each gets worse.

use super::super::record::{LoadModel, ModeName, Record};
use super::super::storm::StormRecord;
use super::super::wake::WakeStep;
use super::statistics::{Metric, Unit, Worse};

/// A metric and its value in a record; `None` if it was not measured.
pub(super) struct Source {
    pub(super) metric: Metric,
    pub(super) value: fn(&Record) -> Option<f64>,
}

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
    let is_steady = matches!(metric.unit, Unit::Bytes | Unit::Count);
    let least = if is_steady { 0.0 } else { BUSY_RUN_TO_RUN };
    Metric { run_to_run: metric.run_to_run.max(least), ..metric }
}

/// The metrics of a mode. The first is what the mode measures.
pub(super) fn sources(record: &Record) -> Vec<Source> {
    let mut sources = vec![
        source(rate(record.mode), run_to_run::RATE, |record| Some(record.rate_per_sec)),
        source(time("latency p50"), run_to_run::MEDIAN, |record| record.latency_us.p50),
        source(time("latency p90"), run_to_run::MEDIAN, |record| record.latency_us.p90),
        source(time("latency p99"), run_to_run::TAIL, |record| record.latency_us.p99),
        source(time("latency p99.9"), run_to_run::FAR_TAIL, |record| record.latency_us.p999),
        shown_only(time("latency max"), |record| record.latency_us.max),
        source(time("connect p50"), run_to_run::CONNECT, |record| record.connect_us.p50),
        source(time("connect p99"), run_to_run::FAR_TAIL, |record| record.connect_us.p99),
        source(bytes("memory/connection"), run_to_run::MEMORY, |record| {
            record.server.bytes_per_connection
        }),
        source(time("server CPU/request"), run_to_run::CPU, |record| {
            record.server.cpu_us_per_request
        }),
        source(time("served p50"), run_to_run::TAIL, |record| {
            storms(record, |storm| storm.served_after_us.p50)
        }),
        source(time("served p99"), run_to_run::TAIL, |record| {
            storms(record, |storm| storm.served_after_us.p99)
        }),
        source(time("bystanders p99"), run_to_run::FAR_TAIL, |record| {
            storms(record, |storm| storm.bystanders_during_us.p99)
        }),
        source(count("unserved"), 0.0, |record| {
            storms(record, |storm| Some(storm.unserved as f64))
        }),
        source(time("first after sleep p50"), run_to_run::CONNECT, |record| {
            longest_sleep(record)?.first_us.p50
        }),
        source(time("first after sleep p99"), run_to_run::FAR_TAIL, |record| {
            longest_sleep(record)?.first_us.p99
        }),
        source(count("errors"), 0.0, |record| Some(record.error_count() as f64)),
        source(count("unanswered"), 0.0, |record| Some(record.requests.unanswered as f64)),
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

/// Mean of a figure over the storms of a run; `None` if one does not have it.
fn storms(record: &Record, figure: fn(&StormRecord) -> Option<f64>) -> Option<f64> {
    let storms = record.storm.as_ref().filter(|storms| !storms.is_empty())?;
    let sum: f64 = storms.iter().map(figure).sum::<Option<f64>>()?;
    Some(sum / storms.len() as f64)
}

fn longest_sleep(record: &Record) -> Option<&WakeStep> {
    let steps = record.wake.iter().flatten();
    steps.max_by(|a, b| a.sleep_secs.total_cmp(&b.sleep_secs))
}

fn source(metric: Metric, run_to_run: f64, value: fn(&Record) -> Option<f64>) -> Source {
    Source { metric: Metric { run_to_run, ..metric }, value }
}

fn shown_only(metric: Metric, value: fn(&Record) -> Option<f64>) -> Source {
    Source { metric: Metric { is_judged: false, ..metric }, value }
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

fn metric(name: &'static str, unit: Unit, worse: Worse) -> Metric {
    Metric { name, unit, worse, is_judged: true, run_to_run: 0.0 }
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
        let storm = |p99| StormRecord {
            served_after_us: crate::load::stats::Percentiles { p99, ..Default::default() },
            ..StormRecord::default()
        };
        with_record("storm command://h:1", run(), |record| {
            let served = |storms: Vec<StormRecord>| {
                let record = Record { storm: Some(storms), ..record.clone() };
                (sources(&record)[0].value)(&record)
            };
            assert_eq!(served(vec![storm(Some(10.0)), storm(Some(30.0))]), Some(20.0));
            assert_eq!(served(vec![storm(Some(10.0)), storm(None)]), None, "one is unknown");
            assert_eq!(served(Vec::new()), None);
        });
    }
}
