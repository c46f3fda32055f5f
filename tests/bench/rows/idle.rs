//! What a connection costs that says nothing: memory with no file behind it, by its growth from the
//! first connection to the last.

use super::Bench;
use crate::load::hold;
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Line, Unit};

const SERVERS: [Server; 7] = [CEcho, Mynah, Tokio, Redis, Memcached, Mosquitto, Nats];

pub(crate) fn run(bench: &mut Bench) {
    measure(bench, 19_000, &[Mynah], Some(Bar::AtMost(64.0)));
    measure(bench, 10_000, &SERVERS, None);
}

fn measure(bench: &mut Bench, count: usize, servers: &[Server], bar: Option<Bar>) {
    for server in bench.servers.present(servers) {
        let each = bytes_each(bench, server, &[count])[0];
        bench.table.push(Line {
            figure: format!("memory per idle connection, {count} open"),
            server: server.name(),
            values: Samples::one(each),
            unit: Unit::Bytes,
            ratio: None,
            bar,
            busy: None,
            how: "idle",
        });
    }
}

/// Bytes a connection at each of `counts`, which grow.
pub(crate) fn bytes_each(bench: &mut Bench, server: Server, counts: &[usize]) -> Vec<f64> {
    let subject = bench.servers.start(server);
    let mut held = Vec::new();
    // The first touches what all share.
    hold(&subject, &mut held, 1);
    let before = subject.anonymous_bytes();
    let at = |count: &usize| {
        hold(&subject, &mut held, *count);
        subject.anonymous_bytes().saturating_sub(before) as f64 / (held.len() - 1) as f64
    };
    counts.iter().map(at).collect()
}
