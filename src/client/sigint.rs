//! SIGINT sent to this process, and threads beside the main thread, which receives it.

use std::io;
use std::thread::{self, JoinHandle};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Interrupts the line being typed, as Ctrl-C would.
///
/// A signal is the only way: rustyline waits for keys and for signals, and looks at its queue of
/// messages after those.
pub(super) fn interrupt() {
    let _ = signal::kill(Pid::this(), Signal::SIGINT);
}

/// Starts a thread.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn spawn_helper<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}
