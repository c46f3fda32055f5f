//! The report: the layout of `--json`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::options::{LoadModel, Mode};
use super::run_result::RunResult;
use super::stats::{Percentiles, Row};
use super::sysinfo::Host;

/// Version of the layout. A change that breaks readers raises it.
const SCHEMA: u32 = 1;

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
    /// The report of this run.
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

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_result};
    use super::super::stats::Stats;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";

    #[test]
    fn json_has_the_documented_fields_only() {
        with_result(&format!("{IDLE} --source-ip 127.0.0.2"), run(), |result| {
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
        with_result(IDLE, run, |result| {
            let json = serde_json::to_value(result.report()).unwrap();
            assert!(json["server"]["bytes_per_connection"].is_null());
            assert!(json["latency_us"]["p99"].is_null());
            assert_eq!(json["errors"], serde_json::json!({}));
        });
    }
}
