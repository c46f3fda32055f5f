//! The metrics of `GET /metrics`, by name, type and labels: what documents, dashboard and alerts may
//! ask for, and what a scrape of the real server has.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::support::prometheus::{Kind, Metrics};
use crate::support::{PATIENCE, Server, frame, mynah, promtool};

use Kind::{Counter, Gauge, Histogram};

/// Name, type, labels.
pub(crate) const METRICS: &[(&str, Kind, &[&str])] = &[
    ("mynah_build_info", Gauge, &["version"]),
    ("mynah_connections", Gauge, &["listener"]),
    ("mynah_accepted_total", Counter, &["listener"]),
    ("mynah_messages_received_total", Counter, &["listener"]),
    ("mynah_broadcasts_total", Counter, &["listener"]),
    ("mynah_received_bytes_total", Counter, &["listener"]),
    ("mynah_sent_bytes_total", Counter, &["listener"]),
    ("mynah_slow_consumers_total", Counter, &["listener"]),
    ("mynah_refused_total", Counter, &["listener", "reason"]),
    ("mynah_closed_total", Counter, &["listener", "reason"]),
    ("mynah_buffered_bytes", Gauge, &[]),
    ("mynah_memory_limit_bytes", Gauge, &[]),
    ("mynah_loop_turns_total", Counter, &[]),
    ("mynah_loop_turn_seconds", Histogram, &[]),
    ("mynah_log_lines_dropped_total", Counter, &[]),
    ("mynah_tls_handshakes_total", Counter, &["result"]),
    ("mynah_logins_total", Counter, &["result"]),
    ("mynah_plugin_calls_total", Counter, &["plugin"]),
    ("mynah_plugin_failures_total", Counter, &["plugin"]),
    ("mynah_plugin_seconds_total", Counter, &["plugin"]),
    ("mynah_plugin_memory_bytes", Gauge, &["plugin"]),
    ("mynah_cluster_connected", Gauge, &[]),
    ("mynah_cluster_nodes", Gauge, &[]),
    ("mynah_cluster_published_total", Counter, &[]),
    ("mynah_cluster_received_total", Counter, &[]),
    ("mynah_cluster_lost_total", Counter, &[]),
    ("mynah_cluster_dropped_total", Counter, &[]),
    ("process_cpu_seconds_total", Counter, &[]),
    ("process_max_fds", Gauge, &[]),
    ("process_open_fds", Gauge, &[]),
    ("process_resident_memory_bytes", Gauge, &[]),
    ("process_start_time_seconds", Gauge, &[]),
    ("process_threads", Gauge, &[]),
    ("process_virtual_memory_bytes", Gauge, &[]),
];

/// Families that a server has only when what they count is in use.
const OPTIONAL: [&str; 4] = ["mynah_plugin_", "mynah_cluster_", "mynah_logins_", "mynah_tls_"];

/// The metric that a name in an expression stands for, a histogram's with its suffix.
pub(crate) fn metric(name: &str) -> Option<&'static (&'static str, Kind, &'static [&'static str])> {
    METRICS.iter().find(|(known, kind, _)| match name.strip_prefix(known) {
        Some("") => *kind != Histogram,
        Some("_bucket" | "_sum" | "_count") => *kind == Histogram,
        _ => false,
    })
}

/// The words of a text that look like metrics of mynah or of its process.
pub(crate) fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
    words.filter(|word| word.starts_with("mynah_") || word.starts_with("process_")).collect()
}

#[test]
fn operations_names_only_metrics_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Prometheus and Grafana\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    for name in metric_names(section) {
        let is_family = METRICS.iter().any(|(known, _, _)| *known == name);
        assert!(is_family || metric(name).is_some(), "{name}");
    }
}

#[test]
fn scrape_has_every_metric_and_label() {
    if !has_admin() {
        let _ = writeln!(io::stderr(), "skipped: a scrape, which needs the admin protocol");
        return;
    }
    let server = Server::start(&["-l", "command://127.0.0.1:0", "-l", "admin://127.0.0.1:0"]);
    let mut client = server.connect();
    client.send(&frame(1, b"hello"));
    client.expect(&frame(1, b"hello"));
    let text = scrape(&server);
    let metrics = Metrics::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    promtool::check_metrics(&text);

    for &(name, kind, labels) in METRICS {
        let Some(family) = metrics.family(name) else {
            assert!(OPTIONAL.iter().any(|prefix| name.starts_with(prefix)), "no {name} in\n{text}");
            continue;
        };
        assert_eq!(family.kind, kind, "{name}");
        for sample in &family.samples {
            let names = sample.labels.keys().filter(|label| *label != "le");
            assert!(names.eq(labels), "{name} has labels {:?}", sample.labels);
        }
    }
    for family in &metrics.families {
        let is_known = METRICS.iter().any(|(name, _, _)| *name == family.name);
        assert!(is_known, "{} is not in METRICS", family.name);
    }
    assert_eq!(metrics.value("mynah_connections", &[("listener", "command")]), Some(1.0));
    let messages = metrics.value("mynah_messages_received_total", &[("listener", "command")]);
    assert_eq!(messages, Some(1.0));
}

/// Whether this binary has the admin protocol.
fn has_admin() -> bool {
    let mut check = mynah();
    check.args(["--check", "-l", "admin://127.0.0.1:0"]);
    check.output().unwrap().status.success()
}

/// The body of `GET /metrics` of the second listener.
fn scrape(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.addr(1)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}
