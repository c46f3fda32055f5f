//! System calls per round trip, counted by strace(1): 100 connections, depth 1. strace attaches
//! when all are connected, so that it counts round trips only.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Suite, payload};
use crate::load::echo::Echo;
use crate::samples::Samples;
use crate::server_process::ServerProcess;
use crate::servers::Server::*;
use crate::table::{Bar, Row, Unit};

const CONNECTIONS: usize = 100;

pub(crate) fn run(suite: &mut Suite) {
    if Command::new("strace").arg("-V").output().is_err() {
        return suite.table.note("system calls: skipped, strace is not installed".to_owned());
    }
    for server in suite.servers.present(&[CEcho, Mynah, Tokio, Redis]) {
        let mut each = Samples::default();
        for _ in 0..3 {
            let process = suite.servers.start(server);
            each.0.push(calls_each(suite, &process));
        }
        suite.table.push(Row {
            figure: "system calls per echo, 100 connections, depth 1".to_owned(),
            server: server.name(),
            values: each,
            unit: Unit::Number,
            ratio: None,
            bar: (server == Mynah).then_some(Bar::AtMost(2.05)),
            cpu_share: None,
            benchmark: "syscalls",
        });
    }
}

fn calls_each(suite: &Suite, process: &ServerProcess) -> f64 {
    let exchange = process.protocol.echo(&payload(64)).unwrap();
    let mut echo = Echo::open(process, &exchange, CONNECTIONS, 1);
    let report = suite.servers.dir().join("strace.txt");
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-U", "name,calls", "-p", &process.pid().to_string(), "-o"])
        .arg(&report)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
    let attached = said.find(|line| line.contains("attached"));
    assert!(attached.is_some(), "strace does not attach");
    // Reads on, or the pipe fills and strace blocks.
    let reader = thread::spawn(move || said.for_each(drop));
    let measured = echo.run(process, std::time::Duration::ZERO, suite.effort.time);
    // The requests in flight at the end are answered too.
    let answered = measured.count + CONNECTIONS as u64;
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).unwrap();
    strace.wait().unwrap();
    reader.join().unwrap();
    total_calls(&fs::read_to_string(&report).unwrap()) / answered as f64
}

/// Calls in the line `total` of strace's summary.
fn total_calls(summary: &str) -> f64 {
    let calls = |line: &str| -> Option<f64> {
        let mut words = line.split_whitespace();
        (words.next() == Some("total")).then(|| words.next()?.parse().ok()).flatten()
    };
    summary.lines().find_map(calls).unwrap_or(f64::NAN)
}
