//! Measures the server against a yardstick, in alternating runs of one session:
//! `cargo bench --bench compare`. Not a test: it judges nothing, it prints.
//!
//! The server runs on processor 0, the load on processor 1. What a message costs the server is
//! its time on the processor (`/proc/PID/schedstat`) over the messages it answered, so a noisy
//! neighbour shows in the spread, not in the figure. Set `YARDSTICK` to a program that takes a
//! port and echoes 5-byte-header frames on it to have it measured beside mynah.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod load;
mod subject;

use std::env;
use std::time::Duration;

use load::{EchoLoad, open_idle};
use subject::Subject;

const ROUNDS: usize = 7;
const IDLE_CONNECTIONS: usize = 19_000;

fn main() {
    // Cargo passes `--bench`; anything else names what to run.
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    subject::pin_self(1);
    if runs("start") {
        start();
    }
    if runs("idle") {
        idle();
    }
    for (connections, depth) in [(100, 1), (100, 32)] {
        if runs("echo") {
            echo(connections, depth);
        }
    }
}

/// What a server that nobody talks to takes.
fn start() {
    let mynah = Subject::mynah();
    let (rss, anon) = mynah.memory_kib();
    println!("start: resident {rss} KiB, of which anonymous {anon} KiB");
}

/// What a connection costs that says nothing.
fn idle() {
    let mynah = Subject::mynah();
    // The first page, the accept path's first touch of everything.
    drop(open_idle(mynah.port, 1));
    let (_, before) = mynah.memory_kib();
    let held = open_idle(mynah.port, IDLE_CONNECTIONS);
    let (_, after) = mynah.memory_kib();
    let each = (after - before) as f64 * 1024.0 / held.len() as f64;
    println!("idle: {} connections, {each:.1} bytes of anonymous memory each", held.len());
    // The log sums up a storm of connections once the second is over.
    std::thread::sleep(Duration::from_millis(1500));
    let before = mynah.cpu_ns();
    std::thread::sleep(Duration::from_secs(2));
    println!("idle: {} ns of processor time in 2 s", mynah.cpu_ns() - before);
}

/// What an echo of 64 bytes costs.
fn echo(connections: usize, depth: usize) {
    let load = EchoLoad { connections, depth, payload: 64, seconds: 2 };
    let mut mynah = Vec::new();
    let mut yardstick = Vec::new();
    for _ in 0..ROUNDS {
        mynah.push(load.run(&Subject::mynah()));
        yardstick.extend(Subject::yardstick().map(|subject| load.run(&subject)));
    }
    println!("echo, {connections} connections, 64 bytes, {depth} deep, {ROUNDS} rounds:");
    let ours = report("mynah", &mut mynah);
    if yardstick.is_empty() {
        return println!("  yardstick: skipped, YARDSTICK is not set");
    }
    let theirs = report("yardstick", &mut yardstick);
    let (cpu, rate) = (ours.0 / theirs.0, ours.1 / theirs.1);
    println!("  ratio: processor time {cpu:.3}, throughput {rate:.3}");
}

/// Prints and returns the medians of processor time a message and of messages a second.
fn report(name: &str, results: &mut [load::Measured]) -> (f64, f64) {
    let mut median_of = |figure: fn(&load::Measured) -> f64| {
        results.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
        let (low, high) = (figure(&results[0]), figure(&results[results.len() - 1]));
        (figure(&results[results.len() / 2]), low, high)
    };
    let (cpu, low, high) = median_of(|result| result.cpu_ns as f64 / result.messages as f64);
    let (rate, ..) = median_of(|result| result.messages as f64 / result.seconds);
    println!("  {name}: {cpu:.0} ns a message ({low:.0} to {high:.0}), {rate:.0} messages/s");
    (cpu, rate)
}
