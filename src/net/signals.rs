//! The process's signals, for programs that leave them to a loop. Knows nothing of reloads and
//! status lines.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::info;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

use super::event_loop::EventLoop;
use super::handle::{Handle, WAKE};
use super::program::Program;
use super::signal_pipe::SignalPipe;
use super::socket::token;

/// Signals whose default action ends the process; ignored here. SIGXFSZ is a log file at the limit
/// of `ulimit -f`: the write fails with EFBIG, which is reported as any other. (SIGPIPE is ignored
/// by Rust's runtime.)
const IGNORED_SIGNALS: [i32; 2] = [SIGUSR2, libc::SIGXFSZ];

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
/// use mynah::{EventLoop, Limits, RawProtocol, Signals};
///
/// let mut event_loop = EventLoop::new(Limits::default())?;
/// event_loop.bind("127.0.0.1:7".parse().unwrap(), RawProtocol { prefix: Vec::new() })?;
/// let mut signals = Signals::install(&event_loop)?;
/// event_loop.run_with(&mut signals)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    flags: Flags,
    pipe: SignalPipe,
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
        let pipe = SignalPipe::new(event_loop.registry(), token(WAKE))?;
        let flags = Flags::default();
        pipe.watch(SIGTERM, &flags.stop)?;
        pipe.watch(SIGINT, &flags.stop)?;
        pipe.watch(SIGHUP, &flags.reload)?;
        pipe.watch(SIGUSR1, &flags.status)?;
        for signal in IGNORED_SIGNALS {
            flag::register(signal, Arc::default())?;
        }
        Ok(Signals { flags, pipe, handle: event_loop.handle(), has_stopped: false })
    }

    /// Acts on stop signals, and takes the others. Must be called whenever the loop was woken.
    #[must_use]
    pub fn take(&mut self) -> SignalRequests {
        self.pipe.drain();
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
