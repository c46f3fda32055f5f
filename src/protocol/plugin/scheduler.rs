//! Schedules calls into plugins, so that the loop serves other clients after about one call,
//! however slow the plugins are and however many packages and notices are queued.

#[cfg(feature = "admin")]
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::mem;
#[cfg(feature = "admin")]
use std::rc::Rc;
use std::time::Duration;

use super::lua::{PluginHost, Reload, ReloadStep};
#[cfg(feature = "admin")]
use super::types::PluginMetrics;
use super::types::{Client, HookResult, Notice};
use crate::address::Peer;
use crate::conn_id::ConnId;
use crate::protocol::CloseReason;

/// Time in plugins after which no other call begins this turn. The last call may take its whole
/// budget, so a turn is never longer than the two together.
const TURN_MAX: Duration = Duration::from_millis(5);

/// Time charged for each byte that a plugin answers or broadcasts, which is copied and written at a
/// few hundred megabytes a second: long answers use up a turn as slow calls do.
const BYTE_COST: Duration = Duration::from_nanos(3);

/// Most notices a turn, however fast they are.
const NOTICES_TURN_MAX: u32 = 1024;

/// The plugins, the notices queued for them, and their share of each turn.
pub struct PluginScheduler {
    host: PluginHost,
    /// The host's time when the turn began.
    spent_at_turn_start: Duration,
    /// Time of this turn outside the host: plugins being loaded or just replaced, and
    /// [`BYTE_COST`].
    spent_outside_host: Duration,
    /// Time of calls for packages, in microseconds, until it is taken out.
    #[cfg(feature = "admin")]
    package_micros: Rc<Cell<u64>>,
    /// A package was deferred this turn. The resume list brings it back.
    has_deferred: bool,
    /// A package was deferred in the turn before.
    had_deferred: bool,
    /// Packages or notices were waiting when the turn began, so packages of this batch of events
    /// are deferred.
    is_backlogged: bool,
    /// A notice was given this turn or the turn before.
    has_notified: bool,
    /// How many more notices may be completed this turn; 0 while none may be given.
    notices_left: u32,
    /// The listeners are open.
    is_started: bool,
    /// The plugins have not all been notified that the listeners are open.
    is_start_pending: bool,
    /// Notices that no plugin has been given, in order. A disconnect removes its pending connect,
    /// so there are at most two for each client that may be connected.
    notices: BTreeMap<u64, QueuedNotice>,
    /// The key of the next notice.
    next_notice: u64,
    /// The notice that some plugins have been given and others have not.
    current: Option<Delivery>,
    /// Clients of plugin listeners, with their addresses: a socket that has failed no longer has
    /// one.
    clients: HashMap<ConnId, ClientEntry>,
    /// The reload in progress.
    reload: Option<Box<Reload>>,
    /// Its outcome.
    reloaded: Option<Result<PluginHost, Vec<String>>>,
    /// The turn before took a step of the reload, so this one does not.
    has_stepped_reload: bool,
    /// Hosts no longer in use. Their plugins are dropped one a turn, as freeing their memory takes
    /// time.
    retired: Vec<PluginHost>,
}

/// A client of a plugin listener.
struct ClientEntry {
    addr: Peer,
    /// The key of its connect notice, until every plugin has been given it.
    pending_notice: Option<u64>,
}

enum QueuedNotice {
    Started,
    Connected(ConnId),
    Disconnected {
        id: ConnId,
        addr: Peer,
        reason: CloseReason,
        /// Plugins below this index have been notified that it connected.
        until: usize,
    },
}

/// A notice that is being given to the plugins, one at a time.
struct Delivery {
    notice: QueuedNotice,
    /// The index of the next plugin.
    next: usize,
}

/// The result of [`PluginScheduler::ask`].
#[derive(Debug, PartialEq, Eq)]
pub enum AskResult {
    /// A plugin answered; the answer is in `out`.
    Answered,
    /// No plugin answered.
    Unhandled,
    /// A plugin failed.
    Failed {
        /// The plugin's name.
        plugin: String,
    },
    /// No plugin was asked this turn: ask again in the next.
    Deferred,
}

impl PluginScheduler {
    /// A scheduler of this host's plugins.
    #[must_use]
    pub fn new(host: PluginHost) -> Self {
        PluginScheduler {
            spent_at_turn_start: host.spent(),
            host,
            spent_outside_host: Duration::ZERO,
            #[cfg(feature = "admin")]
            package_micros: Rc::default(),
            has_deferred: false,
            had_deferred: false,
            is_backlogged: false,
            has_notified: false,
            notices_left: 0,
            is_started: false,
            is_start_pending: false,
            notices: BTreeMap::new(),
            next_notice: 0,
            current: None,
            clients: HashMap::new(),
            reload: None,
            reloaded: None,
            has_stepped_reload: false,
            retired: Vec::new(),
        }
    }

    /// Adds the time of calls for packages, in microseconds, to a sum.
    #[cfg(feature = "admin")]
    pub(crate) fn count_packages_in(&mut self, micros: Rc<Cell<u64>>) {
        self.package_micros = micros;
    }

    /// Calls, failures, time and memory of each plugin.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn metrics(&self) -> Vec<PluginMetrics> {
        self.host.metrics()
    }

    /// Asks the plugins to answer a package. The answer is appended to `out`.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> AskResult {
        let entry = self.clients.get(&client.id);
        let is_unannounced = entry.is_some_and(|entry| entry.pending_notice.is_some());
        if self.is_backlogged || self.is_start_pending || is_unannounced || self.is_turn_over() {
            self.has_deferred = true;
            return AskResult::Deferred;
        }
        let before = out.len();
        #[cfg(feature = "admin")]
        let spent = self.host.spent();
        let result = match self.host.ask(package, client, out) {
            HookResult::Answered => AskResult::Answered,
            HookResult::Unhandled => AskResult::Unhandled,
            HookResult::Failed { plugin } => AskResult::Failed { plugin: plugin.to_owned() },
        };
        #[cfg(feature = "admin")]
        {
            let micros = self.host.spent().saturating_sub(spent).as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            self.package_micros.set(self.package_micros.get().saturating_add(micros));
        }
        self.charge(out.len() - before);
        result
    }

    /// Charges the turn for bytes that a plugin answered or broadcast.
    fn charge(&mut self, bytes: usize) {
        self.spent_outside_host +=
            BYTE_COST.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// A client of a plugin listener connected.
    pub fn on_connected(&mut self, id: ConnId, addr: Peer) {
        let pending_notice =
            self.host.wants_clients().then(|| self.push_notice(QueuedNotice::Connected(id)));
        self.clients.insert(id, ClientEntry { addr, pending_notice });
    }

    /// A client disconnected. Clients of other listeners are ignored.
    pub fn on_disconnected(&mut self, id: ConnId, reason: CloseReason) {
        let Some(ClientEntry { addr, pending_notice }) = self.clients.remove(&id) else { return };
        if let Some(key) = pending_notice
            && self.notices.remove(&key).is_some()
        {
            return;
        }
        // If its connect is being given, only the plugins that had it are given the disconnect.
        let connect = self.current.take_if(|delivery| match delivery.notice {
            QueuedNotice::Connected(of) => of == id,
            _ => false,
        });
        let until = connect.map_or(usize::MAX, |delivery| delivery.next);
        if until > 0 && self.host.wants_clients() {
            self.push_notice(QueuedNotice::Disconnected { id, addr, reason, until });
        }
    }

    /// The address of a client of a plugin listener.
    #[must_use]
    pub fn addr_of(&self, id: ConnId) -> Option<Peer> {
        self.clients.get(&id).map(|entry| entry.addr)
    }

    /// The batch of events is over: takes a step of the reload, and decides whether notices are
    /// given ([`notify_next`](Self::notify_next)) before the deferred packages are retried. If
    /// there is no time for all, they alternate turn by turn.
    pub fn begin_resuming(&mut self) {
        self.is_backlogged = false;
        if self.step_reload() && self.is_turn_over() {
            self.notices_left = 0;
            return;
        }
        let notified_before = mem::take(&mut self.has_notified);
        let packages_first = self.had_deferred && notified_before && !self.is_start_pending;
        self.notices_left = if packages_first { 0 } else { NOTICES_TURN_MAX };
    }

    /// Gives one plugin the next notice; false if none is left or the turn has no time. To be
    /// called between [`begin_resuming`](Self::begin_resuming) and the deferred packages, until it
    /// returns false.
    pub fn notify_next(&mut self) -> bool {
        if self.notices_left == 0 || self.is_turn_over() {
            return false;
        }
        let first = || Some(Delivery { notice: self.notices.pop_first()?.1, next: 0 });
        let Some(Delivery { notice, next }) = self.current.take().or_else(first) else {
            return false;
        };
        self.has_notified = true;
        match self.notify_one_plugin(&notice, next) {
            Some(next) => self.current = Some(Delivery { notice, next }),
            None => self.finish_notice(&notice),
        }
        true
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.had_deferred = mem::take(&mut self.has_deferred);
        self.is_backlogged = self.had_deferred || self.has_work();
        self.spent_at_turn_start = self.host.spent();
        self.spent_outside_host = Duration::ZERO;
        self.host.write_due_log();
    }

    /// Bytes of its notices and clients, approximately.
    #[must_use]
    pub fn cost(&self) -> usize {
        const NOTICE_BYTES: usize = 64;
        self.notices.len() * NOTICE_BYTES
            + self.clients.capacity() * size_of::<(ConnId, ClientEntry)>()
    }

    /// Whether the next turn must not wait for events.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let has_notices = self.current.is_some() || !self.notices.is_empty();
        let is_reloading = self.reload.as_ref().is_some_and(|reload| reload.is_ready());
        has_notices || is_reloading || !self.retired.is_empty()
    }

    /// Milliseconds until the next summary of suppressed log lines is due; `None` if none is.
    #[must_use]
    pub fn log_due_in_ms(&self) -> Option<u64> {
        self.host.log_due_in_ms()
    }

    /// Writes all summaries of suppressed log lines: the server stops.
    pub fn flush_log(&self) {
        self.host.flush_log();
    }

    /// All listeners are open. The plugins are notified in the next turns, before anything else.
    pub fn on_started(&mut self) {
        if !mem::replace(&mut self.is_started, true) {
            self.is_start_pending = true;
            self.push_notice(QueuedNotice::Started);
        }
    }

    /// The server stops, and all packages have been answered.
    pub fn on_stopping(&mut self) {
        self.reload = None;
        self.host.server_stopping();
    }

    /// Replaces the plugins. The new ones are notified that the listeners are open, and of each
    /// client as if it had just connected.
    pub fn replace_host(&mut self, mut host: PluginHost) {
        self.spent_outside_host = self.spent_this_turn();
        self.spent_at_turn_start = host.spent();
        mem::swap(&mut self.host, &mut host);
        self.retire(host);
        self.current = None;
        self.notices.clear();
        self.is_start_pending = self.is_started;
        if self.is_started {
            self.push_notice(QueuedNotice::Started);
        }
        let wants_clients = self.host.wants_clients();
        let keys = self.next_notice..;
        self.next_notice += self.clients.len() as u64;
        let mut clients: Vec<_> = self.clients.iter_mut().collect();
        clients.sort_unstable_by_key(|(id, _)| **id);
        let connects = clients.into_iter().zip(keys).map(|((id, entry), key)| {
            entry.pending_notice = wants_clients.then_some(key);
            (key, QueuedNotice::Connected(*id))
        });
        if wants_clients {
            self.notices.extend(connects);
        } else {
            connects.for_each(drop);
        }
    }

    /// Begins to load other plugins beside those in service; one that is in progress is given up.
    /// [`take_reloaded`](Self::take_reloaded) has the outcome.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub fn reload(&mut self, mut reload: Reload) -> io::Result<()> {
        reload.begin()?;
        self.reload = Some(Box::new(reload));
        Ok(())
    }

    /// The outcome of a reload, once: the plugins to [put in place](Self::replace_host) of those
    /// there are, or a reason for each that did not load.
    pub fn take_reloaded(&mut self) -> Option<Result<PluginHost, Vec<String>>> {
        self.reloaded.take()
    }

    /// Takes a step of the reload if it is due. Returns whether it did.
    fn step_reload(&mut self) -> bool {
        if let Some(host) = self.retired.last_mut()
            && !host.drop_one()
        {
            self.retired.pop();
        }
        let Some(reload) = &mut self.reload else { return false };
        reload.poll();
        if mem::take(&mut self.has_stepped_reload) || !reload.is_ready() {
            return false;
        }
        self.has_stepped_reload = true;
        let before = reload.spent();
        let step = reload.step();
        self.spent_outside_host += reload.spent().saturating_sub(before);
        // The thread has already woken the loop for what it read meanwhile.
        reload.poll();
        match step {
            ReloadStep::Pending => return true,
            ReloadStep::Loaded(host) => self.reloaded = Some(Ok(host)),
            ReloadStep::Failed(host, reasons) => {
                host.into_iter().for_each(|host| self.retire(host));
                self.reloaded = Some(Err(reasons));
            }
        }
        self.reload = None;
        true
    }

    fn retire(&mut self, host: PluginHost) {
        host.flush_log();
        self.retired.push(host);
    }

    /// Takes what plugins broadcast, in order.
    pub fn take_broadcasts(&mut self) -> Vec<Vec<u8>> {
        let broadcasts: Vec<Vec<u8>> = self.host.drain_broadcasts().collect();
        self.charge(broadcasts.iter().map(Vec::len).sum());
        broadcasts
    }

    /// Queues a notice. Returns its key.
    fn push_notice(&mut self, notice: QueuedNotice) -> u64 {
        let key = self.next_notice;
        self.next_notice += 1;
        self.notices.insert(key, notice);
        key
    }

    /// Gives a notice to the first plugin from index `from` that has its hook. Returns the index of
    /// the next that has it.
    fn notify_one_plugin(&mut self, notice: &QueuedNotice, from: usize) -> Option<usize> {
        match notice {
            QueuedNotice::Started => self.host.notify(&Notice::Started, from..usize::MAX),
            QueuedNotice::Connected(id) => {
                let addr = self.clients.get(id).map(|entry| entry.addr);
                let client = Client::new(*id).at(addr);
                self.host.notify(&Notice::Connected(&client), from..usize::MAX)
            }
            QueuedNotice::Disconnected { id, addr, reason, until } => {
                let client = Client::new(*id).at(Some(*addr));
                let reason = reason.to_string();
                self.host.notify(&Notice::Disconnected(&client, &reason), from..*until)
            }
        }
    }

    /// Completes a notice that every plugin has been given.
    fn finish_notice(&mut self, notice: &QueuedNotice) {
        self.notices_left -= 1;
        match notice {
            QueuedNotice::Started => self.is_start_pending = false,
            QueuedNotice::Connected(id) => {
                if let Some(entry) = self.clients.get_mut(id) {
                    entry.pending_notice = None;
                }
            }
            QueuedNotice::Disconnected { .. } => {}
        }
    }

    fn spent_this_turn(&self) -> Duration {
        self.host
            .spent()
            .saturating_sub(self.spent_at_turn_start)
            .saturating_add(self.spent_outside_host)
    }

    fn is_turn_over(&self) -> bool {
        self.spent_this_turn() >= TURN_MAX
    }
}

impl fmt::Debug for PluginScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginScheduler")
            .field("notices", &self.notices.len())
            .finish_non_exhaustive()
    }
}
