//! The process's signals as requests the loop takes once a turn. Knows nothing of what the requests
//! do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

use super::signal_pipe::SignalPipe;

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
    pipe: SignalPipe,
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
        let pipe = SignalPipe::new(registry, token)?;
        let flags = Flags::default();
        pipe.watch(SIGTERM, &flags.stop)?;
        pipe.watch(SIGINT, &flags.stop)?;
        pipe.watch(SIGHUP, &flags.reload)?;
        pipe.watch(SIGUSR1, &flags.status)?;
        for signal in WITHOUT_EFFECT {
            flag::register(signal, Arc::default())?;
        }
        Ok(Signals { flags, pipe })
    }

    /// Takes what has been asked for since the last call. To be called when the token is readable.
    pub(super) fn take(&mut self) -> Requests {
        self.pipe.drain();
        Requests {
            stop: self.flags.stop.swap(false, Ordering::AcqRel),
            reload: self.flags.reload.swap(false, Ordering::AcqRel),
            status: self.flags.status.swap(false, Ordering::AcqRel),
        }
    }
}
