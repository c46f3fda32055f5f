//! `--log-format`: lines as journald takes them.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Folder, Server, mynah, run, wait_until};

/// Becomes the server, with `JOURNAL_STREAM` naming standard error or, with an argument before the
/// server's, another file.
const JOURNAL: &str = r#"export JOURNAL_STREAM=$(stat -Lc %d:%i "$1"); shift; exec "$0" "$@""#;

fn under_journal(stream: &str, args: &[&str]) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", JOURNAL, env!("CARGO_BIN_EXE_mynah"), stream, "-l", "raw://127.0.0.1:0"]);
    Server::spawn(command.args(args), Stdio::null())
}

#[test]
fn plain_lines_are_a_priority_and_the_text() {
    let folder = Folder::new();
    let log = folder.path("log");
    let args = ["--log-format", "plain", "--log-file", &log, "-l", "raw://127.0.0.1:0"];
    let server = Server::spawn(mynah().args(args), Stdio::null());
    let line = server.wait_for_line("listening on ");
    assert!(line.starts_with("<6>listening on raw://127.0.0.1:"), "{line}");
    wait_until("the file has its time and level", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| line.contains(" [INFO] listening on raw://127.0.0.1:"))
    });
}

#[test]
fn error_line_has_its_priority() {
    let ended = run(&["--log-format", "plain", "-l", "raw://192.0.2.1:0"]);
    let why = "<3>cannot listen on raw://192.0.2.1:0: cannot assign requested address";
    assert_eq!(ended.stderr.lines().last(), Some(why));
}

#[test]
fn journal_on_standard_error_is_found() {
    let listens =
        |server: &Server, start: &str| server.wait_for_line("listening on ").starts_with(start);
    assert!(listens(&under_journal("/proc/self/fd/2", &[]), "<6>listening"));
    assert!(listens(&under_journal("/dev/null", &[]), "20"));
    assert!(listens(&under_journal("/proc/self/fd/2", &["--log-format", "full"]), "20"));
    for stream in ["", ":", "x:y", "1:2:3", "99999999999999999999:1"] {
        let mut command = mynah();
        command.env("JOURNAL_STREAM", stream).args(["-l", "raw://127.0.0.1:0"]);
        assert!(listens(&Server::spawn(&mut command, Stdio::null()), "20"), "{stream}");
    }
}

#[test]
fn log_format_is_a_key_of_the_server_section() {
    let folder = Folder::new();
    let file = folder.file("c", "[server]\nlog_format = plain\n[raw]\nport = 0\n");
    let server = Server::spawn(mynah().args(["-c", &file]), Stdio::null());
    server.wait_for_line("<6>listening on ");
    let ended = run(&["--log-format", "json"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("mynah: --log-format: 'json' is not full or plain"));
}
