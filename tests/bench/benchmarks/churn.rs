//! The cost of a connection: connect, one echo, reset.

use super::{Figure, Suite, payload};
use crate::load::churn::Churn;
use crate::servers::Server::{self, *};
use crate::table::Bar;

const SERVERS: [Server; 4] = [CEcho, Mynah, Tokio, Redis];

pub(crate) fn run(suite: &mut Suite) {
    let payload = payload(64);
    let results = suite.alternate(&SERVERS, |process, effort| {
        let exchange = process.protocol.echo(&payload).unwrap();
        Churn::open(process, &exchange).run(effort.warm_up, effort.time)
    });
    let rate = Figure::rate("connect, one echo, reset", "churn");
    let bars = [(Mynah, Bar::AtLeast(0.97))];
    results.add_rows(&mut suite.table, rate, CEcho, &bars);
    let cpu = Figure::cpu("server CPU per connect, one echo, reset", "churn");
    results.add_rows(&mut suite.table, cpu, CEcho, &[]);
}
