//! The plots of docs/plots/, measured and drawn: memory over connections, throughput over depth,
//! fan-out over subscribers.

use std::fs;

use serde_json::{Value, json};

use crate::benchmarks::{Effort, Suite, idle, payload};
use crate::draw::{Plot, Series};
use crate::load::Measured;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::servers::Server::{self, *};
use crate::servers::root;

const COUNTS: [usize; 8] = [100, 300, 1_000, 3_000, 6_000, 10_000, 14_000, 19_000];
const DEPTHS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const SUBSCRIBERS: [usize; 6] = [10, 30, 100, 300, 1_000, 3_000];

/// Rounds for a point; the plot shows the median.
const ROUNDS: usize = 3;

pub(crate) fn run(suite: &mut Suite) {
    let effort = suite.effort;
    let rounds = if effort.is_full() { ROUNDS } else { 1 };
    suite.effort = Effort { rounds, time: effort.time / 2, ..effort };
    let drawn =
        [("memory.svg", memory(suite)), ("depth.svg", depth(suite)), ("fanout.svg", fanout(suite))];
    suite.effort = effort;
    // Only a full run replaces the published plots.
    let folder =
        if effort.is_full() { root().join("docs/plots") } else { suite.servers.dir().into() };
    fs::create_dir_all(&folder).unwrap();
    for (name, plot) in drawn {
        fs::write(folder.join(name), plot.draw()).unwrap();
        suite.table.plot(name, points(&plot));
    }
}

fn memory(suite: &mut Suite) -> Plot {
    let servers = [Mynah, Tokio, Redis, Memcached, Mosquitto, Nats];
    let mut series = Vec::new();
    for server in suite.servers.present(&servers) {
        let each = idle::bytes_each(suite, server, &COUNTS);
        let points = COUNTS.iter().map(|count| *count as f64).zip(each);
        // A few pages over few connections are noise, and a logarithmic axis has no 0.
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

fn depth(suite: &mut Suite) -> Plot {
    let servers = [CEcho, Mynah, Tokio, Redis, Memcached];
    let payload = payload(64);
    let series = sweep(suite, &servers, &DEPTHS, |suite, depth| {
        suite.alternate(&servers, |process, effort| {
            if let Some(store) = process.protocol.store(&payload) {
                crate::load::request(process, &mut crate::load::connect(process, 0), &store);
            }
            let exchange = process.protocol.echo(&payload).unwrap();
            Echo::open(process, &exchange, 100, depth).run(process, effort.warm_up, effort.time)
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

fn fanout(suite: &mut Suite) -> Plot {
    let servers = [CFan, Mynah, Tokio, Redis, Mosquitto, Nats];
    let payload = payload(1024);
    let series = sweep(suite, &servers, &SUBSCRIBERS, |suite, subscribers| {
        suite.alternate(&servers, |process, effort| {
            let mut fanout = Fanout::open(process, &payload, subscribers, 32);
            fanout.run(process, effort.warm_up, effort.time)
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

/// Throughput of each server at each value of the x axis.
fn sweep(
    suite: &mut Suite,
    servers: &[Server],
    places: &[usize],
    mut measure: impl FnMut(&mut Suite, usize) -> crate::benchmarks::Results,
) -> Vec<Series> {
    let present = suite.servers.present(servers);
    let new = |server: &Server| Series {
        name: server.name(),
        ours: *server == Mynah,
        points: Vec::new(),
    };
    let mut series: Vec<Series> = present.iter().map(new).collect();
    for place in places {
        let results = measure(suite, *place);
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
