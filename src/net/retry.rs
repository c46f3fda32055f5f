//! System calls that a signal may interrupt (EINTR, signal(7)).

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::{Events, Poll};

/// Waits as [`Poll::poll`]. A wait that a signal interrupts ends without events.
///
/// # Errors
///
/// Those of epoll_wait(2) or kevent(2), EINTR excepted.
pub(crate) fn poll(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}

/// Repeats `call` until no signal interrupts it.
///
/// # Errors
///
/// Those of `call`, EINTR excepted.
#[cfg(feature = "load")]
#[inline]
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(all(test, feature = "load"))]
mod tests {
    use super::*;

    #[test]
    fn interrupted_calls_are_repeated() {
        let mut results = vec![Ok(7), Err(ErrorKind::Interrupted), Err(ErrorKind::Interrupted)];
        let call = || results.pop().unwrap().map_err(io::Error::from);
        assert_eq!(retry_interrupted(call).unwrap(), 7);
    }

    #[test]
    fn other_errors_are_returned_at_once() {
        let mut calls = 0;
        let result: io::Result<()> = retry_interrupted(|| {
            calls += 1;
            Err(ErrorKind::WouldBlock.into())
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(calls, 1);
    }
}
