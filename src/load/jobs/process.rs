//! A process of a run, as the parent sees it.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use nix::sys::signal::Signal;

use super::super::job_link::messages::{FromJob, Lines, Tick, ToJob, encode};
use super::super::record::Record;
use super::super::stats::{Counts, Phase, Row};
use super::JOB_WORD;
use crate::net::retry_interrupted;

/// A process of the run. It is killed when it goes out of scope and has not ended.
#[derive(Debug)]
pub(super) struct Process {
    /// From 1, as it is called to the user.
    number: u32,
    child: Child,
    stream: UnixStream,
    lines: Lines,
    pub(super) state: ProcessState,
    pub(super) tick: Tick,
    /// Rows that the others have not all had yet, with the seconds in which they began.
    pub(super) rows: VecDeque<(u64, Row, Option<String>)>,
    next_row_begins: u64,
    last_row_at: f64,
}

/// How far a process is.
#[derive(Debug)]
pub(super) enum ProcessState {
    Running,
    /// It waits until all others have come as far.
    Waiting,
    Done(Box<Record>),
    /// It has no record, for this reason.
    Lost(String),
}

impl Process {
    /// Starts process `job`, from 0, with the parent's command line. `token` is its events'.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2), fork(2), execve(2) and epoll_ctl(2).
    pub(super) fn start(
        job: u32,
        args: &[OsString],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Process> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(JOB_WORD).args(args);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let child = command.spawn()?;
        ours.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(ours);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Process {
            number: job + 1,
            child,
            stream,
            lines: Lines::default(),
            state: ProcessState::Running,
            tick: Tick { phase: Phase::Ramp, counts: Counts::default(), pending: 0 },
            rows: VecDeque::new(),
            next_row_begins: 0,
            last_row_at: 0.0,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, ProcessState::Running | ProcessState::Waiting)
    }

    /// Tells it something. A few hundred bytes in all, which always find room.
    pub(super) fn tell(&mut self, message: &ToJob) {
        // One that has gone is found by reading.
        let _ = retry_interrupted(|| self.stream.write(&encode(message)));
    }

    /// Lets it go on.
    pub(super) fn go(&mut self) {
        self.state = ProcessState::Running;
        self.tell(&ToJob::Go);
    }

    /// Reads what it says, on an event.
    pub(super) fn on_readable(&mut self, buffer: &mut [u8]) {
        while self.is_alive() {
            match retry_interrupted(|| self.stream.read(buffer)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(len) if len > 0 => {
                    self.lines.push(&buffer[..len]);
                    self.take_lines();
                }
                // What ended it says more than how the stream ended.
                Ok(_) | Err(_) => self.reap(),
            }
        }
    }

    fn take_lines(&mut self) {
        loop {
            match self.lines.next() {
                Ok(Some(message)) => self.on_message(message),
                Ok(None) => return,
                Err(_) => return self.kill("did not speak as it should, and was killed"),
            }
        }
    }

    fn on_message(&mut self, message: FromJob) {
        match message {
            FromJob::Waiting(tick) => {
                self.tick = tick;
                self.state = ProcessState::Waiting;
            }
            FromJob::Tick(tick) => self.tick = tick,
            FromJob::Row { row, second } => self.push_row(row, second),
            FromJob::Done(record) => self.on_done(record),
            FromJob::Failed(reasons) => self.lose(&reasons.join("; ")),
        }
    }

    fn push_row(&mut self, row: Row, second: Option<String>) {
        let begins = self.next_row_begins;
        self.next_row_begins = row.t as u64;
        self.last_row_at = row.t;
        self.rows.push_back((begins, row, second));
    }

    /// Takes the record, with the rows that have not been told: the last one, and any that found no
    /// room.
    fn on_done(&mut self, record: Box<Record>) {
        for (number, row) in record.series.iter().enumerate() {
            if row.t > self.last_row_at {
                let second = record.histograms.seconds.get(number).cloned().flatten();
                self.push_row(row.clone(), second);
            }
        }
        self.state = ProcessState::Done(record);
    }

    /// Ends it, if it is alive.
    pub(super) fn kill(&mut self, why: &str) {
        if self.is_alive() {
            // An error means that it has gone.
            let _ = self.child.kill();
            self.lose(why);
        }
    }

    /// Notes how it ended: its stream has no end before that.
    fn reap(&mut self) {
        let why = match self.child.wait() {
            Ok(status) => how_ended(status),
            Err(_) => "ended".to_owned(),
        };
        self.lose(&why);
    }

    fn lose(&mut self, why: &str) {
        let text = format!("job {}, process {}, {why}", self.number, self.pid());
        self.state = ProcessState::Lost(text);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = self.child.kill();
        }
        // One that has sent its record ends by itself.
        let _ = self.child.wait();
    }
}

/// `was killed by SIGKILL`, or `ended with status 101`.
fn how_ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(number), _) => match Signal::try_from(number) {
            Ok(signal) => format!("was killed by {}", signal.as_str()),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, code) => format!("ended with status {} and no record", code.unwrap_or_default()),
    }
}
