//! Connect, one echo, reset, over and over.

use super::{Bench, Figure, payload};
use crate::load::churn::Churn;
use crate::servers::Server::{self, *};
use crate::table::Bar;

const SERVERS: [Server; 4] = [CEcho, Mynah, Tokio, Redis];

pub(crate) fn run(bench: &mut Bench) {
    let payload = payload(64);
    let results = bench.alternate(&SERVERS, |subject, effort| {
        let talk = subject.speech.echo(&payload).unwrap();
        Churn::open(subject, &talk).run(effort.warm_up, effort.time)
    });
    let rate = Figure::rate("connect, one echo, reset", "churn");
    let bars = [(Mynah, Bar::AtLeast(0.97))];
    results.lines(&mut bench.table, rate, CEcho, &bars);
    let cpu = Figure::cpu("server CPU per connect, one echo, reset", "churn");
    results.lines(&mut bench.table, cpu, CEcho, &[]);
}
