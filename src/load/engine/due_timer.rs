//! The wake-up for the next request that is due.
//!
//! epoll_wait(2) counts in milliseconds, which is too coarse for more than a thousand requests a
//! second: on Linux a timerfd wakes the poll. kevent(2) counts in nanoseconds: elsewhere the poll's
//! own timeout is enough. (With poll(2), which counts in milliseconds too, requests leave up to one
//! late; the tester lag of the summary says so.)

pub(super) use platform::DueTimer;

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    /// A timer file descriptor that the poll watches.
    pub(in super::super) struct DueTimer {
        timer: TimerFd,
        armed_for: Option<u64>,
    }

    impl DueTimer {
        /// A timer that is not armed; `token` is its events'.
        ///
        /// # Errors
        ///
        /// Those of timerfd_create(2) and epoll_ctl(2).
        pub(in super::super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let fd = timer.as_fd().as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            Ok(DueTimer { timer, armed_for: None })
        }

        /// Arms the timer for `due_at`, later than `now`. Returns how long the poll may wait for it
        /// at most, as a time: without end, because the timer wakes the poll.
        ///
        /// # Errors
        ///
        /// Those of timerfd_settime(2).
        pub(in super::super) fn arm(&mut self, due_at: u64, now: u64) -> io::Result<u64> {
            if self.armed_for != Some(due_at) {
                let after = TimeSpec::from_duration(Duration::from_nanos(due_at - now));
                self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
                self.armed_for = Some(due_at);
            }
            Ok(u64::MAX)
        }

        /// The timer woke the poll.
        pub(in super::super) fn on_expired(&mut self) {
            self.armed_for = None;
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io;

    use mio::{Registry, Token};

    /// The poll's own timeout.
    pub(in super::super) struct DueTimer;

    impl DueTimer {
        /// Registers nothing, and cannot fail.
        pub(in super::super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(DueTimer)
        }

        /// Returns the time until which the poll may wait: `due_at` itself.
        pub(in super::super) fn arm(&mut self, due_at: u64, _now: u64) -> io::Result<u64> {
            Ok(due_at)
        }

        /// Never called: the token has no events.
        pub(in super::super) fn on_expired(&mut self) {}
    }
}
