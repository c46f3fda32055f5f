//! The size of the program, and its memory just after the start.

use std::fs;

use super::{Suite, payload};
use crate::load::{connect, request};
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Row, Unit};

pub(crate) fn run(suite: &mut Suite) {
    // The bars are for the bare server; Lua adds 640 KiB.
    let sizes = [
        (Bare, Some(Bar::AtMost(900.0 * 1024.0))),
        (Mynah, None),
        (Static, Some(Bar::Below(2048.0 * 1024.0))),
        (Musl, Some(Bar::Below(2048.0 * 1024.0))),
    ];
    for (server, bar) in sizes {
        let Some(program) = suite.servers.program(server) else { continue };
        let size = fs::metadata(program).unwrap().len() as f64;
        line(suite, "the program, stripped", server, size, bar);
    }
    for server in suite.servers.present(&[CEcho, Bare, Mynah, Static, Musl, Tokio, Redis]) {
        let process = suite.servers.start(server);
        let exchange = process.protocol.echo(&payload(64)).unwrap();
        request(&process, &mut connect(&process, 0), &exchange);
        let bar = (server == Bare).then_some(Bar::AtMost(3.0 * 1024.0 * 1024.0));
        line(suite, "resident after start", server, process.resident_bytes() as f64, bar);
    }
}

fn line(suite: &mut Suite, figure: &str, server: Server, bytes: f64, bar: Option<Bar>) {
    suite.table.push(Row {
        figure: figure.to_owned(),
        server: server.name(),
        values: Samples::one(bytes),
        unit: Unit::Bytes,
        ratio: None,
        bar,
        cpu_share: None,
        benchmark: "start",
    });
}
