//! The speed of REVERSE of 1 MiB: of ASCII, and of text with UTF-8 sequences of every length. Bytes
//! of payload per second of the server's processor, reading and writing included.

use super::Suite;
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::protocol::{Exchange, WireProtocol, reverse};
use crate::samples::Samples;
use crate::servers::Server::Mynah;
use crate::table::{Bar, CpuShare, Row, Unit};

const BYTES: usize = 1 << 20;
/// Enough connections that the server always has a request to answer.
const CONNECTIONS: usize = 4;

pub(crate) fn run(suite: &mut Suite) {
    for (kind, text, least) in
        [("ASCII", "Hello, World! ", 1.0e9), ("mixed text", "aé日𝄞, Hello, ", 0.3e9)]
    {
        let text = text.repeat(BYTES / text.len());
        measure(suite, &format!("REVERSE of 1 MiB of {kind}"), &reverse(&text), Some(least));
    }
    // The cost of moving the same bytes without reversing them.
    let exchange = WireProtocol::Command.echo(&super::payload(BYTES)).unwrap();
    measure(suite, "ECHO of 1 MiB", &exchange, None);
}

fn measure(suite: &mut Suite, what: &str, exchange: &Exchange, least: Option<f64>) {
    let results = suite.alternate(&[Mynah], |process, effort| {
        let mut echo = Echo::open(process, exchange, CONNECTIONS, 1);
        echo.run(process, effort.warm_up, effort.time)
    });
    let cpu_ns = results.samples(Mynah, Measured::cpu_ns_each).unwrap();
    let per_cpu_sec = cpu_ns.0.iter().map(|ns| exchange.request.len() as f64 * 1e9 / ns).collect();
    suite.table.push(Row {
        figure: format!("{what}, a second of server CPU"),
        server: Mynah.name(),
        values: Samples(per_cpu_sec),
        unit: Unit::BytesPerSecond,
        ratio: None,
        bar: least.map(Bar::AtLeast),
        cpu_share: Some(CpuShare::of(&results.0[0].1)),
        benchmark: "reverse",
    });
}
