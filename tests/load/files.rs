//! The files of a run.

use nix::sys::signal::Signal;

use super::tester::{LoadTester, TcpTarget, run_tester, run_with_report, server, url};
use crate::support::Folder;

#[test]
fn json_has_the_documented_fields() {
    let server = server("raw");
    let (_, json) = run_with_report(&format!(
        "echo --target {} --connections 2 --depth 1 --size 9 --duration 1",
        url("raw", &server)
    ));
    let mut fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "bytes",
        "connect_us",
        "connections",
        "deliveries",
        "errors",
        "host",
        "latency_us",
        "mode",
        "rate_per_sec",
        "requests",
        "schema",
        "series",
        "server",
        "settings",
        "target",
    ];
    assert_eq!(fields, expected);
    assert_eq!((&json["mode"], &json["schema"]), (&"echo".into(), &1.into()));
    assert_eq!(json["target"], url("raw", &server));
}

#[test]
fn csv_has_a_row_a_second() {
    let server = server("command");
    let folder = Folder::new();
    let path = folder.path("rows.csv");
    let target = url("command", &server);
    let ended = run_tester(&format!(
        "echo --target {target} --connections 2 --depth 1 --size 9 --duration 3 --csv {path}"
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let header = rows.next().unwrap();
    let expected = "t,phase,connected,opened,failed,dropped,sent,answered,deliveries,bytes_sent,\
                    bytes_received,p50_us,p99_us,max_us,server_rss_bytes";
    assert_eq!(header.join(","), expected);
    let rows: Vec<Vec<&str>> = rows.collect();
    assert!((3..=5).contains(&rows.len()), "{text}");
    assert!(rows.iter().all(|row| row.len() == header.len()), "{text}");
    let traffic = rows.iter().find(|row| row[1] == "traffic").unwrap();
    assert_eq!(traffic[2], "2");
}

#[test]
fn report_is_one_page_that_fetches_nothing() {
    let server = server("command");
    let folder = Folder::new();
    let path = folder.path("report.html");
    let target = url("command", &server);
    let pid = server.pid();
    let ended = run_tester(&format!(
        "idle --target {target} --connections 50 --hold 1 --probe 20 --server-pid {pid} --report {path}"
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    for title in ["Connections over time", "Latency distribution", "Server memory per connection"] {
        assert!(page.contains(title), "{title}");
    }
    for outside in ["http:", "https:", "src=", "href=", "<script", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn signal_ends_the_run_with_summary_and_files() {
    for (signal, mode, phase) in [
        (Signal::SIGINT, "idle --connections 5 --hold 300", "hold"),
        (Signal::SIGTERM, "echo --connections 5 --depth 1 --size 9 --duration 300", "traffic"),
        (Signal::SIGINT, "fanout --subscribers 5 --batch 2 --size 9 --duration 300", "traffic"),
    ] {
        let server = server("command");
        let folder = Folder::new();
        let [json, page] = ["j", "p"].map(|name| folder.path(name));
        let target = url("command", &server);
        let args = format!("{mode} --target {target} --json {json} --report {page}");
        let run = LoadTester::start(&args);
        run.wait_for_phase(phase);
        run.signal(signal);
        let ended = run.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let expected = format!("MISSED: interrupted in the {phase}");
        assert!(ended.stdout.contains(&expected), "{}", ended.stdout);
        let json = std::fs::read_to_string(json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["errors"], serde_json::json!({}), "outstanding requests are not errors");
        assert!(std::fs::read_to_string(page).unwrap().contains("interrupted"));
    }
}

#[test]
fn signal_ends_the_ramp() {
    let target = TcpTarget::listen();
    let args = format!("idle --target {} --connections 1000 --rate 1", target.url("tcp"));
    let run = LoadTester::start(&args);
    drop(target.accept(1));
    run.signal(Signal::SIGINT);
    let ended = run.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("interrupted in the ramp"), "{}", ended.stdout);
}
