//! Prometheus' own checks, by its `promtool`, where that is installed.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Fails unless `promtool check metrics` has nothing to say about a scrape.
#[track_caller]
pub(crate) fn check_metrics(text: &str) {
    if let Some((is_content, said)) = promtool(&["check", "metrics"], text) {
        assert!(is_content && said.is_empty(), "{said}\n{text}");
    }
}

/// Runs promtool with `input`. Returns whether it was content, and what it said; nothing where it is
/// not installed, which is told past the test's captured output.
#[track_caller]
pub(crate) fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        let _ = writeln!(io::stderr(), "skipped: promtool's checks, which is not installed");
        return None;
    };
    // It may end without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
