//! Requests to a loop from other threads, and the waker that ends its wait for them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::{Registry, Waker};

use super::socket::token;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::protocol;
use crate::stats::Stats;

/// Id of the events that wake the loop for a request: those of the waker, and of the pipe of
/// [`Signals`](super::Signals). Generation 0 is no connection's, and the index no listener's.
pub(super) const WAKE: ConnId = ConnId { index: u32::MAX, generation: 0 };

/// Ids of the events of the connections to the engine.
#[cfg(feature = "cluster")]
pub(super) const ENGINE_COMMANDS: ConnId = ConnId { index: u32::MAX - 1, generation: 0 };
#[cfg(feature = "cluster")]
pub(super) const ENGINE_SUBSCRIBER: ConnId = ConnId { index: u32::MAX - 2, generation: 0 };

const STOP: u8 = 1 << 0;
const ABORT: u8 = 1 << 1;
const RELOAD: u8 = 1 << 2;
const STATS: u8 = 1 << 3;

/// Steers an [`EventLoop`](super::EventLoop) from other threads.
///
/// Every method but [`stats`](Self::stats) returns at once. The loop acts in its next turn. Equal
/// requests are coalesced; a loop that has ended ignores all.
/// Clones steer the same loop, and hold its waker's descriptor open.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waker: Waker,
    /// Bits of the requests since the loop's last look.
    requested: AtomicU8,
    published: Mutex<Published>,
    /// Notified when `published` changes.
    has_published: Condvar,
}

/// The last answer to [`Handle::stats`].
#[derive(Debug, Default)]
struct Published {
    /// Answers so far, so that callers know a new one from the last.
    count: u64,
    snapshot: Option<Snapshot>,
    /// The loop has ended: no more answers will come.
    has_ended: bool,
}

/// The counters of a server at one moment. Displayed as the JSON object of STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The counters.
    pub stats: Stats,
    /// Time of the snapshot, on the clock of [`Stats::started_at`].
    pub now: Millis,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        protocol::write_status(f, &self.stats, self.now)
    }
}

impl Handle {
    /// Stops the loop in order: it accepts no more, answers all that has arrived, and closes
    /// connections within [`drain_timeout_ms`](crate::limits::Limits::drain_timeout_ms). A
    /// second call changes nothing.
    pub fn stop(&self) {
        self.request(STOP);
    }

    /// Ends the loop in its next turn, with replies unsent.
    pub fn abort(&self) {
        self.request(ABORT);
    }

    /// Has the loop call [`Program::on_reload`](super::Program::on_reload), unless it is stopping.
    pub fn reload(&self) {
        self.request(RELOAD);
    }

    /// Returns the counters as of the loop's next turn, waiting for it at most `timeout`; `None` if
    /// that passes, or the loop has ended. On the loop's own thread it always passes.
    ///
    /// ```
    /// # use mynah::{EventLoop, Limits, PrefixedProtocol};
    /// # let mut event_loop = EventLoop::new(Limits::default())?;
    /// # event_loop.bind("127.0.0.1:0".parse().unwrap(), PrefixedProtocol)?;
    /// let handle = event_loop.handle();
    /// let observer = std::thread::spawn(move || {
    ///     let snapshot = handle.stats(std::time::Duration::from_secs(10));
    ///     handle.stop();
    ///     snapshot
    /// });
    /// event_loop.run()?;
    /// assert_eq!(observer.join().unwrap().unwrap().stats.connections, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self, timeout: Duration) -> Option<Snapshot> {
        let published = self.published();
        let before = published.count;
        self.request(STATS);
        let is_waiting = |now: &mut Published| now.count == before && !now.has_ended;
        let (published, _) = self
            .0
            .has_published
            .wait_timeout_while(published, timeout, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        published.snapshot.filter(|_| published.count != before)
    }

    /// Wakes the loop without a request.
    pub fn wake(&self) {
        // Cannot fail on a full eventfd: mio drains it (eventfd(2)).
        let _ = self.0.waker.wake();
    }

    fn request(&self, bit: u8) {
        self.0.requested.fetch_or(bit, Ordering::Release);
        self.wake();
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.0.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receiver of handle requests.
#[derive(Debug)]
pub(super) struct RequestReceiver(Handle);

/// Requests since the last look; several of a kind are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestSet(u8);

impl RequestSet {
    pub(super) fn has_stop(self) -> bool {
        self.0 & STOP != 0
    }

    pub(super) fn has_abort(self) -> bool {
        self.0 & ABORT != 0
    }

    pub(super) fn has_reload(self) -> bool {
        self.0 & RELOAD != 0
    }

    pub(super) fn has_stats(self) -> bool {
        self.0 & STATS != 0
    }
}

impl RequestReceiver {
    /// A receiver whose waker's events carry [`WAKE`].
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let waker = Waker::new(registry, token(WAKE))?;
        Ok(RequestReceiver(Handle(Arc::new(Shared {
            waker,
            requested: AtomicU8::new(0),
            published: Mutex::default(),
            has_published: Condvar::new(),
        }))))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.clone()
    }

    pub(super) fn take(&self) -> RequestSet {
        RequestSet(self.0.0.requested.swap(0, Ordering::Acquire))
    }

    /// Answers all who wait in [`Handle::stats`].
    pub(super) fn publish(&self, snapshot: Snapshot) {
        let mut published = self.0.published();
        published.count += 1;
        published.snapshot = Some(snapshot);
        self.0.0.has_published.notify_all();
    }
}

/// Ends the waits in [`Handle::stats`]: the loop has ended.
impl Drop for RequestReceiver {
    fn drop(&mut self) {
        self.0.published().has_ended = true;
        self.0.0.has_published.notify_all();
    }
}
