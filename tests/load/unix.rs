//! Runs over Unix sockets.

use std::fs;

use nix::sys::signal::Signal;

use super::tester::{RunWithReport, run_tester, run_with_report};
use crate::support::{Folder, Server, wait_until};

fn start(protocol: &str, args: &[&str]) -> (Server, Folder, String) {
    let folder = Folder::new();
    let server = Server::unix(protocol, &folder, args);
    let url = format!("{protocol}+unix://{}", folder.path("s"));
    (server, folder, url)
}

#[test]
fn modes_run_over_unix() {
    for (protocol, run) in [
        ("command", "idle -c 50 --hold 1 --probe 20"),
        ("prefixed", "echo -c 5 -d 1"),
        ("raw", "echo -c 5 -d 1 --depth 4"),
        ("chat", "fanout --subscribers 5 -d 1"),
        ("command", "fanout --subscribers 5 -d 1 --batch 3"),
        ("command", "storm -c 50 --hold 0.2 --times 2"),
        ("prefixed", "wake -c 20 --hold 0.3"),
    ] {
        let (_server, folder, url) = start(protocol, &[]);
        let (mode, options) = run.split_once(' ').unwrap();
        let page = folder.path("page.html");
        let (ended, json) = run_with_report(&format!("{mode} {url} {options} --report {page}"));
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        assert_eq!(json["target"], url);
        assert_eq!(json["settings"]["address"], format!("unix:{}", folder.path("s")));
        assert_eq!(json["settings"]["source_ips"], serde_json::json!([]));
        assert_eq!(json["errors"], serde_json::json!({}));
        assert!(json["bytes"]["received"].as_u64().unwrap() > 0, "{protocol}");
        assert!(ended.stdout.contains(&url) && !ended.stderr.contains("ports"), "{ended:?}");
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains(&url));
    }
}

#[cfg(feature = "tls")]
#[test]
fn tls_runs_over_unix() {
    let identity = crate::support::tls::Identity::new();
    let folder = Folder::new();
    let _server = Server::unix("command+tls", &folder, identity.options().as_slice());
    let url = format!("command+tls+unix://{}", folder.path("s"));
    let (ended, json) = run_with_report(&format!("echo {url} --insecure -c 5 -d 1"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["tls"]["handshakes"], 5);
    let plain = format!("command+unix://{}", folder.path("s"));
    let ended = run_tester(&format!("echo {plain} --insecure -c 1 -d 1"));
    assert!(ended.stderr.contains(&url), "{ended:?}");
}

#[test]
fn full_backlog_is_tried_again_and_not_a_failure() {
    let (server, _folder, url) = start("command", &[]);
    server.freeze();
    let run = RunWithReport::start(&format!("idle {url} -c 6000 --rate 1M --hold 0"));
    // As many as net.core.somaxconn lets wait, one more, and those of the tester.
    let most: usize =
        fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    assert!(most < 6_000, "this test needs a lower net.core.somaxconn");
    wait_until("the backlog is full", || run.tester.open_files() > most);
    server.thaw();
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let connections = serde_json::json!({"wanted": 6000, "opened": 6000, "failed": 0, "dropped": 0, "held": 6000});
    assert_eq!(json["connections"], connections);
    assert_eq!(json["errors"], serde_json::json!({}));
}

#[test]
fn missing_socket_and_wrong_options_are_errors() {
    let folder = Folder::new();
    let url = format!("command+unix://{}", folder.path("none"));
    let ended = run_tester(&format!("echo {url} -c 2 -d 1"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("ENOENT 2 times"), "{ended:?}");
    let ended = run_tester(&format!("echo {url} --source-ip 127.0.0.1"));
    assert_eq!(ended.code, Some(2));
    let reason = "--source-ip: a Unix socket has no addresses to connect from";
    assert!(ended.stderr.contains(reason), "{ended:?}");
    let ended = run_tester(&format!("echo {url}?mode=0600"));
    assert!(ended.stderr.contains("a command target has no key 'mode'"), "{ended:?}");
}

#[test]
fn stopped_server_ends_a_run_over_unix() {
    let (server, _folder, url) = start("command", &[]);
    let run = RunWithReport::start(&format!("idle {url} -c 10 --hold 30"));
    run.tester.wait_for_phase("hold");
    server.signal(Signal::SIGTERM);
    let (ended, json) = run.end();
    assert_eq!((ended.code, &json["connections"]["dropped"]), (Some(1), &10.into()), "{ended:?}");
}
