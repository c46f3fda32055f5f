//! Invariants between turns, checked over the whole server. For the simulator and for tests;
//! a running server checks what it can afford where it happens.

use std::collections::{HashMap, HashSet};

use super::Server;
use super::connection::{Connection, Flags, State};
use super::listener::Listener;
use super::transport::Transport;
use super::visit::{deadline, is_stalled};
use crate::address::AddressKey;
use crate::conn_id::ConnId;
use crate::limits::{
    HANDSHAKE_BYTES_MAX, LAYER_WRITE_BYTES_MAX, READ_BUFFER_BYTES, RECORD_BYTES_MAX,
};
#[cfg(feature = "accounts")]
use crate::protocol::Protocol;
use crate::protocol::{CloseReason, Handler, dispatch};

/// The longest reply that is no payload of a client's: STATUS, with every counter at its longest.
const OWN_REPLY_LEN_MAX: usize = 512;

impl<T: Transport> Server<T> {
    /// Checks counts, limits, and that every runnable connection is queued. Takes time in
    /// proportion to the number of connections.
    ///
    /// # Panics
    ///
    /// When something does not hold, with what and where.
    pub fn assert_invariants(&self) {
        assert!(self.shared.out.is_empty(), "replies were left behind");
        self.assert_counts();
        self.assert_layers();
        #[cfg(feature = "admission")]
        self.assert_origins();
        #[cfg(feature = "accounts")]
        self.assert_logins();
        #[cfg(feature = "cluster")]
        self.assert_claims();
        assert!(self.shared.direct.is_empty(), "messages were left behind");
        assert!(self.schedule.admitted_share.is_none(), "a share of the log outlived its visit");
        self.assert_memory();
        #[cfg(feature = "admin")]
        self.assert_admin();
        let lists = self.schedule.arrivals.iter().chain(&self.schedule.resume).copied();
        let handshakes = &self.schedule.handshakes;
        // Those of connections that have gone are passed over when their turn comes.
        let live: HashSet<ConnId> = match handshakes.is_empty() {
            true => HashSet::new(),
            false => self.table.iter().map(|(id, _)| id).collect(),
        };
        let handshakes = handshakes.iter().filter(|id| live.contains(id));
        let lists: Vec<ConnId> = lists.chain(handshakes).collect();
        let queued: HashSet<ConnId> = lists.iter().copied().collect();
        let entries = lists.len();
        assert_eq!(queued.len(), entries, "a connection is queued twice");
        for (id, conn) in self.table.iter() {
            let is_queued = queued.contains(&id);
            assert_eq!(conn.flags.has(Flags::QUEUED), is_queued, "{id} in the lists");
            self.assert_bounds(id, conn);
            self.assert_remembered(id, conn);
        }
    }

    /// The same after a turn, which has made place among those that are not open yet: within a
    /// batch more may come than there may be.
    ///
    /// # Panics
    ///
    /// As [`assert_invariants`](Self::assert_invariants).
    pub fn assert_turn_invariants(&self) {
        self.assert_invariants();
        let limits = &self.shared.limits;
        let unopened = self.io.layers.get().map_or(0, |store| store.unopened.len());
        assert!(unopened <= limits.handshakes_max, "{unopened} unfinished handshakes");
        #[cfg(feature = "admission")]
        {
            let first_over = self.io.origins.first_over(limits.headerless_max);
            assert_eq!(first_over, None, "too many without their PROXY header");
        }
        #[cfg(feature = "admin")]
        assert_eq!(self.admin_charged(), self.admin_held(), "bytes of tasks in the account");
    }

    /// Every byte that waits is in the account, and nothing else is.
    fn assert_memory(&self) {
        let mut sum = self.table_charged + self.plugins_charged;
        #[cfg(feature = "cluster")]
        {
            sum += self.cluster_charged;
        }
        #[cfg(feature = "admin")]
        {
            sum += self.admin_charged();
        }
        for (id, conn) in self.table.iter() {
            let layers = &self.io.layers;
            let held = conn.session.allocated() + layers.held_bytes_of(conn, id);
            let charged = conn.session.charged() + layers.charged_of(conn, id);
            assert_eq!(charged, held, "{id} holds what it is not charged with");
            assert!(conn.state != State::Closed || held == 0, "{id} has gone and holds {held}");
            sum += held;
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            let held = listener.room.log.allocated() + listener.pending.cost();
            assert_eq!(listener.charged, held, "the log of listener {number}");
            sum += held;
        }
        assert_eq!(self.shared.memory.used(), sum, "bytes in the account");
        assert!(
            !self.shared.memory.is_over() || self.is_relief_pointless(),
            "{sum} bytes are too many"
        );
        assert!(
            self.shared.is_tight || !self.shared.memory.is_tight(),
            "tight memory is not flagged"
        );
    }

    /// Whether a connection is the one to be cut for memory: the largest of the address that holds
    /// most.
    pub(super) fn holds_most(&self, id: ConnId) -> bool {
        let mut holders: HashMap<Option<AddressKey>, (usize, usize)> = HashMap::new();
        let mut found = None;
        for (other, conn) in self.table.iter() {
            let charged = conn.session.charged() + self.io.layers.charged_of(conn, other);
            if conn.state == State::Closed || charged == 0 {
                continue;
            }
            let ask = || self.io.origins.peer_of(other, conn).ok().map(AddressKey::from);
            let address = conn.session.address().or_else(ask);
            let (total, largest) = holders.entry(address).or_default();
            *total += charged;
            *largest = charged.max(*largest);
            if other == id {
                found = Some((address, charged));
            }
        }
        let most = holders.values().map(|(total, _)| *total).max();
        found.is_some_and(|(address, charged)| {
            let (total, largest) = holders[&address];
            Some(total) == most && charged == largest
        })
    }

    /// Whether a sender has input deferred, although it takes all that it
    /// is sent.
    pub(super) fn is_held_up(&mut self, id: ConnId) -> bool {
        self.table.get_mut(id).is_some_and(|conn| {
            let takes_all = !conn.flags.has(Flags::WRITE_BLOCKED) && !conn.session.has_unsent();
            conn.state == State::Open && conn.session.has_deferred_input() && takes_all
        })
    }

    /// Every count equals what it counts.
    fn assert_counts(&self) {
        let count = |counts: &dyn Fn(&Connection<T>) -> bool| {
            self.table.iter().filter(|(_, conn)| counts(conn)).count()
        };
        let of_listener = |number: usize, counts: &dyn Fn(&Connection<T>) -> bool| {
            let of = |id: ConnId| self.table.listener_of(id.index) == number;
            self.table.iter().filter(|(id, conn)| of(*id) && counts(conn)).count()
        };
        let refused = State::Draining(CloseReason::Full);
        let clients = count(&|conn| match conn.state {
            State::Opening | State::Open | State::Draining(_) => conn.state != refused,
            State::Lingering | State::Closed => false,
        });
        assert_eq!(self.shared.stats.server.connections, clients as u64, "connections");
        let places = self.sockets_max() - self.shared.limits.lingering_max;
        assert!(clients <= places, "{clients} clients");
        let lingering = count(&|conn| conn.state == State::Lingering || conn.state == refused);
        assert_eq!(self.schedule.lingering_count, lingering, "lingering connections");
        assert_eq!(
            self.schedule.closed.len(),
            count(&|conn| conn.state == State::Closed),
            "closed"
        );
        if !self.schedule.phase.is_stopping() {
            let most = self.sockets_max();
            assert!(self.table.len() <= most, "{} descriptors", self.table.len());
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            let members = of_listener(number, &|conn| conn.state == State::Open);
            assert_eq!(listener.room.members, members, "members of listener {number}");
            let laggards = of_listener(number, &|conn| conn.flags.has(Flags::LAGGING));
            assert_eq!(listener.fanout.laggards, laggards, "laggards of listener {number}");
            let log = &listener.room.log;
            let kept = log.head() - log.start();
            let limits = &self.shared.limits;
            let most = dispatch!(&listener.protocol, handler => handler.log_bytes_max(limits));
            assert!(kept <= most as u64, "{kept} bytes of log");
            assert!(listener.fanout.active || log.offered() == log.head(), "a pass was due");
            let wanted = listener.fanout.active || laggards > 0;
            assert!(wanted || kept == 0, "{kept} bytes of log that nobody needs");
            let fanout = &listener.fanout;
            let served = fanout.active || fanout.is_admitting;
            assert!(served || fanout.waiting.is_empty(), "senders wait and no admission is due");
            self.assert_protocol(number, listener);
        }
    }

    /// Every client is counted for its address, and nobody else is.
    #[cfg(feature = "admission")]
    fn assert_origins(&self) {
        let is_limiting = self.io.origins.is_limiting();
        let (mut clients, mut headerless) = (Vec::new(), 0);
        for (id, conn) in self.table.iter() {
            let is_client = match conn.state {
                State::Opening if conn.awaits_header() => {
                    headerless += 1;
                    false
                }
                State::Draining(CloseReason::Full | CloseReason::AddressLimit) => false,
                State::Opening | State::Open | State::Draining(_) => true,
                State::Lingering | State::Closed => false,
            };
            if is_client && is_limiting {
                clients.push((id, self.io.origins.peer_of(id, conn).ok()));
            }
        }
        self.io.origins.assert_counts(&clients, headerless);
    }

    /// Every connection with a layer has its place there, and no other has; those that are not open
    /// are counted.
    fn assert_layers(&self) {
        let layers = &self.io.layers;
        let (mut places, mut unopened) = (0, 0);
        for (id, conn) in self.table.iter() {
            let is_layered = conn.flags.has(Flags::LAYERED);
            let listener = &self.listeners[self.table.listener_of(id.index)];
            // Whoever was refused for its address, or has gone, may never have got as far.
            let may_lack_layer = conn.awaits_header()
                || conn.is_over_address_limit()
                || matches!(conn.state, State::Lingering | State::Closed);
            if is_layered || !may_lack_layer {
                let has_layer = listener.layer.is_some();
                assert_eq!(is_layered, has_layer, "{id} and the layer of its listener");
            }
            if !is_layered || conn.state == State::Closed {
                continue;
            }
            places += 1;
            unopened += usize::from(conn.state == State::Opening);
            let is_unopened = layers.get().is_some_and(|store| store.is_unopened(id.index));
            assert_eq!(is_unopened, conn.state == State::Opening, "{id} among the unopened");
            let holds = conn.flags.has(Flags::LAYER_HOLDS);
            assert_eq!(holds, layers.held_bytes_of(conn, id) > 0, "{id} holds bytes");
            let may_write = !conn.flags.has_any(Flags::WRITE_BLOCKED | Flags::QUEUED);
            assert!(!may_write || !layers.has_unsent(id.index), "{id} could be written to");
            let (received, unsent) = layers.held_lens(id.index);
            let received_max = if is_unopened { HANDSHAKE_BYTES_MAX } else { RECORD_BYTES_MAX };
            assert!(received <= received_max, "{id} has {received} bytes of a record");
            // One write, and what the layer answered.
            let unsent_max = LAYER_WRITE_BYTES_MAX + HANDSHAKE_BYTES_MAX;
            assert!(unsent <= unsent_max, "{id} has {unsent} bytes sealed and unsent");
            if conn.state == State::Lingering {
                assert!(!layers.may_seal(id.index) && unsent == 0, "{id} was not sent the end");
            }
        }
        let Some(store) = layers.get() else { return assert_eq!(places, 0) };
        assert_eq!(store.len(), places, "places of layers");
        assert_eq!(store.unopened.len(), unopened, "unfinished handshakes");
        assert!(store.wire.is_empty(), "sealed bytes were left behind");
    }

    /// Claims under way are those of connections that wait for them.
    #[cfg(feature = "cluster")]
    fn assert_claims(&self) {
        let Some(cluster) = &self.shared.cluster else { return };
        for (id, conn) in self.table.iter() {
            let waits = conn.session.waits_for_claim();
            assert!(!waits || conn.state == State::Open, "{id} has left and waits for a name");
            assert_eq!(
                waits,
                cluster.is_claim_awaited(id),
                "{id} waits, and its claim is under way"
            );
        }
    }

    /// Tasks under way are those of connections that wait for them.
    #[cfg(feature = "admin")]
    fn assert_admin(&self) {
        let times = self.io.accepted_at.len();
        let Some(admin) = &self.shared.admin else {
            return assert_eq!(times, 0, "times of accept, which nobody may ask for");
        };
        for (id, conn) in self.table.iter() {
            let waits = conn.session.waits_for_admin();
            assert!(!waits || conn.state == State::Open, "{id} has left and waits for an answer");
            assert_eq!(waits, admin.is_awaited(id), "{id} waits, and its task is under way");
        }
        let open: HashSet<ConnId> = self.table.iter().map(|(id, _)| id).collect();
        for id in admin.connections() {
            assert!(open.contains(&id), "an answer waits for {id}, which has gone");
        }
        admin.assert_counts();
        assert!(times <= self.table.len(), "{times} times of accept");
    }

    /// Each login is counted with its connections, and attempts under way are those of connections
    /// that wait for them.
    #[cfg(feature = "accounts")]
    fn assert_logins(&self) {
        let Some(accounts) = &self.shared.accounts else { return };
        let mut logins: HashMap<u32, u32> = HashMap::new();
        for (id, conn) in self.table.iter() {
            let listener = &self.listeners[self.table.listener_of(id.index)];
            let client = conn.session.client();
            if client.is_logged_in() && matches!(listener.protocol, Protocol::Command(_)) {
                *logins.entry(client.member().unwrap_or(0)).or_default() += 1;
            }
            let waits = conn.session.waits_for_login();
            assert!(!waits || conn.state == State::Open, "{id} has left and waits for a login");
            assert_eq!(waits, accounts.is_awaited(id), "{id} waits, and its attempt is under way");
        }
        assert_eq!(accounts.login_counts().collect::<HashMap<_, _>>(), logins, "logins");
        let open: HashSet<ConnId> = self.table.iter().map(|(id, _)| id).collect();
        for id in accounts.connections() {
            assert!(open.contains(&id), "an outcome waits for {id}, which has gone");
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            let counted = self.table.iter().filter(|(id, conn)| {
                let is_own = self.table.listener_of(id.index) == number;
                is_own && conn.state == State::Open && conn.session.must_log_in()
            });
            let counted = counted.count();
            assert_eq!(listener.room.access.must_log_in, counted, "without a login on {number}");
        }
    }

    /// The state of the listener's protocol agrees with its connections.
    fn assert_protocol(&self, number: usize, listener: &Listener<T>) {
        let mut clients = Vec::new();
        for (id, conn) in self.table.iter() {
            if self.table.listener_of(id.index) != number {
                continue;
            }
            let client = conn.session.client();
            let has_left = conn.state != State::Open;
            assert!(!has_left || client.member().is_none(), "{id} has left and is still a member");
            if !has_left {
                clients.push((id, client));
            }
        }
        let is_passing = listener.fanout.active;
        dispatch!(&listener.protocol, handler => handler.assert_invariants(&clients, is_passing));
    }

    /// No connection holds more than it may.
    fn assert_bounds(&self, id: ConnId, conn: &Connection<T>) {
        let listener = &self.listeners[self.table.listener_of(id.index)];
        let members = self.table.len();
        let frame_len_max =
            dispatch!(&listener.protocol, handler => handler.frame_len_max(members));
        let unsent = conn.session.unsent_len();
        let most = self.shared.limits.send_queue_bytes_max + frame_len_max.max(OWN_REPLY_LEN_MAX);
        if let Some(queue) = conn.session.send_queue() {
            queue.assert_invariants();
        }
        assert!(unsent <= most, "{id} has {unsent} bytes unsent");
        let buffered = conn.session.buffered_input().len();
        let most = READ_BUFFER_BYTES + frame_len_max;
        assert!(buffered <= most, "{id} buffers {buffered} bytes of input");
    }

    /// A connection that can go on stands in the resume list; one that cannot will be woken.
    fn assert_remembered(&self, id: ConnId, conn: &Connection<T>) {
        let listener = &self.listeners[self.table.listener_of(id.index)];
        let blocked = conn.flags.has(Flags::WRITE_BLOCKED);
        assert!(!blocked || conn.flags.has(Flags::WRITE_ARMED), "{id} is blocked and not armed");
        let queued = conn.flags.has(Flags::QUEUED);
        assert!(!conn.session.has_unsent() || blocked || queued, "{id} could be written to");
        let passing = listener.fanout.active;
        if conn.state == State::Open {
            let stalled = is_stalled(conn, listener, &self.shared);
            let may_read = conn.may_read() && !conn.input_has_ended();
            let runnable = !stalled && (may_read || conn.session.has_deferred_input());
            assert!(!runnable || queued, "{id} is forgotten");
            let waits = conn.session.waits_for_fanout();
            assert!(!waits || listener.fanout.waiting.contains(&id), "{id} will have no turn");
            let woken = blocked || queued || conn.session.is_waiting() || passing;
            assert!(!stalled || woken, "{id} will never be woken");
        }
        if conn.state != State::Closed {
            let lags = conn.session.lag(&listener.room.log) > 0;
            assert!(!lags || blocked || queued || passing, "{id} lags for no reason");
            let counted = conn.flags.has(Flags::LAGGING);
            assert!(lags || !counted, "{id} is counted as lagging and has everything");
            assert!(counted || !lags || passing, "{id} lags and is not counted");
        }
        let is_stalled = conn.state == State::Open && is_stalled(conn, listener, &self.shared);
        let deadline =
            deadline(conn, listener, &self.shared.limits, self.schedule.phase, is_stalled);
        let record_due_at = (conn.state == State::Open).then(|| {
            self.io.layers.get()?.record_due_at(id.index, self.shared.limits.frame_timeout_ms)
        });
        let deadline = record_due_at.flatten().map_or(deadline, |at| at.min(deadline));
        #[cfg(feature = "admission")]
        let deadline = match self.io.rate_states.get(id.index) {
            Some(state) if conn.session.waits_for_rate() => state.resume_at.min(deadline),
            _ => deadline,
        };
        // Whoever stands in the resume list will be looked at anyway. A deadline that has passed is
        // armed for where the wheel stands, which may be behind.
        let timed =
            conn.timer.at() <= deadline.max(self.shared.now) || conn.flags.has(Flags::QUEUED);
        assert!(timed, "{id} has a deadline and no timer");
    }
}
