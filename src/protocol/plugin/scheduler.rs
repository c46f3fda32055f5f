//! Shares the loop's time between the plugins and everybody else: however slow they are, and however
//! many packages and notices wait, the loop comes round after about one call.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use log::{error, info};

use super::lua::{PluginHost, Reload, ReloadStep};
use super::types::{Client, HookResult, Notice};
use crate::conn_id::ConnId;
use crate::protocol::CloseReason;

/// Time spent in plugins after which nobody else is asked this turn. The package or notice that
/// passes it may take its whole budget, so a turn is never longer than the two together.
const TURN_MAX: Duration = Duration::from_millis(5);

/// What a byte costs that a plugin answers or broadcasts: it is copied and written, at a few hundred
/// megabytes a second. A plugin that says much takes a turn's time as one does that thinks long.
const BYTE_COST: Duration = Duration::from_nanos(3);

/// Notices begun in a turn, however little time they take.
const NOTICES_TURN_MAX: u32 = 1024;

/// The plugins, and the packages and notices that wait for them.
pub struct PluginScheduler {
    host: PluginHost,
    /// What the host had spent when the turn began.
    spent_at_turn_start: Duration,
    /// Spent this turn in plugins that are not the host's: those being loaded, those just replaced;
    /// and what it costs to carry what plugins have said.
    spent_outside_host: Duration,
    /// A package was deferred since the turn began; it comes back by the resume list.
    has_deferred: bool,
    /// The same of the turn before.
    had_deferred: bool,
    /// Something waited when the turn began: whoever comes in this batch of events stands behind.
    is_backlogged: bool,
    /// The plugins were notified of something, this turn or the turn before.
    has_notified: bool,
    /// Notices may be given now, and so many more may be begun this turn.
    notices_left: u32,
    /// The listeners are open.
    is_started: bool,
    /// The plugins have not all heard that they are.
    is_start_pending: bool,
    /// Notices no plugin has been given yet, in the order of what they are about. A disconnect
    /// removes its pending connect, so there are never more than twice as many as there may be
    /// clients.
    notices: BTreeMap<u64, QueuedNotice>,
    /// The key of the next notice.
    next_notice: u64,
    /// The notice that some plugins have been given and others not.
    current: Option<Delivery>,
    /// Clients of plugin listeners: a socket that has failed does not tell any more who was there.
    clients: HashMap<ConnId, ClientEntry>,
    /// Plugins on their way to replace the host.
    reload: Option<Box<Reload>>,
    /// AskResult for while that one was running, and begun after it.
    next_reload: Option<Box<Reload>>,
    /// The turn before took a step of the reload: this one belongs to the others.
    has_stepped_reload: bool,
    /// Plugins no longer in use. They are dropped one a turn: to free a plugin's memory takes time.
    retired: Vec<PluginHost>,
}

/// What is known of a client.
struct ClientEntry {
    addr: SocketAddr,
    /// The key of its connect notice, until all plugins have been given it.
    pending_notice: Option<u64>,
}

enum QueuedNotice {
    Started,
    Connected(ConnId),
    Disconnected {
        id: ConnId,
        addr: SocketAddr,
        reason: CloseReason,
        /// The plugins with smaller numbers than this have heard that it connected.
        until: usize,
    },
}

/// A notice that is being given.
struct Delivery {
    notice: QueuedNotice,
    /// The number of the next plugin to give it to.
    next: usize,
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum AskResult {
    /// A plugin answered; the bytes are in `out`.
    Answered,
    /// No plugin had an answer.
    Unhandled,
    /// A plugin failed.
    Failed {
        /// Its name.
        plugin: String,
    },
    /// The plugins have had their time this turn: ask again in the next.
    Deferred,
}

impl PluginScheduler {
    /// A scheduler of the plugins of `host`.
    #[must_use]
    pub fn new(host: PluginHost) -> Self {
        PluginScheduler {
            spent_at_turn_start: host.spent(),
            host,
            spent_outside_host: Duration::ZERO,
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
            next_reload: None,
            has_stepped_reload: false,
            retired: Vec::new(),
        }
    }

    /// Asks the plugins about a package of the client `id`.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> AskResult {
        let known = self.clients.get(&client.id);
        let is_unannounced = known.is_some_and(|known| known.pending_notice.is_some());
        if self.is_backlogged || self.is_start_pending || is_unannounced || self.is_turn_over() {
            self.has_deferred = true;
            return AskResult::Deferred;
        }
        let before = out.len();
        let asked = match self.host.ask(package, client, out) {
            HookResult::Answered => AskResult::Answered,
            HookResult::Unhandled => AskResult::Unhandled,
            HookResult::Failed { plugin } => AskResult::Failed { plugin: plugin.to_owned() },
        };
        self.charge(out.len() - before);
        asked
    }

    /// A plugin has said so many bytes.
    fn charge(&mut self, bytes: usize) {
        self.spent_outside_host +=
            BYTE_COST.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// A client of a plugin listener has been let in.
    pub fn on_connected(&mut self, id: ConnId, addr: SocketAddr) {
        let pending_notice =
            self.host.wants_clients().then(|| self.queue(QueuedNotice::Connected(id)));
        self.clients.insert(id, ClientEntry { addr, pending_notice });
    }

    /// A client has gone; only one of a plugin listener has been heard of.
    pub fn on_disconnected(&mut self, id: ConnId, reason: CloseReason) {
        let Some(ClientEntry { addr, pending_notice }) = self.clients.remove(&id) else { return };
        if let Some(key) = pending_notice
            && self.notices.remove(&key).is_some()
        {
            return;
        }
        // Of a connect that is being given, only those who have heard of it hear of its end.
        let given = |current: &mut Delivery| matches!(current.notice, QueuedNotice::Connected(of) if of == id);
        let until = self.current.take_if(given).map_or(usize::MAX, |current| current.next);
        if until > 0 && self.host.wants_clients() {
            self.queue(QueuedNotice::Disconnected { id, addr, reason, until });
        }
    }

    /// Where a client of a plugin listener is.
    #[must_use]
    pub fn addr_of(&self, id: ConnId) -> Option<SocketAddr> {
        self.clients.get(&id).map(|known| known.addr)
    }

    /// The batch of events is over: a reload goes on, the plugins may be notified
    /// ([`notify_next`](Self::notify_next)), and the packages that were deferred come next. Where
    /// there is no time for all, each has its turn.
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

    /// Gives one plugin one notice, if there is one and the turn has time for it. To be called
    /// between [`begin_resuming`](Self::begin_resuming) and the packages that were deferred, until it
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

    /// Bytes that its notices and clients cost, roughly.
    #[must_use]
    pub fn cost(&self) -> usize {
        const NOTICE_BYTES: usize = 64;
        self.notices.len() * NOTICE_BYTES
            + self.clients.capacity() * size_of::<(ConnId, ClientEntry)>()
    }

    /// Whether the next turn should not wait.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let has_notices = self.current.is_some() || !self.notices.is_empty();
        let is_reloading = self.reload.as_ref().is_some_and(|reload| reload.is_ready());
        has_notices || is_reloading || !self.retired.is_empty()
    }

    /// How long until a summary of the plugins' log lines is due, in milliseconds, if one is.
    #[must_use]
    pub fn log_due_in_ms(&self) -> Option<u64> {
        self.host.log_due_in_ms()
    }

    /// Writes the summaries of the plugins' log lines: the server stops.
    pub fn flush_log(&self) {
        self.host.flush_log();
    }

    /// All listeners are open. The plugins hear of it in the next turns, before all else.
    pub fn on_started(&mut self) {
        if !mem::replace(&mut self.is_started, true) {
            self.is_start_pending = true;
            self.queue(QueuedNotice::Started);
        }
    }

    /// The server stops, and everyone has been answered.
    pub fn on_stopping(&mut self) {
        self.reload = None;
        self.next_reload = None;
        self.host.server_stopping();
    }

    /// Other plugins take the place of these. They are told that the listeners are open, and of the
    /// clients there are as if those had just come.
    pub fn replace_host(&mut self, mut host: PluginHost) {
        self.spent_outside_host = self.spent_this_turn();
        self.spent_at_turn_start = host.spent();
        mem::swap(&mut self.host, &mut host);
        self.retire(host);
        self.current = None;
        self.notices.clear();
        self.is_start_pending = self.is_started;
        if self.is_started {
            self.queue(QueuedNotice::Started);
        }
        let wants_clients = self.host.wants_clients();
        let keys = self.next_notice..;
        self.next_notice += self.clients.len() as u64;
        let connects = self.clients.iter_mut().zip(keys).map(|((id, known), key)| {
            known.pending_notice = wants_clients.then_some(key);
            (key, QueuedNotice::Connected(*id))
        });
        if wants_clients {
            self.notices.extend(connects);
        } else {
            connects.for_each(drop);
        }
    }

    /// Begins to load other plugins beside those in use, which they replace if all are well. While
    /// one reload is running, however many are asked for, one more comes after it.
    pub fn reload(&mut self, reload: Reload) {
        if self.reload.is_none() {
            self.begin_reload(Box::new(reload));
        } else if self.next_reload.replace(Box::new(reload)).is_none() {
            info!("plugins are being loaded; they will be loaded once more after that");
        }
    }

    fn begin_reload(&mut self, mut reload: Box<Reload>) {
        match reload.begin() {
            Ok(()) => self.reload = Some(reload),
            Err(error) => error!("cannot load plugins: {error}; the plugins stay as they are"),
        }
    }

    /// Takes the reload a step further, if it is its turn. Returns whether it did.
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
        // What the thread has read meanwhile it has announced already.
        reload.poll();
        match step {
            ReloadStep::Pending => return true,
            ReloadStep::Replace(host) => self.replace_host(host),
            ReloadStep::Keep(host) => host.into_iter().for_each(|host| self.retire(host)),
        }
        self.reload = None;
        if let Some(next) = self.next_reload.take() {
            self.begin_reload(next);
        }
        true
    }

    fn retire(&mut self, host: PluginHost) {
        host.flush_log();
        self.retired.push(host);
    }

    /// What plugins asked to send to everyone, in order.
    pub fn take_broadcasts(&mut self) -> Vec<Vec<u8>> {
        let broadcasts: Vec<Vec<u8>> = self.host.drain_broadcasts().collect();
        self.charge(broadcasts.iter().map(Vec::len).sum());
        broadcasts
    }

    /// Puts a notice behind all others. Returns its key.
    fn queue(&mut self, notice: QueuedNotice) -> u64 {
        let key = self.next_notice;
        self.next_notice += 1;
        self.notices.insert(key, notice);
        key
    }

    /// Gives a notice to the first plugin from number `from` on that wants it. Returns the number of
    /// the next that does.
    fn notify_one_plugin(&mut self, notice: &QueuedNotice, from: usize) -> Option<usize> {
        match notice {
            QueuedNotice::Started => self.host.notify(&Notice::Started, from..usize::MAX),
            QueuedNotice::Connected(id) => {
                let addr = self.clients.get(id).map(|known| known.addr);
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

    /// Every plugin has been given this notice.
    fn finish_notice(&mut self, notice: &QueuedNotice) {
        self.notices_left -= 1;
        match notice {
            QueuedNotice::Started => self.is_start_pending = false,
            QueuedNotice::Connected(id) => {
                if let Some(known) = self.clients.get_mut(id) {
                    known.pending_notice = None;
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
