//! The cost of an idle connection: growth of anonymous memory from the first connection to the
//! last.

use super::Suite;
use crate::load::open_idle;
use crate::samples::Samples;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Row, Unit};

const SERVERS: [Server; 7] = [CEcho, Mynah, Tokio, Redis, Memcached, Mosquitto, Nats];

pub(crate) fn run(suite: &mut Suite) {
    measure(suite, 19_000, &[Mynah], Some(Bar::AtMost(64.0)));
    measure(suite, 10_000, &SERVERS, None);
}

fn measure(suite: &mut Suite, count: usize, servers: &[Server], bar: Option<Bar>) {
    for server in suite.servers.present(servers) {
        let each = bytes_each(suite, server, &[count])[0];
        suite.table.push(Row {
            figure: format!("memory per idle connection, {count} open"),
            server: server.name(),
            values: Samples::one(each),
            unit: Unit::Bytes,
            ratio: None,
            bar,
            cpu_share: None,
            benchmark: "idle",
        });
    }
}

/// Bytes per connection at each of `counts`, which are ascending.
pub(crate) fn bytes_each(suite: &mut Suite, server: Server, counts: &[usize]) -> Vec<f64> {
    let process = suite.servers.start(server);
    let mut held = Vec::new();
    // The first connection touches pages that all share.
    open_idle(&process, &mut held, 1);
    let before = process.anonymous_bytes();
    let at = |count: &usize| {
        open_idle(&process, &mut held, *count);
        process.anonymous_bytes().saturating_sub(before) as f64 / (held.len() - 1) as f64
    };
    counts.iter().map(at).collect()
}
