//! Log lines that clients cause, limited and summed up: whatever clients do, the log grows by a few
//! hundred lines a second at most.

use std::{fmt, io};

use log::{Level, debug, error, info, log, log_enabled, warn};

use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::CONNECTION_LOG_LINES_PER_SEC;
use crate::line_limit::LineLimit;
use crate::strerror::strerror;

/// Kinds of lines, each with a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Connects, disconnects, refusals, joins and leaves, one by one.
    Connection,
    /// Messages of protocols that show them at info.
    Message,
    HandlerPanic,
    UnwatchedSocket,
    OversizedPackage,
    /// Files or memory are out.
    AcceptPause,
    Refused,
    SlowConsumer,
    MemoryLimit,
    LostBroadcast,
    #[cfg(feature = "accounts")]
    Registration,
}

impl Kind {
    const ALL: [Kind; 10 + cfg!(feature = "accounts") as usize] = [
        Kind::Connection,
        Kind::Message,
        Kind::HandlerPanic,
        Kind::UnwatchedSocket,
        Kind::OversizedPackage,
        Kind::AcceptPause,
        Kind::Refused,
        Kind::SlowConsumer,
        Kind::MemoryLimit,
        Kind::LostBroadcast,
        #[cfg(feature = "accounts")]
        Kind::Registration,
    ];

    const fn level(self) -> Level {
        match self {
            Kind::Connection | Kind::Message => Level::Info,
            Kind::HandlerPanic => Level::Error,
            #[cfg(feature = "accounts")]
            Kind::Registration => Level::Error,
            _ => Level::Warn,
        }
    }

    /// Most lines a second of this kind: many where each is about one connection, one where a line
    /// is a count.
    const fn lines_per_sec(self) -> u32 {
        match self {
            Kind::Connection
            | Kind::Message
            | Kind::HandlerPanic
            | Kind::UnwatchedSocket
            | Kind::OversizedPackage => CONNECTION_LOG_LINES_PER_SEC,
            #[cfg(feature = "accounts")]
            Kind::Registration => CONNECTION_LOG_LINES_PER_SEC,
            _ => 1,
        }
    }
}

/// The lines that clients cause, directly or through a plugin.
///
/// Connection lines, and errors of single connections, are written one by one, at most
/// [`CONNECTION_LOG_LINES_PER_SEC`] of a kind; the rest of each second are counted into one line.
/// Warnings that an operator acts on, whichever client caused them, are one line a second with the
/// count: the first at once, the others when the second is over. No count is lost:
/// [`flush`](Self::flush) and dropping the value write it.
#[derive(Debug)]
pub struct ConnectionLog {
    limits: [LineLimit; Kind::ALL.len()],
    /// Time of the earliest summary that is due.
    due_at: Option<Millis>,
    /// The bounds the last refusal and the last cut hit.
    clients_max: usize,
    memory_bytes_max: u64,
}

impl Default for ConnectionLog {
    fn default() -> Self {
        ConnectionLog {
            limits: Kind::ALL.map(|kind| LineLimit::new(kind.lines_per_sec())),
            due_at: None,
            clients_max: 0,
            memory_bytes_max: 0,
        }
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl ConnectionLog {
    /// Logs a connect, disconnect, join or leave at info, or counts it. `line` is called only if
    /// the line is written.
    pub fn line<D: fmt::Display>(&mut self, now: Millis, line: impl FnOnce() -> D) {
        if self.admit(Kind::Connection, now) {
            info!("{}", line());
        }
    }

    /// Logs a message that was received: at debug each, else at info, or counts it.
    pub fn received(&mut self, now: Millis, id: ConnId, message: impl fmt::Display) {
        if log_enabled!(Level::Debug) {
            debug!("{id} Received: {message}");
        } else if self.admit(Kind::Message, now) {
            info!("{id} Received: {message}");
        }
    }

    /// A handler panicked, and its connection is closed.
    pub fn handler_panicked(&mut self, now: Millis, id: ConnId) {
        if self.admit(Kind::HandlerPanic, now) {
            error!("{id} a handler panicked; its connection is closed");
        }
    }

    /// A connection was closed before any traffic, because it could not be registered with the
    /// poll.
    pub fn unwatched(
        &mut self,
        now: Millis,
        listener: &str,
        peer: impl fmt::Display,
        error: &io::Error,
    ) {
        if self.admit(Kind::UnwatchedSocket, now) {
            warn!("{peer} refused by {listener}: cannot watch it: {}", strerror(error));
        }
    }

    /// A client of a plugin listener sent more than a package may have.
    pub fn oversized_package(&mut self, now: Millis, id: ConnId) {
        if self.admit(Kind::OversizedPackage, now) {
            warn!("{id} sent a package that is too large");
        }
    }

    /// A listener pauses, because the process is out of files or memory. Failures are not counted:
    /// accepting is retried all the time, so their number says nothing.
    pub fn accept_paused(&mut self, now: Millis, listener: &str, error: &io::Error) {
        if self.admit(Kind::AcceptPause, now) {
            warn!("{listener} cannot accept for now: {}", strerror(error));
        }
    }

    /// A client was refused: there are `clients_max`.
    pub fn refused(&mut self, now: Millis, clients_max: usize) {
        self.clients_max = clients_max;
        self.count(Kind::Refused, now);
    }

    /// A client was cut: it fell behind the end of the broadcast log, or its queue is full.
    pub fn slow_consumer(&mut self, now: Millis) {
        self.count(Kind::SlowConsumer, now);
    }

    /// A connection was cut, because all together took more than `bytes_max`.
    pub fn memory_limit(&mut self, now: Millis, bytes_max: u64) {
        self.memory_bytes_max = bytes_max;
        self.count(Kind::MemoryLimit, now);
    }

    /// A plugin's broadcast was dropped: neither the log nor the queue behind it has space.
    pub fn lost_broadcast(&mut self, now: Millis) {
        self.count(Kind::LostBroadcast, now);
    }

    /// An account could not be written.
    #[cfg(feature = "accounts")]
    pub fn registration_failed(&mut self, now: Millis, id: ConnId, reason: &str) {
        if self.admit(Kind::Registration, now) {
            error!("{id} registration failed: {reason}");
        }
    }

    /// Time at which a summary is due, if one is.
    #[must_use]
    pub fn due_at(&self) -> Option<Millis> {
        self.due_at
    }

    /// Writes the summaries that are due. To be called every turn.
    pub fn write_due(&mut self, now: Millis) {
        if self.due_at.is_none_or(|due_at| now < due_at) {
            return;
        }
        for kind in Kind::ALL {
            if let Some(count) = self.limits[kind as usize].take_due(now) {
                self.summarize(kind, count);
            }
        }
        self.due_at = self.limits.iter().filter_map(LineLimit::due_at).min();
    }

    /// Writes all summaries, due or not.
    pub fn flush(&mut self) {
        for kind in Kind::ALL {
            if let Some(count) = self.limits[kind as usize].take() {
                self.summarize(kind, count);
            }
        }
        self.due_at = None;
    }

    /// Whether to write a line of this kind; if not, it is counted, unless its level is off.
    fn admit(&mut self, kind: Kind, now: Millis) -> bool {
        if !log_enabled!(kind.level()) {
            return false;
        }
        self.write_due(now);
        let limit = &mut self.limits[kind as usize];
        let is_admitted = limit.admit(now);
        if kind == Kind::AcceptPause {
            let _ = limit.take();
        }
        if let Some(due_at) = limit.due_at() {
            self.due_at = Some(self.due_at.map_or(due_at, |earliest| earliest.min(due_at)));
        }
        is_admitted
    }

    /// For kinds of which every line is a count.
    fn count(&mut self, kind: Kind, now: Millis) {
        if self.admit(kind, now) {
            self.summarize(kind, 1);
        }
    }

    fn summarize(&self, kind: Kind, n: u64) {
        let (clients, bytes) = (self.clients_max, self.memory_bytes_max);
        let s = if n == 1 { "" } else { "s" };
        let line = |line: fmt::Arguments<'_>| log!(kind.level(), "{line}");
        match kind {
            Kind::Connection => {
                line(format_args!("{n} more connection event{s}, not logged one by one"));
            }
            Kind::Message => line(format_args!("{n} more message{s} received")),
            Kind::HandlerPanic => {
                line(format_args!("{n} more connection{s} closed: a handler panicked"));
            }
            Kind::UnwatchedSocket => {
                line(format_args!("{n} more connection{s} refused: cannot be watched"));
            }
            Kind::OversizedPackage => {
                line(format_args!("{n} more package{s} that were too large"));
            }
            Kind::AcceptPause => {}
            Kind::Refused => line(format_args!(
                "server is full: {clients} clients; {n} refused in the last second"
            )),
            Kind::SlowConsumer => {
                line(format_args!("{n} slow consumer{s} cut in the last second"));
            }
            Kind::MemoryLimit => line(format_args!(
                "memory limit: {bytes} bytes; {n} connection{s} cut in the last second"
            )),
            Kind::LostBroadcast => line(format_args!(
                "{n} broadcast{s} of plugins dropped in the last second: the broadcast log is full"
            )),
            #[cfg(feature = "accounts")]
            Kind::Registration => line(format_args!("{n} more registration{s} failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use log::{LevelFilter, Log, Metadata, Record};

    use super::*;

    thread_local! {
        /// Lines this thread has logged.
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    struct Capture;

    impl Log for Capture {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }

        fn flush(&self) {}
    }

    fn connection_log() -> ConnectionLog {
        let _ = log::set_logger(&Capture);
        log::set_max_level(LevelFilter::Info);
        ConnectionLog::default()
    }

    /// Lines logged since the last call.
    fn lines() -> Vec<String> {
        LINES.with_borrow_mut(std::mem::take)
    }

    #[test]
    fn warning_repeats_once_a_second_with_the_count() {
        type Cause = fn(&mut ConnectionLog, Millis);
        let kinds: [(Cause, [&str; 2]); 4] = [
            (
                |log, now| log.refused(now, 100),
                [
                    "WARN server is full: 100 clients; 1 refused in the last second",
                    "WARN server is full: 100 clients; 37 refused in the last second",
                ],
            ),
            (
                ConnectionLog::slow_consumer,
                [
                    "WARN 1 slow consumer cut in the last second",
                    "WARN 37 slow consumers cut in the last second",
                ],
            ),
            (
                |log, now| log.memory_limit(now, 6_442_450_944),
                [
                    "WARN memory limit: 6442450944 bytes; 1 connection cut in the last second",
                    "WARN memory limit: 6442450944 bytes; 37 connections cut in the last second",
                ],
            ),
            (
                ConnectionLog::lost_broadcast,
                [
                    "WARN 1 broadcast of plugins dropped in the last second: \
                     the broadcast log is full",
                    "WARN 37 broadcasts of plugins dropped in the last second: \
                     the broadcast log is full",
                ],
            ),
        ];
        for (cause, [first, then]) in kinds {
            let mut log = connection_log();
            for _ in 0..38 {
                cause(&mut log, Millis(500));
            }
            assert_eq!(lines(), [first]);
            assert_eq!(log.due_at(), Some(Millis(1500)));
            log.write_due(Millis(1499));
            assert_eq!(lines(), [""; 0]);
            log.write_due(Millis(1500));
            assert_eq!(lines(), [then]);
            assert_eq!(log.due_at(), None);
        }
    }

    #[test]
    fn connection_errors_are_100_lines_a_second() {
        type Cause = fn(&mut ConnectionLog, Millis);
        let id = ConnId { index: 0, generation: 7 };
        let kinds: [(Cause, String, &str); 4] = [
            (
                |log, now| log.line(now, || "came"),
                "INFO came".to_owned(),
                "INFO 5 more connection events, not logged one by one",
            ),
            (
                |log, now| log.handler_panicked(now, ConnId { index: 0, generation: 7 }),
                format!("ERROR {id} a handler panicked; its connection is closed"),
                "ERROR 5 more connections closed: a handler panicked",
            ),
            (
                |log, now| log.oversized_package(now, ConnId { index: 0, generation: 7 }),
                format!("WARN {id} sent a package that is too large"),
                "WARN 5 more packages that were too large",
            ),
            (
                |log, now| {
                    let error = io::Error::from_raw_os_error(libc::ENOSPC);
                    log.unwatched(now, "raw://[::1]:7", "[::1]:9", &error);
                },
                "WARN [::1]:9 refused by raw://[::1]:7: cannot watch it: no space left on device"
                    .to_owned(),
                "WARN 5 more connections refused: cannot be watched",
            ),
        ];
        for (cause, line, summary) in kinds {
            let mut log = connection_log();
            for _ in 0..105 {
                cause(&mut log, Millis(0));
            }
            assert_eq!(lines(), vec![line; 100]);
            log.write_due(Millis(1000));
            assert_eq!(lines(), [summary]);
        }
    }

    #[test]
    fn one_kind_does_not_use_up_the_limit_of_another() {
        let mut log = connection_log();
        (0..1000).for_each(|_| log.line(Millis(0), || "came"));
        log.refused(Millis(0), 9);
        log.slow_consumer(Millis(0));
        assert_eq!(lines().len(), 102);
    }

    #[test]
    fn counts_are_written_before_the_next_line() {
        let mut log = connection_log();
        let refuse = |log: &mut ConnectionLog, now, n| (0..n).for_each(|_| log.refused(now, 9));
        refuse(&mut log, Millis(0), 3);
        log.line(Millis(5000), || "came");
        refuse(&mut log, Millis(5000), 4);
        log.flush();
        log.flush();
        refuse(&mut log, Millis(5001), 5);
        drop(log);
        let refused: Vec<String> = lines();
        let counts: Vec<&str> = refused
            .iter()
            .map(|line| line.split("; ").nth(1).map_or("-", |n| n.split(' ').next().unwrap_or("")))
            .collect();
        assert_eq!(counts, ["1", "2", "-", "4", "5"]);
    }

    #[test]
    fn accept_pause_is_logged_once_a_second() {
        let mut log = connection_log();
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        for now in (0..3000).step_by(100) {
            log.accept_paused(Millis(now), "raw://[::1]:7", &error);
            assert_eq!(log.due_at(), None);
        }
        let line = "WARN raw://[::1]:7 cannot accept for now: too many open files";
        assert_eq!(lines(), [line; 3]);
    }
}
