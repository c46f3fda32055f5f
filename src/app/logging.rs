//! Logging that never blocks the loop: records go into bounded queues, and a thread each writes
//! them to the console and to the file, so that neither waits for the other. What does not fit is
//! dropped, counted and reported.

use std::fmt::{self, Write as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record, error};
use simple_logger::SimpleLogger;

use super::log_file::LogFile;
use crate::cli::EscapeControl;
use crate::clock::Millis;
use crate::limits::CONNECTION_LOG_LINES_PER_SEC;
use crate::line_limit::LineLimit;

/// Lines that may wait for a writer. A line is some hundred bytes, so this is about a megabyte.
const QUEUE_LINES_MAX: usize = 8192;

/// How long an exit waits for the last lines to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

const WRITER_THREAD: &str = "log";

/// What the console calls us; module paths mean nothing to who reads it.
const TARGET: &str = env!("CARGO_PKG_NAME");

/// A line of the log and when it was logged.
pub(super) struct Line {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) text: Arc<str>,
}

/// The handle by which the program steers its log.
pub(super) struct Logging {
    dispatcher: Arc<LogDispatcher>,
    /// Each closed when its writer has ended; as many as there are queues.
    ended: Vec<Receiver<()>>,
}

impl Logging {
    /// Installs the process's logger.
    ///
    /// # Errors
    ///
    /// `file` cannot be opened or its folders cannot be made.
    pub(super) fn start(level: LevelFilter, file: Option<PathBuf>) -> io::Result<Self> {
        let (console, ended) = Queue::start(Console::new(level))?;
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

    /// Opens the file anew, for whoever has moved it away.
    pub(super) fn reopen(&self) {
        self.dispatcher.queues.iter().for_each(|queue| queue.reopen());
    }

    /// Writes what is queued and ends the writers; gives up on a console nobody reads.
    pub(super) fn close(self) {
        let deadline = Instant::now() + CLOSE_WAIT;
        // The console last: the file may have to say that it fails.
        for (queue, ended) in self.dispatcher.queues.iter().zip(self.ended).rev() {
            queue.close();
            let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// The process's logger: every line into every queue.
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

/// Lines on their way to one writer.
struct Queue {
    /// `None` once the log is closed. An empty entry wakes the writer.
    sender: RwLock<Option<SyncSender<Option<Line>>>>,
    dropped: AtomicU64,
    /// Not an entry of the queue: it must not be lost when the queue is full.
    reopen: AtomicBool,
}

impl Queue {
    /// Starts the thread that writes to `sink`.
    fn start(sink: impl Sink) -> io::Result<(Arc<Self>, Receiver<()>)> {
        let (sender, lines) = sync_channel(QUEUE_LINES_MAX);
        let queue = Arc::new(Queue {
            sender: RwLock::new(Some(sender)),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        });
        let writer = Writer { sink, lines, queue: Arc::clone(&queue) };
        let (end, ended) = sync_channel(0);
        thread::Builder::new().name(WRITER_THREAD.to_owned()).spawn(move || {
            writer.run();
            drop::<SyncSender<()>>(end);
        })?;
        Ok((queue, ended))
    }

    fn push(&self, line: Line) {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && sender.try_send(Some(line)).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // A queue that is full wakes its writer anyway.
            let _ = sender.try_send(None);
        }
    }

    fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Where lines end up.
pub(super) trait Sink: Send + 'static {
    /// Takes a line.
    fn line(&mut self, line: &Line);
    /// Takes the line `notice`, which says that `lines` lines were dropped.
    fn dropped(&mut self, notice: &Line, lines: u64);
    /// Nothing more is waiting, or it is time for another try.
    fn flush(&mut self);
    /// How long until another try is worth it, where one is due.
    fn retry_in(&self) -> Option<Duration>;
    /// Opens what can be moved away anew.
    fn reopen(&mut self);
    /// No more lines will come.
    fn finish(&mut self);
}

/// A thread's end of a queue.
struct Writer<S> {
    sink: S,
    lines: Receiver<Option<Line>>,
    queue: Arc<Queue>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        while let Some(line) = self.next() {
            if self.queue.reopen.swap(false, Ordering::Acquire) {
                self.sink.reopen();
            }
            if let Some(line) = line {
                self.sink.line(&line);
            }
            let dropped = self.queue.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text = format!("{dropped} log lines dropped: they came faster than written");
                let line = Line { at: SystemTime::now(), level: Level::Warn, text: text.into() };
                self.sink.dropped(&line, dropped);
            }
        }
        self.sink.finish();
    }

    /// The next entry, `None` after the last; the sink is brought up to date before waiting for one.
    fn next(&mut self) -> Option<Option<Line>> {
        loop {
            match self.lines.try_recv() {
                Ok(entry) => return Some(entry),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.sink.flush(),
            }
            let Some(wait) = self.sink.retry_in() else { return self.lines.recv().ok() };
            match self.lines.recv_timeout(wait) {
                Ok(entry) => return Some(entry),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Standard error.
struct Console(SimpleLogger);

impl Console {
    fn new(level: LevelFilter) -> Self {
        Console(SimpleLogger::new().with_level(level).with_utc_timestamps())
    }
}

impl Sink for Console {
    /// `2026-11-26T20:53:28.399Z INFO  [mynah] message`: RFC 3339 in UTC. The time is that of
    /// writing, which is when the event was unless the console is blocked.
    fn line(&mut self, line: &Line) {
        // `eprintln!` panics when standard error is closed; the server goes on without it.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut record = Record::builder();
            record.level(line.level).target(TARGET);
            self.0.log(&record.args(format_args!("{}", line.text)).build());
        }));
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

/// Panics go to the log like everything else, from whatever thread but the log's own. A client may
/// cause them, so there is a limit; the server counts the connections that are closed for it.
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

/// A panic's message may repeat what a client sent, and stands on a line of its own.
struct PanicLine<T>(T);

impl<T: fmt::Display> fmt::Display for PanicLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapeControl(f), "{}", self.0.to_string().replacen(":\n", ": ", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_whatever_it_repeats() {
        let panic = "panicked at src/a.rs:1:2:\nnot a \u{1b}[31m\nnumber:\n";
        let line = r"panicked at src/a.rs:1:2: not a \u{1b}[31m\nnumber:\n";
        assert_eq!(PanicLine(panic).to_string(), line);
    }
}
