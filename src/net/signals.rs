//! The process's signals as requests the loop takes once a turn: a flag each, and one pipe that
//! wakes the poll. Knows nothing of what the requests do.
//!
//! A flag cannot starve another, as a queue of signals can; however many come between two turns,
//! each is one request.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level};

/// Signals that would end the process and are to do nothing. SIGXFSZ is a log file at the limit of
/// `ulimit -f`: the write fails with EFBIG, which is reported as any other. (SIGPIPE is ignored by
/// Rust's runtime.)
const WITHOUT_EFFECT: [i32; 2] = [SIGUSR2, libc::SIGXFSZ];

/// Flags the signal handlers set.
#[derive(Debug, Default)]
struct Flags {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    status: Arc<AtomicBool>,
}

/// The process's signals, from its creation on.
#[derive(Debug)]
pub(super) struct Signals {
    flags: Flags,
    waker: UnixStream,
}

/// What signals ask for. Several signals of a kind are one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// SIGTERM, SIGINT.
    pub(super) stop: bool,
    /// SIGHUP.
    pub(super) reload: bool,
    /// SIGUSR1.
    pub(super) status: bool,
}

impl Signals {
    /// Takes over the signals; `token` is readable when one came.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (mut waker, write_end) = UnixStream::pair()?;
        registry.register(&mut waker, token, Interest::READABLE)?;
        let write_end = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(write_end));
        let flags = Flags::default();
        let kinds = [
            (SIGTERM, &flags.stop),
            (SIGINT, &flags.stop),
            (SIGHUP, &flags.reload),
            (SIGUSR1, &flags.status),
        ];
        for (signal, flag) in kinds {
            // The flag first: who is woken finds it set.
            flag::register(signal, Arc::clone(flag))?;
            low_level::pipe::register(signal, write_end.try_clone()?)?;
        }
        for signal in WITHOUT_EFFECT {
            flag::register(signal, Arc::default())?;
        }
        Ok(Signals { flags, waker })
    }

    /// Takes what has been asked for since the last call. To be called when the token is readable.
    pub(super) fn take(&mut self) -> Requests {
        // Edge-triggered: empty it first, so that a signal from now on is a new edge. A full pipe
        // takes no more, and needs none: it is readable.
        let mut bytes = [0; 1024];
        while self.waker.read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
        Requests {
            stop: self.flags.stop.swap(false, Ordering::AcqRel),
            reload: self.flags.reload.swap(false, Ordering::AcqRel),
            status: self.flags.status.swap(false, Ordering::AcqRel),
        }
    }
}
