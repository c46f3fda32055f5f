//! `compare`: two sets of runs, and whether the second is worse.

mod rng;
mod statistics;
mod student;
