//! Features of the load tester that only Linux has, and texts that name its commands.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::tester::{
    LoadTester, assert_cannot_start, closed_addr, run_tester, run_tester_under, server, url,
};
use crate::support::{Folder, wait_until};

#[test]
fn source_addresses_take_turns() {
    let server = server("command");
    let ended = run_tester(&format!(
        "idle --target {} --connections 20 --hold 0 --source-ip 127.0.0.2,127.0.0.3",
        url("command", &server)
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for source in ["127.0.0.2:", "127.0.0.3:"] {
        wait_until("ten connections from each address", || {
            let log = server.log();
            let connected = log.iter().filter(|line| line.contains(" connected to "));
            connected.filter(|line| line.contains(source)).count() == 10
        });
    }
}

/// A network namespace of its own (unshare(1)) has as few ports as the test sets. Skipped where
/// namespaces are not allowed.
#[test]
fn loopback_addresses_rotate_when_ports_run_out() {
    let ports = "40000 40099";
    let script = format!(
        r#"ip link set lo up && echo {ports} >/proc/sys/net/ipv4/ip_local_port_range || exit 77
        mkfifo "$2/log"; "$0" -l command://127.0.0.1:7001 2>"$2/log" & server=$!
        exec 3<"$2/log"; grep -q "listening on" <&3
        "$1" idle --target command://127.0.0.1:7001 --connections 250 --hold 1 --probe 250 --json "$2/json"
        status=$?; kill $server; exit $status"#
    );
    let folder = Folder::new();
    let mut shell = Command::new("unshare");
    shell.args(["-rn", "sh", "-c", &script, env!("CARGO_BIN_EXE_mynah")]);
    shell.args([env!("CARGO_BIN_EXE_mynah-load"), &folder.path("")]);
    let Ok(output) = shell.stdin(Stdio::null()).output() else {
        eprintln!("skipped: unshare(1) is not installed");
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !stderr.contains("preflight: ") {
        eprintln!("skipped: no network namespace: {stderr}");
        return;
    }
    assert!(stderr.contains("local ports 250 of 300"), "{stderr}");
    assert!(output.status.success(), "{stderr} {}", String::from_utf8_lossy(&output.stdout));
    let json = std::fs::read_to_string(folder.path("json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connections"]["opened"], 250);
    assert_eq!(json["requests"]["answered"], 250);
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    assert_eq!(json["settings"]["source_ips"], serde_json::json!(addresses));
}

#[test]
fn preflight_counts_ports_of_all_addresses() {
    let args = format!("idle --target tcp://{} --connections 99000000", closed_addr());
    let ended = run_tester(&args);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("preflight: files 99000020 of "), "{}", ended.stderr);
    // More than 7,000 addresses have enough ports; only files are short.
    assert!(ended.stderr.contains("mynah-load: files: 99000020 wanted"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("mynah-load: local ports"), "{}", ended.stderr);
    let elsewhere = run_tester(&format!("{args} --source-ip 127.0.0.1"));
    assert!(elsewhere.stderr.contains("mynah-load: local ports: 99000000 wanted"), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("try: sudo ip address add"), "{elsewhere:?}");
}

#[test]
fn file_shortage_stops_the_run_before_a_connect() {
    let server = server("command");
    let args = format!("idle --target {} --connections 100 --hold 0", url("command", &server));
    let ended = run_tester_under("ulimit -n 64", &args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "mynah-load: files: 120 wanted, 64 available, 56 short; \
               try: sudo prlimit --pid $$ --nofile=120:120";
    assert!(ended.stderr.lines().any(|line| line == why), "{ended:?}");
    assert_eq!(server.connect().status().get("accepted_total"), 1, "the STATUS request alone");
}

#[test]
fn foreign_source_ip_exits_1_with_the_command() {
    assert_cannot_start(
        "--source-ip 192.0.2.1",
        "--source-ip: 192.0.2.1: cannot assign requested address; \
         try: sudo ip address add 192.0.2.1/32 dev DEVICE",
    );
}

#[test]
fn hangup_ends_the_run_unless_ignored() {
    let server = server("command");
    let target = url("command", &server);
    for (disposition, hold, code, verdict) in [
        ("--default-signal=HUP", 300, 1, "MISSED: interrupted in the hold"),
        ("--ignore-signal=HUP", 2, 0, "met"),
    ] {
        // nohup(1) does the second.
        let mut env = Command::new("env");
        env.args([disposition, env!("CARGO_BIN_EXE_mynah-load")]);
        let args = format!("idle --target {target} --connections 2 --hold {hold}");
        let run = LoadTester::spawn(env.args(args.split(' ')));
        run.wait_for_phase("hold");
        run.signal(Signal::SIGHUP);
        let ended = run.end();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stdout.ends_with(&format!("  verdict      {verdict}\n")), "{ended:?}");
    }
}
