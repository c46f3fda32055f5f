//! Deadlines, and the timeouts of blocking sockets.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The end of a time span that begins at [`Deadline::new`], or no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The whole time span; `None` for no limit.
    pub(super) timeout: Option<Duration>,
    expires_at: Option<Instant>,
}

impl Deadline {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let expires_at = timeout.map(|timeout| Instant::now() + timeout);
        Deadline { timeout, expires_at }
    }

    /// The time left: zero after the deadline, `None` for no limit.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.expires_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_expired(&self) -> bool {
        self.remaining().is_some_and(|remaining| remaining.is_zero())
    }
}

/// Limits the time of each read of `stream`; `None` for no limit.
///
/// An error is ignored, because none makes a read block for longer than it should: macOS refuses
/// every option of a socket whose two sides are shut (EINVAL, `sosetoptlock` in xnu), and a read of
/// such a socket returns at once. `timeout` must not be zero.
pub(super) fn set_read_timeout(stream: &TcpStream, timeout: Option<Duration>) {
    debug_assert_ne!(timeout, Some(Duration::ZERO), "std refuses a timeout of zero");
    let _ = stream.set_read_timeout(timeout);
}

/// Limits the time of each write to `stream`, as [`set_read_timeout`] does for reads.
pub(super) fn set_write_timeout(stream: &TcpStream, timeout: Option<Duration>) {
    debug_assert_ne!(timeout, Some(Duration::ZERO), "std refuses a timeout of zero");
    let _ = stream.set_write_timeout(timeout);
}

/// True if a read or write failed because its timeout passed: EAGAIN, as SO_RCVTIMEO of socket(7)
/// has it; ETIMEDOUT on some systems.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
