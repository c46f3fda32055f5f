//! The report: the layout of `--json`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::Number;

use super::plan::{LoadModel, Mode};
use super::run_result::RunResult;
use super::stats::{Percentiles, Row, TargetCounts, TlsStats};
use super::sysinfo::Host;
use super::target::Address;

/// Version of the layout. A change that breaks readers raises it.
const SCHEMA: u32 = 1;

/// The layout of `--json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    mode: &'static str,
    target: &'a str,
    command: &'a str,
    settings: Settings<'a>,
    host: &'a Host,
    connections: Connections,
    requests: Requests,
    deliveries: u64,
    /// `null` for one target.
    targets: Option<Vec<TargetReport<'a>>>,
    bytes: Bytes,
    rate_per_sec: f64,
    latency_us: Percentiles,
    connect_us: Percentiles,
    /// `null` for a target without TLS.
    tls: Option<TlsStats>,
    errors: BTreeMap<&'a str, u64>,
    tester_lag_us: Percentiles,
    server: Server,
    kernel: Kernel,
    series: &'a [Row],
}

/// All settings, defaults included; `null` is a setting that the mode does not have.
#[derive(Serialize)]
struct Settings<'a> {
    /// Address of the target.
    address: &'a Address,
    connections: u32,
    subscribers: Option<u32>,
    depth: Option<u32>,
    size: Option<u64>,
    batch: Option<u32>,
    /// Load model: `open`, `closed` or `none`.
    load: &'static str,
    requests_per_sec: Option<u64>,
    connects_per_sec: u64,
    hold_secs: Option<Number>,
    duration_secs: Option<Number>,
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

/// One of several targets.
#[derive(Serialize)]
struct TargetReport<'a> {
    target: &'a str,
    address: &'a Address,
    opened: u64,
    deliveries: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Bytes {
    sent: u64,
    received: u64,
}

/// Memory of sockets in the kernel, of all programs of the machine.
#[derive(Serialize)]
struct Kernel {
    slab_bytes_before: Option<u64>,
    slab_bytes_held: Option<u64>,
    buffer_bytes_before: Option<u64>,
    buffer_bytes_held: Option<u64>,
    /// Growth of the slabs over the connections held.
    slab_bytes_per_connection: Option<f64>,
    buffer_bytes_per_connection: Option<f64>,
    /// Ends of each connection on this machine.
    ends: u32,
}

/// Memory of the server, without the pages of files.
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
            command: &plan.command,
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
            targets: self.target_reports(),
            bytes: Bytes { sent: counts.bytes_sent, received: counts.bytes_received },
            rate_per_sec: self.rate_per_sec(),
            latency_us: self.latency(),
            connect_us: Percentiles::of(&run.stats.connect),
            tls: self.tls(),
            errors: run
                .stats
                .errors
                .iter()
                .map(|(name, error)| (name.as_str(), error.count))
                .collect(),
            tester_lag_us: self.tester_lag(),
            server: Server {
                rss_bytes_before: run.rss_before,
                rss_bytes_held: run.rss_held,
                bytes_per_connection: self.bytes_per_connection(),
            },
            kernel: self.kernel_report(),
            series: &run.stats.series,
        }
    }

    fn target_reports(&self) -> Option<Vec<TargetReport<'_>>> {
        let targets = self.targets();
        let reports = targets.iter().zip(self.routes).map(|((target, counts), route)| {
            let TargetCounts { opened, deliveries, lost } = **counts;
            TargetReport { target: &target.url, address: &route.address, opened, deliveries, lost }
        });
        (!targets.is_empty()).then(|| reports.collect())
    }

    fn kernel_report(&self) -> Kernel {
        let (before, held) = (self.run.kernel_before, self.run.kernel_held);
        let (slab, buffers) = self.kernel_bytes_per_connection();
        Kernel {
            slab_bytes_before: before.slab_bytes,
            slab_bytes_held: held.slab_bytes,
            buffer_bytes_before: before.buffer_bytes,
            buffer_bytes_held: held.buffer_bytes,
            slab_bytes_per_connection: slab,
            buffer_bytes_per_connection: buffers,
            ends: self.ends_here(),
        }
    }

    fn settings(&self) -> Settings<'_> {
        let mode = self.plan.mode;
        let load = mode.load_model();
        let (mut subscribers, mut batch, mut hold_secs, mut duration_secs) =
            (None, None, None, None);
        match mode {
            Mode::Idle { hold, .. } => hold_secs = seconds(hold),
            Mode::Echo { duration, .. } => duration_secs = seconds(duration),
            Mode::Fanout { subscribers: n, batch: b, duration, .. } => {
                (subscribers, batch, duration_secs) = (Some(n), Some(b), seconds(duration));
            }
        }
        Settings {
            address: &self.routes[0].address,
            connections: mode.connections(),
            subscribers,
            depth: matches!(mode, Mode::Echo { .. }).then_some(mode.depth()),
            size: (load != LoadModel::None).then_some(self.plan.request_bytes()),
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
            source_ips: self.source_ips(),
            max_errors: self.plan.errors_max,
            max_p99_ms: self.plan.p99_ms_max,
        }
    }
}

/// Seconds, as an integer where they are whole.
fn seconds(time: Duration) -> Option<Number> {
    if time.subsec_nanos() == 0 {
        return Some(time.as_secs().into());
    }
    Number::from_f64(time.as_secs_f64())
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
                "command",
                "settings",
                "host",
                "connections",
                "requests",
                "deliveries",
                "targets",
                "bytes",
                "rate_per_sec",
                "latency_us",
                "connect_us",
                "tls",
                "errors",
                "tester_lag_us",
                "server",
                "kernel",
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
            let server = r#"{"rss_bytes_before":1000000,"rss_bytes_held":1080000,"bytes_per_connection":10000.0}"#;
            assert_eq!(json["server"], parse(server));
            let kernel = r#"{"slab_bytes_before":100000,"slab_bytes_held":165536,"buffer_bytes_before":8192,
                "buffer_bytes_held":4096,"slab_bytes_per_connection":8192.0,"buffer_bytes_per_connection":0.0,
                "ends":2}"#;
            assert_eq!(json["kernel"], parse(kernel));
            for latency in ["latency_us", "connect_us", "tester_lag_us"] {
                assert_eq!(keys(&json[latency]), ["max", "p50", "p90", "p99", "p999"]);
            }
            assert!(
                json["connect_us"]["max"].as_f64().is_some_and(|us| (50.0..50.1).contains(&us))
            );
            assert!(
                json["command"].as_str().is_some_and(|text| text.starts_with("mynah-load idle "))
            );
            assert_eq!(json["settings"]["hold_secs"], 10);
            assert_eq!(json["settings"]["load"], "open");
            assert_eq!(json["settings"]["source_ips"][0], "127.0.0.2");
            assert_eq!(json["settings"]["depth"], serde_json::Value::Null);
            assert_eq!(json["tls"], serde_json::Value::Null);
            assert_eq!(json["targets"], serde_json::Value::Null);
            assert_eq!(json["series"][0]["connected"], 8);
            assert_eq!(json["series"][0]["phase"], "hold");
        });
    }

    #[test]
    fn memory_that_did_not_grow_is_null() {
        let run = Run { rss_held: Some(1_000_100), ..run() };
        with_result(&format!("{IDLE} --server-pid 1 --hold 250ms"), run, |result| {
            let json = serde_json::to_value(result.report()).unwrap();
            assert!(json["server"]["bytes_per_connection"].is_null());
            assert_eq!(json["settings"]["hold_secs"], 0.25);
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
