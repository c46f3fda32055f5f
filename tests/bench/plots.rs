//! The plots of docs/plots/: memory against connections, throughput against depth, fan-out against
//! subscribers. Measures what they show and draws it.

use std::fs;

use serde_json::{Value, json};

use crate::draw::{Plot, Series};
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::rows::{Bench, Effort, idle, payload};
use crate::servers::Server::{self, *};
use crate::servers::root;

const COUNTS: [usize; 8] = [100, 300, 1_000, 3_000, 6_000, 10_000, 14_000, 19_000];
const DEPTHS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const SUBSCRIBERS: [usize; 6] = [10, 30, 100, 300, 1_000, 3_000];

/// Rounds for a point; the plot shows their median.
const ROUNDS: usize = 3;

pub(crate) fn run(bench: &mut Bench) {
    let effort = bench.effort;
    let rounds = if effort.is_full() { ROUNDS } else { 1 };
    bench.effort = Effort { rounds, time: effort.time / 2, ..effort };
    let drawn =
        [("memory.svg", memory(bench)), ("depth.svg", depth(bench)), ("fanout.svg", fanout(bench))];
    bench.effort = effort;
    // What is published comes of a full run.
    let folder =
        if effort.is_full() { root().join("docs/plots") } else { bench.servers.dir().into() };
    fs::create_dir_all(&folder).unwrap();
    for (name, plot) in drawn {
        fs::write(folder.join(name), plot.draw()).unwrap();
        bench.table.plot(name, points(&plot));
    }
}

fn memory(bench: &mut Bench) -> Plot {
    let servers = [Mynah, Tokio, Redis, Memcached, Mosquitto, Nats];
    let mut series = Vec::new();
    for server in bench.servers.present(&servers) {
        let each = idle::bytes_each(bench, server, &COUNTS);
        let points = COUNTS.iter().map(|count| *count as f64).zip(each);
        // A few pages over few connections say nothing, and 0 has no place on the axis.
        let points = points.filter(|(_, bytes)| *bytes > 0.0).collect();
        series.push(Series { name: server.name(), ours: server == Mynah, points });
    }
    Plot {
        title: "Memory per idle connection",
        x: "connections open",
        y: "anonymous memory per connection, bytes",
        marks: marks(&COUNTS),
        series,
    }
}

fn depth(bench: &mut Bench) -> Plot {
    let servers = [CEcho, Mynah, Tokio, Redis, Memcached];
    let payload = payload(64);
    let series = sweep(bench, &servers, &DEPTHS, |bench, depth| {
        bench.alternate(&servers, |subject, effort| {
            if let Some(prepare) = subject.speech.prepare(&payload) {
                crate::load::ask(subject, &mut crate::load::connect(subject, 0), &prepare);
            }
            let talk = subject.speech.echo(&payload).unwrap();
            Echo::open(subject, &talk, 100, depth).run(subject, effort.warm_up, effort.time)
        })
    });
    Plot {
        title: "Echoes of 64 bytes, 100 connections, one processor",
        x: "requests on their way per connection",
        y: "echoes per second",
        marks: marks(&DEPTHS),
        series,
    }
}

fn fanout(bench: &mut Bench) -> Plot {
    let servers = [CFan, Mynah, Tokio, Redis, Mosquitto, Nats];
    let payload = payload(1024);
    let series = sweep(bench, &servers, &SUBSCRIBERS, |bench, subscribers| {
        bench.alternate(&servers, |subject, effort| {
            let mut fanout = Fanout::open(subject, &payload, subscribers, 32);
            fanout.run(subject, effort.warm_up, effort.time)
        })
    });
    Plot {
        title: "Deliveries of 1 KiB, batches of 32, one processor",
        x: "subscribers",
        y: "deliveries per second",
        marks: marks(&SUBSCRIBERS),
        series,
    }
}

/// Throughput of each server at each of `places`.
fn sweep(
    bench: &mut Bench,
    servers: &[Server],
    places: &[usize],
    mut measure: impl FnMut(&mut Bench, usize) -> crate::rows::Results,
) -> Vec<Series> {
    let present = bench.servers.present(servers);
    let new = |server: &Server| Series {
        name: server.name(),
        ours: *server == Mynah,
        points: Vec::new(),
    };
    let mut series: Vec<Series> = present.iter().map(new).collect();
    for place in places {
        let results = measure(bench, *place);
        for (server, series) in present.iter().zip(&mut series) {
            if let Some(rates) = results.samples(*server, Measured::per_sec) {
                series.points.push((*place as f64, rates.median()));
            }
        }
    }
    series
}

fn marks(places: &[usize]) -> Vec<f64> {
    places.iter().map(|place| *place as f64).collect()
}

fn points(plot: &Plot) -> Value {
    let of = |series: &Series| json!({ "server": series.name, "points": series.points });
    json!({ "x": plot.x, "y": plot.y, "series": plot.series.iter().map(of).collect::<Vec<_>>() })
}
