//! Progress of a run on a terminal and in a pipe.

use std::process::{Command, Stdio};

use super::tester::{run_tester, server, url};
use crate::support::{Folder, wait_until};

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
    assert!(screen.contains("\r \x1b[J\rmynah-load "), "the line is removed: {screen:?}");
    assert!(screen.contains("verdict      met"), "{screen}");
}

/// tmux breaks the line in two, as most terminals do. Skipped where it is not installed.
#[test]
fn live_line_leaves_no_copy_when_terminal_shrinks() {
    if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: a terminal test needs tmux");
        return;
    }
    let server = server("command");
    let target = url("command", &server);
    // The path of a Unix socket is at most 107 bytes (unix(7)).
    let socket = std::env::temp_dir().join(format!("mynah-load-{}", std::process::id()));
    let folder = Folder::new();
    let config = folder.file("tmux.conf", "set -g status off\n");
    let tmux = |args: &str| {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&socket).args(args.split(' ')).env_remove("TMUX");
        String::from_utf8(tmux.output().unwrap().stdout).unwrap()
    };
    // Those that have left the screen too; lines that the terminal has broken are joined.
    let lines = || -> Vec<String> {
        let screen = tmux("capture-pane -p -J -S -");
        screen.lines().map(str::trim_end).filter(|l| !l.is_empty()).map(str::to_owned).collect()
    };
    let is_live = |line: Option<&String>, len: std::ops::Range<usize>| {
        line.is_some_and(|line| line.starts_with("hold ") && len.contains(&line.len()))
    };
    let tester = env!("CARGO_BIN_EXE_mynah-load");
    let command = format!("{tester} idle {target} -c 5 --hold 300 --probe 50");
    tmux(&format!("-u -f {config} new-session -d -x 100 -y 16 -- {command}"));
    wait_until("a live line longer than the terminal will be", || is_live(lines().last(), 60..100));
    tmux("resize-window -x 40 -y 16");
    let mut screen = Vec::new();
    wait_until("a live line in the narrow terminal", || {
        screen = lines();
        is_live(screen.last(), 10..40)
    });
    tmux("kill-server");
    assert!(screen[0].starts_with("preflight: "), "{screen:#?}");
    assert_eq!(screen.len(), 2, "{screen:#?}");
}
