//! The desk in front of the plugins: sees to it that however slow they are, and however many
//! clients have questions, the loop comes round after about one call.

use std::collections::{HashMap, VecDeque};
use std::fmt;
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
    /// The same of the turn before: whoever comes now stands behind them.
    crowded: bool,
    /// Comings and goings the plugins have not been told of yet.
    events: VecDeque<Event>,
    /// Clients of plugin listeners: a socket that has failed does not tell any more who was there.
    clients: HashMap<ConnId, SocketAddr>,
}

enum Event {
    Came(ConnId, SocketAddr),
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
            crowded: false,
            events: VecDeque::new(),
            clients: HashMap::new(),
        }
    }

    /// Asks the plugins about a package of the client `id`.
    pub fn ask(&mut self, package: &[u8], client: &Client<'_>, out: &mut Vec<u8>) -> Asked {
        if self.crowded || !self.events.is_empty() || self.is_over() {
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
        self.clients.insert(id, addr);
        if self.host.wants_clients() {
            self.events.push_back(Event::Came(id, addr));
        }
    }

    /// A client has gone; only one of a plugin listener has been heard of.
    pub fn on_disconnected(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(addr) = self.clients.remove(&id)
            && self.host.wants_clients()
        {
            self.events.push_back(Event::Went(id, addr, reason));
        }
    }

    /// Where a client of a plugin listener is.
    #[must_use]
    pub fn addr_of(&self, id: ConnId) -> Option<SocketAddr> {
        self.clients.get(&id).copied()
    }

    /// The batch of events is over: those who were sent away come first now, and the plugins are
    /// told who came and went.
    pub fn begin_resuming(&mut self) {
        self.crowded = false;
        while !self.is_over() {
            match self.events.pop_front() {
                Some(Event::Came(id, addr)) => {
                    self.host.client_connected(&Client::new(id).at(Some(addr)));
                }
                Some(Event::Went(id, addr, reason)) => {
                    let client = Client::new(id).at(Some(addr));
                    self.host.client_disconnected(&client, &reason.to_string());
                }
                None => break,
            }
        }
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.crowded = std::mem::take(&mut self.turned_away);
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
        if self.host.wants_clients() {
            self.events.extend(self.clients.iter().map(|(id, addr)| Event::Came(*id, *addr)));
        }
    }

    /// What plugins asked to send to everyone, in order.
    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.host.drain_broadcasts()
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
