//! The modes, checked against the counters of the server.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::tester::{RunWithReport, run_tester, run_with_report, server, url};
use crate::support::{Folder, Server, wait_until};

#[test]
fn idle_counts_are_the_servers() {
    let server = server("command");
    let pid = server.pid();
    let (ended, json) = run_with_report(&format!(
        "idle --target {} --connections 300 --rate 2000 --hold 1 --probe 40 --server-pid {pid}",
        url("command", &server)
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let connections =
        serde_json::json!({"wanted": 300, "opened": 300, "failed": 0, "dropped": 0, "held": 300});
    assert_eq!(json["connections"], connections);
    assert_eq!(
        json["requests"],
        serde_json::json!({"sent": 40, "answered": 40, "unanswered": 0, "unsent": 0})
    );
    assert_eq!(json["errors"], serde_json::json!({}));
    let mut client = server.connect();
    let status = client.status();
    assert_eq!(status.get("accepted_total"), 301, "and the STATUS connection");
    assert_eq!(status.get("frames_in_total"), 41, "and the STATUS request");
    assert_eq!(status.get("bytes_in_total"), json["bytes"]["sent"].as_u64().unwrap() + 5);
    assert_eq!(status.get("bytes_out_total"), json["bytes"]["received"].as_u64().unwrap());
    assert_eq!(json["settings"]["server_pid"], pid);
    assert!(json["server"]["rss_bytes_before"].as_u64().unwrap() > 1 << 16);
    assert!(json["server"]["rss_bytes_held"].as_u64().unwrap() > 1 << 16);
    assert!(json["latency_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(json["connect_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(ended.stdout.contains("open loop"), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("process {pid}: ")), "{}", ended.stdout);
}

#[test]
fn idle_probes_every_protocol() {
    let runs = ["command", "prefixed", "raw", "chat"].map(|protocol| {
        let server = server(protocol);
        let idle = format!("idle --target {} --connections 20 --hold 1", url(protocol, &server));
        (protocol, server, RunWithReport::start(&format!("{idle} --probe 30")))
    });
    for (protocol, _server, run) in runs {
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        assert_eq!(json["requests"]["answered"], 30, "{protocol}");
    }
}

#[test]
fn hold_of_0_seconds_opens_and_closes() {
    let server = server("raw");
    let (ended, json) = run_with_report(&format!(
        "idle --target tcp://{} --connections 5 --hold 0",
        server.addr(0)
    ));
    assert_eq!((ended.code, &json["connections"]["opened"]), (Some(0), &5.into()), "{ended:?}");
}

#[test]
fn connects_keep_to_the_rate() {
    let server = server("command");
    let started_at = Instant::now();
    let target = url("command", &server);
    let (ended, json) =
        run_with_report(&format!("idle --target {target} --connections 51 --rate 100 --hold 0"));
    assert_eq!((ended.code, &json["connections"]["opened"]), (Some(0), &51.into()), "{ended:?}");
    assert!(started_at.elapsed() >= Duration::from_millis(500), "{:?}", started_at.elapsed());
    assert!(json["rate_per_sec"].as_f64().unwrap() <= 103.0, "{}", json["rate_per_sec"]);
}

#[test]
fn closed_loop_echoes_in_every_protocol() {
    for depth in [1, 5] {
        let runs = ["command", "prefixed", "raw", "chat"].map(|protocol| {
            let server = server(protocol);
            let target = url(protocol, &server);
            let echo = format!("echo --target {target} --connections 7 --depth {depth}");
            (protocol, server, RunWithReport::start(&format!("{echo} --size 40 --duration 1")))
        });
        for (protocol, _server, run) in runs {
            let (ended, json) = run.end();
            assert_eq!(ended.code, Some(0), "{protocol}, {depth} deep: {ended:?}");
            let sent = json["requests"]["sent"].as_u64().unwrap();
            assert_eq!(json["requests"]["answered"], sent);
            assert!(sent > 7 * depth, "answered connections send again: {sent}");
            assert_eq!(json["settings"]["load"], "closed");
            assert!(ended.stdout.contains("closed loop"), "{}", ended.stdout);
        }
    }
}

#[test]
fn echo_counts_are_the_servers() {
    let server = server("command");
    let (ended, json) = run_with_report(&format!(
        "echo --target {} --connections 10 --depth 3 --size 100 --duration 1",
        url("command", &server)
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let status = server.connect().status();
    let figure = |pointer: &str| json.pointer(pointer).unwrap().as_u64().unwrap();
    assert_eq!(status.get("accepted_total"), figure("/connections/opened") + 1);
    assert_eq!(status.get("frames_in_total"), figure("/requests/sent") + 1);
    assert_eq!(status.get("bytes_in_total"), figure("/bytes/sent") + 5);
    assert_eq!(status.get("bytes_out_total"), figure("/bytes/received"));
    assert_eq!(figure("/bytes/sent"), figure("/requests/sent") * 105);
    let rows = json["series"].as_array().unwrap();
    let summed: u64 = rows.iter().map(|row| row["answered"].as_u64().unwrap()).sum();
    assert_eq!(summed, figure("/requests/answered"), "the rows add up");
}

#[test]
fn requests_of_all_sizes_are_answered() {
    let sizes = [
        ("command", 0),
        // More than any buffer holds.
        ("command", 700_000),
        ("prefixed", 0),
        ("prefixed", 255),
        ("raw", 1),
        ("raw", 300_000),
        ("chat", 1),
        ("chat", 4_096),
    ];
    let runs = sizes.map(|(protocol, size)| {
        let server = server(protocol);
        let echo = format!("echo --target {} --connections 2 --depth 2", url(protocol, &server));
        (server, RunWithReport::start(&format!("{echo} --size {size} --duration 1")))
    });
    for (_server, run) in runs {
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(json["requests"]["answered"].as_u64().unwrap() > 0);
    }
}

#[test]
fn raw_prefix_is_read_from_the_url() {
    let runs = ["", "x", "%78%79%7a", "very%20long%20words"].map(|prefix| {
        let server = Server::start(&["-l", &format!("raw://127.0.0.1:0?prefix={prefix}")]);
        let target = format!("raw://{}?prefix={prefix}", server.addr(0));
        let echo = format!("echo --target {target} --connections 3 --depth 4");
        (server, RunWithReport::start(&format!("{echo} --size 9 --duration 1")))
    });
    for (_server, run) in runs {
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(json["requests"]["sent"], json["requests"]["answered"]);
    }
}

#[test]
fn open_loop_sends_at_the_rate() {
    let server = server("command");
    let (ended, json) = run_with_report(&format!(
        "echo --target {} --connections 10 --depth 4 --size 20 --duration 1 --rate 400",
        url("command", &server)
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        json["requests"],
        serde_json::json!({"sent": 400, "answered": 400, "unanswered": 0, "unsent": 0})
    );
    assert_eq!(json["settings"]["load"], "open");
    assert!(ended.stdout.contains("open loop"), "{}", ended.stdout);
}

/// Each request that was due in the stall waits for its end. A closed loop would count one a
/// connection.
#[test]
fn stall_delays_every_request_due_in_it() {
    let server = server("command");
    let target = url("command", &server);
    let echo = format!("echo --target {target} --connections 2 --depth 1 --size 20");
    let folder = Folder::new();
    let csv = folder.path("rows.csv");
    let run = RunWithReport::start(&format!("{echo} --duration 3 --rate 100 --csv {csv}"));
    run.tester.wait_for_phase("traffic");
    server.freeze();
    wait_until("a second passes without an answer", || {
        let rows = std::fs::read_to_string(&csv).unwrap();
        // Columns 2 and 8 are `phase` and `answered`.
        let columns = |row: &str| row.split(',').map(str::to_owned).collect::<Vec<String>>();
        rows.lines().map(columns).any(|row| row.len() > 7 && row[1] == "traffic" && row[7] == "0")
    });
    server.thaw();
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // At least a third of the requests were due in it, and waited for up to a second or more.
    let p90_ms = json["latency_us"]["p90"].as_f64().unwrap() / 1e3;
    assert!(p90_ms > 400.0, "the 90th percentile hides the stall: {p90_ms} ms");
    let lag_ms = json["tester_lag_us"]["p90"].as_f64().unwrap() / 1e3;
    assert!(lag_ms < p90_ms / 4.0, "the stall was the server's: {lag_ms} ms");
}

/// With few places in flight, nearly all requests of the stall wait for one: what they wait for then is
/// still the tester's fault.
#[test]
fn stall_of_the_tester_is_its_lag() {
    const STALL: Duration = Duration::from_millis(1_200);
    let server = server("command");
    let target = url("command", &server);
    let open = format!("echo {target} -c 5 -d 3 --rate 1k");
    let closed = format!("echo {target} -c 5 -d 3");
    for args in [open, closed] {
        let run = RunWithReport::start(&args);
        run.tester.wait_for_phase("traffic");
        run.tester.signal(Signal::SIGSTOP);
        let stopped_at = Instant::now();
        wait_until("the stall is long enough", || stopped_at.elapsed() >= STALL);
        run.tester.signal(Signal::SIGCONT);
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{args}: {ended:?}");
        for quantile in ["p90", "max"] {
            let lag_ms = json["tester_lag_us"][quantile].as_f64().unwrap() / 1e3;
            assert!(lag_ms > 600.0, "{args}: the {quantile} hides the stall: {lag_ms} ms");
        }
        let rows = json["series"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["tester_lag_us"].as_f64().is_some_and(|us| us > 1e6)));
        let blames_itself = ended.stdout.contains("the latencies are the tester's as much");
        assert!(blames_itself, "{args}: {}", ended.stdout);
        let left_late_ms = json["left_late_us"]["max"].as_f64().map(|us| us / 1e3);
        let is_open = json["settings"]["load"] == "open";
        assert_eq!(left_late_ms.is_some_and(|ms| ms > 1_000.0), is_open, "{left_late_ms:?}");
    }
}

/// The first connections take memory, the same number again does not.
#[cfg(target_os = "linux")]
#[test]
fn warm_server_has_no_bytes_per_connection() {
    let server = server("command");
    let idle =
        format!("idle {} -c 2k --hold 1 --server-pid {}", url("command", &server), server.pid());
    let (ended, json) = run_with_report(&idle);
    let each = json["server"]["bytes_per_connection"].as_f64().unwrap();
    assert!((20.0..100.0).contains(&each), "{each}: {ended:?}");
    let (ended, json) = run_with_report(&idle);
    assert!(json["server"]["bytes_per_connection"].is_null(), "{ended:?}");
    assert!(ended.stdout.contains("not measured: the server's memory did not grow"), "{ended:?}");
    // Other programs may open sockets meanwhile.
    let kernel = ["(both ends)", "  kernel       not measured: "];
    assert!(kernel.iter().any(|text| ended.stdout.contains(text)), "{ended:?}");
}

#[test]
fn fanout_delivers_all_messages_to_all() {
    for protocol in ["command", "chat"] {
        let server = server(protocol);
        let (ended, json) = run_with_report(&format!(
            "fanout --target {} --subscribers 20 --size 50 --batch 8 --duration 1",
            url(protocol, &server)
        ));
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        let published = json["requests"]["sent"].as_u64().unwrap();
        assert!(published >= 16 && published % 8 == 0, "{published}");
        assert_eq!(json["deliveries"].as_u64().unwrap(), published * 20, "{protocol}");
        assert_eq!(json["connections"]["opened"], 21, "the publisher is one more");
        assert_eq!(json["settings"]["subscribers"], 20);
        assert!(json["rate_per_sec"].as_f64().unwrap() > 0.0);
        if protocol == "command" {
            assert_eq!(json["requests"]["answered"], published);
            let figure = |pointer: &str| json.pointer(pointer).unwrap().as_u64().unwrap();
            // Each connection of the tester sends a hello, and this one a STATUS.
            let status = server.connect().status();
            assert_eq!(status.get("broadcasts_total"), published);
            assert_eq!(status.get("accepted_total"), figure("/connections/opened") + 1);
            assert_eq!(status.get("frames_in_total"), published + 21 + 1);
            assert_eq!(status.get("bytes_in_total"), figure("/bytes/sent") + 5);
            assert_eq!(status.get("bytes_out_total"), figure("/bytes/received"));
        }
    }
}

#[test]
fn ipv6_targets_are_reached() {
    let server = Server::start(&["-l", "command://[::1]:0"]);
    let (ended, json) = run_with_report(&format!(
        "idle --target {} --connections 5 --hold 1 --probe 5 --source-ip ::1",
        url("command", &server)
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["connections"]["opened"], 5);
}

#[test]
fn names_are_tried_at_each_address() {
    let server = server("command");
    let port = server.addr(0).port();
    let ended =
        run_tester(&format!("idle --target command://localhost:{port} --connections 5 --hold 0"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
