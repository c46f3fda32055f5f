//! Other nodes in the server: what they have published goes into the logs of its rooms, what this
//! turn has made is published, and connections wait for the names they claim.

use super::Server;
use super::connection::State;
use super::listener::Listener;
use super::transport::Transport;
use crate::buffer::LogFullError;
use crate::clock::Millis;
use crate::cluster::{Engine, Input, Node, NodeConfig, TELL_BYTES_MAX};
use crate::conn_id::ConnId;
use crate::limits::{CLOCK_CHECK_BYTES, VISIT_COST_BYTES, turn_micros};
use crate::protocol::chat::Roster;
use crate::protocol::cluster::{
    Channel, Cluster, Event, NameOutcome, NodeNumber, Progress, Tell, Verdict,
};
use crate::protocol::{CloseReason, Departure, Handler, dispatch};

/// Cost of an event besides its bytes: where a million members are known, one that joins takes some
/// microseconds.
const EVENT_COST_BYTES: usize = 1024;

impl<T: Transport> Server<T> {
    /// Makes the server a node of a cluster. Its listeners are in no channel until
    /// [`set_channel`](Self::set_channel) is called.
    pub fn enable_cluster(&mut self, config: NodeConfig, engine: Engine, incarnation: u64) {
        let unsent_bytes_max = self.shared.limits.cluster_unsent_bytes_max();
        let mut cluster = Cluster::new(incarnation, unsent_bytes_max);
        let mut node = Node::new(config, engine, &cluster, self.shared.now);
        // Without rooms, too, it is one of the nodes.
        node.set_channels(&mut cluster);
        self.node = Some(Box::new(node));
        self.shared.cluster = Some(Box::new(cluster));
    }

    /// Has the room of a listener span all nodes whose rooms have that channel. The name says the
    /// protocol, too: `chat:lobby`. A listener that is in the channel, and drains or is about to have
    /// another one, is in none from now on. Does nothing in a server that is no node.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn set_channel(&mut self, listener: usize, name: Option<&str>) {
        let Some(cluster) = &mut self.shared.cluster else { return };
        let Listener { protocol, room, .. } = &self.listeners[listener];
        let has_members = dispatch!(protocol, handler => has_members(handler));
        let (before, channel) = (room.channel, name.map(|name| cluster.open(name, has_members)));
        if before == channel {
            return;
        }
        let other = channel.and_then(|channel| self.listener_in(channel));
        if let Some(other) = other {
            self.listeners[other].leave_channel();
        }
        let gone = self.listeners[listener].leave_channel();
        self.listeners[listener].room.channel = channel;
        let (Some(node), Some(cluster)) = (&mut self.node, &mut self.shared.cluster) else {
            return;
        };
        if let Some(closed) = before {
            cluster.close(closed);
            node.close(closed, cluster);
        }
        if let Some(channel) = channel {
            node.open(channel, gone, cluster);
        }
        if before.is_some() || other.is_some() {
            node.release_names(cluster);
        }
        node.set_channels(cluster);
    }

    /// Has what waits for the engine, and what comes from it, go by the limits in force.
    pub(super) fn limit_cluster(&mut self) {
        let limits = &self.shared.limits;
        if let (Some(node), Some(cluster)) = (&mut self.node, &mut self.shared.cluster) {
            let unsent_bytes_max = limits.cluster_unsent_bytes_max();
            cluster.outbox.set_bytes_max(unsent_bytes_max);
            node.engine_mut().set_bounds(unsent_bytes_max, limits.cluster_message_bytes_max());
        }
    }

    /// The connections to the engine, for whoever has their sockets.
    pub fn cluster_engine_mut(&mut self) -> Option<&mut Engine> {
        self.node.as_mut().map(|node| node.engine_mut())
    }

    /// The same, as they are.
    #[must_use]
    pub fn cluster_engine(&self) -> Option<&Engine> {
        self.node.as_ref().map(|node| node.engine())
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_deref()
    }

    /// Acts on what other nodes have published, as far as there is time and the logs have space.
    // Cold is what it is in a server that is no node, which is not to pay for it.
    #[cold]
    pub(super) fn run_cluster(&mut self, registry: &T::Registry) {
        let now = self.shared.now;
        let cluster = self.shared.cluster.as_deref();
        if !self.node().zip(cluster).is_some_and(|(node, cluster)| node.is_due(cluster, now)) {
            return;
        }
        // What a room is told borrows from the node.
        let Some(mut node) = self.node.take() else { return };
        self.schedule.budget.begin(turn_micros::CLUSTER);
        self.is_cluster_blocked = false;
        while !self.schedule.budget.is_spent() {
            let Some(cluster) = &mut self.shared.cluster else { break };
            let Some(input) = node.next(cluster, self.shared.now) else { break };
            self.schedule.budget.charge(EVENT_COST_BYTES);
            match self.act_on(input) {
                Ok(Progress::Done) => node.done(),
                Ok(Progress::Refused) => {
                    if let Some(cluster) = &self.shared.cluster {
                        node.refuse(cluster);
                    }
                }
                // A step looks at as many members as may take a part's time.
                Ok(Progress::More) => self.schedule.budget.charge(CLOCK_CHECK_BYTES),
                Err(LogFullError) => {
                    self.is_cluster_blocked = true;
                    break;
                }
            }
            self.deliver_direct(registry);
        }
        self.tell_of_members(&mut node);
        self.count_receivers();
        self.update_cluster_charge(&node);
        if let Some(cluster) = &mut self.shared.cluster {
            node.on_time(cluster, self.shared.now);
        }
        self.node = Some(node);
        self.settle_claims(registry);
    }

    /// Has a room act on something.
    fn act_on(&mut self, input: Input<'_>) -> Result<Progress, LogFullError> {
        let Some(remote) = input.remote else { return Ok(Progress::Done) };
        let Some(number) = self.listener_in(input.channel) else { return Ok(Progress::Done) };
        let (shared, listener) = (&mut self.shared, &mut self.listeners[number]);
        let room = &mut listener.room;
        // Senders that wait have their part of the log.
        let unoffered = room.log.head() - room.log.offered();
        let half = shared.limits.broadcast_log_bytes_max / 2;
        if !listener.fanout.waiting.is_empty() && unoffered > half as u64 {
            return Err(LogFullError);
        }
        let head = room.log.head();
        let result =
            dispatch!(&mut listener.protocol, handler => handler.on_remote(remote, room, shared));
        // Appended bytes lie in memory, so their number fits.
        self.schedule.budget.charge((listener.room.log.head() - head) as usize);
        listener.start_pass_if_needed(&mut shared.memory);
        result
    }

    /// A log has space again: what other nodes have published may go on.
    pub(super) fn note_log_vacancy(&mut self) {
        self.is_cluster_blocked = false;
    }

    /// Charges the account with what waits to be published and what is known of other nodes.
    fn update_cluster_charge(&mut self, node: &Node) {
        let rosters = self.listeners.iter().filter_map(|listener| {
            dispatch!(&listener.protocol, handler => handler.roster().map(Roster::allocated))
        });
        let waiting = self.shared.cluster.as_ref().map_or(0, |cluster| cluster.allocated());
        let held = rosters.sum::<usize>() + waiting + node.allocated();
        self.shared.memory.recharge(&mut self.cluster_charged, held);
    }

    /// The listener whose room has a channel.
    fn listener_in(&self, channel: Channel) -> Option<usize> {
        self.listeners.iter().position(|listener| listener.room.channel == Some(channel))
    }

    /// Tells the other nodes, and the engine, of members of this one, some at a time.
    fn tell_of_members(&mut self, node: &mut Node) {
        if !self.shared.cluster.as_ref().is_some_and(|cluster| node.may_tell(cluster)) {
            return;
        }
        while let Some((channel, from)) = node.tellings_mut().snapshots.front_mut() {
            let (channel, cluster) = (*channel, self.shared.cluster.as_mut());
            let Some(cluster) = cluster.filter(|c| c.outbox.bytes() < TELL_BYTES_MAX) else {
                break;
            };
            if from.is_none() {
                cluster.publish(channel, &Event::SnapshotBegins);
            }
            let next = self.tell_some(channel, from.unwrap_or(0), Tell::Snapshot);
            *from = next;
            if next.is_none() {
                if let Some(cluster) = &mut self.shared.cluster {
                    cluster.publish(channel, &Event::SnapshotEnds);
                }
                node.tellings_mut().snapshots.pop_front();
            }
        }
        while let Some((channel, from)) = node.tellings_mut().claims.front_mut() {
            if self.shared.cluster.as_ref().is_none_or(|cluster| cluster.has_name_requests()) {
                break;
            }
            match self.tell_some(*channel, *from, Tell::Claims) {
                Some(next) => *from = next,
                None => {
                    node.tellings_mut().claims.pop_front();
                }
            }
        }
    }

    fn tell_some(&mut self, channel: Channel, from: u32, tell: Tell) -> Option<u32> {
        let number = self.listener_in(channel)?;
        let (shared, listener) = (&mut self.shared, &self.listeners[number]);
        let room = &listener.room;
        dispatch!(&listener.protocol, handler => handler.tell_members(from, tell, room, shared))
    }

    fn count_receivers(&mut self) {
        let Some(cluster) = &mut self.shared.cluster else { return };
        for listener in &self.listeners {
            if let Some(channel) = listener.room.channel {
                cluster.set_receivers_here(channel, listener.room.subscribers());
            }
        }
    }

    /// Puts connections whose claims have outcomes on the resume list, and acts on names that were
    /// lost, as far as there is time.
    fn settle_claims(&mut self, registry: &T::Registry) {
        if !self.shared.cluster.as_ref().is_some_and(|cluster| cluster.has_name_work()) {
            return;
        }
        let now = self.shared.now;
        // Other nodes may have taken all the time there was.
        self.schedule.budget.begin(turn_micros::CLAIMS);
        while !self.schedule.budget.is_spent()
            && let Some(id) = self.with_cluster(Cluster::next_finished_claim)
        {
            self.schedule.budget.charge(EVENT_COST_BYTES);
            if let Some(mut visit) = self.visit(id) {
                visit.conn.session.on_claim_outcome(now);
                visit.requeue();
            }
        }
        while !self.schedule.budget.is_spent()
            && let Some(verdict) = self.with_cluster(Cluster::next_verdict)
        {
            self.schedule.budget.charge(VISIT_COST_BYTES);
            self.act_on_verdict(registry, &verdict);
        }
    }

    fn with_cluster<R>(&mut self, get: impl FnOnce(&mut Cluster) -> Option<R>) -> Option<R> {
        self.shared.cluster.as_mut().and_then(|cluster| get(cluster))
    }

    fn act_on_verdict(&mut self, registry: &T::Registry, verdict: &Verdict) {
        let Some(number) = self.listener_in(verdict.channel) else { return };
        let (shared, listener) = (&mut self.shared, &mut self.listeners[number]);
        if verdict.outcome == NameOutcome::Ours {
            let (nick, room) = (&*verdict.nick, &listener.room);
            return dispatch!(&listener.protocol, handler => handler.on_name_kept(nick, room, shared));
        }
        if let Some(cluster) = &mut shared.cluster {
            // The answer to a claim may come behind the news that the name was lost again.
            cluster.doubt_name(verdict.channel, &verdict.nick);
        }
        let member = dispatch!(&listener.protocol, handler => handler.member(&verdict.nick));
        if let Some(id) = member {
            self.take_name(registry, id, verdict);
        }
    }

    /// A member has lost its nickname: it is without one again, or where its account is logged in to
    /// elsewhere, its connection closes.
    fn take_name(&mut self, registry: &T::Registry, id: ConnId, verdict: &Verdict) {
        let mut visit = match self.visit(id) {
            Some(visit) if visit.conn.state == State::Open => visit,
            _ => return,
        };
        let (listener, shared) = (&mut *visit.listener, &mut *visit.shared);
        #[cfg(feature = "accounts")]
        let closes =
            verdict.outcome == NameOutcome::LoggedIn || visit.conn.session.client().is_logged_in();
        #[cfg(not(feature = "accounts"))]
        let closes = false;
        let (nick, mut line) = (&*verdict.nick, Vec::new());
        dispatch!(&listener.protocol, handler => handler.write_name_lost(nick, closes, &mut line));
        let log_head = listener.room.log.head();
        let result = if closes {
            visit.conn.session.push_last_message(log_head, &line, &listener.room)
        } else {
            let member = visit.conn.session.unsubscribe(&listener.room.log).unwrap_or_default();
            // It stays, without a name.
            let reason = CloseReason::Quit;
            let departure = Departure { id, member, reason, is_quiet: false };
            let room = &mut listener.room;
            dispatch!(&mut listener.protocol, handler => handler.on_leave(departure, room, shared));
            listener.start_pass_if_needed(&mut shared.memory);
            visit.conn.session.push_message(log_head, &line)
        };
        visit.conn.session.update_charge(&mut visit.shared.memory);
        if result.is_err() {
            visit.close(CloseReason::MemoryLimit, None);
            return;
        }
        #[cfg(feature = "accounts")]
        if closes {
            visit.start_drain(CloseReason::LoggedInElsewhere);
        }
        let timer_at = visit.flush_and_reschedule(registry);
        self.end_visit(registry, id, timer_at);
    }

    /// Publishes what this turn has made.
    #[cold]
    pub(super) fn flush_cluster(&mut self) {
        if let (Some(node), Some(cluster)) = (&mut self.node, &mut self.shared.cluster) {
            node.flush(cluster);
        }
    }

    /// Bytes that the other nodes are yet to be sent; a stop waits for them.
    pub(super) fn unpublished_bytes(&self) -> usize {
        let node = self.node.as_ref().map_or(0, |node| node.engine().unpublished_bytes());
        node + self.shared.cluster.as_ref().map_or(0, |cluster| cluster.outbox.bytes())
    }

    /// The node stops: the others are told.
    pub(super) fn stop_cluster(&mut self) {
        if let (Some(node), Some(cluster)) = (&mut self.node, &mut self.shared.cluster) {
            node.stop(cluster);
        }
    }

    /// Whether any connection waits for the outcome of its claim.
    pub(super) fn has_pending_claims(&self) -> bool {
        self.shared.cluster.as_ref().is_some_and(|cluster| cluster.has_pending_claims())
    }

    /// Whether the next turn has something to do for the cluster.
    pub(crate) fn has_cluster_work(&self) -> bool {
        let (Some(node), Some(cluster)) = (&self.node, &self.shared.cluster) else { return false };
        let has_input = node.has_input() || node.engine().has_news();
        let may_act = has_input && !self.is_cluster_blocked;
        may_act
            || node.may_tell(cluster)
            || cluster.has_name_work()
            || !cluster.outbox.is_empty()
            || self.may_end_stop()
    }

    /// When the cluster has something to do although nothing has happened.
    pub(crate) fn cluster_due_at(&self) -> Option<Millis> {
        let (node, cluster) = (self.node.as_ref()?, self.shared.cluster.as_ref()?);
        node.next_due(cluster)
    }
}

impl<T: Transport> Listener<T> {
    /// Its room is in no channel from now on. Returns the nodes whose members it has yet to forget.
    fn leave_channel(&mut self) -> Vec<NodeNumber> {
        self.room.channel = None;
        dispatch!(&mut self.protocol, handler => handler.leave_channel())
    }
}

fn has_members<H: Handler>(_: &H) -> bool {
    H::HAS_MEMBERS
}
