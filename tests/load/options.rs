//! The command line, the preflight and the thresholds.

use super::tester::{
    LoadTester, TcpTarget, assert_cannot_start, closed_addr, reset, run_tester, run_tester_under,
    run_with_report, server, url,
};
use crate::support::Server;

#[test]
fn bad_usage_is_a_line_an_error_and_exits_2() {
    let modes = "there are idle, echo, fanout, storm, wake, compare and merge";
    let meant = "not of the form PROTOCOL://HOST:PORT, did you mean command://127.0.0.1:65432?";
    for (args, reasons) in [
        ("idel", &[&*format!("unknown mode 'idel', {modes}, did you mean idle?")][..]),
        ("echo 127.0.0.1:65432", &[&*format!("127.0.0.1:65432: {meant}")]),
        (
            "idle --connections many --dept 2 --size 1",
            &[
                "unknown option '--dept', did you mean --depth?",
                "idle has no option --size",
                "idle needs a URL, such as command://127.0.0.1:65432",
                "--connections: 'many' is not a number from 1 to 100000000",
            ],
        ),
        ("fanout raw://h:1", &["raw://h:1: fanout needs command:// or chat://, which broadcast"]),
        (
            "idle --target smtp://h:1 --connections 5",
            &[
                "smtp://h:1: unknown protocol 'smtp', there are command, prefixed, raw, chat and tcp",
            ],
        ),
    ] {
        let ended = run_tester(args);
        assert_eq!(ended.code, Some(2), "{args}");
        let lines: Vec<String> = reasons.iter().map(|why| format!("mynah-load: {why}\n")).collect();
        assert_eq!(ended.stderr, format!("{}Try 'mynah-load --help'.", lines.concat()));
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn help_and_version_are_printed() {
    let help = run_tester("--help");
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(
        help.stdout.starts_with("Usage: mynah-load idle|echo|fanout|storm|wake URL"),
        "{}",
        help.stdout
    );
    let help = run_tester("echo --help");
    assert!(help.stdout.starts_with("Usage: mynah-load echo URL"), "{}", help.stdout);
    let version = run_tester("-V");
    assert_eq!(version.stdout, concat!("mynah-load ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(version.code, Some(0));
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn failed_stdout_exits_1_with_the_reason() {
    let server = server("command");
    let run = format!("idle {} -c 2 --hold 0", url("command", &server));
    for args in ["--help", "--version", &run, &format!("{run} --json -")] {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "\"$0\" $1 >/dev/full", env!("CARGO_BIN_EXE_mynah-load"), args]);
        let ended = LoadTester::spawn(&mut shell).end();
        assert_eq!(ended.code, Some(1), "{args}: {ended:?}");
        let why = "mynah-load: cannot write to standard output: no space left on device";
        assert!(ended.stderr.lines().any(|line| line == why), "{args}: {ended:?}");
    }
}

#[test]
fn url_alone_runs_echo() {
    let server = server("command");
    let (ended, json) = run_with_report(&format!("echo {} -d 250ms", url("command", &server)));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let settings = &json["settings"];
    assert_eq!((&settings["connections"], &settings["size"]), (&100.into(), &64.into()));
    assert_eq!((&settings["depth"], &settings["duration_secs"]), (&1.into(), &0.25.into()));
}

#[test]
fn soft_file_limit_is_raised_to_the_hard_one() {
    let server = server("command");
    let args = format!("idle --target {} --connections 100 --hold 0", url("command", &server));
    let ended = run_tester_under("ulimit -Sn 64", &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn run_that_cannot_start_exits_1() {
    let no_folder = "cannot write /no/such/folder/x: no such file or directory";
    for (args, reason) in [
        ("--server-pid 4294967295", "--server-pid: there is no process 4294967295"),
        ("--json /no/such/folder/x", no_folder),
        ("--csv /no/such/folder/x", no_folder),
        ("--report /no/such/folder/x", no_folder),
    ] {
        assert_cannot_start(args, reason);
    }
}

#[test]
fn unresolved_name_exits_1() {
    let ended = run_tester("idle --target tcp://no-such-host.invalid:1 --connections 1");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("mynah-load: tcp://no-such-host.invalid:1: "), "{ended:?}");
}

#[test]
fn quiet_prints_failures_only() {
    let server = server("command");
    let idle =
        format!("idle --target {} --connections 5 --hold 0 --quiet", url("command", &server));
    let ended = run_tester(&idle);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    let ended =
        run_tester(&format!("idle --target tcp://{} --connections 2 --quiet", closed_addr()));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let why = "mynah-load: no connection was opened; 2 errors, --max-errors allows 0";
    assert_eq!(ended.stderr, why);
}

#[test]
fn errors_up_to_max_errors_are_allowed() {
    for (allowed, code) in [(2, 0), (1, 1)] {
        let target = TcpTarget::listen();
        let args = format!(
            "idle --target {} --connections 6 --hold 1 --max-errors {allowed}",
            target.url("tcp")
        );
        let run = LoadTester::start(&args);
        let held = target.accept(6);
        run.wait_for_phase("hold");
        held[..2].iter().for_each(reset);
        let kept: Vec<_> = held.into_iter().skip(2).collect();
        let ended = run.end();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stdout.contains("ECONNRESET 2 times"), "{}", ended.stdout);
        assert_eq!(ended.stdout.contains("2 errors, --max-errors allows 1"), code == 1);
        drop(kept);
    }
}

#[test]
fn slow_p99_fails_the_run() {
    let server = server("command");
    let echo = format!(
        "echo --target {} --connections 2 --depth 1 --size 10 --duration 1",
        url("command", &server)
    );
    // No answer comes within a microsecond, and each within 19 seconds.
    for (limit, code) in [("0.001", 1), ("19000", 0)] {
        let ended = run_tester(&format!("{echo} --max-p99-ms {limit}"));
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let is_missed = ended.stdout.contains(&format!("--max-p99-ms allows {limit}"));
        assert_eq!(is_missed, code == 1, "{}", ended.stdout);
    }
}

#[test]
fn json_has_settings_with_defaults() {
    let server = Server::command(&[]);
    let (_, json) = run_with_report(&format!(
        "idle --target {} --connections 3 --hold 0 --max-errors 4",
        url("command", &server)
    ));
    let settings = &json["settings"];
    assert_eq!(settings["connections"], 3);
    assert_eq!(settings["connects_per_sec"], 10_000);
    assert_eq!(settings["hold_secs"], 0);
    assert_eq!(settings["max_errors"], 4);
    assert_eq!(settings["load"], "none");
    assert!(settings["max_p99_ms"].is_null() && settings["duration_secs"].is_null());
    assert_eq!(settings["address"], server.addr(0).to_string());
    assert!(json["host"]["kernel"].as_str().unwrap().contains(' '), "name and release");
    assert_eq!(json["host"]["version"], env!("CARGO_PKG_VERSION"));
}
