//! Runs in several processes: shares, counts, the processes' ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use super::tester::{
    LoadTester, RunWithReport, TcpTarget, run_tester, run_with_report, server, url,
};
#[cfg(feature = "cluster")]
use crate::support::redis::Redis;
use crate::support::{Folder, PATIENCE, Server, wait_until};

/// The number at `pointer`.
#[track_caller]
fn figure(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {json}"))
}

/// The parts' numbers at `pointer`.
fn of_parts(json: &Value, pointer: &str) -> Vec<u64> {
    json["parts"].as_array().unwrap().iter().map(|part| figure(part, pointer)).collect()
}

/// The state of the connections called `name`, with the kernel's memory.
#[track_caller]
fn kernel_state<'a>(json: &'a Value, name: &str) -> &'a Value {
    let states = json["kernel"]["states"].as_array().unwrap();
    let found = states.iter().find(|state| state["state"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {states:?}"))
}

/// Process ids of the jobs, as the parent names them.
fn job_pids(tester: &LoadTester) -> Vec<i32> {
    let line = tester.wait_for_line("jobs: processes ");
    line["jobs: processes ".len()..].split(", ").map(|pid| pid.parse().unwrap()).collect()
}

/// Whether the process has ended: somebody else may have to ask for its status.
fn has_ended(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")),
        Err(_) => true,
    }
}

#[test]
fn counts_of_any_number_of_jobs_are_the_servers() {
    for jobs in [1, 2, 3, 7] {
        for (mode, options) in [
            ("echo", "-c 19 -d 0.5 --depth 2 --size 100"),
            ("echo", "-c 19 -d 1 --rate 333"),
            ("idle", "-c 19 --hold 1 --probe 100 --ramp 0.3"),
        ] {
            let server = server("command");
            let target = url("command", &server);
            let run = format!("{mode} {target} {options} --jobs {jobs}");
            let (ended, json) = run_with_report(&run);
            assert_eq!(ended.code, Some(0), "{run}: {ended:?}");
            let status = server.connect().status();
            assert_eq!(figure(&json, "/connections/opened"), 19, "{run}");
            assert_eq!(status.get("accepted_total"), 19 + 1, "and the STATUS connection");
            let sent = figure(&json, "/requests/sent");
            assert_eq!(status.get("frames_in_total"), sent + 1, "{run}");
            assert_eq!(figure(&json, "/requests/answered"), sent, "{run}");
            assert_eq!(status.get("bytes_in_total"), figure(&json, "/bytes/sent") + 5, "{run}");
            assert_eq!(status.get("bytes_out_total"), figure(&json, "/bytes/received"), "{run}");
            let rows = json["series"].as_array().unwrap();
            let summed: u64 = rows.iter().map(|row| figure(row, "/answered")).sum();
            assert_eq!(summed, sent, "the rows add up: {run}");
            if let Some(rate) = json["settings"]["requests_per_sec"].as_u64() {
                assert_eq!(sent, rate, "as many as one process sends: {run}");
            }
        }
    }
}

#[test]
fn shares_of_jobs_are_exact() {
    let server = server("command");
    let run = format!("echo {} -c 19 --rate 190 -d 1 --jobs 3", url("command", &server));
    let (ended, json) = run_with_report(&run);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(of_parts(&json, "/connections/opened"), [7, 6, 6]);
    assert_eq!(of_parts(&json, "/requests/answered"), [70, 60, 60], "ten a connection");
    let names: Vec<&str> = json["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert!(names.iter().zip(1..).all(|(name, n)| name.ends_with(&format!(", job {n}"))));
    assert_eq!(
        (&json["settings"]["jobs"], &json["settings"]["connections"]),
        (&3.into(), &19.into())
    );
    assert!(ended.stdout.contains(", 190 requests/s, 3 processes\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains(", job 3: 6 connections, 60 answered, p99 "), "{}", ended.stdout);
}

#[test]
fn memory_is_watched_once_for_all_jobs() {
    let server = server("command");
    let target = url("command", &server);
    let pid = server.pid();
    let idle = format!("idle {target} -c 2k --hold 1 --server-pid {pid} --jobs 3");
    let (ended, json) = run_with_report(&idle);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let each = json["server"]["bytes_per_connection"].as_f64().unwrap();
    assert!((40.0..100.0).contains(&each), "{each}: {ended:?}");
    assert_eq!(json["settings"]["server_pid"], pid);
    let memory = json["points"]["memory"].as_array().unwrap();
    assert_eq!(memory.last().unwrap()[0], 2_000, "with the connections of all");
    let row = json["series"].as_array().unwrap().last().unwrap();
    assert!(row["server_rss_bytes"].as_u64().is_some() && row["connected"] == 2_000, "{row}");
    for (state, connections) in [("open", 2_000), ("data", 2_000), ("held", 2_000), ("closed", 0)] {
        assert_eq!(kernel_state(&json, state)["connections"], connections, "{state}");
    }
    assert!(json["server"]["rss_bytes_closed"].is_u64(), "{}", json["server"]);
    if std::fs::read_to_string("/proc/pressure/cpu").is_ok() {
        assert!(json["machine"]["pressure_share"].is_f64(), "{}", json["machine"]);
    }
}

/// The target, in this process, has more memory from the first request of each connection until the
/// connection is closed.
#[test]
fn memory_is_read_before_requests_and_before_the_end() {
    const EACH: usize = 8 << 20;
    let addr = TcpTarget::serve(|mut stream| {
        let (mut request, mut memory) = ([0; 5 + 64], Vec::new());
        while stream.read_exact(&mut request).is_ok() {
            memory.resize(EACH, 1_u8);
            if stream.write_all(&request).is_err() {
                return;
            }
        }
    });
    let pid = std::process::id();
    let echo = format!("echo command://{addr} -c 16 -d 1 --server-pid {pid} --jobs 2");
    let (ended, json) = run_with_report(&echo);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let bytes = |name: &str| figure(&json["server"], &format!("/rss_bytes_{name}"));
    // Other tests of this process take some too.
    let least = 8 * EACH as u64;
    assert!(bytes("held") > bytes("opened") + least, "{}", json["server"]);
}

/// A full backlog leaves connects pending.
#[cfg(target_os = "linux")]
#[test]
fn pending_connects_of_all_jobs_are_watched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let run = RunWithReport::start(&format!("idle tcp://{addr} -c 400 --hold 1 --jobs 2"));
    run.tester.wait_for_line("ramp 5 s");
    run.tester.signal(Signal::SIGTERM);
    let (ended, json) = run.end();
    assert_eq!((ended.code, &json["interrupted"]), (Some(1), &"ramp".into()), "{ended:?}");
    // Read again where there are twice as many.
    let pending = figure(kernel_state(&json, "connecting"), "/connections");
    assert!((190..=400).contains(&pending), "{pending}");
}

/// The test is the parent. Its job says how far it is when it waits, and reads nothing of the kernel.
#[test]
fn job_waits_for_its_parent() {
    let target = TcpTarget::listen();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut job = Command::new(env!("CARGO_BIN_EXE_mynah-load"));
    let target_url = target.url("tcp");
    job.args(["job", "idle", &target_url, "-c", "4", "--hold", "0", "--jobs", "2"]);
    let mut job = job.stdin(OwnedFd::from(theirs)).spawn().unwrap();
    writeln!(ours, r#"{{"start":{{"job":0,"addresses":["{}"]}}}}"#, target.addr).unwrap();
    let mut phases = Vec::new();
    let mut record = Value::Null;
    for line in BufReader::new(ours.try_clone().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(waiting) = line.get("waiting") {
            phases.push((waiting["phase"].clone(), figure(waiting, "/counts/opened")));
            writeln!(ours, r#""go""#).unwrap();
        }
        if let Some(done) = line.get("done") {
            record = done.clone();
            break;
        }
    }
    assert!(job.wait().unwrap().success());
    assert_eq!(phases, [("ramp".into(), 0), ("ramp".into(), 2), ("drain".into(), 2)]);
    assert_eq!(figure(&record, "/connections/held"), 2, "half of them");
    assert_eq!(record["kernel"]["states"], serde_json::json!([]));
}

#[test]
fn files_of_a_run_are_the_parents() {
    let server = server("command");
    let folder = Folder::new();
    let (csv, page) = (folder.path("rows.csv"), folder.path("page.html"));
    let target = url("command", &server);
    let run = format!("echo {target} -c 6 -d 1.2 --jobs 2 --csv {csv} --report {page} --json -");
    let ended = run_tester(&format!("{run} --quiet"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let rows = std::fs::read_to_string(csv).unwrap();
    assert_eq!(rows.lines().count(), json["series"].as_array().unwrap().len() + 1, "{rows}");
    assert!(std::fs::read_to_string(page).unwrap().contains(&target));
}

#[test]
fn signal_ends_all_jobs_with_one_record() {
    for sent in [Signal::SIGINT, Signal::SIGTERM] {
        let server = server("command");
        let target = url("command", &server);
        let run = RunWithReport::start(&format!("idle {target} -c 30 --hold 300 --jobs 3"));
        run.tester.wait_for_phase("hold");
        run.tester.signal(sent);
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(json["interrupted"], "hold");
        assert_eq!(json["verdict"]["misses"], serde_json::json!(["interrupted in the hold"]));
        assert_eq!(of_parts(&json, "/connections/held"), [10, 10, 10]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn killed_job_is_named_and_the_others_end() {
    let server = server("command");
    let target = url("command", &server);
    let run = RunWithReport::start(&format!("echo {target} -c 30 --rate 90 -d 300 --jobs 3"));
    let pids = job_pids(&run.tester);
    run.tester.wait_for_phase("traffic");
    signal::kill(Pid::from_raw(pids[1]), Signal::SIGKILL).unwrap();
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = format!("job 2, process {}, was killed by SIGKILL", pids[1]);
    assert_eq!(json["verdict"]["misses"][0], why);
    assert!(ended.stdout.contains(&why), "{}", ended.stdout);
    assert_eq!(of_parts(&json, "/connections/opened"), [10, 10]);
    assert_eq!(json["connections"]["wanted"], 30);
    assert!(pids.iter().all(|pid| has_ended(*pid)));
}

#[cfg(target_os = "linux")]
#[test]
fn jobs_end_with_a_parent_that_was_killed() {
    let server = server("command");
    let target = url("command", &server);
    let tester = LoadTester::start(&format!("idle {target} -c 30 --hold 300 --jobs 3"));
    let pids = job_pids(&tester);
    tester.wait_for_phase("hold");
    tester.signal(Signal::SIGKILL);
    wait_until("all jobs have ended", || pids.iter().all(|pid| has_ended(*pid)));
    let mut client = server.connect();
    wait_until("the connections are closed", || client.status().get("connections") == 1);
}

#[cfg(target_os = "linux")]
#[test]
fn job_that_was_told_to_end_ends_the_run() {
    let server = server("command");
    let target = url("command", &server);
    let run = RunWithReport::start(&format!("idle {target} -c 30 --hold 300 --jobs 3"));
    let pids = job_pids(&run.tester);
    run.tester.wait_for_phase("hold");
    signal::kill(Pid::from_raw(pids[2]), Signal::SIGTERM).unwrap();
    let (ended, json) = run.end();
    assert_eq!((ended.code, &json["interrupted"]), (Some(1), &"hold".into()), "{ended:?}");
    assert_eq!(of_parts(&json, "/connections/opened"), [10, 10, 10]);
}

#[test]
fn refused_connects_are_added_up() {
    let target = super::tester::closed_addr();
    let (ended, json) = run_with_report(&format!("idle tcp://{target} -c 20 --hold 1 --jobs 3"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], serde_json::json!({"ECONNREFUSED": 20}));
    assert_eq!(json["connections"]["failed"], 20);
}

#[test]
fn file_limit_is_that_of_each_job() {
    let server = server("command");
    let target = url("command", &server);
    let idle = format!("idle {target} -c 150 --hold 0");
    let ended = super::tester::run_tester_under("ulimit -n 100", &idle);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let ended = super::tester::run_tester_under("ulimit -n 100", &format!("{idle} --jobs 2"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[cfg(feature = "cluster")]
#[test]
fn jobs_hold_connections_of_redis() {
    let Some(redis) = Redis::start_tcp(&[]) else { return };
    let run = format!("idle tcp://127.0.0.1:{} -c 50 --hold 0.3 --jobs 3", redis.port());
    let (ended, json) = run_with_report(&run);
    assert_eq!((ended.code, figure(&json, "/connections/held")), (Some(0), 50), "{ended:?}");
}

#[cfg(feature = "unix")]
#[test]
fn jobs_run_over_unix() {
    let folder = Folder::new();
    let _server = Server::unix("command", &folder, &[]);
    let url = format!("command+unix://{}", folder.path("s"));
    let (ended, json) = run_with_report(&format!("echo {url} -c 5 -d 0.5 --jobs 2"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(of_parts(&json, "/connections/opened"), [3, 2]);
}

#[cfg(feature = "tls")]
#[test]
fn jobs_run_over_tls() {
    let identity = crate::support::tls::Identity::new();
    let args = [&["-l", "command+tls://127.0.0.1:0"], identity.options().as_slice()].concat();
    let server = Server::start(&args);
    let url = url("command+tls", &server);
    let (ended, json) = run_with_report(&format!("echo {url} --insecure -c 5 -d 0.5 --jobs 2"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["tls"]["handshakes"], 5);
    assert_eq!(ended.stderr.matches("certificate").count(), 1, "one warning: {}", ended.stderr);
}

#[test]
fn job_without_a_parent_is_an_unknown_mode() {
    let ended = run_tester("job idle command://127.0.0.1:1");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("unknown mode 'job'"), "{ended:?}");
}

#[test]
fn storms_of_several_jobs_are_one() {
    let server = server("command");
    let storm = "-c 31 --bystanders 5 --times 2 --hold 0.4 --jobs 3";
    let (ended, json) = run_with_report(&format!("storm {} {storm}", url("command", &server)));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let storms = json["storm"].as_array().unwrap();
    assert_eq!(storms.len(), 2);
    for storm in storms {
        assert_eq!((&storm["dropped"], &storm["served"]), (&31.into(), &31.into()), "{storm}");
        assert!(storm["served_secs"]["all"].as_f64().unwrap() > 0.0);
    }
    let status = server.connect().status();
    assert_eq!(status.get("accepted_total"), 36 + 2 * 31 + 1, "and the STATUS connection");
    let answered = json["requests"]["answered"].as_u64().unwrap();
    assert_eq!(status.get("frames_in_total"), answered + 1, "and the STATUS request");
    assert_eq!(json["parts"].as_array().unwrap().len(), 3);
    assert!(ended.stdout.contains("  storm        2: served 50 % after "), "{}", ended.stdout);
}

#[test]
fn sleepers_of_several_jobs_are_woken() {
    let server = server("command");
    let wake = "-c 31 --hold 1 --sample 9 --jobs 2";
    let (ended, json) = run_with_report(&format!("wake {} {wake}", url("command", &server)));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let steps = json["wake"].as_array().unwrap();
    let woken: u64 = steps.iter().map(|step| step["woken"].as_u64().unwrap()).sum();
    assert_eq!((steps.len(), woken), (1, 9), "{steps:?}");
    let status = server.connect().status();
    assert_eq!(status.get("accepted_total"), 31 + 1, "and the STATUS connection");
    let answered = json["requests"]["answered"].as_u64().unwrap();
    assert_eq!((answered, status.get("frames_in_total")), (31 + 3 * 9, answered + 1));
}
