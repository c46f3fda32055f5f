//! The process's logger: every line to the console, and to the log file where there is one. Logging
//! never blocks the loop, because lines go through bounded queues; each has a thread of its own, so
//! that console and file do not wait for each other.

use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use log::{Level, LevelFilter, Log, Metadata, Record, error};
use simple_logger::SimpleLogger;

use super::log_file::LogFile;
use super::log_queue::{Line, Queue, Sink, WRITER_THREAD};
use super::systemd::ConsoleFormat;
use super::timestamp::push_date_time;
use crate::clock::Millis;
use crate::escape::EscapeControl;
use crate::limits::CONNECTION_LOG_LINES_PER_SEC;
use crate::line_limit::LineLimit;

/// Longest that an exit waits for the last lines to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Target of every console line: module paths mean nothing to an operator.
const TARGET: &str = env!("CARGO_PKG_NAME");

/// The program's handle on its logger.
pub(super) struct Logging {
    dispatcher: Arc<LogDispatcher>,
    /// One for each queue, disconnected when its writer has ended.
    ended: Vec<Receiver<()>>,
}

impl Logging {
    /// Installs the process's logger.
    ///
    /// # Errors
    ///
    /// `file` cannot be opened or its folders cannot be made.
    pub(super) fn start(
        level: LevelFilter,
        format: ConsoleFormat,
        file: Option<PathBuf>,
    ) -> io::Result<Self> {
        let (console, ended) = Queue::start(Console::new(level, format))?;
        let (mut queues, mut ends) = (vec![console], vec![ended]);
        if let Some(path) = file {
            let console = Arc::clone(&queues[0]);
            let report = move |line_level: Level, text: &str| {
                if line_level <= level {
                    let (at, level) = (SystemTime::now(), line_level);
                    console.push(Line { at, level, text: text.into() });
                }
            };
            let (queue, ended) = Queue::start(LogFile::open(path, report)?)?;
            queues.push(queue);
            ends.push(ended);
        }
        let dispatcher = Arc::new(LogDispatcher { level, queues });
        if log::set_boxed_logger(Box::new(Arc::clone(&dispatcher))).is_ok() {
            log::set_max_level(level);
        }
        log_panics();
        Ok(Logging { dispatcher, ended: ends })
    }

    /// Opens the log file anew, as after its rotation.
    pub(super) fn reopen(&self) {
        self.dispatcher.queues.iter().for_each(|queue| queue.reopen());
    }

    /// Writes queued lines and ends the writers, within [`CLOSE_TIMEOUT`]: a console that is not
    /// read may block for ever.
    pub(super) fn close(self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // The console last: the file may have to report there that it fails.
        for (queue, ended) in self.dispatcher.queues.iter().zip(self.ended).rev() {
            queue.close();
            let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// Copies every line into every queue.
struct LogDispatcher {
    level: LevelFilter,
    queues: Vec<Arc<Queue>>,
}

impl Log for LogDispatcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text: Arc<str> = record.args().to_string().into();
        let (at, level) = (SystemTime::now(), record.level());
        for queue in &self.queues {
            queue.push(Line { at, level, text: Arc::clone(&text) });
        }
    }

    fn flush(&self) {}
}

/// Standard error.
struct Console {
    logger: SimpleLogger,
    format: ConsoleFormat,
    /// The line, or what is in front of the logger's.
    buffer: Vec<u8>,
}

impl Console {
    fn new(level: LevelFilter, format: ConsoleFormat) -> Self {
        Console { logger: SimpleLogger::new().with_level(level), format, buffer: Vec::new() }
    }
}

impl Sink for Console {
    /// Writes `2026-11-26T20:53:28.399Z INFO  [mynah] message`, or `<6>message`. The time is that of the event, in
    /// front of what simple_logger writes, which has only that of writing.
    fn line(&mut self, line: &Line) {
        let metadata = Metadata::builder().level(line.level).target(TARGET).build();
        if !self.logger.enabled(&metadata) {
            return;
        }
        self.buffer.clear();
        let mut stderr = io::stderr().lock();
        if self.format.push_plain(&mut self.buffer, line.level, &line.text) {
            let _ = stderr.write_all(&self.buffer);
            return;
        }
        push_time(&mut self.buffer, line.at);
        if stderr.write_all(&self.buffer).is_ok() {
            // `eprintln!` panics when standard error is closed; the server goes on without it.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let mut record = Record::builder();
                record.metadata(metadata.clone());
                self.logger.log(&record.args(format_args!("{}", line.text)).build());
            }));
        }
    }

    fn dropped(&mut self, notice: &Line, _: u64) {
        self.line(notice);
    }

    fn flush(&mut self) {}

    fn retry_in(&self) -> Option<Duration> {
        None
    }

    fn reopen(&mut self) {}

    fn finish(&mut self) {}
}

/// Appends the time as RFC 3339 has it, in UTC, and a blank.
fn push_time(buffer: &mut Vec<u8>, at: SystemTime) {
    let at = DateTime::<Utc>::from(at);
    push_date_time(buffer, at.naive_utc(), 'T');
    // Writing into a vector cannot fail.
    let _ = write!(buffer, ".{:03}Z ", at.timestamp_subsec_millis());
}

/// Logs panics of all threads but the log's own. Clients may cause them, so lines are limited per
/// second; the server counts the connections that are closed for a panic.
fn log_panics() {
    let started_at = Instant::now();
    let limit = Mutex::new(LineLimit::new(CONNECTION_LOG_LINES_PER_SEC));
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() == Some(WRITER_THREAD) {
            return;
        }
        let now = Millis(u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX));
        let (more, is_admitted) = {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            (limit.take_due(now), limit.admit(now))
        };
        if let Some(more) = more {
            error!("{more} more panics, not logged one by one");
        }
        if is_admitted {
            error!("{}", PanicLine(panic));
        }
    }));
}

/// Shows a panic on one line. Its message is a line of its own, and may repeat a client's bytes.
struct PanicLine<T>(T);

impl<T: fmt::Display> fmt::Display for PanicLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Write::write_str(&mut EscapeControl(f), &self.0.to_string().replacen(":\n", ": ", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_time_is_rfc_3339_in_utc() {
        let mut time = Vec::new();
        push_time(&mut time, SystemTime::UNIX_EPOCH + Duration::from_millis(951_786_061_007));
        assert_eq!(time, b"2000-02-29T01:01:01.007Z ");
    }

    #[test]
    fn panic_is_logged_as_one_line() {
        let panic = "panicked at src/a.rs:1:2:\nnot a \u{1b}[31m\nnumber:\n";
        let line = r"panicked at src/a.rs:1:2: not a \u{1b}[31m\nnumber:\n";
        assert_eq!(PanicLine(panic).to_string(), line);
    }
}
