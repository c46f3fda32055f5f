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

/// The text of a file of `docs/deploy/`.
fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The units, with the binary of this build in place of the installed one; of the template an instance.
fn units(folder: &Folder) -> [String; 3] {
    [
        ("mynah.service", "mynah.service"),
        ("mynah.socket", "mynah.socket"),
        ("mynah@.service", "mynah@1.service"),
    ]
    .map(|(name, installed)| {
        let text = shipped(name);
        folder.file(installed, &text.replace("/usr/bin/mynah", env!("CARGO_BIN_EXE_mynah")))
    })
}

#[test]
fn units_are_verified_by_systemd() {
    let folder = Folder::new();
    let [service, socket, instance] = units(&folder);
    let units = ["verify", "--man=no", &service, &socket, &instance];
    let Some(output) = analyze(&units) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = stderr.lines().filter(|line| line.contains("mynah")).collect();
    assert!(output.status.success() && about_us.is_empty(), "{stderr}");
}

#[test]
fn service_is_barely_exposed() {
    let folder = Folder::new();
    let [service, _, instance] = units(&folder);
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    for unit in [service, instance] {
        let Some(output) = analyze(&["security", "--offline=true", &threshold, &unit]) else {
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn template_is_as_hardened_as_the_service() {
    let template = shipped("mynah@.service");
    let hardening = |text: &str| -> Vec<String> {
        let (_, lines) = text.split_once("CapabilityBoundingSet=").unwrap();
        let (lines, _) = lines.split_once("[Install]").unwrap();
        lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(hardening(&template), hardening(&shipped("mynah.service")));
}
