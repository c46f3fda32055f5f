//! Bounded queues of log lines, each with a thread that writes them to a [`Sink`]. Knows neither the
//! sinks nor the loggers.
//!
//! A mutex and a condition, because a channel of the standard library is 20 KiB of code for what is
//! used of it here. The lock is held for as long as it takes to push a line or to swap two lists.

use std::collections::VecDeque;
use std::io;
use std::mem;
#[cfg(feature = "admin")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use super::thread::spawn;

/// Lines a queue holds, beside those that its writer has taken. A line is some hundred bytes, so this
/// is about a megabyte.
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

/// A bounded queue in front of one sink. Pushing never waits for the sink: lines beyond the bound are
/// dropped, counted and reported.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when there is something to do for a writer that waits, and when it ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that the writer has not taken.
    lines: VecDeque<Line>,
    /// Lines dropped since the last report.
    dropped: u64,
    /// The sink is to be opened anew before the next line.
    reopens: bool,
    is_closed: bool,
    is_writer_waiting: bool,
    has_writer_ended: bool,
}

impl Queue {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn start(sink: impl Sink) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new() });
        let mut writer = Writer { sink: Box::new(sink), queue: Arc::clone(&queue) };
        spawn(WRITER_THREAD, Box::new(move || writer.run()))?;
        Ok(queue)
    }

    pub(super) fn push(&self, line: Line) {
        self.change(|state| {
            if state.is_closed {
                return;
            }
            if state.lines.len() < QUEUE_LINES_MAX {
                state.lines.push_back(line);
            } else {
                state.dropped += 1;
                #[cfg(feature = "admin")]
                DROPPED_TOTAL.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Has the writer open its sink anew before the next line.
    pub(super) fn reopen(&self) {
        self.change(|state| state.reopens = true);
    }

    /// Ends the writer once it has written all lines.
    pub(super) fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    /// Waits until the writer of a closed queue has ended, at most until `deadline`.
    pub(super) fn wait_for_end(&self, deadline: Instant) {
        let mut state = self.lock();
        while !state.has_writer_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if mem::take(&mut state.is_writer_waiting) {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The thread's end of a queue.
struct Writer {
    sink: Box<dyn Sink>,
    queue: Arc<Queue>,
}

/// Longest wait of a writer that has nothing to do.
const WAIT_MAX: Duration = Duration::from_secs(3600);

impl Writer {
    fn run(&mut self) {
        while let Some(State { lines, dropped, reopens, .. }) = self.next() {
            if reopens {
                self.sink.reopen();
            }
            lines.iter().for_each(|line| self.sink.line(line));
            if dropped > 0 {
                let text = format!("{dropped} log lines dropped: they came faster than written");
                let line = Line { at: SystemTime::now(), level: Level::Warn, text: text.into() };
                self.sink.dropped(&line, dropped);
            }
        }
        self.sink.finish();
    }

    /// The next thing to do, `None` after the last. Flushes the sink before it waits.
    fn next(&mut self) -> Option<State> {
        loop {
            if let Some(work) = self.take_work() {
                return work;
            }
            self.sink.flush();
            let most = self.sink.retry_in().unwrap_or(WAIT_MAX);
            let mut state = self.queue.lock();
            if state.is_idle() {
                state.is_writer_waiting = true;
                drop(self.queue.wait(state, most));
            }
        }
    }

    /// Takes what there is to be done, if there is anything; `Some(None)` is the end.
    fn take_work(&mut self) -> Option<Option<State>> {
        let mut state = self.queue.lock();
        if state.is_idle() {
            return None;
        }
        if state.lines.is_empty() && state.dropped == 0 && !state.reopens {
            return Some(None);
        }
        let lines = mem::take(&mut state.lines);
        let (dropped, reopens) = (mem::take(&mut state.dropped), mem::take(&mut state.reopens));
        Some(Some(State { lines, dropped, reopens, ..State::default() }))
    }
}

impl State {
    /// Whether there is nothing to do for the writer.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && !self.reopens && !self.is_closed
    }
}

/// Also where the sink panics.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().has_writer_ended = true;
        self.queue.changed.notify_all();
    }
}
