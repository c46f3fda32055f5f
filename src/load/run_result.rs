//! Result of a run: rates, missed thresholds, and the layout of `--json`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::engine::Run;
use super::format::count;
use super::options::{LoadModel, Mode, Plan};
use super::sources::Sources;
use super::stats::{Percentiles, Row};
use super::sysinfo::Host;
use super::workload::Pattern;

/// Version of the layout. A change that breaks readers raises it.
const SCHEMA: u32 = 1;

/// Result of a run, with its settings.
pub(super) struct RunResult<'a> {
    pub(super) plan: &'a Plan,
    pub(super) address: SocketAddr,
    pub(super) sources: &'a Sources,
    pub(super) host: Host,
    pub(super) run: Run,
}

/// The layout of `--json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    mode: &'static str,
    target: &'a str,
    settings: Settings<'a>,
    host: &'a Host,
    connections: Connections,
    requests: Requests,
    deliveries: u64,
    bytes: Bytes,
    rate_per_sec: f64,
    latency_us: Percentiles,
    connect_us: Percentiles,
    errors: BTreeMap<&'a str, u64>,
    server: Server,
    series: &'a [Row],
}

/// All settings, defaults included; `null` is a setting that the mode does not have.
#[derive(Serialize)]
struct Settings<'a> {
    /// Address of the target.
    address: SocketAddr,
    connections: u32,
    subscribers: Option<u32>,
    depth: Option<u32>,
    size: Option<u32>,
    batch: Option<u32>,
    /// Load model: `open`, `closed` or `none`.
    load: &'static str,
    requests_per_sec: Option<u64>,
    connects_per_sec: u64,
    hold_secs: Option<u64>,
    duration_secs: Option<u64>,
    server_pid: Option<u32>,
    source_ips: &'a [IpAddr],
    max_errors: u64,
    max_p99_ms: Option<f64>,
}

#[derive(Serialize)]
struct Connections {
    wanted: u64,
    opened: u64,
    failed: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct Requests {
    sent: u64,
    answered: u64,
}

#[derive(Serialize)]
struct Bytes {
    sent: u64,
    received: u64,
}

#[derive(Serialize)]
struct Server {
    rss_bytes_before: Option<u64>,
    rss_bytes_held: Option<u64>,
    bytes_per_connection: Option<f64>,
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
        let nothing = stats.latency().is_empty();
        if plan.mode.load_model() != LoadModel::None && nothing && self.run.measured_ns > 0 {
            let fanout = plan.mode.pattern() == Pattern::Fanout;
            let what = if fanout { "delivered" } else { "answered" };
            misses.push(format!("nothing was {what}"));
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

    /// Growth of the server's memory over the connections held, in bytes.
    pub(super) fn bytes_per_connection(&self) -> Option<f64> {
        let (before, held) = (self.run.rss_before?, self.run.rss_held?);
        (self.run.held > 0).then(|| round((held as f64 - before as f64) / self.run.held as f64))
    }

    pub(super) fn report(&self) -> Report<'_> {
        let (plan, run) = (self.plan, &self.run);
        let counts = run.stats.counts;
        Report {
            schema: SCHEMA,
            mode: plan.mode.name(),
            target: &plan.target.url,
            settings: self.settings(),
            host: &self.host,
            connections: Connections {
                wanted: u64::from(plan.mode.connections()),
                opened: counts.opened,
                failed: counts.failed,
                dropped: counts.dropped,
            },
            requests: Requests { sent: counts.sent, answered: counts.answered },
            deliveries: counts.deliveries,
            bytes: Bytes { sent: counts.bytes_sent, received: counts.bytes_received },
            rate_per_sec: self.rate_per_sec(),
            latency_us: self.latency(),
            connect_us: Percentiles::of(&run.stats.connect),
            errors: run
                .stats
                .errors
                .iter()
                .map(|(name, error)| (name.as_str(), error.count))
                .collect(),
            server: Server {
                rss_bytes_before: run.rss_before,
                rss_bytes_held: run.rss_held,
                bytes_per_connection: self.bytes_per_connection(),
            },
            series: &run.stats.series,
        }
    }

    fn settings(&self) -> Settings<'_> {
        let mode = self.plan.mode;
        let load = mode.load_model();
        let (mut subscribers, mut batch, mut hold_secs, mut duration_secs) =
            (None, None, None, None);
        match mode {
            Mode::Idle { hold_secs: secs, .. } => hold_secs = Some(secs),
            Mode::Echo { duration_secs: secs, .. } => duration_secs = Some(secs),
            Mode::Fanout { subscribers: n, batch: b, duration_secs: secs, .. } => {
                (subscribers, batch, duration_secs) = (Some(n), Some(b), Some(secs));
            }
        }
        Settings {
            address: self.address,
            connections: mode.connections(),
            subscribers,
            depth: matches!(mode, Mode::Echo { .. }).then_some(mode.depth()),
            size: (load != LoadModel::None).then_some(mode.size()),
            batch,
            load: match load {
                LoadModel::None => "none",
                LoadModel::Open => "open",
                LoadModel::Closed => "closed",
            },
            requests_per_sec: mode.requests_per_sec(),
            connects_per_sec: self.plan.connects_per_sec,
            hold_secs,
            duration_secs,
            server_pid: mode.server_pid(),
            source_ips: self.sources.addresses(),
            max_errors: self.plan.errors_max,
            max_p99_ms: self.plan.p99_ms_max,
        }
    }
}

/// Formats a count with its noun: `1 error`, `2,000 errors`.
pub(super) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// Rounds to a tenth: further digits were not measured.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use std::ffi::OsStr;

    use super::super::options::Invocation;
    use super::super::pacing::NS_PER_SEC;
    use super::super::stats::{Counts, Phase, Stats};
    use super::*;

    pub(crate) fn plan(args: &str) -> Plan {
        let args: Vec<&OsStr> = args.split(' ').map(OsStr::new).collect();
        match Invocation::from_args(&args) {
            Ok(Invocation::Run(plan)) => *plan,
            other => panic!("{other:?}"),
        }
    }

    /// A run of ten connections, eight of which were held, with 100 answers after 1 to 100 ms.
    pub(crate) fn run() -> Run {
        let mut stats = Stats::new();
        stats.counts = Counts {
            opened: 9,
            failed: 1,
            dropped: 1,
            sent: 101,
            answered: 100,
            deliveries: 7,
            bytes_sent: 1_000,
            bytes_received: 2_000,
        };
        stats.record_error("ECONNREFUSED", 0);
        stats.record_error("EOF", 2 * NS_PER_SEC);
        stats.record_connect(50_000);
        for ms in 1..=100 {
            stats.record(ms * 1_000_000, 1);
        }
        stats.phase = Phase::Hold;
        stats.record_memory(3_000);
        stats.end_row(NS_PER_SEC);
        Run {
            measured: stats.counts,
            stats,
            measured_ns: 2 * NS_PER_SEC,
            ramp_ns: NS_PER_SEC / 2,
            rss_before: Some(1_000),
            rss_held: Some(3_000),
            held: 8,
            unanswered: 1,
            unsent: 0,
            interrupted: None,
        }
    }

    pub(crate) fn with(args: &str, run: Run, check: impl FnOnce(&RunResult<'_>)) {
        let plan = plan(args);
        let sources =
            Sources::plan(&plan.source_ips, IpAddr::from([127, 0, 0, 1]), 1, 28_000, None);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut host = Host::read(1024);
        host.name = Some("<&\"'>".to_owned());
        check(&RunResult { plan: &plan, address, sources: &sources, host, run });
    }

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";
    const ECHO: &str =
        "echo --target command://h:1 --connections 10 --depth 1 --size 3 --duration 2";

    fn misses(args: &str, run: Run) -> Vec<String> {
        let mut misses = Vec::new();
        with(args, run, |result| misses = result.misses());
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
    fn run_without_answers_or_end_is_missed() {
        let none = Run { stats: Stats::new(), ..run() };
        let found = misses(&format!("{IDLE} --max-errors 9"), none);
        assert_eq!(found, ["no connection was opened", "nothing was answered"]);
        let cut = Run { interrupted: Some(Phase::Hold), ..run() };
        assert_eq!(misses(&format!("{IDLE} --max-errors 9"), cut), ["interrupted in the hold"]);
    }

    #[test]
    fn rate_is_of_connects_answers_or_deliveries() {
        with(IDLE, run(), |result| assert_eq!(result.rate_per_sec(), 18.0));
        with(ECHO, run(), |result| assert_eq!(result.rate_per_sec(), 50.0));
        let fanout = "fanout --target chat://h:1 --subscribers 9 --size 1 --batch 1 --duration 2";
        with(fanout, run(), |result| assert_eq!(result.rate_per_sec(), 3.5));
    }

    #[test]
    fn json_has_the_documented_fields_only() {
        with(&format!("{IDLE} --source-ip 127.0.0.2"), run(), |result| {
            let json = serde_json::to_value(result.report()).unwrap();
            let keys = |value: &serde_json::Value| -> Vec<String> {
                value.as_object().unwrap().keys().cloned().collect()
            };
            let mut expected = [
                "schema",
                "mode",
                "target",
                "settings",
                "host",
                "connections",
                "requests",
                "deliveries",
                "bytes",
                "rate_per_sec",
                "latency_us",
                "connect_us",
                "errors",
                "server",
                "series",
            ];
            expected.sort_unstable();
            assert_eq!(keys(&json), expected);
            assert_eq!(json["schema"], 1);
            assert_eq!((&json["mode"], &json["target"]), (&"idle".into(), &"command://h:1".into()));
            let connections = r#"{"wanted":10,"opened":9,"failed":1,"dropped":1}"#;
            let parse = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(json["connections"], parse(connections));
            assert_eq!(json["requests"], parse(r#"{"sent":101,"answered":100}"#));
            assert_eq!(json["bytes"], parse(r#"{"sent":1000,"received":2000}"#));
            assert_eq!(json["errors"], parse(r#"{"ECONNREFUSED":1,"EOF":1}"#));
            let server =
                r#"{"rss_bytes_before":1000,"rss_bytes_held":3000,"bytes_per_connection":250.0}"#;
            assert_eq!(json["server"], parse(server));
            for latency in ["latency_us", "connect_us"] {
                assert_eq!(keys(&json[latency]), ["max", "p50", "p90", "p99", "p999"]);
            }
            assert!(
                json["connect_us"]["max"].as_f64().is_some_and(|us| (50.0..50.1).contains(&us))
            );
            assert_eq!(json["settings"]["load"], "open");
            assert_eq!(json["settings"]["source_ips"][0], "127.0.0.2");
            assert_eq!(json["settings"]["depth"], serde_json::Value::Null);
            assert_eq!(json["series"][0]["connected"], 8);
            assert_eq!(json["series"][0]["phase"], "hold");
        });
    }

    #[test]
    fn unmeasured_values_are_null() {
        let run = Run { stats: Stats::new(), rss_before: None, ..run() };
        with(IDLE, run, |result| {
            let json = serde_json::to_value(result.report()).unwrap();
            assert!(json["server"]["bytes_per_connection"].is_null());
            assert!(json["latency_us"]["p99"].is_null());
            assert_eq!(json["errors"], serde_json::json!({}));
        });
    }
}
