//! The benchmark suite (`cargo bench --bench compare`): mynah, the C yardsticks, a tokio server and
//! the installed peers, under the same load in the same run, as one table of figures and ratios. It
//! is not a test: it fails only if something cannot be run.
//!
//! Servers run on processor 0, the load on processor 1. A cost is the server's time on the
//! processor (`/proc/PID/task/*/schedstat`) over the number of answers. Servers take turns in
//! rounds; a ratio is the median of the ratios of each round, so that a disturbance of the machine
//! is in both. docs/benchmarks.md explains how to run it and how to read it.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result is what it prints")]

mod benchmarks;
mod draw;
mod host;
mod load;
mod plots;
mod protocol;
mod samples;
mod server_process;
mod servers;
mod table;

use std::{env, fs};

use benchmarks::{Effort, Suite};
use host::Host;
use serde_json::json;
use servers::Servers;
use table::Table;

type Benchmark = (&'static str, &'static str, fn(&mut Suite));

const BENCHMARKS: [Benchmark; 12] = [
    ("start", "sizes of the program, memory at start", benchmarks::start::run),
    ("idle", "memory per idle connection", benchmarks::idle::run),
    ("echo", "64-byte echoes, depth 1 and 32", benchmarks::echo::run),
    ("syscalls", "system calls per echo", benchmarks::syscalls::run),
    ("crowd", "echoes beside 18,000 idle connections", benchmarks::echo::beside_idle),
    ("fanout", "broadcasts to 1,000 subscribers", benchmarks::fanout::run),
    ("churn", "connect, one echo, reset", benchmarks::churn::run),
    ("reverse", "REVERSE of 1 MiB", benchmarks::reverse::run),
    ("decode", "instructions per frame decoded", benchmarks::decode::run),
    ("tester", "mynah-load as the load", benchmarks::tester::run),
    ("yardstick", "CECHO and CFAN beside the tree's own", benchmarks::yardstick::run),
    ("plots", "docs/plots/*.svg", plots::run),
];

fn main() {
    // Cargo passes `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [option, passes] = args.as_slice()
        && option == benchmarks::decode::OPTION
    {
        return benchmarks::decode::decode(passes.parse().unwrap());
    }
    let (flags, wanted): (Vec<&str>, Vec<&str>) =
        args.iter().map(String::as_str).partition(|arg| arg.starts_with('-'));
    let known = |name: &str| BENCHMARKS.iter().any(|(known, ..)| *known == name);
    if flags.iter().any(|flag| *flag != "--quick") || !wanted.iter().all(|name| known(name)) {
        usage();
        std::process::exit(i32::from(flags != ["--help"]) * 2);
    }
    let effort = if flags.is_empty() { Effort::FULL } else { Effort::QUICK };
    let host = Host::read();
    if !server_process::pin_to_load_processor() {
        eprintln!("one processor only: servers and load share it, and the figures are of both");
    }
    mynah::internal::net::raise_file_limit().unwrap();
    let mut suite = Suite { servers: Servers::new(), table: Table::default(), effort };
    for (name, what, run) in BENCHMARKS {
        if wanted.is_empty() || wanted.contains(&name) {
            eprintln!("{name}: {what} …");
            run(&mut suite);
        }
    }
    report(&suite, &host, &args);
}

fn usage() {
    eprintln!("cargo bench --bench compare [-- [--quick] [BENCHMARK…]]\n");
    eprintln!("  --quick     fewer and shorter rounds, to check that it runs");
    for (name, what, _) in BENCHMARKS {
        eprintln!("  {name:<11} {what}");
    }
}

fn report(suite: &Suite, host: &Host, args: &[String]) {
    let command = ["cargo bench --bench compare --", &args.join(" ")].join(" ");
    let command = command.trim_end_matches([' ', '-']);
    let Effort { rounds, time, .. } = suite.effort;
    println!("`{command}`: {rounds} rounds of {} ms", time.as_millis());
    println!("on {host}.\n");
    println!("{}", suite.table.markdown());
    let versions = suite.servers.versions();
    let list = versions.iter().map(|(name, version)| format!("{name} {version}"));
    println!("\nServers: {}.", list.collect::<Vec<_>>().join(", "));
    for (name, why) in suite.servers.skipped() {
        println!("Skipped: {name}: {why}.");
    }
    let path = suite.servers.dir().join("results.json");
    let results = json!({
        "command": command,
        "host": host.json(),
        "rounds": rounds,
        "round_ms": time.as_millis() as u64,
        "servers": versions.iter().map(|(name, version)| json!({ "name": name, "version": version })).collect::<Vec<_>>(),
        "skipped": suite.servers.skipped().iter().map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<_>>(),
        "results": suite.table.json(),
    });
    fs::write(&path, serde_json::to_string_pretty(&results).unwrap()).unwrap();
}
