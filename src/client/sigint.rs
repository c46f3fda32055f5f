//! SIGINT: sent to this process, and received by its main thread alone.
//!
//! The main thread reads keys, and in some of its states only a signal handler that runs on that
//! very thread ends its read(2). POSIX lets the kernel run the handler on any thread that does not
//! block the signal (signal(7)); Linux prefers the main thread, other systems do not promise it. So
//! every other thread is started by [`spawn_helper`], which blocks SIGINT there.

use std::io;
use std::thread::{self, JoinHandle};

use nix::sys::signal::{self, SigSet, SigmaskHow, Signal};
use nix::unistd::Pid;

/// Interrupts the line being typed, as Ctrl-C would.
///
/// A signal is the only way: rustyline waits for keys and for signals, and looks at its queue of
/// messages after those.
pub(super) fn interrupt() {
    let _ = signal::kill(Pid::this(), Signal::SIGINT);
}

/// Starts a thread that does not receive SIGINT.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn spawn_helper<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // A thread inherits the mask of its creator (pthread_create(3)); blocking it only inside the new
    // thread would leave a moment in which it is open.
    let mut sigint = SigSet::empty();
    sigint.add(Signal::SIGINT);
    let old_mask = sigint.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    old_mask.thread_set_mask()?;
    spawned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helper_blocks_sigint_and_its_creator_does_not() {
        let is_blocked = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGINT);
        let before = is_blocked();
        assert!(spawn_helper("test", is_blocked).unwrap().join().unwrap());
        assert_eq!(is_blocked(), before);
    }
}
