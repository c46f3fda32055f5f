//! The real server core in a simulated world, by seed.
//!
//! `cargo test --test core simulation` runs a thousand worlds, `MYNAH_SEEDS=1000000` as many as
//! asked, from `MYNAH_FIRST_SEED` on. A failure prints the command that replays it.

#[cfg_attr(not(feature = "accounts"), path = "accounts_disabled.rs")]
pub mod accounts;
pub mod admission;
pub mod changing_listeners;
pub mod chat;
pub mod clients;
#[cfg(feature = "cluster")]
mod cluster;
pub mod layered;
pub mod layers;
pub mod network;
#[cfg(feature = "admin")]
pub mod operators;
pub mod origins;
pub mod panics;
pub mod plugin_clients;
pub mod world;

use std::io::{self, Write};
use std::panic::{RefUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{env, process, thread};

const SEEDS: u64 = 1_000;

/// How long one world may take: thousands of times what it does take, but under Miri, where
/// `MYNAH_HANG_SECS` says otherwise.
const HANG_SECS: u64 = 30;

/// One seed in so many has a world of operators besides.
#[cfg(feature = "admin")]
const OPERATORS_EVERY: u64 = 2;

/// Seeds that once failed, and why. A seed's meaning changes with every change of the world; a
/// failure that taught something has a scenario of its own in `tests/core/` besides.
const REGRESSIONS: [(u64, &str); 7] = [
    (16, "a stop took the beginning of a line for a message"),
    (273, "the check assumed a frame timeout where there is none"),
    (2_143, "the check did not know that a login may be answered when a stop reads no more"),
    (
        6_574,
        "the check did not know that the time to log in may be over while a frame that is too long is \
         on its way",
    ),
    (
        8_925,
        "the check did not know that a client that takes none of its last replies for a minute is cut",
    ),
    (123_530, "the check did not know that bytes may come between the last read and the close"),
    (
        229_625,
        "the check restarted a client's minute of taking nothing when that client sent something",
    ),
];

#[test]
fn worlds_of_many_seeds_obey_the_rules() {
    if let Some(failed) = first_failure(SEEDS, run) {
        panic!("{}", replay(failed));
    }
}

/// Runs a world for each seed, on all processors: `MYNAH_SEEDS` of them, or `count`. Returns the
/// smallest seed that has failed when the first does.
fn first_failure(count: u64, run: impl Fn(u64) -> u64 + Sync + RefUnwindSafe) -> Option<u64> {
    let first = number("MYNAH_FIRST_SEED").unwrap_or(0);
    let end = first + number("MYNAH_SEEDS").unwrap_or(count);
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(u64::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    if catch_unwind(|| run(seed)).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(failed.into_inner()).filter(|failed| *failed != u64::MAX)
}

/// A tenth of the seeds: each world is short, and there is not much chance in it.
#[test]
fn worlds_whose_listeners_change_obey_the_rules() {
    let first = number("MYNAH_FIRST_SEED").unwrap_or(0);
    let end = first + number("MYNAH_SEEDS").unwrap_or(SEEDS) / 10;
    for seed in first..end {
        let passed = catch_unwind(|| changing_listeners::run(seed)).is_ok();
        assert!(passed, "seed {seed} failed among worlds whose listeners change");
    }
}

/// Runs a world under a watchdog: a server that never returns cannot be unwound, only reported.
fn run(seed: u64) -> u64 {
    let (done, finished) = channel();
    let patience = Duration::from_secs(number("MYNAH_HANG_SECS").unwrap_or(HANG_SECS));
    let watchdog = thread::spawn(move || {
        if finished.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            // Not `eprintln!`: what the test harness captures is lost with the process.
            let _ = writeln!(io::stderr(), "{}: the server does not return", replay(seed));
            process::exit(101);
        }
    });
    let hash = run_worlds(seed);
    done.send(()).unwrap();
    watchdog.join().unwrap();
    hash
}

/// The world of a seed, and that of its operators.
fn run_worlds(seed: u64) -> u64 {
    let hash = world::run(seed);
    #[cfg(feature = "admin")]
    let hash = hash ^ if seed.is_multiple_of(OPERATORS_EVERY) { operators::run(seed) } else { 0 };
    hash
}

#[test]
fn seeds_that_once_failed_pass() {
    for (seed, reason) in REGRESSIONS {
        assert!(catch_unwind(|| run(seed)).is_ok(), "{}; it once failed: {reason}", replay(seed));
    }
}

#[test]
fn seed_gives_the_same_world_each_time() {
    for seed in 0..40 {
        assert_eq!(run_worlds(seed), run_worlds(seed), "{}", replay(seed));
    }
    // One with rustls, where there is any.
    assert_eq!(world::run(59), world::run(59), "{}", replay(59));
    let hashes: std::collections::BTreeSet<u64> = (0..40).map(world::run).collect();
    assert_eq!(hashes.len(), 40, "different seeds give different worlds");
}

/// `MYNAH_SEED=17 cargo test --test core replay -- --nocapture` runs one world, and prints what its
/// server logs.
#[test]
fn replay_one_seed() {
    if let Some(seed) = number("MYNAH_SEED") {
        panics::print_log();
        println!("seed {seed}: {:016x}", run(seed));
    }
}

fn replay(seed: u64) -> String {
    format!(
        "seed {seed} failed; replay it: MYNAH_SEED={seed} cargo test --test core replay -- --nocapture"
    )
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}
