//! Shared by the test programs: the server as a child process, clients that never wait for ever, a
//! logger for each thread, random numbers, socket stubs, a parser of metrics, a Redis of a test's
//! own. Knows nothing of what answers should be.

#![allow(unused_imports, reason = "no test program uses all of it")]

mod client;
mod folder;
mod kernel_socket;
pub(crate) mod logger;
mod observer;
pub(crate) mod prometheus;
pub(crate) mod promtool;
#[cfg(feature = "cluster")]
pub(crate) mod proxy;
#[cfg(feature = "cluster")]
pub(crate) mod redis;
pub(crate) mod rng;
mod server;
pub(crate) mod stub;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod transport;

pub(crate) use client::{Client, Status, error, frame};
pub(crate) use folder::Folder;
pub(crate) use kernel_socket::KernelSocket;
pub(crate) use observer::Observer;
pub(crate) use server::{Ended, Server, mynah, mynah_under, run};
pub(crate) use transport::Transport;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Only a failure waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !condition() {
        assert!(started_at.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(POLL);
    }
}

/// For tests with thousands of connections: one at a time, and with room for `files` in this
/// process.
pub(crate) fn crowd(files: usize) -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = mynah::internal::net::raise_file_limit().unwrap();
    assert!(limit > files + 500, "this test needs {files} files, the limit is {limit}");
    guard
}

/// Bytes without a pattern that a mistake could hide in.
pub(crate) fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}
