//! The desk in front of the plugins: sees to it that however slow they are, and however many
//! clients have questions, the loop comes round after about one call.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use super::CloseReason;
use super::plugin::{Client, PluginHost, Verdict};
use crate::conn_id::ConnId;

/// Time spent in plugins after which nobody else is asked this turn. The call that passes it may
/// take its whole budget, so a turn is never longer than the two together.
const TURN_MAX: Duration = Duration::from_millis(5);

/// The plugins, and who waits to be heard by them.
pub struct PluginDesk {
    host: PluginHost,
    /// What the host had spent when the turn began.
    spent_before: Duration,
    /// Somebody was sent away since the turn began, and will come back by the resume list.
    turned_away: bool,
    /// The same of the turn before.
    returning: bool,
    /// Somebody waited when the turn began: whoever comes in this batch of events stands behind.
    crowded: bool,
    /// The plugins were told of a coming or going, this turn or the turn before.
    told: bool,
    /// Comings and goings the plugins have not been told of yet, in the order they happened. A
    /// client that goes before they were told takes its coming along, so there are never more than
    /// twice as many as there may be clients.
    events: BTreeMap<u64, Event>,
    /// The key of the next event.
    next_event: u64,
    /// Clients of plugin listeners: a socket that has failed does not tell any more who was there.
    clients: HashMap<ConnId, Known>,
}

/// What is known of a client.
struct Known {
    addr: SocketAddr,
    /// Its coming among the events, until the plugins have been told.
    untold: Option<u64>,
}

enum Event {
    Came(ConnId),
    Went(ConnId, SocketAddr, CloseReason),
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// A plugin answered; the bytes are in `out`.
    Answered,
    /// No plugin had an answer.
    Nobody,
    /// A plugin failed.
    Failed {
        /// Its name.
        plugin: String,
    },
    /// The plugins have had their time this turn.
    NotNow,
}

impl PluginDesk {
    /// A desk in front of `host`.
    #[must_use]
    pub fn new(host: PluginHost) -> Self {
        PluginDesk {
            spent_before: host.spent(),
            host,
            turned_away: false,
            returning: false,
            crowded: false,
            told: false,
            events: BTreeMap::new(),
            next_event: 0,
            clients: HashMap::new(),
        }
    }

    /// Asks the plugins about a package of the client `id`.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> Asked {
        let untold = self.clients.get(&client.id).is_some_and(|known| known.untold.is_some());
        if self.crowded || untold || self.is_over() {
            self.turned_away = true;
            return Asked::NotNow;
        }
        match self.host.ask(package, client, out) {
            Verdict::Answered => Asked::Answered,
            Verdict::Nobody => Asked::Nobody,
            Verdict::Failed { plugin } => Asked::Failed { plugin: plugin.to_owned() },
        }
    }

    /// A client of a plugin listener has been let in.
    pub fn on_connected(&mut self, id: ConnId, addr: SocketAddr) {
        let untold = self.host.wants_clients().then(|| self.queue(Event::Came(id)));
        self.clients.insert(id, Known { addr, untold });
    }

    /// A client has gone; only one of a plugin listener has been heard of.
    pub fn on_disconnected(&mut self, id: ConnId, reason: CloseReason) {
        let Some(Known { addr, untold }) = self.clients.remove(&id) else { return };
        if let Some(coming) = untold {
            self.events.remove(&coming);
        } else if self.host.wants_clients() {
            self.queue(Event::Went(id, addr, reason));
        }
    }

    /// Where a client of a plugin listener is.
    #[must_use]
    pub fn addr_of(&self, id: ConnId) -> Option<SocketAddr> {
        self.clients.get(&id).map(|known| known.addr)
    }

    /// The batch of events is over: the plugins are told who came and went, and those who were sent
    /// away come next. Where there is no time for both, each has every other turn.
    pub fn begin_resuming(&mut self) {
        self.crowded = false;
        let told_before = mem::take(&mut self.told);
        if self.returning && told_before {
            return;
        }
        while !self.is_over()
            && let Some((_, event)) = self.events.pop_first()
        {
            self.tell(event);
            self.told = true;
        }
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.returning = mem::take(&mut self.turned_away);
        self.crowded = self.returning || !self.events.is_empty();
        self.spent_before = self.host.spent();
    }

    /// Whether the next turn should not wait.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.events.is_empty()
    }

    /// All listeners are open.
    pub fn on_started(&mut self) {
        self.host.server_started();
    }

    /// The server stops, and everyone has been answered.
    pub fn on_stopping(&mut self) {
        self.host.server_stopping();
    }

    /// Other plugins take the place of these. They are told of the clients there are as if those
    /// had just come.
    pub fn replace_host(&mut self, host: PluginHost) {
        self.spent_before = host.spent();
        self.host = host;
        self.events.clear();
        let wants_clients = self.host.wants_clients();
        for ((id, known), key) in self.clients.iter_mut().zip(self.next_event..) {
            known.untold = wants_clients.then_some(key);
            if wants_clients {
                self.events.insert(key, Event::Came(*id));
            }
        }
        self.next_event += self.clients.len() as u64;
    }

    /// What plugins asked to send to everyone, in order.
    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.host.drain_broadcasts()
    }

    /// Puts an event behind all others. Returns its key.
    fn queue(&mut self, event: Event) -> u64 {
        let key = self.next_event;
        self.next_event += 1;
        self.events.insert(key, event);
        key
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Came(id) => {
                let known = self.clients.get_mut(&id).expect("who goes takes its coming along");
                known.untold = None;
                self.host.client_connected(&Client::new(id).at(Some(known.addr)));
            }
            Event::Went(id, addr, reason) => {
                let client = Client::new(id).at(Some(addr));
                self.host.client_disconnected(&client, &reason.to_string());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.host.spent().saturating_sub(self.spent_before) >= TURN_MAX
    }
}

impl fmt::Debug for PluginDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginDesk").field("events", &self.events.len()).finish_non_exhaustive()
    }
}
