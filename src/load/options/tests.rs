//! Command lines and their errors.

use std::path::PathBuf;
use std::time::Duration;

use super::super::exchange::{Exchange, Expect};
use super::super::plan::{ConnectPacing, JsonOutput, Mode};
use super::super::record::LoadModel;
use super::super::settings::CompareSettings;
use super::*;

const URL: &str = "command://127.0.0.1:1";

fn parse(args: &str) -> Result<Invocation, Vec<UsageError>> {
    let args: Vec<&str> = args.split(' ').filter(|arg| !arg.is_empty()).collect();
    Invocation::from_args(&args)
}

fn plan(args: &str) -> Plan {
    match parse(args) {
        Ok(Invocation::Run(plan)) => *plan,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(args: &str, reasons: &[&str]) {
    let found = parse(args).unwrap_err();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, reasons, "{args:?}");
}

#[test]
fn url_alone_has_defaults() {
    let idle = plan("idle command://127.0.0.1:1");
    let mode =
        Mode::Idle { connections: 1_000, hold: Duration::from_secs(10), probe_per_sec: None };
    assert_eq!((idle.mode, idle.pacing), (mode, ConnectPacing::PerSec(10_000)));
    assert_eq!((idle.errors_max, idle.p99_ms_max, idle.quiet), (0, None, false));
    let duration = Duration::from_secs(10);
    let mode = Mode::Echo { connections: 100, depth: 1, size: 64, duration, rate_per_sec: None };
    assert_eq!(plan("echo command://127.0.0.1:1").mode, mode);
    let mode = Mode::Fanout { subscribers: 100, size: 64, batch: 1, duration };
    assert_eq!(plan("fanout chat://127.0.0.1:1").mode, mode);
}

#[test]
fn options_stand_anywhere_short_or_long() {
    let long = plan("echo --target=command://127.0.0.1:1 --connections 2000 --duration 2");
    let short = plan("-c 2k echo -d 2s command://127.0.0.1:1");
    assert_eq!((short.mode, &short.target), (long.mode, &long.target));
    assert_eq!(short.mode.duration(), Duration::from_secs(2));
    let full = plan(
        "idle command://127.0.0.1:1 -c 5 --rate 7 --hold 0 --probe 2 --server-pid 9 --source-ip \
         127.0.0.2,127.0.0.3 --json j --csv c --report r --max-errors 3 --max-p99-ms 1.5 --quiet",
    );
    let mode = Mode::Idle { connections: 5, hold: Duration::ZERO, probe_per_sec: Some(2) };
    assert_eq!(
        (full.mode, full.pacing, full.server_pid),
        (mode, ConnectPacing::PerSec(7), Some(9))
    );
    assert_eq!((full.errors_max, full.p99_ms_max, full.quiet), (3, Some(1.5), true));
    assert_eq!(full.source_ips.len(), 2);
    assert_eq!(full.mode.load_model(), LoadModel::Open);
    assert_eq!(plan("idle tcp://h:1 --json -").json, Some(JsonOutput::Stdout));
}

#[test]
fn rate_is_connects_in_idle_and_requests_in_echo() {
    let echo = plan(&format!("echo {URL} --rate 6k"));
    assert_eq!(echo.pacing, ConnectPacing::PerSec(10_000));
    assert_eq!(echo.mode.requests_per_sec(), Some(6_000));
    assert_eq!(echo.mode.load_model(), LoadModel::Open);
    assert_eq!(plan(&format!("echo {URL}")).mode.load_model(), LoadModel::Closed);
}

#[test]
fn ramp_is_an_evenly_spread_pace() {
    for mode in ["idle", "echo", "fanout", "storm", "wake"] {
        let plan = plan(&format!("{mode} {URL} --ramp 2m"));
        assert_eq!(plan.pacing, ConnectPacing::Ramp(Duration::from_secs(120)));
    }
    let both = &["--ramp: --rate has set the pace of connects"];
    refused(&format!("idle {URL} --ramp 5 --rate 7"), both);
    let echo = plan(&format!("echo {URL} --ramp 5 --rate 7"));
    assert_eq!(echo.mode.requests_per_sec(), Some(7), "its rate is of requests");
}

#[test]
fn storm_has_its_settings_and_defaults() {
    let secs = Duration::from_secs;
    let default = Mode::Storm {
        connections: 1_000,
        times: 1,
        spread: secs(0),
        is_orderly: false,
        has_backoff: true,
        timeout: secs(60),
        bystanders: 10,
        probe_per_sec: 100,
        hold: secs(3),
    };
    assert_eq!(plan(&format!("storm {URL}")).mode, default);
    let given = Mode::Storm {
        connections: 10_000,
        times: 5,
        spread: Duration::from_millis(1_500),
        is_orderly: true,
        has_backoff: false,
        timeout: secs(120),
        bystanders: 0,
        probe_per_sec: 7,
        hold: secs(0),
    };
    let args = "-c 10k --times 5 --spread 1.5 --orderly --no-backoff --timeout 2m";
    let storm = plan(&format!("storm {URL} {args} --bystanders 0 --probe 7 --hold 0"));
    assert_eq!(storm.mode, given);
    refused(
        &format!("storm {URL} --times 1001"),
        &["--times: '1001' is not a number from 1 to 1000"],
    );
    let why = "--max-p99-ms: a storm has answers to judge only with bystanders that ask";
    refused(&format!("storm {URL} --bystanders 0 --max-p99-ms 9"), &[why]);
    refused("storm tcp://h:1 --max-p99-ms 9", &[why]);
    assert_eq!(plan("storm tcp://h:1").mode.connections(), 1_010);
}

#[test]
fn wake_has_its_settings_and_defaults() {
    let default = Mode::Wake { connections: 1_000, hold: Duration::from_secs(10), sample: 100 };
    assert_eq!(plan(&format!("wake {URL}")).mode, default);
    let given = Mode::Wake { connections: 20, hold: Duration::from_secs(300), sample: 7 };
    assert_eq!(plan(&format!("wake {URL} -c 20 --hold 5m --sample 7")).mode, given);
}

#[test]
fn compare_takes_files_and_sets() {
    let compare = |args: &str| match parse(args) {
        Ok(Invocation::Compare(settings)) => settings,
        other => panic!("{other:?}"),
    };
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    let found = compare("compare a.json,b.json after/ --tolerance 3% --json - --quiet");
    let expected = CompareSettings {
        before: paths(&["a.json", "b.json"]),
        after: paths(&["after/"]),
        tolerance_percent: 3.0,
        json: Some(JsonOutput::Stdout),
        report: None,
        quiet: true,
    };
    assert_eq!(found, expected);
    assert_eq!(compare("compare a b").tolerance_percent, 2.0);
    let why = "compare needs two records, as in: mynah-load compare A.json B.json";
    refused("compare a.json", &[why]);
    refused("compare a b c", &["unexpected argument 'c'"]);
    refused("compare a b -c 5", &["compare has no option --connections"]);
    let same = "compare a b --json x --report ./x";
    refused(same, &["--report: --json writes the same file"]);
    refused(
        "compare a b --tolerance -1",
        &["--tolerance: '-1' is not a percentage from 0 to 1000"],
    );
}

#[test]
fn merge_takes_a_file_and_parts() {
    match parse("merge all.json a.json b.json --report r.html") {
        Ok(Invocation::Merge(settings)) => {
            assert_eq!((settings.out, settings.parts.len()), ("all.json".into(), 2));
        }
        other => panic!("{other:?}"),
    }
    let why = "merge needs records, as in: mynah-load merge OUT.json PART.json PART.json";
    refused("merge all.json", &[why]);
    refused(
        "merge all.json a --json b",
        &["--json: merge writes its record to OUT.json, its first word"],
    );
}

#[test]
fn fanout_has_further_targets() {
    let of = |args: &str| {
        let plan = plan(args);
        plan.targets().map(|target| target.url.clone()).collect::<Vec<_>>()
    };
    let all = ["chat://h:1", "chat://h:2", "chat+unix:///run/s"];
    assert_eq!(of("fanout chat://h:1 --batch 2 chat://h:2 chat+unix:///run/s"), all);
    assert_eq!(of("fanout chat://h:2 --target chat://h:1 chat+unix:///run/s"), all);
    assert_eq!(of("fanout chat://h:1 chat://h:1"), ["chat://h:1"; 2], "its own subscribers");
    assert_eq!(of("fanout chat://h:1").len(), 1);
}

#[test]
fn further_targets_are_like_the_first() {
    refused("echo chat://h:1 chat://h:2", &["unexpected argument 'chat://h:2'"]);
    refused(
        "fanout chat://h:1 command://h:2 nothing",
        &[
            "nothing: not of the form PROTOCOL://HOST:PORT",
            "command://h:2: the first target is chat://, and all must be",
        ],
    );
    refused(
        "fanout chat://h:1 chat://h:2 chat://h:3 --subscribers 1",
        &["--subscribers: 1 is too few for 2 targets to subscribe to"],
    );
    refused(
        "fanout command://h:1 command://h:2 --size 0",
        &["--size: several targets need at least 1, by which late messages are told"],
    );
    refused(
        "fanout chat://127.0.0.1:1 chat://[::1]:2 --source-ip 127.0.0.2",
        &["--source-ip: 127.0.0.2 cannot reach ::1, of the other IP version"],
    );
    #[cfg(feature = "tls")]
    refused(
        "fanout chat://h:1 chat+tls://h:2",
        &["chat+tls://h:2: either all targets go over TLS, or none does"],
    );
}

#[test]
fn publisher_is_one_connection_more() {
    let mode = plan(&format!("fanout {URL} --subscribers 9 --batch 2")).mode;
    assert_eq!((mode.connections(), mode.depth()), (10, 2));
}

#[test]
fn help_is_of_all_modes_or_of_one() {
    let help = |args: &str| match parse(args) {
        Ok(Invocation::Help(text)) => text,
        other => panic!("{other:?}"),
    };
    let all = help("-h");
    for spec in all_options() {
        assert!(all.contains(&format!("--{} {}", spec.name, spec.value)), "{}", spec.name);
    }
    let echo = help("echo --help --no-such");
    assert!(echo.starts_with("Usage: mynah-load echo URL") && !echo.contains("--probe"));
    assert!(!help("merge -h").contains("--json") && help("compare -h").contains("--json"));
    let modes = MODES.map(|mode| help(&format!("{mode} -h")));
    for text in modes.into_iter().chain([all]) {
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let example = text.lines().find(|line| line.starts_with("  mynah-load")).unwrap();
        parse(example.trim().strip_prefix("mynah-load ").unwrap()).unwrap();
    }
    assert_eq!(parse("idle --version"), Ok(Invocation::Version));
}

#[test]
fn errors_name_the_culprit() {
    let modes = "there are idle, echo, fanout, storm, wake, compare and merge";
    refused("", &[&format!("no mode, {modes}")]);
    refused("command://h:1", &[&format!("no mode, {modes}")]);
    refused("idel tcp://h:1", &[&format!("unknown mode 'idel', {modes}, did you mean idle?")]);
    refused("idle tcp://h:1 echo", &["unexpected argument 'echo'"]);
    refused("idle tcp://h:1 --target tcp://h:2", &["unexpected argument 'tcp://h:1'"]);
    refused("idle", &["idle needs a URL, such as command://127.0.0.1:65432"]);
    refused("echo prefixed://h:1 --size 256", &["--size: '256' is not a number from 0 to 255"]);
    refused("idle tcp://h", &["tcp://h: bad port '', it is 0 to 65535"]);
    let meant = "not of the form PROTOCOL://HOST:PORT, did you mean command://127.0.0.1:65432?";
    refused("echo 127.0.0.1:65432", &[&format!("127.0.0.1:65432: {meant}")]);
    refused(
        "echo raw://h:1 -d 0",
        &["--duration: '0' is not a time in s, ms or m from 1 ms to 31536000 s"],
    );
    for (args, meant) in [
        ("fanout -c 5", "fanout has no option --connections, did you mean --subscribers?"),
        ("idle -d 5", "idle has no option --duration, did you mean --hold?"),
        ("echo --hold 5", "echo has no option --hold, did you mean --duration?"),
        ("echo --probe 5", "echo has no option --probe"),
    ] {
        refused(&format!("{args} {URL}"), &[meant]);
    }
}

#[test]
fn all_errors_are_named_at_once() {
    refused(
        "echo --conections 5 --depth many --size -1 --hold 3 --json= --source-ip x,::y",
        &[
            "unknown option '--conections', did you mean --connections?",
            "echo has no option --hold, did you mean --duration?",
            "echo needs a URL, such as command://127.0.0.1:65432",
            "--depth: 'many' is not a number from 1 to 65536",
            "--size: '-1' is not a number from 0 to 4294967295",
            "--source-ip: 'x' is not an IP address",
            "--source-ip: '::y' is not an IP address",
            "--json: needs a value",
        ],
    );
    // Words may be values of the unknown option.
    refused(
        "echo --zzz 1 -c x",
        &["unknown option '--zzz'", "--connections: 'x' is not a number from 1 to 100000000"],
    );
    refused(
        "echo --zzz tcp://h:1 -c x",
        &[
            "unknown option '--zzz'",
            "--connections: 'x' is not a number from 1 to 100000000",
            "tcp://h:1: tcp:// needs --send and --expect (or --expect-bytes N)",
        ],
    );
}

#[test]
fn contradictions_are_refused() {
    let missing = "tcp:// needs --send and --expect (or --expect-bytes N)";
    for mode in ["echo", "wake"] {
        refused(&format!("{mode} tcp://h:1"), &[&format!("tcp://h:1: {missing}")]);
    }
    refused(
        "fanout raw://h:1",
        &["raw://h:1: fanout needs command:// or chat://, which broadcast"],
    );
    refused("idle tcp://h:1 --probe 1", &[&format!("--probe: {missing}")]);
    refused(
        "idle command://h:1 --max-p99-ms 1",
        &["--max-p99-ms: idle has answers to judge only with --probe"],
    );
    let idle = "idle command://10.0.0.1:1";
    refused(
        &format!("{idle} --source-ip 1.2.3.4,::1"),
        &["--source-ip: ::1 cannot reach 10.0.0.1, of the other IP version"],
    );
    refused(
        &format!("{idle} --source-ip 10.0.0.2,10.0.0.3,10.0.0.2"),
        &["--source-ip: 10.0.0.2 is given twice"],
    );
    refused(
        &format!("{idle} --json no-such.a --csv b --report ./no-such.a"),
        &["--report: --json writes the same file"],
    );
    refused(
        &format!("{idle} --csv -"),
        &["--csv: '-' is not a file, only --json can be on standard output"],
    );
    refused(
        &format!("{idle} --probe 1 --max-p99-ms 0"),
        &["--max-p99-ms: '0' is not a number of milliseconds above 0"],
    );
}

#[test]
fn exchange_is_given_for_tcp() {
    let ping = plan(r"echo tcp+unix:///x --send PING\r\n --expect +PONG\r\n --greeting \n");
    let (send, expect) = (b"PING\r\n".to_vec(), Expect::Bytes(b"+PONG\r\n".to_vec()));
    assert_eq!(ping.exchange, Some(Exchange { send, expect }));
    assert_eq!(ping.greeting.as_deref(), Some(&b"\n"[..]));
    assert_eq!((ping.mode.size(), ping.request_bytes(), ping.exchange_bytes()), (6, 6, 7));
    let get = plan("idle tcp://h:1 --probe 1 --send GET --expect-bytes 4Ki");
    assert_eq!(get.exchange.unwrap().expect, Expect::Len(4_096));
    assert_eq!(plan("idle tcp://h:1 --greeting x").greeting.as_deref(), Some(&b"x"[..]));
    let unread = plan("idle tcp://h:1");
    assert_eq!((unread.exchange, unread.greeting), (None, None));
}

#[test]
fn exchange_is_whole_and_in_its_place() {
    let echo = "echo tcp://h:1 -c 1";
    refused(&format!("{echo} --send x"), &["--send: needs --expect TEXT or --expect-bytes N"]);
    refused(&format!("{echo} --expect x"), &["--expect: needs --send TEXT"]);
    refused(&format!("{echo} --expect-bytes 1"), &["--expect-bytes: needs --send TEXT"]);
    let both = "--expect-bytes: --expect has the whole answer: give one of both";
    refused(&format!("{echo} --send x --expect x --expect-bytes 1"), &[both]);
    refused(
        &format!(r"{echo} --send a\q --expect= --size 1 --greeting \x"),
        &[
            r"--send: bad escape '\q' at character 2, there are \r \n \t \0 \\ and \xNN",
            "--expect: is empty",
            r"--greeting: bad escape at character 1: \x needs two hexadecimal digits",
            "--size: a request has the bytes of --send",
        ],
    );
    refused(
        &format!("{echo} --send x --expect-bytes 2000M"),
        &[
            "--expect-bytes: '2000M' is not a number from 1 to 1073741824, its unit may be k, M, Ki or Mi",
        ],
    );
    refused(
        &format!("echo {URL} --send x --expect y"),
        &[
            "--send: command:// has requests of its own, this is for tcp://",
            "--expect: command:// has requests of its own, this is for tcp://",
        ],
    );
    refused(
        "idle tcp://h:1 --send x --expect y",
        &["--send: idle sends requests only with --probe PER_SEC"],
    );
    refused(&format!("fanout {URL} --send x"), &["fanout has no option --send"]);
    let broadcast = "fanout needs command:// or chat://, which broadcast";
    refused("fanout tcp://h:1", &[&format!("tcp://h:1: {broadcast}")]);
}

#[test]
fn command_line_can_be_pasted() {
    let args = ["echo", URL, "--json", "it's here", "-c", "5"];
    let Ok(Invocation::Run(plan)) = Invocation::from_args(&args) else { panic!() };
    assert_eq!(plan.command, r"mynah-load echo command://127.0.0.1:1 --json 'it'\''s here' -c 5");
}

#[test]
fn file_name_need_not_be_utf_8() {
    let name = os_text::decode(&os_text::encode(b"a\xff.csv"));
    let args = [OsStr::new("idle"), OsStr::new(URL), OsStr::new("--csv"), &name];
    let Ok(Invocation::Run(plan)) = Invocation::from_args(&args) else { panic!() };
    assert_eq!(plan.csv, Some(PathBuf::from(name)));
}

#[test]
fn processes_share_connections_of_one_target() {
    assert_eq!(plan(&format!("echo {URL} -c 3 --jobs 3")).jobs, 3);
    let too_few = "--jobs: 2 connections are too few for 3 processes";
    refused(&format!("echo {URL} -c 2 --jobs 3"), &[too_few]);
    let fanout = "--jobs: fanout has one publisher, which one process measures";
    refused(&format!("fanout {URL} --jobs 2"), &[fanout]);
    let storm = plan(&format!("storm {URL} -c 10 --bystanders 4 --jobs 3"));
    let shares = [0, 1, 2].map(|job| storm.of_job(job).mode.connections());
    assert_eq!(shares, [4 + 4, 3, 3]);
}

#[test]
fn merge_writes_no_file_that_it_reads() {
    let folder = std::env::temp_dir().join(format!("mynah-merge-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        std::fs::write(path(name), "").unwrap();
    }
    let (a, b) = (path("a"), path("b"));
    let own = "is one of the parts; the record they make needs a name of its own";
    refused(&format!("merge {a} {a} {b}"), &[&format!("{a}: {own}")]);
    refused(&format!("merge new {a} {b} {a}"), &[&format!("{a}: is given twice")]);
    refused(&format!("merge new {a} --report {a}"), &["--report: is one of the parts"]);
    refused(&format!("merge new {a} --report new"), &["--report: OUT.json is the same file"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
