//! The size of the program, and what it holds when it has just started.

use std::fs;

use super::{Bench, payload};
use crate::load::{ask, connect};
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Line, Unit};

pub(crate) fn run(bench: &mut Bench) {
    // The bars are those of the bare server; Lua brings 640 KiB of its own.
    let sizes = [
        (Bare, Some(Bar::AtMost(900.0 * 1024.0))),
        (Mynah, None),
        (Static, Some(Bar::Below(2048.0 * 1024.0))),
        (Musl, Some(Bar::Below(2048.0 * 1024.0))),
    ];
    for (server, bar) in sizes {
        let Some(program) = bench.servers.program(server) else { continue };
        let size = fs::metadata(program).unwrap().len() as f64;
        line(bench, "the program, stripped", server, size, bar);
    }
    for server in bench.servers.present(&[CEcho, Bare, Mynah, Static, Musl, Tokio, Redis]) {
        let subject = bench.servers.start(server);
        let talk = subject.speech.echo(&payload(64)).unwrap();
        ask(&subject, &mut connect(&subject, 0), &talk);
        let bar = (server == Bare).then_some(Bar::AtMost(3.0 * 1024.0 * 1024.0));
        line(bench, "resident after start", server, subject.resident_bytes() as f64, bar);
    }
}

fn line(bench: &mut Bench, figure: &str, server: Server, bytes: f64, bar: Option<Bar>) {
    bench.table.push(Line {
        figure: figure.to_owned(),
        server: server.name(),
        values: Samples::one(bytes),
        unit: Unit::Bytes,
        ratio: None,
        bar,
        busy: None,
        how: "start",
    });
}
