//! A plan and a finished run, for the unit tests.

use std::ffi::OsStr;
use std::net::IpAddr;

use super::engine::Run;
use super::options::Invocation;
use super::plan::Plan;
use super::rate::NS_PER_SEC;
use super::record::Record;
use super::route::Route;
use super::run_result::RunResult;
use super::sources::Sources;
use super::stats::{Counts, Phase, Row, Stats, TargetCounts};
use super::sysinfo::{Host, KernelMemory};
use super::target::Address;
use super::usage::Usage;

/// The plan of a command line.
pub(super) fn plan(args: &str) -> Plan {
    let args: Vec<&OsStr> = args.split(' ').map(OsStr::new).collect();
    match Invocation::from_args(&args) {
        Ok(Invocation::Run(plan)) => *plan,
        other => panic!("{other:?}"),
    }
}

/// A run of ten connections, eight of which were held, with 100 answers after 1 to 100 ms.
pub(super) fn run() -> Run {
    let mut stats = Stats::new();
    stats.counts = Counts {
        opened: 9,
        failed: 1,
        dropped: 1,
        closed: 0,
        sent: 101,
        answered: 100,
        deliveries: 7,
        bytes_sent: 1_000,
        bytes_received: 2_000,
    };
    stats.record_error("ECONNREFUSED", 0);
    stats.record_error("EOF", 2 * NS_PER_SEC);
    stats.record_connect(50_000);
    for ms in 1..=100 {
        stats.record(ms * 1_000_000, 1);
    }
    stats.phase = Phase::Hold;
    stats.record_memory(1_080_000);
    stats.record_timer_lag(200_000, NS_PER_SEC);
    stats.record_open(NS_PER_SEC / 2);
    stats.end_row(NS_PER_SEC);
    Run {
        measured: stats.counts,
        stats,
        measured_ns: 2 * NS_PER_SEC,
        ramp_ns: NS_PER_SEC / 2,
        rss_before: Some(1_000_000),
        rss_held: Some(1_080_000),
        kernel_before: kernel(8_192, 100_000),
        kernel_held: kernel(4_096, 165_536),
        held: 8,
        unanswered: 1,
        unsent: 0,
        interrupted: None,
        targets: vec![TargetCounts { opened: 9, deliveries: 7, lost: 0 }],
        storms: Vec::new(),
        wake_steps: Vec::new(),
        usage: Usage::default(),
    }
}

/// A run of an hour, with all that it records: rows of a few seconds, again and again.
pub(super) fn run_of_an_hour() -> Run {
    let mut run = run();
    let stats = &mut run.stats;
    for second in 2..30 {
        stats.counts.answered += 1_000;
        for n in 0..200 {
            // Latencies with a long tail, different each second.
            stats.record(30_000 + (second * n * 7_919) % 9_973 * n * n, 5);
        }
        stats.record_timer_lag(second * 1_000, 10_000_000);
        stats.end_row(second * NS_PER_SEC);
    }
    for second in 30..3_600 {
        let row = Row { t: second as f64, ..stats.series[second as usize % 30].clone() };
        stats.series.push(row);
        stats.counts.opened += second % 2;
        stats.record_memory(1_000_000 + second * 100);
        stats.record_open(second * NS_PER_SEC);
    }
    run
}

fn kernel(buffer_bytes: u64, slab_bytes: u64) -> KernelMemory {
    KernelMemory {
        buffer_bytes: Some(buffer_bytes),
        slab_bytes: Some(slab_bytes),
        ..KernelMemory::default()
    }
}

/// Calls `check` with the record of `run` under the plan of `args`, on a host with an odd name.
pub(super) fn with_record(args: &str, run: Run, check: impl FnOnce(&Record)) {
    let plan = plan(args);
    let target = Some(IpAddr::from([127, 0, 0, 1]));
    let sources = Sources::plan(&plan.source_ips, target, 1, 28_000, None);
    let address = Address::Inet(([127, 0, 0, 1], 1).into());
    let routes = vec![Route { address, sources }; plan.targets().count()];
    let mut host = Host::read(1024);
    host.name = Some("<&\"'>".to_owned());
    let server_version = Some("9.8.7".to_owned());
    check(&RunResult { plan: &plan, routes: &routes, host, server_version, run }.record());
}
