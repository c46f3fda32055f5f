//! REVERSE of a mebibyte: of ASCII, and of text in which every length of UTF-8 occurs. Bytes of payload
//! a second of the server's own time, which includes reading and writing them.

use super::Bench;
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::samples::Samples;
use crate::script::{Speech, Talk, reverse};
use crate::servers::Server::Mynah;
use crate::table::{Bar, Busy, Line, Unit};

const BYTES: usize = 1 << 20;
/// Connections that ask, so that the server always has somebody to serve.
const CONNECTIONS: usize = 4;

pub(crate) fn run(bench: &mut Bench) {
    for (kind, text, least) in
        [("ASCII", "Hello, World! ", 1.0e9), ("mixed text", "aé日𝄞, Hello, ", 0.3e9)]
    {
        let text = text.repeat(BYTES / text.len());
        measure(bench, &format!("REVERSE of 1 MiB of {kind}"), &reverse(&text), Some(least));
    }
    // What moving as many bytes costs when nothing is reversed.
    let talk = Speech::Command.echo(&super::payload(BYTES)).unwrap();
    measure(bench, "ECHO of 1 MiB", &talk, None);
}

fn measure(bench: &mut Bench, what: &str, talk: &Talk, least: Option<f64>) {
    let results = bench.alternate(&[Mynah], |subject, effort| {
        let mut echo = Echo::open(subject, talk, CONNECTIONS, 1);
        echo.run(subject, effort.warm_up, effort.time)
    });
    let cpu_ns = results.samples(Mynah, Measured::cpu_ns_each).unwrap();
    let per_cpu_sec = cpu_ns.0.iter().map(|ns| talk.say.len() as f64 * 1e9 / ns).collect();
    bench.table.push(Line {
        figure: format!("{what}, a second of server CPU"),
        server: Mynah.name(),
        values: Samples(per_cpu_sec),
        unit: Unit::BytesPerSecond,
        ratio: None,
        bar: least.map(Bar::AtLeast),
        busy: Some(Busy::of(&results.0[0].1)),
        how: "reverse",
    });
}
