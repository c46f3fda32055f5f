//! Logging that never blocks the loop: records go into bounded queues, and a thread each writes
//! them to the console and to the file, so that neither waits for the other. What does not fit is
//! dropped, counted and reported.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Datelike, Local, Timelike};
use log::{Level, LevelFilter, Log, Metadata, Record, error};
use simple_logger::SimpleLogger;

/// Lines that may wait for a writer. A line is some hundred bytes, so this is about a megabyte.
const QUEUE_LINES_MAX: usize = 8192;

/// How long an exit waits for the last lines to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

const WRITER_THREAD: &str = "log";

/// What the console calls us; module paths mean nothing to who reads it.
const TARGET: &str = env!("CARGO_PKG_NAME");

struct Line {
    at: SystemTime,
    level: Level,
    text: Arc<str>,
}

/// The handle by which the program steers its log.
pub(super) struct Logging {
    fan: Arc<Fan>,
    /// Each closed when its writer has ended.
    ended: Vec<Receiver<()>>,
}

impl Logging {
    /// Installs the process's logger.
    ///
    /// # Errors
    ///
    /// `file` cannot be opened or its folders cannot be made.
    pub(super) fn start(level: LevelFilter, file: Option<PathBuf>) -> io::Result<Self> {
        let file = file.map(LogFile::open).transpose()?;
        let (console, ended) = Queue::start(Console::new(level))?;
        let mut queues = vec![console];
        let mut ends = vec![ended];
        if let Some(file) = file {
            let (queue, ended) = Queue::start(file)?;
            queues.push(queue);
            ends.push(ended);
        }
        let fan = Arc::new(Fan { level, queues });
        if log::set_boxed_logger(Box::new(Arc::clone(&fan))).is_ok() {
            log::set_max_level(level);
        }
        log_panics();
        Ok(Logging { fan, ended: ends })
    }

    /// Opens the file anew, for whoever has moved it away.
    pub(super) fn reopen(&self) {
        self.fan.queues.iter().for_each(|queue| queue.reopen());
    }

    /// Writes what is queued and ends the writers; gives up on a console nobody reads.
    pub(super) fn close(self) {
        self.fan.queues.iter().for_each(|queue| queue.close());
        let deadline = Instant::now() + CLOSE_WAIT;
        for ended in self.ended {
            let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// The process's logger: every line into every queue.
struct Fan {
    level: LevelFilter,
    queues: Vec<Arc<Queue>>,
}

impl Log for Fan {
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
trait Sink: Send + 'static {
    fn line(&mut self, line: &Line);
    /// Nothing more is waiting.
    fn flush(&mut self);
    fn reopen(&mut self);
}

/// A thread's end of a queue.
struct Writer<S> {
    sink: S,
    lines: Receiver<Option<Line>>,
    queue: Arc<Queue>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        while let Ok(line) = self.next() {
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
                self.sink.line(&line);
            }
        }
        self.sink.flush();
    }

    /// The next entry; the sink is brought up to date before waiting for one.
    fn next(&mut self) -> Result<Option<Line>, RecvError> {
        match self.lines.try_recv() {
            Ok(line) => Ok(line),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => {
                self.sink.flush();
                self.lines.recv()
            }
        }
    }
}

/// Standard error. Its timestamps are those of writing, which is when the event was unless the
/// console is blocked.
struct Console(SimpleLogger);

impl Console {
    fn new(level: LevelFilter) -> Self {
        Console(SimpleLogger::new().with_level(level).with_utc_timestamps())
    }
}

impl Sink for Console {
    fn line(&mut self, line: &Line) {
        // `eprintln!` panics when standard error is closed; the server goes on without it.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut record = Record::builder();
            record.level(line.level).target(TARGET);
            self.0.log(&record.args(format_args!("{}", line.text)).build());
        }));
    }

    fn flush(&mut self) {}

    fn reopen(&mut self) {}
}

struct LogFile {
    path: PathBuf,
    writer: BufWriter<File>,
    /// Said once, not for every line.
    failed: bool,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let writer = open(&path)?;
        Ok(LogFile { path, writer, failed: false })
    }

    fn check(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                error!("log file {}: {error}", self.path.display());
            }
            Err(_) => {}
        }
    }
}

impl Sink for LogFile {
    /// `YYYY-MM-DD HH:MM:SS [LEVEL] message`, local time: the ancestor's format.
    fn line(&mut self, line: &Line) {
        let at = DateTime::<Local>::from(line.at);
        // chrono's own formatting is 20 KiB of every conversion there is.
        let (date, time) = (at.date_naive(), at.time());
        let result = writeln!(
            self.writer,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} [{}] {}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            line.level,
            line.text
        );
        self.check(result);
    }

    fn flush(&mut self) {
        let result = self.writer.flush();
        self.check(result);
    }

    fn reopen(&mut self) {
        self.flush();
        let result = open(&self.path).map(|writer| self.writer = writer);
        self.check(result);
    }
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(BufWriter::new(file))
}

/// Panics go to the log like everything else, from whatever thread but the log's own.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if thread::current().name() != Some(WRITER_THREAD) {
            error!("{panic}");
        }
    }));
}
