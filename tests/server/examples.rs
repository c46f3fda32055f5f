//! The examples of docs/examples/, as the programs they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::PATIENCE;

/// An example that runs; ends with the test.
struct Example {
    child: Child,
    addr: String,
}

impl Example {
    fn start(name: &str) -> Self {
        let mut child = Command::new(program(name))
            .arg("127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ").expect("it says where").to_owned();
        Example { child, addr }
    }

    /// All that a client is sent that sends `bytes` and shuts its side.
    fn answers(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = TcpStream::connect(&self.addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        received
    }

    fn stops_in_order(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo test` has built the example. With `--test server` it builds none, so that is done
/// here.
fn program(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_mynah")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // What Cargo sets for a test has ring's build script run again, and all that depends on it built.
    let of_test =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars().filter(|(name, _)| of_test(name)) {
        cargo.env_remove(name);
    }
    cargo.args(["build", "--locked", "--quiet", "--example", name]);
    let build = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    built.join("examples").join(name)
}

#[test]
fn echo_example_sends_lines_back() {
    let echo = Example::start("echo");
    assert_eq!(echo.answers(b"hello\n\nhalf"), b"hello\n\n", "half a line is not answered");
    echo.stops_in_order();
}

#[test]
fn key_value_example_keeps_pairs_for_all_clients() {
    let server = Example::start("key_value");
    assert_eq!(server.answers(b"\0\x06S\x01khi!\0\x03G\x01k"), b"\0\x01-\0\x04+hi!");
    assert_eq!(server.answers(b"\0\x03S\x01k\0\x03G\x01k"), b"\0\x04+hi!\0\x01+");
    assert_eq!(server.answers(b"\0\x03D\x01k\0\x03D\x01k"), b"\0\x01+\0\x01-");
    assert_eq!(server.answers(b"\0\x03G\x02k\0\x03G\x01k"), b"", "a key beyond its frame");
    assert_eq!(server.answers(b"\0\0"), b"");
    server.stops_in_order();
}
