//! The yardsticks that `CECHO` and `CFAN` name beside those of this tree. Only if they cost the
//! same are figures over one and over the other comparable.

use std::env;

use super::{Figure, Suite, payload};
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::servers::Server::*;

pub(crate) fn run(suite: &mut Suite) {
    if env::var_os("CECHO").is_none() || env::var_os("CFAN").is_none() {
        let note = "other yardsticks: skipped, CECHO and CFAN do not both name one";
        return suite.table.note(note.to_owned());
    }
    let small = payload(64);
    for depth in [1, 32] {
        let results = suite.alternate(&[OwnEcho, CEcho], |process, effort| {
            let exchange = process.protocol.echo(&small).unwrap();
            Echo::open(process, &exchange, 100, depth).run(process, effort.warm_up, effort.time)
        });
        let figure = format!("server CPU per echo of 64 B, 100 connections, depth {depth}");
        results.add_rows(&mut suite.table, Figure::cpu(&figure, "yardstick"), OwnEcho, &[]);
    }
    for (size, messages) in [(1024, 32), (16, 1)] {
        let results = suite.alternate(&[OwnFan, CFan], |process, effort| {
            let mut fanout = Fanout::open(process, &payload(size), 1000, messages);
            fanout.run(process, effort.warm_up, effort.time)
        });
        let figure = format!("server CPU per delivery of {size} B, batches of {messages}");
        results.add_rows(&mut suite.table, Figure::cpu(&figure, "yardstick"), OwnFan, &[]);
    }
}
