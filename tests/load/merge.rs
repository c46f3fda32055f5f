//! Records of several testers, merged.

use std::fs;

use serde_json::Value;

use super::tester::{LoadTester, run_tester, server, url};
use crate::support::Folder;

fn read(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.path(name)).unwrap()).unwrap()
}

#[test]
fn merged_counts_are_the_servers() {
    let server = server("command");
    let target = url("command", &server);
    let folder = Folder::new();
    let start = |connections: u32, name: &str| {
        let json = folder.path(name);
        LoadTester::start(&format!("echo {target} -c {connections} -d 1 --json {json}"))
    };
    let testers = [start(5, "a.json"), start(7, "b.json")];
    for tester in testers {
        assert_eq!(tester.end().code, Some(0));
    }
    let [out, a, b] = ["all.json", "a.json", "b.json"].map(|name| folder.path(name));
    let page = folder.path("all.html");
    let ended = run_tester(&format!("merge {out} {a} {b} --report {page}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let json = read(&folder, "all.json");
    let status = server.connect().status();
    assert_eq!(status.get("accepted_total"), 5 + 7 + 1);
    assert_eq!(json["connections"]["opened"], 12);
    assert_eq!(json["requests"]["sent"], status.get("frames_in_total") - 1);
    assert_eq!(json["bytes"]["received"], status.get("bytes_out_total"));
    assert_eq!(json["parts"].as_array().unwrap().len(), 2);
    let max = |name: &str| read(&folder, name)["latency_us"]["max"].as_f64().unwrap();
    assert_eq!(max("all.json"), max("a.json").max(max("b.json")), "exactly");
    assert!(json["command"].as_str().unwrap().starts_with("mynah-load merge "));
    assert!(ended.stdout.contains("12 connections, depth 1"), "{}", ended.stdout);
    assert!(fs::read_to_string(page).unwrap().contains(&target));
    let ended = run_tester(&format!("merge {out} {out} {a}"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let again = folder.path("again.json");
    let ended = run_tester(&format!("merge {again} {out} {a} --quiet"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr, format!("mynah-load: {a}: is also in {out}, and would count twice"));
    assert!(fs::metadata(again).is_err(), "nothing is written");
}

#[test]
fn merge_is_judged_anew() {
    let server = server("command");
    let target = url("command", &server);
    let folder = Folder::new();
    let (out, a) = (folder.path("all.json"), folder.path("a.json"));
    let ended = run_tester(&format!("echo {target} -c 5 -d 0.3 --json {a} --max-p99-ms 0.001"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let ended = run_tester(&format!("merge {out} {a} --quiet"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("--max-p99-ms allows 0.001"), "{ended:?}");
    assert_eq!(read(&folder, "all.json")["verdict"]["met"], false);
}

#[test]
fn text_of_a_record_does_not_reach_the_terminal() {
    let folder = Folder::new();
    let (out, a) = (folder.path("all.json"), folder.path("a.json"));
    let target = super::tester::closed_addr();
    let ended = run_tester(&format!("idle tcp://{target} -c 1 --hold 0 --json {a}"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let mut record = read(&folder, "a.json");
    record["reason"] = "\u{1b}]0;title\u{7}\nand more".into();
    folder.file("a.json", &record.to_string());
    for quiet in ["", " --quiet"] {
        let ended = run_tester(&format!("merge {out} {a}{quiet}"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let text = ended.stdout + &ended.stderr;
        assert!(text.contains(r"\u{1b}]0;title\u{7}\nand more"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn each_file_without_a_record_is_named() {
    let folder = Folder::new();
    let empty = folder.file("empty.json", "");
    let old = folder.file("old.json", r#"{"schema": 1}"#);
    let page = folder.file("page.html", "<!DOCTYPE html>");
    let (out, missing) = (folder.path("out.json"), folder.path("missing.json"));
    let ended = run_tester(&format!("merge {out} {empty} {old} {page} {missing}"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, file) in lines.iter().zip([&empty, &old, &page, &missing]) {
        assert!(line.starts_with(&format!("mynah-load: {file}: ")), "{line}");
    }
    assert!(fs::metadata(out).is_err(), "nothing is written");
}
