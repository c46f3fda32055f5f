//! The process's logger: every line to the console, and to the log file where there is one. Logging
//! never blocks the loop, because lines go through bounded queues; each has a thread of its own, so
//! that console and file do not wait for each other.

use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
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

/// The program's handle on its logger. Clones are handles on the same one.
#[derive(Clone)]
pub(super) struct Logging(Arc<LogDispatcher>);

/// A log file that is open. Where nothing is ever logged to it, its writer ends with it.
pub(super) struct OpenLog(Option<Arc<Queue>>);

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
        let console = Queue::start(Console::new(format))?;
        let dispatcher = Arc::new(LogDispatcher { console, file: RwLock::new(None) });
        let logging = Logging(dispatcher);
        if let Some(path) = file {
            let file = logging.open(path)?;
            logging.set_file(Some(file));
        }
        if log::set_boxed_logger(Box::new(logging.clone())).is_ok() {
            set_level(level);
        }
        log_panics();
        Ok(logging)
    }

    /// Opens a log file, and makes its folders. Nothing is logged to it yet.
    ///
    /// # Errors
    ///
    /// It cannot be opened or its folders cannot be made.
    pub(super) fn open(&self, path: PathBuf) -> io::Result<OpenLog> {
        let console = Arc::clone(&self.0.console);
        let report = move |level: Level, text: &str| {
            if level <= log::max_level() {
                console.push(Line { at: SystemTime::now(), level, text: text.into() });
            }
        };
        Queue::start(LogFile::open(path, report)?).map(|queue| OpenLog(Some(queue)))
    }

    /// Logs to another file from now on, or to none. Lines for the old one are still written.
    pub(super) fn set_file(&self, file: Option<OpenLog>) {
        let mut current = self.0.file.write().unwrap_or_else(PoisonError::into_inner);
        let file = file.and_then(|mut file| file.0.take());
        let old = std::mem::replace(&mut *current, file);
        drop(current);
        if let Some(old) = old {
            old.close();
        }
    }

    /// Opens the log file anew, as after its rotation.
    pub(super) fn reopen(&self) {
        if let Some(file) = self.0.file() {
            file.reopen();
        }
    }

    /// Writes queued lines and ends the writers, within [`CLOSE_TIMEOUT`]: a console that is not
    /// read may block for ever.
    pub(super) fn close(self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // The console last: the file may have to report there that it fails.
        for queue in [self.0.file(), Some(Arc::clone(&self.0.console))].into_iter().flatten() {
            queue.close();
            queue.wait_for_end(deadline);
        }
    }
}

/// Logs lines of this level and of those that are more severe.
pub(super) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.close();
        }
    }
}

/// Copies every line into every queue.
struct LogDispatcher {
    console: Arc<Queue>,
    file: RwLock<Option<Arc<Queue>>>,
}

impl LogDispatcher {
    fn file(&self) -> Option<Arc<Queue>> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Log for Logging {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text: Arc<str> = record.args().to_string().into();
        let (at, level) = (SystemTime::now(), record.level());
        if let Some(file) = self.0.file() {
            file.push(Line { at, level, text: Arc::clone(&text) });
        }
        self.0.console.push(Line { at, level, text });
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
    fn new(format: ConsoleFormat) -> Self {
        // What is logged at all is decided before.
        let logger = SimpleLogger::new().with_level(LevelFilter::Trace);
        Console { logger, format, buffer: Vec::new() }
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
