//! The dissectors in tshark, by `tests/wireshark/check.py`.

use std::io::{self, Write};
use std::process::Command;

#[test]
fn dissectors_read_whole_split_and_malformed_frames() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wireshark/check.py");
    let Ok(output) = Command::new("python3").arg(script).output() else {
        let _ = writeln!(io::stderr(), "skipped: the Wireshark dissectors, which need python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What is skipped is told past the test's captured output.
    let stdout = String::from_utf8_lossy(&output.stdout);
    for line in stdout.lines().filter(|line| line.starts_with("skipped: ")) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
