//! The units of `docs/deploy/`, as systemd's own tools see them.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::Folder;

/// Most exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: &str = "15";

/// Runs systemd-analyze, where it is installed.
fn analyze(args: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(args).output() {
        Ok(output) => Some(output),
        Err(_) => {
            let _ = writeln!(io::stderr(), "skipped: systemd-analyze, which is not installed");
            None
        }
    }
}

/// The units, with the binary of this build in place of the installed one.
fn units(folder: &Folder) -> [String; 2] {
    ["mynah.service", "mynah.socket"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        folder.file(name, &text.replace("/usr/bin/mynah", env!("CARGO_BIN_EXE_mynah")))
    })
}

#[test]
fn units_are_verified_by_systemd() {
    let folder = Folder::new();
    let [service, socket] = units(&folder);
    let Some(output) = analyze(&["verify", "--man=no", &service, &socket]) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = stderr.lines().filter(|line| line.contains("mynah")).collect();
    assert!(output.status.success() && about_us.is_empty(), "{stderr}");
}

#[test]
fn service_is_barely_exposed() {
    let folder = Folder::new();
    let [service, _] = units(&folder);
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let Some(output) = analyze(&["security", "--offline=true", &threshold, &service]) else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
