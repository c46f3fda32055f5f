//! The process's signals, for programs that leave them to a loop: a flag each, and one pipe that
//! wakes the loop. Knows nothing of reloads and status lines.
//!
//! A flag cannot starve another, as a queue of signals can; however many come between two looks,
//! each is one request.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::info;
use mio::Interest;
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level};

use super::event_loop::EventLoop;
use super::handle::{Handle, WAKE};
use super::program::Program;
use super::tcp::token;

/// Signals that would end the process and are to do nothing. SIGXFSZ is a log file at the limit of
/// `ulimit -f`: the write fails with EFBIG, which is reported as any other. (SIGPIPE is ignored by
/// Rust's runtime.)
const WITHOUT_EFFECT: [i32; 2] = [SIGUSR2, libc::SIGXFSZ];

/// Flags that the signal handlers set.
#[derive(Debug, Default)]
struct Flags {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    status: Arc<AtomicBool>,
}

/// Signals of the process, which wake one loop. They stay taken over until the process ends.
///
/// SIGTERM and SIGINT stop the loop; a second one aborts it. SIGHUP and SIGUSR1 are left to the
/// program, which calls [`take`](Self::take) in [`Program::on_wake`]; SIGUSR2 and SIGXFSZ do
/// nothing. `Signals` is itself a [`Program`], for servers that need only the stop:
///
/// ```no_run
/// # use mynah::{limits::Limits, net::{EventLoop, Signals}, protocol::Protocol};
/// let mut event_loop = EventLoop::new(Limits::default())?;
/// event_loop.bind("127.0.0.1:7".parse().unwrap(), Protocol::Raw { prefix: Vec::new() })?;
/// let mut signals = Signals::install(&event_loop)?;
/// event_loop.run_with(&mut signals)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    flags: Flags,
    /// Readable when a signal has come.
    pipe: UnixStream,
    handle: Handle,
    has_stopped: bool,
}

/// Signals that came since the last look. Several of a kind are one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalRequests {
    /// SIGHUP.
    pub reload: bool,
    /// SIGUSR1.
    pub status: bool,
}

impl Signals {
    /// Takes over the process's signals.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub fn install(event_loop: &EventLoop) -> io::Result<Self> {
        let (mut pipe, write_end) = UnixStream::pair()?;
        event_loop.registry().register(&mut pipe, token(WAKE), Interest::READABLE)?;
        let write_end = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(write_end));
        let flags = Flags::default();
        let kinds = [
            (SIGTERM, &flags.stop),
            (SIGINT, &flags.stop),
            (SIGHUP, &flags.reload),
            (SIGUSR1, &flags.status),
        ];
        for (signal, flag) in kinds {
            // The flag first: a loop that is woken finds it set.
            flag::register(signal, Arc::clone(flag))?;
            low_level::pipe::register(signal, write_end.try_clone()?)?;
        }
        for signal in WITHOUT_EFFECT {
            flag::register(signal, Arc::default())?;
        }
        Ok(Signals { flags, pipe, handle: event_loop.handle(), has_stopped: false })
    }

    /// Acts on stop signals, and takes the others. Must be called whenever the loop was woken.
    #[must_use]
    pub fn take(&mut self) -> SignalRequests {
        // Edge-triggered: empty it before the flags are read, so that a signal from now on is a new
        // edge. A full pipe takes no more and is readable, which is enough.
        let mut bytes = [0; 1024];
        while self.pipe.read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
        if self.flags.stop.swap(false, Ordering::AcqRel) {
            self.stop();
        }
        SignalRequests {
            reload: self.flags.reload.swap(false, Ordering::AcqRel),
            status: self.flags.status.swap(false, Ordering::AcqRel),
        }
    }

    fn stop(&mut self) {
        if self.has_stopped {
            info!("a second signal: exiting at once");
            self.handle.abort();
        } else {
            self.has_stopped = true;
            self.handle.stop();
        }
    }
}

impl Program for Signals {
    fn on_wake(&mut self) {
        let _ = self.take();
    }
}
