//! What an echo costs: 100 connections, 64 bytes, alone and 32 deep, and beside connections that
//! are idle.

use super::{Bench, Figure, Value, payload};
use crate::load::echo::Echo;
use crate::load::{Measured, hold};
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Busy, Line};

const CONNECTIONS: usize = 100;
const PAYLOAD_LEN: usize = 64;
/// With the connections that speak and those of the suite they are within 20,000 files.
const IDLE_CONNECTIONS: usize = 18_000;

const SERVERS: [Server; 7] = [CEcho, Mynah, Static, Musl, Tokio, Redis, Memcached];

/// One at a time, and many.
pub(crate) fn run(bench: &mut Bench) {
    for depth in [1, 32] {
        let payload = payload(PAYLOAD_LEN);
        let results = bench.alternate(&SERVERS, |subject, effort| {
            if let Some(prepare) = subject.speech.prepare(&payload) {
                crate::load::ask(subject, &mut crate::load::connect(subject, 0), &prepare);
            }
            let talk = subject.speech.echo(&payload).unwrap();
            let mut echo = Echo::open(subject, &talk, CONNECTIONS, depth);
            echo.run(subject, effort.warm_up, effort.time)
        });
        let deep = depth > 1;
        let of = |figure: &str| format!("{figure}, {CONNECTIONS} connections, depth {depth}");
        let figure = of("server CPU per echo of 64 B");
        let most = Bar::AtMost(if deep { 1.10 } else { 1.05 });
        let bars = [Mynah, Static].map(|server| (server, most));
        results.lines(&mut bench.table, Figure::cpu(&figure, "echo"), CEcho, &bars);
        let figure = of("echoes of 64 B");
        let bars = [(Mynah, Bar::AtLeast(0.95))];
        let bars = if deep { &bars[..] } else { &[] };
        results.lines(&mut bench.table, Figure::rate(&figure, "echo"), CEcho, bars);
    }
}

/// Two servers that take turns: one of them holds many who say nothing.
pub(crate) fn beside_idle(bench: &mut Bench) {
    let talk = crate::script::Speech::Command.echo(&payload(PAYLOAD_LEN)).unwrap();
    let (alone, crowded) = (bench.servers.start(Mynah), bench.servers.start(Mynah));
    let mut held = Vec::new();
    hold(&crowded, &mut held, IDLE_CONNECTIONS);
    let [mut without, mut with] = [Vec::new(), Vec::new()];
    for round in 0..bench.effort.rounds {
        let mut turns = [(&alone, &mut without), (&crowded, &mut with)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (subject, measured) in turns {
            let mut echo = Echo::open(subject, &talk, CONNECTIONS, 1);
            measured.push(echo.run(subject, bench.effort.warm_up, bench.effort.time));
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
        bench.table.push(Line {
            figure: figure.name.to_owned(),
            server: Mynah.name(),
            ratio: Some(("without", values.over(&samples(&without, figure.value)))),
            values,
            unit: figure.unit,
            bar,
            busy: Some(Busy::of(&with)),
            how: figure.how,
        });
    }
}
