//! `compare`: exit statuses, the table, folders, files that are no records, the page.

use std::fs;

use serde_json::{Value, json};

use super::tester::{run_tester, run_tester_under, run_with_report, server, url};
use crate::support::{Ended, Folder};

/// Runs a set.
const RUNS: usize = 8;

/// The record of a short run, from which others are made.
fn record() -> Value {
    let server = server("raw");
    let (ended, mut record) =
        run_with_report(&format!("echo {} -c 2 --size 9 -d 1500ms", url("raw", &server)));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Other tests run beside it.
    record["verdict"]["warnings"] = json!([]);
    record
}

/// `record` with another rate and median.
fn with_speed(record: &Value, speed: f64) -> String {
    let mut record = record.clone();
    record["rate_per_sec"] = json!(100_000.0 * speed);
    record["latency_us"]["p50"] = json!(500.0 / speed);
    record.to_string()
}

/// A folder with the folders `before` and `after`; the second has `change` times the speed.
fn sets(record: &Value, change: f64) -> Folder {
    let folder = Folder::new();
    for (name, factor) in [("before", 1.0), ("after", change)] {
        fs::create_dir(folder.path(name)).unwrap();
        for run in 0..RUNS {
            let noise = 1.0 + (run * 5 % RUNS) as f64 / 1e3;
            folder.file(&format!("{name}/{run}.json"), &with_speed(record, factor * noise));
        }
    }
    folder
}

fn compare(folder: &Folder, args: &str) -> Ended {
    let words: Vec<String> = args
        .split(' ')
        .map(|word| match word.strip_prefix("./") {
            Some(name) => folder.path(name),
            None => word.to_owned(),
        })
        .collect();
    run_tester(&format!("compare {}", words.join(" ")))
}

/// The cells of the table's row called `name`.
fn row(ended: &Ended, name: &str) -> String {
    let line = ended.stdout.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {ended:?}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn slower_set_is_worse_and_exits_with_1() {
    let folder = sets(&record(), 0.95);
    let ended = compare(&folder, "./before ./after");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("8 runs before, 8 runs after, tolerance 2 %"), "{ended:?}");
    let rate = row(&ended, "answers/s");
    assert!(rate.starts_with("answers/s 100,350 95,333 -5.0 % ± 0."), "{rate}");
    assert!(rate.ends_with(" worse"), "{rate}");
    assert!(row(&ended, "latency p50").ends_with(" worse"), "{ended:?}");
    assert!(row(&ended, "connect p50").ends_with(" ~"), "{ended:?}");
    assert!(ended.stdout.contains("verdict: WORSE: answers/s -5.0 %"), "{ended:?}");
    assert_eq!(compare(&folder, "./before ./after --tolerance 6").code, Some(0));
    let quiet = compare(&folder, "./before ./after --quiet");
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(1), ""), "{quiet:?}");
    assert!(quiet.stderr.starts_with("mynah-load: WORSE: answers/s -5.0 %"), "{quiet:?}");
}

#[test]
fn faster_set_is_better_and_exits_with_0() {
    let folder = sets(&record(), 1.05);
    let ended = compare(&folder, "./before ./after");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(row(&ended, "answers/s").ends_with(" better"), "{ended:?}");
    assert!(ended.stdout.contains("verdict: not worse; better: answers/s +5.0 %"), "{ended:?}");
}

#[test]
fn comparison_is_the_same_each_time() {
    let folder = sets(&record(), 0.985);
    let first = compare(&folder, "./before ./after");
    assert_eq!(first.code, Some(0), "within the tolerance: {first:?}");
    assert!(first.stdout.contains("verdict: not worse\n"), "{first:?}");
    assert!(first.stdout.contains("would have been found 95 times in 100"), "{first:?}");
    assert_eq!(compare(&folder, "./before ./after").stdout, first.stdout);
}

#[test]
fn sets_are_files_lists_or_folders() {
    let folder = sets(&record(), 0.95);
    folder.file("before/notes.txt", "not a record");
    let list = |name: &str| {
        let files: Vec<String> =
            (0..RUNS).map(|run| folder.path(&format!("{name}/{run}.json"))).collect();
        files.join(",")
    };
    let listed = compare(&folder, &format!("{} {}", list("before"), list("after")));
    assert_eq!(listed.stdout, compare(&folder, "./before ./after").stdout);
    let twice = compare(&folder, &format!("{0},{0} ./after", folder.path("before/0.json")));
    assert_eq!(twice.code, Some(2), "{twice:?}");
    assert!(twice.stderr.ends_with("0.json: twice in one set"), "{twice:?}");
}

#[test]
fn one_run_against_one_says_what_it_assumes() {
    let record = record();
    let folder = Folder::new();
    folder.file("a.json", &with_speed(&record, 1.0));
    folder.file("b.json", &with_speed(&record, 0.97));
    folder.file("c.json", &with_speed(&record, 0.5));
    let near = compare(&folder, "./a.json ./b.json");
    assert_eq!(near.code, Some(0), "{near:?}");
    let assumed = "one run against one cannot tell a change from what differs between any two runs";
    assert!(near.stdout.contains(assumed), "{near:?}");
    let far = compare(&folder, "./a.json ./c.json");
    assert_eq!(far.code, Some(1), "{far:?}");
    assert!(row(&far, "answers/s").ends_with(" worse"), "{far:?}");
    let mut warned: Value = serde_json::from_str(&with_speed(&record, 0.7)).unwrap();
    folder.file("d.json", &warned.to_string());
    assert_eq!(compare(&folder, "./a.json ./d.json").code, Some(1));
    warned["verdict"]["warnings"] = json!(["busy"]);
    folder.file("d.json", &warned.to_string());
    let busy = compare(&folder, "./a.json ./d.json");
    assert_eq!(busy.code, Some(0), "{busy:?}");
    assert!(busy.stdout.contains("warning: the run after: busy\n"), "{busy:?}");
    assert!(busy.stdout.contains("assumed to differ by 15.0 %"), "{busy:?}");
}

/// As the record in a page of a run of four minutes.
#[test]
fn rows_of_several_seconds_are_told() {
    let mut record = record();
    let folder = Folder::new();
    folder.file("a.json", &record.to_string());
    let row = record["series"][0].clone();
    let rows = (1..=120).map(|number| {
        let mut row = row.clone();
        row["t"] = json!(2 * number);
        row
    });
    record["series"] = rows.collect();
    record["histograms"]["seconds"] = json!([]);
    folder.file("b.json", &record.to_string());
    let ended = compare(&folder, "./a.json ./b.json");
    let told = "warning: the rows of the run after are of several seconds, as those of a page";
    assert!(ended.stdout.contains(told), "{ended:?}");
    assert_eq!(ended.stdout.matches("of several seconds").count(), 1, "{ended:?}");
    let of_several = compare(&folder, "./a.json,./b.json ./a.json,./b.json");
    assert!(!of_several.stdout.contains("of several seconds"), "{of_several:?}");
}

#[test]
fn growth_of_errors_from_0_is_told() {
    let mut record = record();
    let folder = Folder::new();
    folder.file("a.json", &record.to_string());
    record["errors"] = json!({"ECONNRESET": 12});
    folder.file("b.json", &record.to_string());
    let ended = compare(&folder, "./a.json ./b.json");
    assert_eq!(row(&ended, "errors"), "errors 0 12 from 0");
    assert!(ended.stdout.contains("errors grew from 0 to 12 a run"), "{ended:?}");
}

#[test]
fn other_load_is_not_compared() {
    let mut record = record();
    let folder = Folder::new();
    let [a, b] = ["a.json", "b.json"].map(|name| folder.path(name));
    folder.file("a.json", &record.to_string());
    record["settings"]["depth"] = json!(32);
    folder.file("b.json", &record.to_string());
    let ended = compare(&folder, "./a.json ./b.json");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let reason =
        format!("mynah-load: {b}: depth is 32, in {a} it is 1; only runs of the same load");
    assert!(ended.stderr.starts_with(&reason), "{ended:?}");
    record["settings"]["depth"] = json!(1);
    record["target"] = json!("raw://\u{1b}[31m:1");
    record["settings"]["duration_secs"] = json!(30);
    folder.file("b.json", &record.to_string());
    let ended = compare(&folder, "./a.json ./b.json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("warning: duration_secs differs: 1.5, then 30\n"), "{ended:?}");
    assert!(ended.stdout.contains("warning: target differs: raw://127.0.0.1:"), "{ended:?}");
    assert!(!ended.stdout.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn files_that_are_no_records_are_named() {
    let record = record();
    let folder = Folder::new();
    let good = folder.file("good.json", &record.to_string());
    let changed = |change: fn(&mut Value)| {
        let mut record = record.clone();
        change(&mut record);
        record.to_string()
    };
    let texts = [
        String::new(),
        "{".to_owned(),
        "[".repeat(1_000_000),
        "{\"schema\":1}".to_owned(),
        "<html><script type=\"application/json\" id=\"mynah-load-record\">{".to_owned(),
        changed(|record| record["schema"] = json!(1)),
        changed(|record| record["schema"] = json!(99)),
        changed(|record| record["rate_per_sec"] = json!("fast")),
        changed(|record| record["series"] = json!({})),
        changed(|record| record["histograms"]["latency"] = json!("HISTFAAAACl4")),
        changed(|record| record["connections"]["opened"] = json!(-1)),
    ];
    for text in texts {
        let bad = folder.file("bad.json", &text);
        for files in [format!("{good} {bad}"), format!("{bad} {good}")] {
            let ended = run_tester(&format!("compare {files}"));
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert_eq!(ended.stdout, "");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            assert!(ended.stderr.starts_with(&format!("mynah-load: {bad}: ")), "{ended:?}");
        }
    }
    let missing = folder.path("missing.json");
    let ended = run_tester(&format!("compare {good} {missing}"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.starts_with(&format!("mynah-load: {missing}: ")), "{ended:?}");
    fs::create_dir(folder.path("empty")).unwrap();
    let ended = compare(&folder, "./good.json ./empty");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.ends_with("empty: no .json file in this folder"), "{ended:?}");
}

#[test]
fn strange_numbers_are_no_reason_to_panic() {
    let record = record();
    let folder = Folder::new();
    let good = folder.file("good.json", &record.to_string());
    for (at, value) in [
        ("/rate_per_sec", json!(0.0)),
        ("/rate_per_sec", json!(1e308)),
        ("/rate_per_sec", json!(-5.0)),
        ("/latency_us/p50", json!(null)),
        ("/series/0/t", json!(1e308)),
        ("/series/1/t", json!(-1e308)),
        ("/series", json!([])),
        ("/histograms/seconds", json!(["AAAA", null, "?"])),
        ("/requests/unanswered", json!(u64::MAX)),
        ("/points/phases", json!([])),
    ] {
        let mut odd = record.clone();
        *odd.pointer_mut(at).unwrap() = value;
        let odd = folder.file("odd.json", &odd.to_string());
        let page = folder.path("page.html");
        for files in [format!("{good} {odd}"), format!("{odd} {good}")] {
            let ended = run_tester(&format!("compare {files} --report {page} --json -"));
            assert!(matches!(ended.code, Some(0 | 1)), "{at}: {ended:?}");
            let json: Value = serde_json::from_str(&ended.stdout).unwrap();
            assert_eq!(json["schema"], 1);
            let page = fs::read_to_string(&page).unwrap();
            assert!(!page.contains("NaN") && !page.contains("inf"), "{at}");
        }
    }
}

#[test]
fn comparison_as_json_has_all_of_it() {
    let folder = sets(&record(), 0.95);
    let ended = compare(&folder, "./before ./after --json -");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(ended.stderr.contains("verdict: WORSE"), "{ended:?}");
    assert_eq!((&json["schema"], &json["method"]), (&1.into(), &"permutation".into()));
    assert_eq!(json["before"]["runs"], RUNS);
    assert_eq!(json["after"]["files"][0], folder.path("after/0.json"));
    assert_eq!(json["verdict"]["is_worse"], true);
    let rate = &json["metrics"][0];
    assert_eq!((&rate["name"], &rate["outcome"]), (&"answers/s".into(), &"worse".into()));
    let number = |field: &str| rate[field].as_f64().unwrap();
    assert!((number("change_percent") + 5.0).abs() < 0.01, "{rate}");
    assert!(number("low_percent") < -5.0 && number("high_percent") > -5.0, "{rate}");
    assert!(number("p_worse") < 0.015 && number("p_better") > 0.5, "{rate}");
    assert!((2.0..4.0).contains(&number("detectable_percent")), "{rate}");
}

#[test]
fn comparison_page_fetches_nothing() {
    let mut record = record();
    record["command"] = json!("mynah-load echo '</title><script>'");
    let folder = Folder::new();
    folder.file("a.json", &with_speed(&record, 1.0));
    folder.file("b.json", &with_speed(&record, 0.4));
    let ended = compare(&folder, "./a.json ./b.json --report ./page.html");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let page = fs::read_to_string(folder.path("page.html")).unwrap();
    for title in ["Latency distribution", "Answers over time", "99th percentile over time"] {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    assert!(page.contains("WORSE: answers/s -60"), "the verdict");
    assert!(page.contains("&lt;/title&gt;&lt;script&gt;"), "the command");
    for outside in ["http:", "https:", "src=", "href=", "<script", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn pages_of_runs_are_compared() {
    let server = server("raw");
    let folder = Folder::new();
    let (page, json) = (folder.path("page.html"), folder.path("run.json"));
    let target = url("raw", &server);
    let run = format!("echo {target} -c 2 --size 9 -d 1 --report {page} --json {json}");
    assert_eq!(run_tester(&run).code, Some(0));
    let ended = run_tester(&format!("compare {page} {json}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(row(&ended, "answers/s").contains(" +0"), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn full_standard_output_is_not_worse() {
    let record = record();
    let folder = Folder::new();
    let a = folder.file("a.json", &with_speed(&record, 1.0));
    let b = folder.file("b.json", &with_speed(&record, 0.4));
    for files in [format!("{a} {a}"), format!("{a} {b}")] {
        for option in ["", " --json -"] {
            let compare = format!("compare {files}{option}");
            let ended = run_tester_under("exec > /dev/full", &compare);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            let reason = "mynah-load: cannot write to standard output: ";
            assert!(ended.stderr.starts_with(reason), "{ended:?}");
        }
    }
}

#[test]
fn comparison_is_not_written_over_a_run() {
    let record = record();
    let folder = Folder::new();
    let a = folder.file("a.json", &record.to_string());
    let b = folder.file("b.json", &record.to_string());
    for option in ["--json", "--report"] {
        let ended = run_tester(&format!("compare {a} {b} {option} {b}"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.stderr, format!("mynah-load: {b}: is one of the runs"));
        assert_eq!(fs::read_to_string(&b).unwrap(), record.to_string());
    }
    let nowhere = folder.path("no/such/folder.json");
    let ended = run_tester(&format!("compare {a} {b} --json {nowhere}"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("cannot write "), "{ended:?}");
}
