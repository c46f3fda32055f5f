//! Progress of a run on a terminal and in a pipe.

use std::process::{Command, Stdio};

use super::tester::{run_tester, server, url};

#[test]
fn pipe_gets_plain_lines_and_the_summary_apart() {
    let server = server("command");
    let target = url("command", &server);
    let ended = run_tester(&format!("idle --target {target} --connections 5 --hold 1 --probe 5"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let phases = ["preflight: ", "ramp 0 s ", "hold 0/1 s ", "drain 0 s "];
    for (line, phase) in ended.stderr.lines().zip(phases) {
        assert!(line.starts_with(phase), "{line}");
    }
    assert!(!ended.stderr.contains('\x1b') && !ended.stderr.contains('\r'));
    let summary: Vec<&str> = ended.stdout.lines().collect();
    assert!(summary[0].starts_with("mynah-load "), "{summary:?}");
    assert!(summary[0].ends_with(&format!("idle against {target}")), "{summary:?}");
    assert_eq!(summary.last(), Some(&"  verdict      met"));
}

/// script(1) provides a terminal. Skipped where it is not installed.
#[test]
fn terminal_gets_one_live_line() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: script(1) is not installed");
        return;
    }
    let server = server("command");
    let command = format!(
        "stty cols 80; {} idle --target {} --connections 5 --hold 2 --probe 50 --server-pid {}",
        env!("CARGO_BIN_EXE_mynah-load"),
        url("command", &server),
        server.pid()
    );
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{screen}");
    // The first row has been written by then.
    let live: Vec<&str> = screen.split('\r').filter(|text| text.contains("hold 1/2 s")).collect();
    assert!(!live.is_empty(), "{screen}");
    let has_all = |text: &&str| {
        ["  5 open", "  0 failed  ", "/s  p50 ", "p99 ", "server "]
            .iter()
            .all(|part| text.contains(part))
    };
    assert!(live.iter().any(has_all), "{screen}");
    assert!(screen.contains("\r\x1b[Jmynah-load "), "the line is removed: {screen:?}");
    assert!(screen.contains("verdict      met"), "{screen}");
}
