//! The cost of a broadcast to 1,000 subscribers: batches of 32 messages of 1 KiB, and single
//! messages of 16 bytes.

use super::{Figure, Suite, payload};
use crate::load::Measured;
use crate::load::fanout::Fanout;
use crate::servers::Server::{self, *};
use crate::table::{Bar, Row, Unit};

const SUBSCRIBERS: usize = 1000;

const SERVERS: [Server; 6] = [CFan, Mynah, Tokio, Redis, Mosquitto, Nats];

pub(crate) fn run(suite: &mut Suite) {
    for (size, messages, least) in [(1024, 32, 0.90), (16, 1, 0.95)] {
        let payload = payload(size);
        let results = suite.alternate(&SERVERS, |process, effort| {
            let mut fanout = Fanout::open(process, &payload, SUBSCRIBERS, messages);
            fanout.run(process, effort.warm_up, effort.time)
        });
        let figure =
            format!("deliveries of {size} B, {SUBSCRIBERS} subscribers, batches of {messages}");
        let bars = [(Mynah, Bar::AtLeast(least))];
        results.add_rows(&mut suite.table, Figure::rate(&figure, "fanout"), CFan, &bars);
        let ours = results.samples(Mynah, Measured::per_sec).unwrap();
        if let Some(redis) = results.samples(Redis, Measured::per_sec) {
            suite.table.push(Row {
                figure: figure.clone(),
                server: Mynah.name(),
                ratio: Some((Redis.name(), ours.over(&redis))),
                values: ours,
                unit: Unit::PerSecond,
                bar: (size == 1024).then_some(Bar::AtLeast(2.5)),
                cpu_share: None,
                benchmark: "fanout",
            });
        }
        let figure = format!("server CPU per delivery of {size} B, batches of {messages}");
        results.add_rows(&mut suite.table, Figure::cpu(&figure, "fanout"), CFan, &[]);
    }
}
