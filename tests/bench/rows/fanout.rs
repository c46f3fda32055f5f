//! What a broadcast costs: 1,000 subscribers, batches of 32 messages of 1 KiB, and single messages
//! of 16 bytes.

use super::{Bench, Figure, payload};
use crate::load::Measured;
use crate::load::fanout::Fanout;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Line, Unit};

const SUBSCRIBERS: usize = 1000;

const SERVERS: [Server; 6] = [CFan, Mynah, Tokio, Redis, Mosquitto, Nats];

pub(crate) fn run(bench: &mut Bench) {
    for (size, messages, least) in [(1024, 32, 0.90), (16, 1, 0.95)] {
        let payload = payload(size);
        let results = bench.alternate(&SERVERS, |subject, effort| {
            let mut fanout = Fanout::open(subject, &payload, SUBSCRIBERS, messages);
            fanout.run(subject, effort.warm_up, effort.time)
        });
        let figure =
            format!("deliveries of {size} B, {SUBSCRIBERS} subscribers, batches of {messages}");
        let bars = [(Mynah, Bar::AtLeast(least))];
        results.lines(&mut bench.table, Figure::rate(&figure, "fanout"), CFan, &bars);
        let ours = results.samples(Mynah, Measured::per_sec).unwrap();
        if let Some(redis) = results.samples(Redis, Measured::per_sec) {
            bench.table.push(Line {
                figure: figure.clone(),
                server: Mynah.name(),
                ratio: Some((Redis.name(), ours.over(&redis))),
                values: ours,
                unit: Unit::PerSecond,
                bar: (size == 1024).then_some(Bar::AtLeast(2.5)),
                busy: None,
                how: "fanout",
            });
        }
        let figure = format!("server CPU per delivery of {size} B, batches of {messages}");
        results.lines(&mut bench.table, Figure::cpu(&figure, "fanout"), CFan, &[]);
    }
}
