//! `mynah-load` on the servers that speak its protocol: how near it comes to the load of this suite,
//! and whether it says the same of them. A ratio near 1 between the two loads means that neither is
//! the bottleneck.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Bench, Effort, Figure, payload};
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::script::Speech;
use crate::servers::Server::*;
use crate::subject::Subject;
use crate::table::{Busy, Line};

const CONNECTIONS: usize = 100;
const SUBSCRIBERS: usize = 1000;

pub(crate) fn run(bench: &mut Bench) {
    let file = bench.servers.dir().join("mynah-load.json");
    for depth in [1, 32] {
        let options = format!("echo --connections {CONNECTIONS} --size 64 --depth {depth}");
        let results = bench.alternate(&[CEcho, Mynah, Tokio], |subject, effort| {
            by_tester(subject, &options, "requests.answered", effort, &file)
        });
        let figure = format!("server CPU per echo of 64 B by mynah-load, depth {depth}");
        results.lines(&mut bench.table, Figure::cpu(&figure, "tester"), CEcho, &[]);
    }
    let echo = Speech::Command.echo(&payload(64)).unwrap();
    for depth in [1, 32] {
        let options = format!("echo --connections {CONNECTIONS} --size 64 --depth {depth}");
        let figure = format!("echoes of 64 B by mynah-load, depth {depth}");
        beside_ours(bench, &figure, &options, "requests.answered", |subject, effort| {
            let mut echo = Echo::open(subject, &echo, CONNECTIONS, depth);
            echo.run(subject, effort.warm_up, effort.time)
        });
    }
    let news = payload(1024);
    let options = format!("fanout --subscribers {SUBSCRIBERS} --size 1024 --batch 32");
    let figure = "deliveries of 1024 B by mynah-load, batches of 32";
    beside_ours(bench, figure, &options, "deliveries", |subject, effort| {
        let mut fanout = Fanout::open(subject, &news, SUBSCRIBERS, 32);
        fanout.run(subject, effort.warm_up, effort.time)
    });
}

/// The tester and the suite's own load take turns on mynah.
fn beside_ours(
    bench: &mut Bench,
    figure: &str,
    options: &str,
    counted: &str,
    ours: impl Fn(&Subject, Effort) -> Measured,
) {
    let file = bench.servers.dir().join("mynah-load.json");
    let mut by_us = Vec::new();
    let results = bench.alternate(&[Mynah], |subject, effort| {
        by_us.push(ours(subject, effort));
        by_tester(subject, options, counted, effort, &file)
    });
    let figure = Figure::rate(figure, "tester");
    let values = results.samples(Mynah, figure.value).unwrap();
    let by_us = crate::samples::Samples(by_us.iter().map(figure.value).collect());
    bench.table.push(Line {
        figure: figure.name.to_owned(),
        server: Mynah.name(),
        ratio: Some(("this suite's load", values.over(&by_us))),
        values,
        unit: figure.unit,
        bar: None,
        busy: Some(Busy::of(&results.0[0].1)),
        how: figure.how,
    });
}

/// A run of the tester, a process of its own on the processor of the load. Its ramp is in the
/// server's time too.
fn by_tester(
    subject: &Subject,
    options: &str,
    counted: &str,
    effort: Effort,
    file: &Path,
) -> Measured {
    let secs = effort.time.as_secs().max(1).to_string();
    let before = subject.times_ns();
    let status = Command::new(env!("CARGO_BIN_EXE_mynah-load"))
        .args(options.split(' '))
        .args(["--quiet", "--duration", &secs])
        .args(["--target", &format!("command://{}", subject.addr)])
        .arg("--json")
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    let (cpu_ns, waited_ns) = subject.times_ns().since(before);
    assert!(status.success(), "mynah-load against {}", subject.name);
    let figures: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let count = figures.pointer(&format!("/{}", counted.replace('.', "/")));
    let count = count.and_then(Value::as_u64).unwrap();
    let seconds = count as f64 / figures["rate_per_sec"].as_f64().unwrap();
    Measured { count, cpu_ns, waited_ns, seconds }
}
