//! The benchmark suite: mynah, the C yardsticks, a tokio server and whatever peers are installed, each
//! under the same load in the same run, as one table of figures and ratios:
//! `cargo bench --bench compare`. Not a test: it fails only where something cannot be run.
//!
//! Servers run on processor 0, the load on processor 1. What something costs a server is its time on
//! the processor (`/proc/PID/task/*/schedstat`) over what it answered meanwhile. Servers take turns in
//! rounds; a ratio is the median of the ratios of each round, so what disturbs the machine is in both.
//! docs/benchmarks.md says how to run it and how to read it.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result is what it prints")]

mod draw;
mod host;
mod load;
mod plots;
mod rows;
mod samples;
mod script;
mod servers;
mod subject;
mod table;

use std::{env, fs};

use host::Host;
use rows::{Bench, Effort};
use serde_json::json;
use servers::Servers;
use table::Table;

type Row = (&'static str, &'static str, fn(&mut Bench));

const ROWS: [Row; 12] = [
    ("start", "sizes of the program, memory at start", rows::start::run),
    ("idle", "memory per idle connection", rows::idle::run),
    ("echo", "64-byte echoes, depth 1 and 32", rows::echo::run),
    ("syscalls", "system calls per echo", rows::syscalls::run),
    ("crowd", "echoes beside 18,000 idle connections", rows::echo::beside_idle),
    ("fanout", "broadcasts to 1,000 subscribers", rows::fanout::run),
    ("churn", "connect, one echo, reset", rows::churn::run),
    ("reverse", "REVERSE of 1 MiB", rows::reverse::run),
    ("decode", "instructions per frame decoded", rows::decode::run),
    ("tester", "mynah-load as the load", rows::tester::run),
    ("yardstick", "CECHO and CFAN beside the tree's own", rows::yardstick::run),
    ("plots", "docs/plots/*.svg", plots::run),
];

fn main() {
    // Cargo passes `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [option, passes] = args.as_slice()
        && option == rows::decode::OPTION
    {
        return rows::decode::decode(passes.parse().unwrap());
    }
    let (flags, wanted): (Vec<&str>, Vec<&str>) =
        args.iter().map(String::as_str).partition(|arg| arg.starts_with('-'));
    let known = |name: &str| ROWS.iter().any(|(row, ..)| *row == name);
    if flags.iter().any(|flag| *flag != "--quick") || !wanted.iter().all(|name| known(name)) {
        usage();
        std::process::exit(i32::from(flags != ["--help"]) * 2);
    }
    let effort = if flags.is_empty() { Effort::FULL } else { Effort::QUICK };
    let host = Host::read();
    if !subject::pin_self() {
        eprintln!("one processor only: servers and load share it, and the figures are of both");
    }
    mynah::net::raise_file_limit().unwrap();
    let mut bench = Bench { servers: Servers::new(), table: Table::default(), effort };
    for (name, what, run) in ROWS {
        if wanted.is_empty() || wanted.contains(&name) {
            eprintln!("{name}: {what} …");
            run(&mut bench);
        }
    }
    report(&bench, &host, &args);
}

fn usage() {
    eprintln!("cargo bench --bench compare [-- [--quick] [ROW…]]\n");
    eprintln!("  --quick     fewer and shorter rounds: whether it runs, not what it says");
    for (name, what, _) in ROWS {
        eprintln!("  {name:<11} {what}");
    }
}

fn report(bench: &Bench, host: &Host, args: &[String]) {
    let command = ["cargo bench --bench compare --", &args.join(" ")].join(" ");
    let command = command.trim_end_matches([' ', '-']);
    let Effort { rounds, time, .. } = bench.effort;
    println!("`{command}`: {rounds} rounds of {} ms", time.as_millis());
    println!("on {host}.\n");
    println!("{}", bench.table.markdown());
    let versions = bench.servers.versions();
    let list = versions.iter().map(|(name, version)| format!("{name} {version}"));
    println!("\nServers: {}.", list.collect::<Vec<_>>().join(", "));
    for (name, why) in bench.servers.skipped() {
        println!("Skipped: {name}: {why}.");
    }
    let path = bench.servers.dir().join("results.json");
    let results = json!({
        "command": command,
        "host": host.json(),
        "rounds": rounds,
        "round_ms": time.as_millis() as u64,
        "servers": versions.iter().map(|(name, version)| json!({ "name": name, "version": version })).collect::<Vec<_>>(),
        "skipped": bench.servers.skipped().iter().map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<_>>(),
        "results": bench.table.json(),
    });
    fs::write(&path, serde_json::to_string_pretty(&results).unwrap()).unwrap();
}
