//! Files that ship beside the programs: man pages, completions in real shells, log rotation, the
//! lists of a package, and the notices of what is linked in. That pages and completions say what
//! the tables of options say is a test of the library (`src/manual/`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that finds no tool says so")]

mod completions;
mod deploy;
#[allow(dead_code, reason = "tests of other programs use the rest")]
#[path = "../support/folder.rs"]
mod folder;
mod man_pages;
mod notices;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the package.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a program can be run; says so where it cannot.
fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    let is_there =
        std::env::split_paths(&folders).chain(sbin).any(|dir| dir.join(program).is_file());
    if !is_there {
        eprintln!("skipped: what ships with {program}, which is not installed");
    }
    is_there
}

/// Standard output and standard error of a command.
fn output(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}
