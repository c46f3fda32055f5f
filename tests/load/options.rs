//! The command line, the preflight, the thresholds.

use std::process::Command;

use super::tester::{Plain, Tester, figures, load, nobody, reset, server, tester, try_send, url};
use crate::support::Server;

#[test]
fn bad_usage_is_one_line_that_names_the_culprit_and_exits_2() {
    for (args, why) in [
        ("idel", "unknown mode 'idel', there are idle, echo and fanout"),
        ("idle --connections 5", "idle needs --target"),
        (
            "idle --target tcp://h:1 --connections many",
            "--connections: 'many' is not a number from 1 to 100000000",
        ),
        ("idle --target tcp://h:1 --connections 5 --depth 2", "idle has no option --depth"),
        (
            "fanout --target raw://h:1 --subscribers 5 --size 1 --batch 1 --duration 1",
            "--target: fanout needs command:// or chat://, which broadcast",
        ),
        (
            "idle --target smtp://h:1 --connections 5",
            "--target smtp://h:1: unknown protocol 'smtp', there are command, prefixed, raw, chat and tcp",
        ),
    ] {
        let ended = load(args);
        assert_eq!(ended.code, Some(2), "{args}");
        assert_eq!(ended.stderr, format!("mynah-load: {why}\nTry 'mynah-load --help'."));
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn help_and_version_are_printed() {
    let help = load("--help");
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.starts_with("Usage: mynah-load MODE --target URL"), "{}", help.stdout);
    let version = load("-V");
    assert_eq!(version.stdout, concat!("mynah-load ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(version.code, Some(0));
}

/// The tester under a shell's limit.
fn load_under(ulimit: &str, args: &str) -> crate::support::Ended {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{ulimit} && exec \"$0\" \"$@\""));
    shell.arg(env!("CARGO_BIN_EXE_mynah-load")).args(args.split(' '));
    Tester::start(&mut shell).end()
}

#[test]
fn too_few_files_stop_the_run_before_the_first_connect() {
    let server = server("command");
    let args = format!("idle --target {} --connections 100 --hold 0", url("command", &server));
    let ended = load_under("ulimit -n 64", &args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "mynah-load: files: 120 wanted, 64 available, 56 short; \
               try: sudo prlimit --pid $$ --nofile=120:120";
    assert!(ended.stderr.lines().any(|line| line == why), "{ended:?}");
    assert_eq!(server.connect().status().get("accepted_total"), 1, "the asker alone");
}

#[test]
fn the_soft_file_limit_is_raised_to_the_hard_one() {
    let server = server("command");
    let args = format!("idle --target {} --connections 100 --hold 0", url("command", &server));
    let ended = load_under("ulimit -Sn 64", &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn the_preflight_shows_its_arithmetic_and_counts_the_loopback_addresses() {
    let args = format!("idle --target tcp://{} --connections 99000000", nobody());
    let ended = load(&args);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("preflight: files 99000020 of "), "{}", ended.stderr);
    // Those 7,000 addresses and more have ports enough; files are what is short.
    assert!(ended.stderr.contains("mynah-load: files: 99000020 wanted"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("mynah-load: local ports"), "{}", ended.stderr);
    let elsewhere = load(&format!("{args} --source-ip 127.0.0.1"));
    assert!(elsewhere.stderr.contains("mynah-load: local ports: 99000000 wanted"), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("try: sudo ip address add"), "{elsewhere:?}");
}

#[test]
fn what_cannot_be_run_is_said_and_exits_1() {
    for (args, why) in [
        (
            "--source-ip 192.0.2.1",
            "--source-ip: 192.0.2.1: cannot assign requested address; try: sudo ip address add 192.0.2.1/32 dev DEVICE",
        ),
        ("--server-pid 4294967295", "--server-pid: there is no process 4294967295"),
        ("--json /no/such/folder/x", "cannot write /no/such/folder/x: no such file or directory"),
        ("--csv /no/such/folder/x", "cannot write /no/such/folder/x: no such file or directory"),
        ("--report /no/such/folder/x", "cannot write /no/such/folder/x: no such file or directory"),
    ] {
        let plain = Plain::listen();
        let ended =
            load(&format!("idle --target {} --connections 1 --hold 0 {args}", plain.url("tcp")));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let why = format!("mynah-load: {why}");
        assert_eq!(ended.stderr.lines().last(), Some(why.as_str()));
    }
    let ended = load("idle --target tcp://no-such-host.invalid:1 --connections 1");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("mynah-load: tcp://no-such-host.invalid:1: "), "{ended:?}");
}

#[test]
fn quiet_says_nothing_unless_something_goes_wrong() {
    let server = server("command");
    let idle =
        format!("idle --target {} --connections 5 --hold 0 --quiet", url("command", &server));
    let ended = load(&idle);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    let ended = load(&format!("idle --target tcp://{} --connections 2 --quiet", nobody()));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let why = "mynah-load: no connection was opened; 2 errors, --max-errors allows 0";
    assert_eq!(ended.stderr, why);
}

#[test]
fn errors_up_to_max_errors_are_no_failure() {
    for (allowed, code) in [(2, 0), (1, 1)] {
        let plain = Plain::listen();
        let args = format!(
            "idle --target {} --connections 6 --hold 1 --max-errors {allowed}",
            plain.url("tcp")
        );
        let run = Tester::start(tester().args(args.split(' ')));
        let held = plain.accept(6);
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
fn a_slow_99th_percentile_fails_the_run() {
    let slow = Plain::serve(|mut stream| {
        let mut request = [0; 15];
        while std::io::Read::read_exact(&mut stream, &mut request).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
            if !try_send(&stream, &request) {
                break;
            }
        }
    });
    let echo =
        format!("echo --target command://{slow} --connections 2 --depth 1 --size 10 --duration 1");
    let ended = load(&format!("{echo} --max-p99-ms 20.5"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("--max-p99-ms allows 20.5"), "{}", ended.stdout);
    let ended = load(&format!("{echo} --max-p99-ms 19000"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn settings_are_written_with_their_defaults() {
    let server = Server::command(&[]);
    let (_, json) = figures(&format!(
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
    assert!(json["host"]["kernel"].as_str().unwrap().starts_with("Linux "));
    assert_eq!(json["host"]["version"], env!("CARGO_PKG_VERSION"));
}
