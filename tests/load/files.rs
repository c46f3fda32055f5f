//! The files of a run.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::tester::{LoadTester, TcpTarget, run_tester, run_with_report, server, url};
use crate::support::Folder;

#[test]
fn json_has_the_documented_fields() {
    let server = server("raw");
    let (_, json) = run_with_report(&format!("echo {} -c 2 --size 9 -d 1", url("raw", &server)));
    let mut fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "bytes",
        "command",
        "connect_us",
        "connections",
        "deliveries",
        "error_times",
        "errors",
        "histograms",
        "host",
        "interrupted",
        "kernel",
        "latency_us",
        "left_late_us",
        "machine",
        "measured_secs",
        "mode",
        "parts",
        "points",
        "ramp_secs",
        "rate_per_sec",
        "reason",
        "refusal",
        "requests",
        "schema",
        "series",
        "server",
        "settings",
        "storm",
        "target",
        "targets",
        "tester",
        "tester_lag_us",
        "tls",
        "verdict",
        "wake",
    ];
    assert_eq!(fields, expected);
    assert_eq!((&json["mode"], &json["schema"]), (&"echo".into(), &2.into()));
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
                    bytes_received,p50_us,p99_us,max_us,server_rss_bytes,p999_us,tester_lag_us,closed";
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
    assert!(page.contains(concat!("mynah ", env!("CARGO_PKG_VERSION"), "</dd>")), "of STATUS");
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    for title in ["Connections over time", "Latency distribution", "Answers over time"] {
        assert!(page.contains(title), "{title}");
    }
    for outside in ["http:", "https:", "src=", "href=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'") && page.len() < 300_000);
    assert_eq!(page.matches("<script").count(), 1, "the record alone");
}

/// A page is a record: without the seconds' histograms, and with fewer rows where they are many.
#[test]
fn record_in_the_page_is_that_of_the_json() {
    let server = server("command");
    let folder = Folder::new();
    let (json, page) = (folder.path("r.json"), folder.path("r.html"));
    let target = url("command", &server);
    let ended = run_tester(&format!("echo {target} -c 3 -d 2 --json {json} --report {page}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = std::fs::read_to_string(&page).unwrap();
    let begin = r#"<script type="application/json" id="mynah-load-record">"#;
    let island = text.split_once(begin).unwrap().1.split_once("</script>").unwrap().0;
    let island: Value = serde_json::from_str(island).unwrap();
    let mut record: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(record["histograms"]["seconds"].as_array().is_some_and(|seconds| seconds.len() > 1));
    record["histograms"]["seconds"] = serde_json::json!([]);
    assert_eq!(island, record);
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

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn failed_output_leaves_the_others() {
    const FULL: &str = "/dev/full: no space left on device";
    let server = server("command");
    let target = url("command", &server);
    for failing in ["json", "csv", "report"] {
        let folder = Folder::new();
        let path = |option: &str| {
            if option == failing { "/dev/full".to_owned() } else { folder.path(option) }
        };
        let [json, csv, report] = ["json", "csv", "report"].map(path);
        let ended = run_tester(&format!(
            "idle {target} -c 5 --hold 1 --probe 10 --json {json} --csv {csv} --report {report}"
        ));
        assert_eq!(ended.code, Some(1), "{failing}: {ended:?}");
        let errors = ended.stderr.lines().filter(|line| line.starts_with("mynah-load: "));
        let expected = format!("mynah-load: cannot write {FULL}");
        assert_eq!(errors.collect::<Vec<&str>>(), [expected], "{failing}");
        assert!(ended.stdout.contains("requests     10 sent, 10 answered"), "{ended:?}");
        for other in ["json", "csv", "report"].into_iter().filter(|other| *other != failing) {
            let text = std::fs::read_to_string(folder.path(other)).unwrap();
            assert!(text.len() > 200, "{other} beside {failing}: {text}");
        }
    }
}

#[test]
fn files_stay_as_they_are_if_one_cannot_be_made() {
    let folder = Folder::new();
    let json = folder.file("old.json", "old");
    let ended = run_tester(&format!(
        "idle tcp://127.0.0.1:1 -c 1 --json {json} --csv /no/such/a --report /no/such/b"
    ));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let reason =
        |file| format!("mynah-load: cannot write /no/such/{file}: no such file or directory");
    let lines: Vec<&str> = ended.stderr.lines().skip(1).collect();
    assert_eq!(lines, [reason("a"), reason("b")]);
    assert_eq!(std::fs::read_to_string(json).unwrap(), "old");
}

#[test]
fn one_file_for_two_outputs_is_bad_usage() {
    let folder = Folder::new();
    let (json, csv) = (folder.path("x"), folder.path("./x"));
    for is_there in [false, true] {
        let ended = run_tester(&format!("idle tcp://127.0.0.1:1 --json {json} --csv {csv}"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.starts_with("mynah-load: --csv: --json writes the same file"));
        assert_eq!(std::path::Path::new(&json).exists(), is_there);
        folder.file("x", "");
    }
}

#[test]
fn json_on_stdout_has_the_summary_on_stderr() {
    let server = server("command");
    let idle = format!("idle {} -c 3 --hold 0 --json -", url("command", &server));
    let ended = run_tester(&idle);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["connections"]["opened"], 3);
    assert!(ended.stderr.ends_with("  verdict      met"), "{ended:?}");
    assert!(!std::path::Path::new("-").exists());
    let quiet = run_tester(&format!("{idle} --quiet"));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    serde_json::from_str::<serde_json::Value>(&quiet.stdout).unwrap();
}

#[test]
fn file_name_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let server = server("command");
    let folder = Folder::new();
    let name = [folder.path("").as_bytes(), b"\xff.json"].concat();
    let name = std::ffi::OsStr::from_bytes(&name);
    let mut tester = std::process::Command::new(env!("CARGO_BIN_EXE_mynah-load"));
    tester.args(["idle", &url("command", &server), "-c", "2", "--hold", "0", "--json"]).arg(name);
    let ended = LoadTester::spawn(&mut tester).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(std::fs::read_to_string(name).unwrap().contains("\"opened\": 2"));
}
