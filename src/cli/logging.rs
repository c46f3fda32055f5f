//! Logging that never blocks the loop: records go into a bounded queue, and a thread of its own
//! writes them to the console and the file. What does not fit is dropped, counted and reported.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local};
use log::{Level, LevelFilter, Log, Metadata, Record, error};
use simple_logger::SimpleLogger;

/// Records that may wait for the writer. A line is some hundred bytes, so this is a megabyte.
const QUEUE_RECORDS_MAX: usize = 8192;

/// How long an exit waits for the last lines to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

const WRITER_THREAD: &str = "log";

/// What the console calls us; module paths mean nothing to who reads it.
const TARGET: &str = env!("CARGO_PKG_NAME");

enum Entry {
    Line {
        at: SystemTime,
        level: Level,
        text: String,
    },
    Reopen,
}

/// The handle by which the program steers its log.
pub(super) struct Logging {
    queue: Arc<Queue>,
    /// Closed when the writer has ended.
    ended: Receiver<()>,
}

impl Logging {
    /// Installs the process's logger.
    ///
    /// # Errors
    ///
    /// `file` cannot be opened or its folders cannot be made.
    pub(super) fn start(level: LevelFilter, file: Option<PathBuf>) -> io::Result<Self> {
        let file = file.map(LogFile::open).transpose()?;
        let (sender, entries) = sync_channel(QUEUE_RECORDS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Arc::new(Queue {
            level,
            sender: RwLock::new(Some(sender)),
            dropped: Arc::clone(&dropped),
        });
        let (end, ended) = sync_channel(0);
        let console = SimpleLogger::new().with_level(level).with_utc_timestamps();
        let writer = Writer {
            console,
            file,
            entries,
            dropped,
        };
        thread::Builder::new()
            .name(WRITER_THREAD.to_owned())
            .spawn(move || {
                writer.run();
                drop::<SyncSender<()>>(end);
            })?;
        if log::set_boxed_logger(Box::new(Arc::clone(&queue))).is_ok() {
            log::set_max_level(level);
        }
        log_panics();
        Ok(Logging { queue, ended })
    }

    /// Opens the file anew, for whoever has moved it away.
    pub(super) fn reopen(&self) {
        self.queue.push(Entry::Reopen);
    }

    /// Writes what is queued and ends the writer; gives up on a console nobody reads.
    pub(super) fn close(self) {
        *self
            .queue
            .sender
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.ended.recv_timeout(CLOSE_WAIT);
    }
}

/// The loop's end of the queue.
struct Queue {
    level: LevelFilter,
    /// `None` once the log is closed.
    sender: RwLock<Option<SyncSender<Entry>>>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn push(&self, entry: Entry) {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && sender.try_send(entry).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            self.push(Entry::Line {
                at: SystemTime::now(),
                level: record.level(),
                text,
            });
        }
    }

    fn flush(&self) {}
}

/// The thread's end of the queue, and where the lines go.
struct Writer {
    console: SimpleLogger,
    file: Option<LogFile>,
    entries: Receiver<Entry>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) {
        while let Ok(entry) = self.next() {
            match entry {
                Entry::Line { at, level, text } => self.line(at, level, &text),
                Entry::Reopen => self.reopen(),
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text = format!("{dropped} log lines dropped: they came faster than written");
                self.line(SystemTime::now(), Level::Warn, &text);
            }
        }
        self.flush();
    }

    /// The next entry; the file is brought up to date before waiting for one.
    fn next(&mut self) -> Result<Entry, RecvError> {
        match self.entries.try_recv() {
            Ok(entry) => Ok(entry),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => {
                self.flush();
                self.entries.recv()
            }
        }
    }

    fn line(&mut self, at: SystemTime, level: Level, text: &str) {
        self.console_line(level, text);
        if let Some(file) = &mut self.file
            && let Err(error) = file.line(at, level, text)
        {
            self.file_failed(&error);
        }
    }

    fn console_line(&self, level: Level, text: &str) {
        // `eprintln!` panics when standard error is closed; the log goes on without it.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut record = Record::builder();
            self.console.log(
                &record
                    .level(level)
                    .target(TARGET)
                    .args(format_args!("{text}"))
                    .build(),
            );
        }));
    }

    fn reopen(&mut self) {
        self.flush();
        let Some(file) = &mut self.file else { return };
        match LogFile::open(file.path.clone()) {
            Ok(opened) => *file = opened,
            Err(error) => self.file_failed(&error),
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.writer.flush()) {
            self.file_failed(&error);
        }
    }

    fn file_failed(&self, error: &io::Error) {
        if let Some(file) = &self.file {
            let path = file.path.display();
            self.console_line(Level::Error, &format!("log file {path}: {error}"));
        }
    }
}

struct LogFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(LogFile {
            path,
            writer: BufWriter::new(file),
        })
    }

    /// `YYYY-MM-DD HH:MM:SS [LEVEL] message`, local time: the ancestor's format.
    fn line(&mut self, at: SystemTime, level: Level, text: &str) -> io::Result<()> {
        let at = DateTime::<Local>::from(at).format("%Y-%m-%d %H:%M:%S");
        writeln!(self.writer, "{at} [{level}] {text}")
    }
}

/// Panics go to the log like everything else, from whatever thread but the log's own.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if thread::current().name() != Some(WRITER_THREAD) {
            error!("{panic}");
        }
    }));
}
