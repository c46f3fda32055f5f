//! `mynah-load` on the servers that speak its protocol: how near it comes to the load of this suite,
//! and whether it says the same of them.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Bench, Figure, Results, payload};
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::servers::Server::*;
use crate::subject::Subject;

pub(crate) fn run(bench: &mut Bench) {
    for depth in [1, 32] {
        let file = bench.servers.dir().join("mynah-load.json");
        let results = bench.alternate(&[CEcho, Mynah, Tokio], |subject, effort| {
            let secs = effort.time.as_secs().max(1).to_string();
            by_tester(subject, depth, &secs, &file)
        });
        lines(bench, &results, &format!("echoes by mynah-load, depth {depth}"));
        let talk = crate::script::Speech::Command.echo(&payload(64)).unwrap();
        let own = bench.alternate(&[CEcho], |subject, effort| {
            let mut echo = Echo::open(subject, &talk, 100, depth);
            echo.run(subject, effort.warm_up, effort.time)
        });
        let figure = format!("the same by this suite's load, depth {depth}");
        own.lines(&mut bench.table, Figure::rate(&figure, "tester"), CEcho, &[]);
    }
}

fn lines(bench: &mut Bench, results: &Results, figure: &str) {
    results.lines(&mut bench.table, Figure::rate(figure, "tester"), CEcho, &[]);
    let figure = format!("server CPU of {figure}");
    results.lines(&mut bench.table, Figure::cpu(&figure, "tester"), CEcho, &[]);
}

/// A run of the tester, a process of its own on the processor of the load. Its ramp of a hundred
/// connections is in the server's time too, some 1 in 1,000.
fn by_tester(subject: &Subject, depth: usize, secs: &str, file: &std::path::Path) -> Measured {
    let before = subject.times_ns();
    let status = Command::new(env!("CARGO_BIN_EXE_mynah-load"))
        .args(["echo", "--quiet", "--connections", "100", "--size", "64", "--duration", secs])
        .args(["--target", &format!("command://{}", subject.addr), "--depth", &depth.to_string()])
        .arg("--json")
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    let (cpu_ns, waited_ns) = subject.times_ns().since(before);
    assert!(status.success(), "mynah-load against {}", subject.name);
    let figures: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let count = figures["requests"]["answered"].as_u64().unwrap();
    let seconds = count as f64 / figures["rate_per_sec"].as_f64().unwrap();
    Measured { count, cpu_ns, waited_ns, seconds }
}
