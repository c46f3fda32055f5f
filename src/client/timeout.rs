//! Deadlines, and the timeouts of blocking sockets.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use socket2::Socket;

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

/// Limits the time of each read of `socket`; `None` for no limit.
///
/// An error is ignored, because none makes a read block for longer than it should: macOS refuses
/// every option of a socket whose two sides are shut (EINVAL, `sosetoptlock` in xnu), and a read of
/// such a socket returns at once. `timeout` must not be zero.
pub(super) fn set_read_timeout(socket: &Socket, timeout: Option<Duration>) {
    debug_assert_ne!(timeout, Some(Duration::ZERO), "std refuses a timeout of zero");
    let _ = socket.set_read_timeout(timeout);
}

/// Limits the time of each write to `socket`, as [`set_read_timeout`] does for reads.
pub(super) fn set_write_timeout(socket: &Socket, timeout: Option<Duration>) {
    debug_assert_ne!(timeout, Some(Duration::ZERO), "std refuses a timeout of zero");
    let _ = socket.set_write_timeout(timeout);
}

/// True if a read or write failed because its timeout passed: EAGAIN (SO_RCVTIMEO in socket(7)).
/// ETIMEDOUT is something else: the peer no longer acknowledges, and the connection is lost.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn read_timeout_is_told_from_a_lost_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = Socket::from(stream);
        set_read_timeout(&stream, Some(Duration::from_millis(1)));
        assert!(is_timeout(&stream.read(&mut [0]).unwrap_err()));
        assert!(!is_timeout(&io::Error::from_raw_os_error(libc::ETIMEDOUT)));
    }

    #[test]
    fn deadline_expires_after_its_timeout() {
        assert!(Deadline::new(Some(Duration::ZERO)).is_expired());
        let hour = Deadline::new(Some(Duration::from_secs(3600)));
        assert!(!hour.is_expired() && hour.remaining() <= hour.timeout);
        let unlimited = Deadline::new(None);
        assert!(!unlimited.is_expired() && unlimited.remaining().is_none());
    }
}
