//! `mynah-load` beside the load of this suite, on the servers that have its protocol. A ratio near
//! 1 means that neither load is the bottleneck.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Effort, Figure, Suite, payload};
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::protocol::WireProtocol;
use crate::server_process::ServerProcess;
use crate::servers::Server::*;
use crate::table::{CpuShare, Row};

const CONNECTIONS: usize = 100;
const SUBSCRIBERS: usize = 1000;

pub(crate) fn run(suite: &mut Suite) {
    let file = suite.servers.dir().join("mynah-load.json");
    for depth in [1, 32] {
        let options = format!("echo --connections {CONNECTIONS} --size 64 --depth {depth}");
        let results = suite.alternate(&[CEcho, Mynah, Tokio], |process, effort| {
            by_tester(process, &options, "requests.answered", effort, &file)
        });
        let figure = format!("server CPU per echo of 64 B by mynah-load, depth {depth}");
        results.add_rows(&mut suite.table, Figure::cpu(&figure, "tester"), CEcho, &[]);
    }
    let echo = WireProtocol::Command.echo(&payload(64)).unwrap();
    for depth in [1, 32] {
        let options = format!("echo --connections {CONNECTIONS} --size 64 --depth {depth}");
        let figure = format!("echoes of 64 B by mynah-load, depth {depth}");
        beside_ours(suite, &figure, &options, "requests.answered", |process, effort| {
            let mut echo = Echo::open(process, &echo, CONNECTIONS, depth);
            echo.run(process, effort.warm_up, effort.time)
        });
    }
    let news = payload(1024);
    let options = format!("fanout --subscribers {SUBSCRIBERS} --size 1024 --batch 32");
    let figure = "deliveries of 1024 B by mynah-load, batches of 32";
    beside_ours(suite, figure, &options, "deliveries", |process, effort| {
        let mut fanout = Fanout::open(process, &news, SUBSCRIBERS, 32);
        fanout.run(process, effort.warm_up, effort.time)
    });
}

/// Measures mynah with the tester and with the suite's load in turns.
fn beside_ours(
    suite: &mut Suite,
    figure: &str,
    options: &str,
    counted: &str,
    ours: impl Fn(&ServerProcess, Effort) -> Measured,
) {
    let file = suite.servers.dir().join("mynah-load.json");
    let mut by_us = Vec::new();
    let results = suite.alternate(&[Mynah], |process, effort| {
        by_us.push(ours(process, effort));
        by_tester(process, options, counted, effort, &file)
    });
    let figure = Figure::rate(figure, "tester");
    let values = results.samples(Mynah, figure.value).unwrap();
    let by_us = crate::samples::Samples(by_us.iter().map(figure.value).collect());
    suite.table.push(Row {
        figure: figure.name.to_owned(),
        server: Mynah.name(),
        ratio: Some(("this suite's load", values.over(&by_us))),
        values,
        unit: figure.unit,
        bar: None,
        cpu_share: Some(CpuShare::of(&results.0[0].1)),
        benchmark: figure.benchmark,
    });
}

/// Runs the tester as a process on the processor of the load. The server's time includes the ramp.
fn by_tester(
    process: &ServerProcess,
    options: &str,
    counted: &str,
    effort: Effort,
    file: &Path,
) -> Measured {
    let secs = effort.time.as_secs().max(1).to_string();
    let before = process.cpu_times();
    let status = Command::new(env!("CARGO_BIN_EXE_mynah-load"))
        .args(options.split(' '))
        .args(["--quiet", "--duration", &secs])
        .args(["--target", &format!("command://{}", process.addr)])
        .arg("--json")
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    let (cpu_ns, waited_ns) = process.cpu_times().since(before);
    assert!(status.success(), "mynah-load against {}", process.name);
    let figures: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let count = figures.pointer(&format!("/{}", counted.replace('.', "/")));
    let count = count.and_then(Value::as_u64).unwrap();
    let seconds = count as f64 / figures["rate_per_sec"].as_f64().unwrap();
    Measured { count, cpu_ns, waited_ns, seconds }
}
