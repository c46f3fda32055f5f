//! Metrics: in the format of Prometheus, and exact.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use super::{Http, Site, without_token};
use crate::support::{error, frame, wait_until};

/// The samples by name and labels, once the text has been found to be what its format demands.
#[track_caller]
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            assert!(!words.is_empty() && name.starts_with(['m', 'p']), "{line}");
            (family, kind) = (name.to_owned(), String::new());
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = typed.split_once(' ').unwrap();
            assert!(name == family && kind.is_empty(), "{line}");
            assert_eq!(its_kind == "counter", name.ends_with("_total"), "{line}");
            kind = its_kind.to_owned();
        } else {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            let own = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name.strip_suffix(end) == Some(&*family)),
                "counter" | "gauge" => name == family,
                other => panic!("{line}: {other}"),
            };
            assert!(own, "{line} among those of {family}");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(samples.insert(key.to_owned(), value).is_none(), "{key} comes twice");
        }
    }
    samples
}

/// The verdict of the checker of Prometheus itself, where it is installed (Debian: prometheus).
#[track_caller]
fn check_with_promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("promtool is not installed: its check is left out");
            return;
        }
        spawned => spawned.unwrap(),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

#[track_caller]
fn scrape(http: &mut Http) -> BTreeMap<String, f64> {
    let response = http.get("/metrics");
    assert_eq!(response.status, 200, "{}", response.text());
    let content_type = response.field("Content-Type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    samples(response.text())
}

/// The value of `mynah_NAME{listener="LISTENER"}`, or with a reason.
#[track_caller]
fn of(samples: &BTreeMap<String, f64>, name: &str, listener: &str, reason: &str) -> f64 {
    let key = match reason {
        "" => format!("mynah_{name}{{listener=\"{listener}\"}}"),
        _ => format!("mynah_{name}{{listener=\"{listener}\",reason=\"{reason}\"}}"),
    };
    samples.get(&key).copied().unwrap_or(0.0)
}

#[test]
fn traffic_is_counted_exactly_by_listener() {
    let site = Site::command(&["-l", "command://127.0.0.1:0", "-l", "raw://127.0.0.1:0?prefix="]);
    let mut operator = site.operator();
    check_with_promtool(operator.get("/metrics").text());
    let mut first = site.server.connect_to(1);
    let mut second = site.server.connect_to(1);
    let mut other = site.server.connect_to(2);
    let mut raw = site.server.connect_to(3);
    second.expect_alive();
    (0..3).for_each(|_| first.expect_alive());
    assert_eq!(first.ask(4, b"hi"), (1, b"1".to_vec()));
    second.expect(&frame(4, b"hi"));
    other.expect_alive();
    let (unknown, long) =
        (error("unknown command 9"), error("frame of 1048577 bytes exceeds the limit of 1048576"));
    other.send(b"\x09\0\0\0\0");
    other.expect(&unknown);
    other.send(b"\x01\0\x10\0\x01");
    other.expect(&long);
    other.expect_eof();
    raw.send(b"12345");
    raw.expect(b"12345");
    first.send(b"\x03\0\0\0\0");
    first.expect_eof();
    drop((first, other));
    raw.abort();
    let mut now = BTreeMap::new();
    wait_until("all are gone", || {
        now = scrape(&mut operator);
        of(&now, "connections", "raw", "") == 0.0 && of(&now, "connections", "command", "") == 1.0
    });
    let (unknown, long) = (unknown.len() as f64, long.len() as f64);
    for (name, reason, command, command_2, raw) in [
        ("connections", "", 1.0, 0.0, 0.0),
        ("accepted_total", "", 2.0, 1.0, 1.0),
        ("messages_received_total", "", 6.0, 2.0, 0.0),
        ("broadcasts_total", "", 1.0, 0.0, 0.0),
        ("received_bytes_total", "", 52.0, 20.0, 5.0),
        ("sent_bytes_total", "", 53.0, 10.0 + unknown + long, 5.0),
        ("slow_consumers_total", "", 0.0, 0.0, 0.0),
        ("refused_total", "full", 0.0, 0.0, 0.0),
        ("closed_total", "quit", 1.0, 0.0, 0.0),
        ("closed_total", "protocol", 0.0, 1.0, 0.0),
        ("closed_total", "io", 0.0, 0.0, 1.0),
        ("closed_total", "peer_closed", 0.0, 0.0, 0.0),
    ] {
        for (listener, expected) in [("command", command), ("command-2", command_2), ("raw", raw)] {
            assert_eq!(of(&now, name, listener, reason), expected, "{name} {reason} of {listener}");
        }
    }
    drop(second);
    wait_until("the last has gone", || {
        of(&scrape(&mut operator), "closed_total", "command", "peer_closed") == 1.0
    });
    check_with_promtool(operator.get("/metrics").text());
}

#[test]
fn requests_are_the_messages_of_admin() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    let request = http.request("GET", "/healthz");
    let response = (super::http::HEALTHY.len() + super::http::DATE_LEN) as f64;
    (0..4).for_each(|_| http.get("/healthz").expect(200, "ok\n"));
    let now = scrape(&mut http);
    assert_eq!(of(&now, "accepted_total", "admin", ""), 1.0);
    assert_eq!(of(&now, "sent_bytes_total", "admin", ""), 4.0 * response);
    // The scrape itself has come, and is not answered.
    let scrape_len = request.len() as f64;
    assert_eq!(of(&now, "received_bytes_total", "admin", ""), 5.0 * scrape_len);
    assert_eq!(of(&scrape(&mut http), "messages_received_total", "admin", ""), 5.0);
}

#[test]
fn counters_never_go_back() {
    let site = Site::command(&[]);
    let mut operator = site.operator();
    let mut before = scrape(&mut operator);
    for _ in 0..20 {
        let mut client = site.server.connect_to(1);
        client.expect_alive();
        let now = scrape(&mut operator);
        for (key, value) in &before {
            if key.contains("_total") || key.contains("_bucket") || key.ends_with("_count") {
                assert!(now[key] >= *value, "{key} was {value} and is {}", now[key]);
            }
        }
        before = now;
    }
}

#[test]
fn turns_are_a_histogram() {
    let server = without_token(&[]);
    let now = scrape(&mut Http::plain(&server));
    let bounds: Vec<(f64, f64)> = now
        .iter()
        .filter_map(|(key, count)| {
            let (_, rest) = key.split_once("mynah_loop_turn_seconds_bucket{le=\"")?;
            let bound = rest.strip_suffix("\"}")?;
            Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() }, *count))
        })
        .collect();
    let mut sorted = bounds;
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(sorted.is_sorted_by(|a, b| a.1 <= b.1), "{sorted:?}");
    let count = now["mynah_loop_turn_seconds_count"];
    assert_eq!(sorted.last(), Some(&(f64::INFINITY, count)));
    assert!(count > 0.0 && now["mynah_loop_turns_total"] == count);
}

#[test]
fn process_and_memory_are_told() {
    let server = without_token(&[]);
    let now = scrape(&mut Http::plain(&server));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(now[&format!("mynah_build_info{{version=\"{version}\"}}")], 1.0);
    assert!(now["mynah_memory_limit_bytes"] > now["mynah_buffered_bytes"]);
    assert_eq!(now["mynah_log_lines_dropped_total"], 0.0);
    let resident = server.memory("VmRSS") as f64;
    let told = now["process_resident_memory_bytes"];
    assert!(told > resident / 2.0 && told < resident * 2.0, "{told} of {resident}");
    assert_eq!(now["process_max_fds"] as u64, now["process_max_fds"].round() as u64);
    for name in ["process_cpu_seconds_total", "process_virtual_memory_bytes", "process_threads"] {
        assert!(now.contains_key(name), "{name}");
    }
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = at.as_secs_f64() - now["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age), "{age}");
}

#[cfg(feature = "admission")]
#[test]
fn refusals_are_counted_by_reason() {
    let site = Site::start(&[
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "command://127.0.0.1:0?proxy=127.0.0.5",
        "-m",
        "4",
        "--max-per-ip",
        "2",
        "--limit-exempt",
        "127.0.0.1",
    ]);
    let mut operator = site.operator();
    let from = |host: u8, index: usize| {
        crate::support::Client::connect_from([127, 0, 0, host], site.server.addr(index))
    };
    let (mut one, mut two) = (from(2, 1), from(2, 1));
    one.expect_alive();
    two.expect_alive();
    from(2, 1).expect(&error("too many connections from 127.0.0.2"));
    let mut bad = from(5, 2);
    bad.send(b"GET / HTTP/1.1\r\n\r\n");
    bad.read_until_cut();
    let mut three = from(4, 1);
    three.expect_alive();
    for _ in 0..2 {
        // The operator has one of the places.
        from(3, 1).expect(&error("server is full: 4 clients"));
    }
    let now = scrape(&mut operator);
    for (reason, command, proxied) in [
        ("full", 2.0, 0.0),
        ("address_connections", 1.0, 0.0),
        ("connect_rate", 0.0, 0.0),
        ("proxy_header", 0.0, 1.0),
        ("banned", 0.0, 0.0),
    ] {
        assert_eq!(of(&now, "refused_total", "command", reason), command, "{reason}");
        assert_eq!(of(&now, "refused_total", "command-2", reason), proxied, "{reason}");
    }
    assert_eq!(operator.get("/status").json()["refused_total"], 4);
}

#[test]
fn slow_consumers_are_counted() {
    let site = Site::command(&["--broadcast-log", "262144", "--send-queue", "65536"]);
    let mut operator = site.operator();
    let (slow, mut sender) = (site.server.connect_to(1), site.server.connect_to(1));
    let broadcast = frame(4, &[1; 60_000]);
    wait_until("the one that takes nothing is cut", || {
        sender.send(&broadcast);
        sender.read_frame();
        of(&scrape(&mut operator), "slow_consumers_total", "command", "") == 1.0
    });
    assert_eq!(of(&scrape(&mut operator), "closed_total", "command", "slow_consumer"), 1.0);
    drop(slow);
}

#[cfg(feature = "plugins")]
#[test]
fn plugins_are_counted_by_name() {
    let folder = crate::support::Folder::new();
    folder.file(
        "up.lua",
        "return { process_client_pkg = function(data) if data == 'bad' then error('no') end \
         return data:upper() end }",
    );
    let dir = folder.path("");
    let site = Site::start(&["-l", "plugin://127.0.0.1:0", "--plugin-dir", &dir]);
    let mut operator = site.operator();
    let mut client = site.server.connect_to(1);
    for _ in 0..3 {
        client.send(b"abc");
        client.expect(b"ABC");
    }
    client.send(b"bad");
    wait_until("the failure is counted", || {
        scrape(&mut operator)["mynah_plugin_failures_total{plugin=\"up\"}"] == 1.0
    });
    let now = scrape(&mut operator);
    assert!(now["mynah_plugin_calls_total{plugin=\"up\"}"] >= 4.0, "{now:?}");
    assert!(now["mynah_plugin_seconds_total{plugin=\"up\"}"] > 0.0);
    assert!(now["mynah_plugin_memory_bytes{plugin=\"up\"}"] > 1_000.0);
    check_with_promtool(operator.get("/metrics").text());
}

#[cfg(feature = "accounts")]
#[test]
fn logins_are_counted_by_result() {
    let folder = crate::support::Folder::new();
    let accounts = folder.file("accounts", "");
    let site = Site::command(&["--accounts", &accounts, "--allow-register"]);
    let mut operator = site.operator();
    let mut client = site.server.connect_to(1);
    assert_eq!(client.ask(6, b"anna\0password").0, 1);
    assert_eq!(site.server.connect_to(1).ask(5, b"anna\0passw0rd").0, 255);
    let now = scrape(&mut operator);
    for (result, count) in [("ok", 1.0), ("failed", 1.0), ("refused", 0.0)] {
        assert_eq!(now[&format!("mynah_logins_total{{result=\"{result}\"}}")], count, "{result}");
    }
    // The account of a connection is its name.
    let list = operator.get("/connections?name=anna").json();
    assert_eq!(list["total"], 1, "{list}");
}
