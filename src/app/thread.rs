//! Threads beside the loop.

use std::io;
use std::thread;

/// Starts a thread. There is one copy of the code, whatever it runs.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn spawn(name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
