//! The cost of an echo: 64 bytes, 100 connections, at depth 1 and 32, and beside idle connections.

use super::{Figure, Suite, Value, payload};
use crate::load::echo::Echo;
use crate::load::{Measured, open_idle};
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, CpuShare, Row};

const CONNECTIONS: usize = 100;
const PAYLOAD_LEN: usize = 64;
/// Together with the active connections, these need less than 20,000 files.
const IDLE_CONNECTIONS: usize = 18_000;

const SERVERS: [Server; 7] = [CEcho, Mynah, Static, Musl, Tokio, Redis, Memcached];

/// Measures echoes at depth 1 and 32.
pub(crate) fn run(suite: &mut Suite) {
    for depth in [1, 32] {
        let payload = payload(PAYLOAD_LEN);
        let results = suite.alternate(&SERVERS, |process, effort| {
            if let Some(store) = process.protocol.store(&payload) {
                crate::load::request(process, &mut crate::load::connect(process, 0), &store);
            }
            let exchange = process.protocol.echo(&payload).unwrap();
            let mut echo = Echo::open(process, &exchange, CONNECTIONS, depth);
            echo.run(process, effort.warm_up, effort.time)
        });
        let deep = depth > 1;
        let of = |figure: &str| format!("{figure}, {CONNECTIONS} connections, depth {depth}");
        let figure = of("server CPU per echo of 64 B");
        let most = Bar::AtMost(if deep { 1.05 } else { 1.02 });
        let bars = [Mynah, Static].map(|server| (server, most));
        results.add_rows(&mut suite.table, Figure::cpu(&figure, "echo"), CEcho, &bars);
        let figure = of("echoes of 64 B");
        let bars = [(Mynah, Bar::AtLeast(0.95))];
        let bars = if deep { &bars[..] } else { &[] };
        results.add_rows(&mut suite.table, Figure::rate(&figure, "echo"), CEcho, bars);
    }
}

/// Measures echoes on two servers that take turns, one of which holds idle connections.
pub(crate) fn beside_idle(suite: &mut Suite) {
    let exchange = crate::protocol::WireProtocol::Command.echo(&payload(PAYLOAD_LEN)).unwrap();
    let (alone, crowded) = (suite.servers.start(Mynah), suite.servers.start(Mynah));
    let mut held = Vec::new();
    open_idle(&crowded, &mut held, IDLE_CONNECTIONS);
    let [mut without, mut with] = [Vec::new(), Vec::new()];
    for round in 0..suite.effort.rounds {
        let mut turns = [(&alone, &mut without), (&crowded, &mut with)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (process, measured) in turns {
            let mut echo = Echo::open(process, &exchange, CONNECTIONS, 1);
            measured.push(echo.run(process, suite.effort.warm_up, suite.effort.time));
        }
    }
    let samples = |of: &[Measured], value: Value| Samples(of.iter().map(value).collect());
    let beside = format!("100 connections, beside {IDLE_CONNECTIONS} idle ones");
    let (rate, cpu) =
        (format!("echoes of 64 B, {beside}"), format!("server CPU per echo of 64 B, {beside}"));
    for (figure, bar) in [
        (Figure::rate(&rate, "crowd"), Some(Bar::AtLeast(0.97))),
        (Figure::cpu(&cpu, "crowd"), None),
    ] {
        let values = samples(&with, figure.value);
        suite.table.push(Row {
            figure: figure.name.to_owned(),
            server: Mynah.name(),
            ratio: Some(("without", values.over(&samples(&without, figure.value)))),
            values,
            unit: figure.unit,
            bar,
            cpu_share: Some(CpuShare::of(&with)),
            benchmark: figure.benchmark,
        });
    }
}
