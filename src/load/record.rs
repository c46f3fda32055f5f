//! The record of a run: everything that was measured, as `--json` writes it. The summary, the page,
//! `merge` and `compare` know nothing else of a run.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::bounded_list;
use super::histogram::EncodedHistogram;
use super::resources::{Kernel, Machine, Server, Tester};
use super::stats::{Percentiles, Phase, Row, TlsStats};
use super::storm::{STORMS_MAX, StormRecord};
use super::sysinfo::Host;
use super::wake::{SLEEPS_MAX, WakeStep};

/// Version of the layout. A change that breaks readers raises it; 2 has histograms.
pub(super) const SCHEMA: u32 = 2;

/// Most parts of a record.
pub(super) const PARTS_MAX: usize = 10_000;

/// Longest row that is of one second.
const ROW_SECS_MAX: f64 = 1.5;

/// Most longer rows that a tester has which was stopped now and then. The page of a longer run has 60 or
/// more.
const LONG_ROWS_MAX: usize = 30;

/// Everything that was measured in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) schema: u32,
    pub(super) mode: ModeName,
    /// The URL; of several, the first.
    pub(super) target: String,
    pub(super) command: String,
    pub(super) settings: Settings,
    pub(super) host: Host,
    /// Records that were merged into this one; `None` of one.
    #[serde(default, deserialize_with = "bounded_list::read::<_, _, PARTS_MAX>")]
    pub(super) parts: Option<Vec<Part>>,
    pub(super) connections: Connections,
    pub(super) requests: Requests,
    pub(super) deliveries: u64,
    /// `None` of one target.
    pub(super) targets: Option<Vec<TargetRecord>>,
    pub(super) bytes: Bytes,
    /// Connections opened in the ramp (`idle`, `storm`, `wake`), answers (`echo`) or deliveries
    /// (`fanout`).
    pub(super) rate_per_sec: f64,
    pub(super) ramp_secs: f64,
    /// Length of the hold or the traffic.
    pub(super) measured_secs: f64,
    pub(super) latency_us: Percentiles,
    pub(super) connect_us: Percentiles,
    /// `None` for a target without TLS.
    pub(super) tls: Option<TlsStats>,
    pub(super) errors: BTreeMap<String, u64>,
    /// Seconds from the start to the first and the last error of each name.
    pub(super) error_times: BTreeMap<String, (f64, f64)>,
    /// Text of the target's first refusal.
    pub(super) refusal: Option<String>,
    /// Why the first TLS connection failed, and what would help.
    pub(super) reason: Option<String>,
    /// Phase that a signal ended.
    pub(super) interrupted: Option<Phase>,
    /// How late the tester's own loop ran, at a timer of its own.
    pub(super) tester_lag_us: Percentiles,
    /// Open loop: how late requests left because the tester did not run when they were due.
    #[serde(default)]
    pub(super) left_late_us: Percentiles,
    pub(super) server: Server,
    pub(super) kernel: Kernel,
    /// `None` of other modes.
    #[serde(default, deserialize_with = "bounded_list::read::<_, _, STORMS_MAX>")]
    pub(super) storm: Option<Vec<StormRecord>>,
    #[serde(default, deserialize_with = "bounded_list::read::<_, _, SLEEPS_MAX>")]
    pub(super) wake: Option<Vec<WakeStep>>,
    #[serde(default)]
    pub(super) tester: Tester,
    #[serde(default)]
    pub(super) machine: Machine,
    pub(super) verdict: Verdict,
    pub(super) series: Vec<Row>,
    pub(super) points: Points,
    pub(super) histograms: Histograms,
}

/// Name of the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeName {
    Idle,
    Echo,
    Fanout,
    Storm,
    Wake,
}

impl ModeName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ModeName::Idle => "idle",
            ModeName::Echo => "echo",
            ModeName::Fanout => "fanout",
            ModeName::Storm => "storm",
            ModeName::Wake => "wake",
        }
    }
}

/// Condition under which a request leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LoadModel {
    /// The run has no requests.
    None,
    /// A request leaves when it is due, whether or not earlier ones are answered.
    Open,
    /// A request leaves when an earlier one is answered.
    Closed,
}

/// All settings, defaults included; `None` is a setting that the mode does not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Address of the target.
    pub(super) address: String,
    pub(super) connections: u32,
    pub(super) subscribers: Option<u32>,
    pub(super) depth: Option<u32>,
    pub(super) size: Option<u32>,
    pub(super) batch: Option<u32>,
    /// Request and answer that were given, escaped, or the length of the answer.
    pub(super) send: Option<String>,
    pub(super) expect: Option<String>,
    pub(super) expect_bytes: Option<u32>,
    /// End of what the target says first, escaped.
    pub(super) greeting: Option<String>,
    pub(super) load: LoadModel,
    pub(super) requests_per_sec: Option<u64>,
    /// `None` with `ramp_secs`.
    pub(super) connects_per_sec: Option<u64>,
    pub(super) ramp_secs: Option<Number>,
    pub(super) hold_secs: Option<Number>,
    pub(super) duration_secs: Option<Number>,
    /// Storms that were to be made.
    pub(super) times: Option<u32>,
    pub(super) spread_secs: Option<Number>,
    /// Whether connections are dropped in order, not by reset.
    pub(super) orderly: Option<bool>,
    /// Longest storm.
    pub(super) timeout_secs: Option<Number>,
    /// Whether failed connects are tried again after a backoff, not at once.
    pub(super) backoff: Option<bool>,
    pub(super) bystanders: Option<u32>,
    /// Connections that were to be woken.
    pub(super) sample: Option<u32>,
    pub(super) jobs: u32,
    pub(super) server_pid: Option<u32>,
    pub(super) source_ips: Vec<String>,
    pub(super) max_errors: u64,
    pub(super) max_p99_ms: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connections {
    pub(super) wanted: u64,
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Opened, and closed by the target or by an error.
    pub(super) dropped: u64,
    /// Open at the end of the hold or the traffic.
    pub(super) held: u64,
}

impl Connections {
    /// Adds those of another part.
    pub(super) fn add(&mut self, other: &Self) {
        self.wanted = self.wanted.saturating_add(other.wanted);
        self.opened = self.opened.saturating_add(other.opened);
        self.failed = self.failed.saturating_add(other.failed);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.held = self.held.saturating_add(other.held);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Requests {
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// Due and never answered, `unsent` among them.
    pub(super) unanswered: u64,
    /// Due and never sent.
    pub(super) unsent: u64,
}

impl Requests {
    /// Adds those of another part.
    pub(super) fn add(&mut self, other: &Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.answered = self.answered.saturating_add(other.answered);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.unsent = self.unsent.saturating_add(other.unsent);
    }
}

/// One of several targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetRecord {
    pub(super) target: String,
    pub(super) address: String,
    pub(super) opened: u64,
    pub(super) deliveries: u64,
    pub(super) lost: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bytes {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Whether the run is met, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) met: bool,
    pub(super) misses: Vec<String>,
    /// The side that was busy all the time, so that its limit was measured; `None` if neither is known to be.
    #[serde(default)]
    pub(super) limit: Option<Limit>,
    /// How far the figures can be trusted, a sentence each.
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

/// The side that was busy all the time, so that its limit was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Limit {
    Tester,
    Server,
    /// Tester and server.
    Both,
    /// The processors: the tester ran, or waited for one.
    Processors,
}

/// One of the records that were merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Host of the tester, and the number of the job where there were several.
    pub(super) name: String,
    pub(super) host: Option<String>,
    /// Start of the part, RFC 3339 in UTC.
    pub(super) started_at: String,
    pub(super) connections: Connections,
    pub(super) requests: Requests,
    pub(super) deliveries: u64,
    pub(super) rate_per_sec: f64,
    pub(super) latency_us: Percentiles,
    pub(super) connect_us: Percentiles,
    pub(super) errors: u64,
}

impl Part {
    /// The part that `record` is, called `name`.
    pub(super) fn of(name: String, record: &Record) -> Self {
        Part {
            name,
            host: record.host.name.clone(),
            started_at: record.host.started_at.clone(),
            connections: record.connections.clone(),
            requests: record.requests.clone(),
            deliveries: record.deliveries,
            rate_per_sec: record.rate_per_sec,
            latency_us: record.latency_us,
            connect_us: record.connect_us,
            errors: record.error_count(),
        }
    }
}

/// Points of charts that the rows are too coarse for. Times are seconds since the run began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Points {
    /// Each phase after the ramp, with its start and the connections open then.
    pub(super) phases: Vec<(Phase, f64, u64)>,
    /// Number of open connections, where it has changed.
    pub(super) connected: Vec<(f64, u64)>,
    /// The server's memory by open connections.
    pub(super) memory: Vec<(u64, u64)>,
}

/// Histograms of nanoseconds, from which percentiles are merged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Histograms {
    pub(super) latency: EncodedHistogram,
    pub(super) connect: EncodedHistogram,
    pub(super) tester_lag: EncodedHistogram,
    #[serde(default)]
    pub(super) left_late: EncodedHistogram,
    /// Latencies of each row of the series, as [`decode`](super::histogram::decode) reads
    /// them; `None` where there are none. Rows behind the first hour have no place here.
    pub(super) seconds: Vec<Option<String>>,
}

impl Record {
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.histograms.latency.0
    }

    /// URLs of all targets, the first one first.
    pub(super) fn target_urls(&self) -> Vec<&str> {
        match &self.targets {
            Some(targets) => targets.iter().map(|target| &*target.target).collect(),
            None => vec![&self.target],
        }
    }

    /// Number of errors of all names.
    pub(super) fn error_count(&self) -> u64 {
        // A file may have any numbers.
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether most rows are of several seconds, as on the page of a longer run.
    pub(super) fn has_coarse_rows(&self) -> bool {
        let starts = [0.0].into_iter().chain(self.series.iter().map(|row| row.t));
        let rows = self.series.iter().zip(starts);
        let long = rows.filter(|(row, start)| row.t - start > ROW_SECS_MAX).count();
        long > LONG_ROWS_MAX.max(self.series.len() / 2)
    }

    /// Messages that were published while a target's subscribers were connected, and lost.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.targets.iter().flatten().map(|target| target.lost);
        lost.fold(0, u64::saturating_add)
    }

    /// Whether the tester ran so late that its lag is a good part of the latencies.
    pub(super) fn is_tester_late(&self) -> bool {
        let lag = self.tester_lateness_us().zip(self.latency_us.p99);
        lag.is_some_and(|(lag, latency)| lag > latency / 2.0)
    }

    /// 99th percentile of the tester's lateness, at its timer or with due requests.
    pub(super) fn tester_lateness_us(&self) -> Option<f64> {
        let both = [self.tester_lag_us.p99, self.left_late_us.p99];
        both.into_iter().flatten().reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_record};
    use super::super::stats::Stats;
    use super::{Record, StormRecord, WakeStep};

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";

    #[test]
    fn json_has_the_documented_fields_only() {
        with_record(&format!("{IDLE} --source-ip 127.0.0.2"), run(), |record| {
            let json = serde_json::to_value(record).unwrap();
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
                "left_late_us",
                "server",
                "kernel",
                "storm",
                "wake",
                "tester",
                "machine",
                "series",
                "parts",
                "ramp_secs",
                "measured_secs",
                "error_times",
                "refusal",
                "reason",
                "interrupted",
                "verdict",
                "points",
                "histograms",
            ];
            expected.sort_unstable();
            assert_eq!(keys(&json), expected);
            assert_eq!(json["schema"], 2);
            assert_eq!((&json["mode"], &json["target"]), (&"idle".into(), &"command://h:1".into()));
            let connections = r#"{"wanted":10,"opened":9,"failed":1,"dropped":1,"held":8}"#;
            let parse = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(json["connections"], parse(connections));
            assert_eq!(
                json["requests"],
                parse(r#"{"sent":101,"answered":100,"unanswered":1,"unsent":0}"#)
            );
            assert_eq!(json["bytes"], parse(r#"{"sent":1000,"received":2000}"#));
            assert_eq!(json["errors"], parse(r#"{"ECONNREFUSED":1,"EOF":1}"#));
            let server = &json["server"];
            assert_eq!(server["version"], "9.8.7");
            assert_eq!(
                (&server["rss_bytes_before"], &server["rss_bytes_held"]),
                (&1_000_000.into(), &1_080_000.into())
            );
            assert_eq!(server["bytes_per_connection"], 10_000.0);
            let kernel = &json["kernel"];
            assert_eq!(
                (&kernel["slab_bytes_before"], &kernel["slab_bytes_held"]),
                (&100_000.into(), &165_536.into())
            );
            assert_eq!((&kernel["buffer_bytes_held"], &kernel["ends"]), (&4_096.into(), &2.into()));
            assert_eq!(kernel["not_measured"], "fewer than 500 sockets");
            assert!(kernel["slab_bytes_per_connection"].is_null());
            for latency in ["latency_us", "connect_us", "tester_lag_us", "left_late_us"] {
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
    fn given_exchange_is_a_setting() {
        let given = r"--send a\\b\r\n --expect \xff\0 --greeting 220\n";
        with_record(&format!("echo tcp://h:1 {given}"), run(), |record| {
            let settings = serde_json::to_value(&record.settings).unwrap();
            assert_eq!(settings["send"], r"a\\b\r\n");
            assert_eq!(settings["expect"], r"\xff\0");
            assert_eq!(settings["greeting"], r"220\n");
            assert_eq!((&settings["expect_bytes"], &settings["size"]), (&().into(), &5.into()));
        });
        with_record("idle tcp://h:1 --probe 1 --send x --expect-bytes 7", run(), |record| {
            let settings = serde_json::to_value(&record.settings).unwrap();
            assert_eq!((&settings["expect_bytes"], &settings["size"]), (&7.into(), &1.into()));
        });
    }

    #[test]
    fn record_is_read_as_it_was_written() {
        with_record(IDLE, run(), |record| {
            let text = serde_json::to_string(record).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!((read.latency().len(), &read.series), (100, &record.series));
            assert_eq!(read.to_string(), record.to_string(), "its summary");
        });
    }

    #[test]
    fn storms_and_sleeps_are_read_as_they_were_written() {
        let mut storm = StormRecord { dropped: 3, ..StormRecord::default() };
        storm.histograms.served.0.record(7_000_000).unwrap();
        storm.failed_attempts.insert("ECONNREFUSED".to_owned(), 2);
        let mut step = WakeStep { sleep_secs: 2.5, sampled: 2, ..WakeStep::default() };
        step.histograms.first.0.record(9_000).unwrap();
        let storms = vec![storm.derive(); 2];
        let wake_steps = vec![step.derive()];
        for args in ["storm command://h:1 --times 2", "wake command://h:1 --hold 2.5"] {
            let (storms, wake_steps) = (storms.clone(), wake_steps.clone());
            with_record(args, Run { storms, wake_steps, ..run() }, |record| {
                let text = serde_json::to_string(record).unwrap();
                let read: Record = serde_json::from_str(&text).unwrap();
                assert_eq!((&read.storm, &read.wake), (&record.storm, &record.wake));
                assert_eq!(read.to_string(), record.to_string(), "its summary");
                assert!(read.storm.is_some() != read.wake.is_some(), "{args}");
            });
        }
    }

    #[test]
    fn record_of_too_many_parts_is_not_read() {
        with_record(IDLE, run(), |record| {
            let part = super::Part::of("east".to_owned(), record);
            for (count, is_read) in [(super::PARTS_MAX, true), (super::PARTS_MAX + 1, false)] {
                let parts = Some(vec![part.clone(); count]);
                let text = serde_json::to_string(&Record { parts, ..record.clone() }).unwrap();
                assert_eq!(serde_json::from_str::<Record>(&text).is_ok(), is_read, "{count}");
            }
        });
    }

    #[test]
    fn memory_that_did_not_grow_is_null() {
        let run = Run { rss_held: Some(1_000_100), ..run() };
        with_record(&format!("{IDLE} --server-pid 1 --hold 250ms"), run, |record| {
            let json = serde_json::to_value(record).unwrap();
            assert!(json["server"]["bytes_per_connection"].is_null());
            assert_eq!(json["settings"]["hold_secs"], 0.25);
        });
    }

    #[test]
    fn unmeasured_values_are_null() {
        let run = Run { stats: Stats::new(), rss_before: None, ..run() };
        with_record(IDLE, run, |record| {
            let json = serde_json::to_value(record).unwrap();
            assert!(json["server"]["bytes_per_connection"].is_null());
            assert!(json["latency_us"]["p99"].is_null());
            assert_eq!(json["errors"], serde_json::json!({}));
        });
    }
}
