//! The metrics of a record that are compared, and the direction in which each gets worse.

use super::super::record::{LoadModel, ModeName, Record};
use super::statistics::{Metric, Unit, Worse};

/// A metric and its value in a record; `None` if it was not measured.
pub(super) struct Source {
    pub(super) metric: Metric,
    pub(super) value: fn(&Record) -> Option<f64>,
}

/// Standard deviations between runs of ten seconds of one server on a machine that does other work as well,
/// rounded up (docs/benchmarks.md, "Runs of one server").
mod run_to_run {
    pub(super) const RATE: f64 = 0.015;
    pub(super) const MEDIAN: f64 = 0.02;
    pub(super) const TAIL: f64 = 0.1;
    pub(super) const FAR_TAIL: f64 = 0.5;
    pub(super) const CONNECT: f64 = 0.2;
    pub(super) const MEMORY: f64 = 0.005;
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
        source(count("errors"), 0.0, |record| Some(record.error_count() as f64)),
        source(count("unanswered"), 0.0, |record| Some(record.requests.unanswered as f64)),
    ];
    // The rate of an open loop is a setting.
    let headline = match (record.mode, record.settings.load) {
        (ModeName::Echo, LoadModel::Open) => "latency p50",
        (ModeName::Idle, _) => "memory/connection",
        _ => return sources,
    };
    if let Some(at) = sources.iter().position(|source| source.metric.name == headline) {
        let source = sources.remove(at);
        sources.insert(0, source);
    }
    sources
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
