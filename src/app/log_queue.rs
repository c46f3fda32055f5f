//! Bounded queues of log lines, each with a thread that writes them to a [`Sink`]. Knows neither the
//! sinks nor the loggers.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;

/// Lines a queue holds. A line is some hundred bytes, so this is about a megabyte.
const QUEUE_LINES_MAX: usize = 8192;

/// Lines dropped since the start, of all queues: a process has one log.
#[cfg(feature = "admin")]
static DROPPED_TOTAL: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped since the start, because they came faster than they were written.
#[cfg(feature = "admin")]
pub(super) fn dropped_total() -> u64 {
    DROPPED_TOTAL.load(Ordering::Relaxed)
}

/// Name of the threads that write.
pub(super) const WRITER_THREAD: &str = "log";

/// A line of the log and when it was logged.
pub(super) struct Line {
    pub(super) at: SystemTime,
    pub(super) level: Level,
    pub(super) text: Arc<str>,
}

/// A place that lines are written to, on a thread of its own.
pub(super) trait Sink: Send + 'static {
    /// Takes a line.
    fn line(&mut self, line: &Line);
    /// Takes the line `notice`, which reports that `lines` lines were dropped.
    fn dropped(&mut self, notice: &Line, lines: u64);
    /// Writes buffered lines: the queue is empty, or [`retry_in`](Self::retry_in) has passed.
    fn flush(&mut self);
    /// Time until a sink that fails is to be flushed again; `None` while it works.
    fn retry_in(&self) -> Option<Duration>;
    /// Opens the file behind the sink anew, if there is one.
    fn reopen(&mut self);
    /// Writes all that is left. The last call.
    fn finish(&mut self);
}

/// A bounded queue in front of one sink. Pushing never blocks: lines beyond the bound are dropped,
/// counted and reported.
pub(super) struct Queue {
    /// `None` once the queue is closed. An empty entry wakes the writer.
    sender: RwLock<Option<SyncSender<Option<Line>>>>,
    dropped: AtomicU64,
    /// A flag and not an entry, because a full queue would lose it.
    reopen: AtomicBool,
}

impl Queue {
    /// Starts the thread that writes to `sink`. The receiver is disconnected when the thread has
    /// ended.
    pub(super) fn start(sink: impl Sink) -> io::Result<(Arc<Self>, Receiver<()>)> {
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

    pub(super) fn push(&self, line: Line) {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && sender.try_send(Some(line)).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            #[cfg(feature = "admin")]
            DROPPED_TOTAL.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the writer open its sink anew before the next line.
    pub(super) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // A full queue needs no entry: its writer is awake.
            let _ = sender.try_send(None);
        }
    }

    /// Ends the writer once it has written all lines.
    pub(super) fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The thread's end of a queue.
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

    /// The next entry, `None` after the last. Flushes the sink before it waits.
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
