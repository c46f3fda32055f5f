//! `--admin` against the real server, and against servers that misbehave.

mod commands;
mod hostile;
mod top;
mod usage;

use super::program::{ExitResult, run_args};
use super::support::{Folder, Server};

/// A server with a `command` listener called `api` and an admin listener on a Unix socket, and that
/// one's URL.
fn start(folder: &Folder, args: &[&str]) -> (Server, String) {
    let url = format!("admin+unix://{}", folder.path("a"));
    let listeners = ["-l", "command://127.0.0.1:0?name=api", "-l", &url];
    let server = Server::start(&[&listeners, args].concat());
    (server, url)
}

/// Runs a command of `--admin URL` to its end.
#[track_caller]
fn admin(url: &str, args: &[&str]) -> ExitResult {
    run_args(&[&["--admin", url], args].concat())
}

/// Standard output of a command that succeeds.
#[track_caller]
fn output(url: &str, args: &[&str]) -> String {
    let result = admin(url, args);
    assert!(result.code == Some(0) && result.stderr.is_empty(), "{args:?}: {result:?}");
    String::from_utf8(result.stdout).unwrap()
}
