//! What a run used, against independent counts: /proc, and the server's own.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::tester::{RunWithReport, run_with_report, server, url};
use crate::support::wait_until;

/// User and system time of a process, in clock ticks.
fn ticks(pid: u32) -> [f64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse().unwrap())
}

/// Anonymous memory of a process, in bytes.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The server does nothing else, so that its time before and after the run is an outer bound.
#[test]
fn server_cpu_is_that_of_proc() {
    let server = server("command");
    let (pid, target) = (server.pid(), url("command", &server));
    let before = ticks(pid);
    let (ended, json) = run_with_report(&format!("echo {target} -d 3 --server-pid {pid}"));
    let after = ticks(pid);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let secs = |name: &str| json["server"][name].as_f64().unwrap();
    let tick = secs("cpu_tick_secs");
    for (name, n) in [("cpu_user_secs", 0), ("cpu_system_secs", 1)] {
        let (found, all) = (secs(name), (after[n] - before[n]) * tick);
        // Ramp and drain are not of the phase: a fraction of a second of three.
        assert!(found <= all + tick / 2.0 && found > all / 2.0 - 0.05, "{name}: {found} of {all}");
    }
    if secs("cpu_user_secs") + secs("cpu_system_secs") < 10.0 * tick {
        assert_eq!(json["server"]["cpu_us_per_request"], Value::Null, "a machine that busy");
        return;
    }
    let answered = json["rate_per_sec"].as_f64().unwrap() * json["measured_secs"].as_f64().unwrap();
    let each = (secs("cpu_user_secs") + secs("cpu_system_secs")) * 1e6 / answered;
    let found = secs("cpu_us_per_request");
    assert!((found / each - 1.0).abs() < 0.01, "{found} and {each}");
    assert!(ended.stdout.contains(" of CPU a request ("), "{}", ended.stdout);
}

#[test]
fn little_cpu_is_not_measured() {
    let server = server("command");
    let (pid, target) = (server.pid(), url("command", &server));
    let (ended, json) =
        run_with_report(&format!("echo {target} -c 2 --rate 20 -d 1 --server-pid {pid}"));
    assert_eq!(json["server"]["cpu_us_per_request"], Value::Null);
    let expected = "CPU a request not measured: it used 0.0";
    assert!(ended.stdout.contains(expected), "{}", ended.stdout);
}

#[test]
fn server_memory_is_that_of_proc() {
    let server = server("command");
    let (pid, target) = (server.pid(), url("command", &server));
    let before = anonymous_bytes(pid);
    let run = RunWithReport::start(&format!("idle {target} -c 2k --hold 2 --server-pid {pid}"));
    run.tester.wait_for_phase("hold");
    let held = anonymous_bytes(pid);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Some kernels sum up RssAnon from a counter a processor, and are off by 32 pages for each.
    let slack = 256 * 1024;
    for (name, by_hand) in
        [("rss_bytes_before", before), ("rss_bytes_opened", held), ("rss_bytes_held", held)]
    {
        let found = json["server"][name].as_u64().unwrap();
        assert!(found.abs_diff(by_hand) <= slack, "{name}: {found}, by hand {by_hand}");
    }
    assert!(json["server"]["rss_bytes_closed"].as_u64().is_some_and(|bytes| bytes > 1 << 16));
    let own = json["tester"]["bytes_per_connection"].as_f64().unwrap();
    assert!((24.0..2_000.0).contains(&own), "{own} bytes of the tester a connection");
}

/// Other tests open sockets meanwhile, so the figure may be missing; then the reason says why.
#[test]
fn kernel_counts_both_ends_or_says_why_not() {
    let server = server("command");
    let (_, json) = run_with_report(&format!("idle {} -c 2k --hold 0.3", url("command", &server)));
    let kernel = &json["kernel"];
    assert_eq!(kernel["ends"], 2);
    let states = kernel["states"].as_array().unwrap();
    let held = states.iter().find(|state| state["state"] == "held").unwrap();
    assert_eq!(held["connections"], 2_000);
    let counted = |sockets: &Value| sockets["in_use"].as_u64().unwrap();
    let opened = counted(&held["sockets"]).saturating_sub(counted(&kernel["sockets_before"]));
    match kernel["not_measured"].as_str() {
        None => {
            assert!(opened.abs_diff(4_000) <= 200, "{opened}");
            let each = ["slab_bytes_per_connection", "unreclaimable_bytes_per_connection"];
            let each = each.iter().find_map(|name| kernel[name].as_f64()).unwrap();
            assert!((2_000.0..40_000.0).contains(&each), "{each}");
        }
        Some(reason) => assert!(
            reason.contains("other programs opened or closed some")
                || reason.contains("did not grow"),
            "{reason}"
        ),
    }
}

/// Stops the server, or the tester itself, in the middle of an open loop: for longer than a busy
/// machine would.
fn run_with_stop(stops_server: bool) -> (crate::support::Ended, Value) {
    const STALL: Duration = Duration::from_millis(2_500);
    let server = server("command");
    let target = url("command", &server);
    let args = format!("echo {target} -c 5 -d 5 --rate 500 --max-p99-ms 300");
    let run = RunWithReport::start(&args);
    run.tester.wait_for_phase("traffic");
    let signal = |signal| match stops_server {
        true => server.signal(signal),
        false => run.tester.signal(signal),
    };
    signal(Signal::SIGSTOP);
    let stopped_at = Instant::now();
    wait_until("the stall is long enough", || stopped_at.elapsed() >= STALL);
    signal(Signal::SIGCONT);
    run.end()
}

#[test]
fn stopped_server_is_told_from_a_stopped_tester() {
    let (ended, json) = run_with_stop(true);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let verdict = ended.stdout.lines().last().unwrap();
    assert!(verdict.contains(" ms, with a tester on time, --max-p99-ms allows 300"), "{verdict}");
    assert!(!ended.stdout.contains("the latencies are the tester's"), "{}", ended.stdout);
    assert!(json["left_late_us"]["p99"].as_f64().unwrap() < 1_000e3);

    let (ended, json) = run_with_stop(false);
    let verdict = ended.stdout.lines().last().unwrap();
    assert!(verdict.contains(", with a tester that was late itself, "), "{verdict}");
    let warning = json["verdict"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.ends_with(": the latencies are the tester's as much as the target's"),
        "{warning}"
    );
    assert!(ended.stdout.contains(&format!("  warning      {warning}\n")), "{}", ended.stdout);
    let late_ms = json["left_late_us"]["p99"].as_f64().unwrap() / 1e3;
    assert!(late_ms > 2_000.0, "what fell due while it was stopped: {late_ms}");
}
