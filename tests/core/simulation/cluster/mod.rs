//! Worlds of two to five nodes, joined over a model of the engine, by seed.
//!
//! `MYNAH_SEEDS` and `MYNAH_FIRST_SEED` are those of the other worlds; without, there are 30.

#[cfg(feature = "accounts")]
mod accounts;
mod checks;
mod clients;
mod engine;
mod node;
mod scenarios;
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod store;
mod wires;
pub mod world;

use std::cell::Cell;

use super::{first_failure, number};

const SEEDS: u64 = 30;

#[test]
fn worlds_of_nodes_obey_the_rules() {
    if let Some(failed) = first_failure(SEEDS, world::run) {
        panic!("{}", replay(failed));
    }
}

#[test]
fn seed_gives_the_same_nodes_each_time() {
    for seed in 0..6 {
        assert_eq!(world::run(seed), world::run(seed), "{}", replay(seed));
    }
}

/// `MYNAH_SEED=17 cargo test --test core cluster::replay` runs one world, and
/// prints what happens in it.
#[test]
fn replay_one_seed_of_nodes() {
    if let Some(seed) = number("MYNAH_SEED") {
        TRACE.set(true);
        println!("seed {seed}: {:016x}", world::run(seed));
    }
}

fn replay(seed: u64) -> String {
    format!(
        "seed {seed} failed; replay it: MYNAH_SEED={seed} cargo test --test core \
         cluster::replay_one -- --nocapture"
    )
}

thread_local! {
    /// The world's time.
    static NOW: Cell<u64> = const { Cell::new(0) };
    static TRACE: Cell<bool> = const { Cell::new(false) };
}

/// Prints what happens in a world that is looked at.
fn trace(text: impl FnOnce() -> String) {
    if TRACE.get() {
        println!("{} {}", NOW.get(), text());
    }
}
