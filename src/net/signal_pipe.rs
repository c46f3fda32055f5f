//! Signals of the process as flags, and one pipe that wakes the poll.
//!
//! A flag cannot be lost or starve another, as an entry of a queue can: several signals of a kind
//! between two turns are one.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as WriteEnd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::{flag, low_level};

/// The pipe behind the flags. It is readable when a watched signal came.
#[derive(Debug)]
pub(crate) struct SignalPipe {
    read_end: UnixStream,
    write_end: WriteEnd,
}

impl SignalPipe {
    /// A pipe that watches no signal yet; `token` is its events'.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (mut read_end, write_end) = UnixStream::pair()?;
        registry.register(&mut read_end, token, Interest::READABLE)?;
        Ok(SignalPipe { read_end, write_end: WriteEnd::from(OwnedFd::from(write_end)) })
    }

    /// Has `signal` set `flag` and wake the poll from now on, instead of its default action.
    ///
    /// # Errors
    ///
    /// Those of sigaction(2), or the system has no descriptors left.
    pub(crate) fn watch(&self, signal: i32, flag: &Arc<AtomicBool>) -> io::Result<()> {
        // The flag first, so that it is set when the poll wakes.
        flag::register(signal, Arc::clone(flag))?;
        low_level::pipe::register(signal, self.write_end.try_clone()?)?;
        Ok(())
    }

    /// Empties the pipe. Call it when the token is readable, before the flags are read: the poll is
    /// edge-triggered, so only a signal that finds the pipe empty is a new event.
    pub(crate) fn drain(&mut self) {
        // A full pipe takes no more bytes and needs none: it is readable.
        let mut bytes = [0; 1024];
        while self.read_end.read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
    }
}
