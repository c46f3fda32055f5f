//! A job's end of the socket pair to its parent (`--jobs`). During the run it never blocks: a parent that
//! is stopped delays no request. Knows neither the engine nor processes.

pub(super) mod messages;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::stats::Stats;
use crate::net::retry_interrupted;
use messages::{FromJob, Lines, Tick, ToJob, encode};

/// Most bytes that wait for the parent. What does not fit is left out: the record has it.
const UNSENT_MAX: usize = 4 << 20;

/// A job's end of the socket pair.
#[derive(Debug)]
pub(super) struct JobLink {
    stream: UnixStream,
    lines: Lines,
    unsent: Vec<u8>,
    /// The parent has been told that this job waits.
    is_waiting: bool,
    may_go: bool,
    must_stop: bool,
}

impl JobLink {
    /// The link on standard input; `None` if that is not a socket.
    pub(super) fn on_stdin() -> Option<JobLink> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
        let stream = StdUnixStream::from(stdin);
        // Neither a file nor a terminal has a peer.
        stream.peer_addr().ok()?;
        Some(JobLink {
            stream: UnixStream::from_std(stream),
            lines: Lines::default(),
            unsent: Vec::new(),
            is_waiting: false,
            may_go: false,
            must_stop: false,
        })
    }

    /// Reads the first message, before the stream is made not to block.
    pub(super) fn read_first(&mut self) -> Option<ToJob> {
        let mut bytes = [0; 4096];
        loop {
            match self.lines.next() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(_) => return None,
            }
            match retry_interrupted(|| self.stream.read(&mut bytes)) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.lines.push(&bytes[..len]),
            }
        }
    }

    /// Makes the stream not block, and asks for its events.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&self.stream, true)?;
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads what the parent says, on an event. Returns whether the run must stop.
    pub(super) fn must_stop(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match retry_interrupted(|| self.stream.read(&mut bytes)) {
                Ok(len) if len > 0 => self.lines.push(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The parent has gone.
                Ok(_) | Err(_) => {
                    self.must_stop = true;
                    break;
                }
            }
        }
        loop {
            match self.lines.next() {
                Ok(Some(ToJob::Go)) => self.may_go = true,
                Ok(Some(ToJob::Stop | ToJob::Start { .. })) | Err(_) => self.must_stop = true,
                Ok(None) => break,
            }
        }
        self.flush();
        self.must_stop
    }

    /// Whether all jobs have come as far as `tick`. The first call tells the parent that this one has.
    pub(super) fn may_go_on(&mut self, tick: Tick) -> bool {
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.send(&FromJob::Waiting(tick));
        }
        let may_go = std::mem::take(&mut self.may_go);
        self.is_waiting = !may_go;
        may_go
    }

    /// Tells how far the run is.
    pub(super) fn send_tick(&mut self, tick: Tick) {
        // The next one says more.
        if self.unsent.is_empty() {
            self.send(&FromJob::Tick(tick));
        }
    }

    /// Tells the last row.
    pub(super) fn send_row(&mut self, stats: &Stats) {
        let Some(row) = stats.series.last() else { return };
        let second = stats.seconds.get(stats.series.len() - 1).cloned().flatten();
        if self.unsent.len() < UNSENT_MAX {
            self.send(&FromJob::Row { row: row.clone(), second });
        }
    }

    fn send(&mut self, message: &FromJob) {
        self.unsent.extend(encode(message));
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match retry_interrupted(|| self.stream.write(&self.unsent)) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Reading tells that the parent has gone.
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// Sends the last message, and waits until the parent has taken it.
    pub(super) fn end(mut self, message: &FromJob) {
        self.unsent.extend(encode(message));
        // A parent that has gone needs no message.
        let _ = rustix::io::ioctl_fionbio(&self.stream, false);
        let _ = self.stream.write_all(&self.unsent);
    }
}
