//! This node among the others: heartbeats, what is published and heard, and what was missed.

use std::collections::{BTreeMap, VecDeque};

use log::info;

use super::engine::Engine;
use super::engine_types::{EngineEvent, Link};
use super::loss_log::LossLog;
use super::names::{NameCalls, Standing};
use super::peers::{Peers, Reception};
use super::scripts::{Keys, LEASE_MS, Loss, Notice};
use super::session::ATTEMPT_MS;
use super::wire::{ChannelBeat, Header, Heartbeat};
use crate::clock::Millis;
use crate::escape::SingleLine;
use crate::limits::{DEAF_MS, HEARTBEAT_MS, NODE_NAME_LEN_MAX};
use crate::protocol::chat::MemberKey;
use crate::protocol::cluster::{
    Channel, Cluster, Event, NameOutcome, NodeNumber, Position, Remote, Verdict,
};

/// Longest pause between two calls that counts as time: a node that was stopped for longer has not
/// waited for anybody.
const STEP_MS_MAX: u64 = 1_000;

/// Time after which everyone who is there has been heard, in milliseconds: whoever has waited to connect,
/// or made an attempt, has made the next, and has said so.
const SETTLED_MS: u64 = ATTEMPT_MS + 2 * HEARTBEAT_MS;

/// Pause before names are claimed anew that the engine could not say anything about.
const CLAIM_PAUSE_MS: u64 = 2_000;

/// Shortest pause between the beginnings of two snapshots of a room.
const SNAPSHOT_PAUSE_MS: u64 = 900;

/// Bytes that wait to be published at which no more is told of this node's members.
pub(crate) const TELL_BYTES_MAX: usize = 256 * 1024;

/// The name of the channel of heartbeats.
const NODES: &str = "nodes";

/// Shortest pause between two heartbeats.
const HEARTBEAT_MS_MIN: u64 = 200;

/// How a node is known to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Prefix of its channels and keys in the engine.
    pub prefix: String,
}

/// Counters of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterStats {
    /// Messages published.
    pub published_total: u64,
    /// Messages of other nodes heard.
    pub received_total: u64,
    /// Messages of other nodes that were missed.
    pub lost_total: u64,
}

/// An input of a room.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The room's channel.
    pub channel: Channel,
    /// Its content; `None` where something was heard that is for no room.
    pub remote: Option<Remote<'a>>,
}

/// Something was heard, and no room is to act on it.
const NO_INPUT: Input<'_> = Input { channel: 0, remote: None };

/// This node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    keys: Keys,
    engine: Engine,
    incarnation: u64,
    peers: Peers,
    names: NameCalls,
    stats: ClusterStats,
    /// This node's own clock, which stands still while the process does.
    awake_ms: u64,
    last_time: Millis,
    /// When it became able to hear, by its own clock; `None` while it is not.
    hears_since: Option<u64>,
    has_settled: bool,
    /// When its heartbeats began to reach the engine, by its own clock; `None` while they do not.
    beats_since: Option<u64>,
    /// When names are to be claimed anew, by its own clock: the engine has failed to answer.
    claims_due_at: Option<u64>,
    /// When the last snapshot of each room began, by its own clock.
    snapshots_at: BTreeMap<Channel, u64>,
    /// When it heard its own heartbeat last, by its own clock.
    heard_self_at: u64,
    /// When its last heartbeat was published, by its own clock.
    beat_at: Option<u64>,
    /// A heartbeat is due before its time: members are to be asked for.
    is_beat_wanted: bool,
    is_stopping: bool,
    /// Inputs of rooms that come before anything else that is heard.
    tasks: VecDeque<Task>,
    /// The batch at hand.
    batch: Option<Batch>,
    /// Bytes of the batch at hand.
    events: Vec<u8>,
    /// The channel's name in the engine of the batch that is published.
    channel_key: Vec<u8>,
    tellings: Tellings,
    loss_log: LossLog,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    channel: Channel,
    kind: TaskKind,
}

#[derive(Debug, Clone, Copy)]
enum TaskKind {
    Missed(Option<u64>),
    NodeGone(NodeNumber),
    RoomClosed(NodeNumber),
}

/// Events that were published together, as far as they have been acted on.
#[derive(Debug, Clone, Copy)]
struct Batch {
    channel: Channel,
    node: NodeNumber,
    /// Where the next event begins: before the end.
    at: usize,
    /// The event that was returned last.
    current: Option<Current>,
}

/// An event that a room acts on.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Where the one behind it begins.
    end: usize,
    is_message: bool,
    snapshot: Option<SnapshotEdge>,
}

#[derive(Debug, Clone, Copy)]
enum SnapshotEdge {
    Begins,
    Ends,
}

/// Reports of this node's members that are on their way.
#[derive(Debug, Default)]
pub struct Tellings {
    /// Snapshots for the other nodes: the rooms, and the key of the member that is next; `None`
    /// before it has begun.
    pub snapshots: VecDeque<(Channel, Option<MemberKey>)>,
    /// Claims for the engine.
    pub claims: VecDeque<(Channel, MemberKey)>,
}

impl Tellings {
    /// Whether there is something to be told, as far as this can be known without a look at what waits.
    fn is_pending(&self, cluster: &Cluster) -> bool {
        !self.snapshots.is_empty() || (!self.claims.is_empty() && !cluster.has_name_requests())
    }
}

impl Node {
    /// A node that has heard of nobody. Its incarnation is that of `cluster`.
    #[must_use]
    pub fn new(config: NodeConfig, engine: Engine, cluster: &Cluster, now: Millis) -> Self {
        let keys = Keys::new(&config.prefix, cluster.incarnation);
        let names = NameCalls::new(&config.prefix, cluster.incarnation);
        Node {
            config,
            keys,
            engine,
            incarnation: cluster.incarnation,
            peers: Peers::default(),
            names,
            stats: ClusterStats::default(),
            awake_ms: 0,
            last_time: now,
            hears_since: None,
            has_settled: false,
            beats_since: None,
            claims_due_at: None,
            snapshots_at: BTreeMap::new(),
            heard_self_at: 0,
            beat_at: None,
            is_beat_wanted: false,
            is_stopping: false,
            tasks: VecDeque::new(),
            batch: None,
            events: Vec::new(),
            channel_key: Vec::new(),
            tellings: Tellings::default(),
            loss_log: LossLog::new(),
        }
    }

    /// The connections to the engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Bytes allocated for what waits to be sent and for what was heard.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.engine.allocated() + self.events.capacity()
    }

    /// The connections to the engine.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Reports of this node's members that are on their way.
    pub fn tellings_mut(&mut self) -> &mut Tellings {
        &mut self.tellings
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        self.stats
    }

    /// This node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// For how long it has not heard itself, in milliseconds.
    #[must_use]
    pub fn silent_ms(&self) -> u64 {
        self.awake_ms - self.heard_self_at
    }

    /// The same, if that is too long.
    #[must_use]
    pub fn deaf_ms(&self) -> Option<u64> {
        Some(self.silent_ms()).filter(|silent_ms| *silent_ms >= DEAF_MS)
    }

    /// Whether it has heard of all nodes that were there when it began.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.has_settled
    }

    /// The other nodes that are there: numbers, names, and milliseconds since each was heard.
    pub fn others(&self) -> impl Iterator<Item = (NodeNumber, &str, u64)> {
        let heard_ms = |heard_at| self.awake_ms - heard_at;
        self.peers
            .present()
            .map(move |(number, peer)| (number, &*peer.name, heard_ms(peer.heard_at)))
    }

    /// Has the engine's connections follow the channels that are open.
    pub fn set_channels(&mut self, cluster: &mut Cluster) {
        let rooms = cluster.channels().map(|(_, name)| self.keys.channel(name));
        let channels = rooms.chain([self.keys.nodes_channel()]).collect();
        self.engine.set_channels(channels);
        // What was said in a channel before it was open was not missed.
        self.hears_since = self.hears_since.map(|_| self.awake_ms);
        self.is_beat_wanted = true;
        self.claim_all(cluster);
    }

    /// A channel is closed: what is known of others in it is forgotten.
    pub fn close(&mut self, channel: Channel, cluster: &mut Cluster) {
        self.peers.forget(channel, cluster);
        self.drop_work(channel);
        if self.batch.is_some_and(|batch| batch.channel == channel) {
            self.batch = None;
        }
    }

    /// A listener has come into a channel, from which the one before it has gone if there was one. It
    /// knows nobody there; members of the nodes that are `gone` it has yet to forget.
    pub fn open(&mut self, channel: Channel, gone: Vec<NodeNumber>, cluster: &Cluster) {
        self.peers.doubt_members(channel);
        self.drop_work(channel);
        let tasks = gone.into_iter().map(|node| Task { channel, kind: TaskKind::RoomClosed(node) });
        self.tasks.extend(tasks);
        // Others may know of members who were there before.
        let has_published = cluster.outbox.end(channel).next > 0;
        if has_published && cluster.rooms().any(|(room, _)| room == channel) {
            self.begin_snapshot(channel);
        }
    }

    /// Drops what is to be told in a channel, and of it.
    fn drop_work(&mut self, channel: Channel) {
        self.tasks.retain(|task| task.channel != channel);
        self.tellings.snapshots.retain(|(told, _)| *told != channel);
        self.tellings.claims.retain(|(told, _)| *told != channel);
        self.snapshots_at.remove(&channel);
    }

    /// Releases all names. Those of rooms that are open are to be claimed anew, as
    /// [`set_channels`](Self::set_channels) does.
    pub fn release_names(&mut self, cluster: &Cluster) {
        // A connection begins with that.
        if self.engine.is_ready(Link::Commands) {
            self.names.begin(&mut self.engine, &self.config.name, cluster);
        }
    }

    /// Whether anything is to be done: something has come, or the time has.
    #[must_use]
    pub fn is_due(&self, cluster: &Cluster, now: Millis) -> bool {
        self.engine.has_news()
            || self.has_input()
            || cluster.has_name_work()
            || self.may_tell(cluster)
            || self.next_due(cluster).is_some_and(|due_at| due_at <= now)
    }

    /// Whether more can be told of this node's members.
    #[must_use]
    pub fn may_tell(&self, cluster: &Cluster) -> bool {
        self.tellings.is_pending(cluster)
            && self.engine.is_ready(Link::Commands)
            && self.engine.unsent(Link::Commands).len() <= TELL_BYTES_MAX
    }

    /// Does what the time asks for. To be called each turn, after what has come was acted on.
    pub fn on_time(&mut self, cluster: &mut Cluster, now: Millis) {
        self.advance_clock(now);
        cluster.expire_claims(now);
        // What waits to be sent now has waited since the last turn.
        if self.is_deaf() {
            self.engine.on_deaf(now);
        }
        if self.until_beat() == 0 {
            self.beat(cluster);
        }
        while let Some(node) = self.peers.silent(self.awake_ms) {
            self.lose(node, cluster);
        }
        if self.is_settled() {
            self.has_settled = true;
            cluster.has_settled = true;
            self.tell_of_unheard(cluster);
        }
        if self.claims_due_at.is_some_and(|due_at| due_at <= self.awake_ms) {
            self.claim_all(cluster);
        }
        self.loss_log.on_time(now);
    }

    fn advance_clock(&mut self, now: Millis) {
        self.awake_ms += now.since(self.last_time).min(STEP_MS_MAX);
        self.last_time = now;
    }

    /// Whether it should have heard itself by now. While it cannot publish there is nothing to hear.
    fn is_deaf(&self) -> bool {
        let (Some(hears), Some(beats)) = (self.hears_since, self.beats_since) else { return false };
        self.awake_ms - self.heard_self_at.max(hears).max(beats) >= DEAF_MS
    }

    /// When [`on_time`](Self::on_time) is due, if nothing happens.
    #[must_use]
    pub fn next_due(&self, cluster: &Cluster) -> Option<Millis> {
        let beat_at = self.last_time.after(self.until_beat());
        Millis::earliest([
            Some(beat_at),
            cluster.claims_due_at(),
            self.engine.next_due(),
            self.loss_log.due_at(),
        ])
    }

    fn until_beat(&self) -> u64 {
        let Some(beat_at) = self.beat_at else { return 0 };
        let pause = if self.is_beat_wanted { HEARTBEAT_MS_MIN } else { HEARTBEAT_MS };
        (beat_at + pause).saturating_sub(self.awake_ms)
    }

    /// Says that this node is there, and how far its streams have come.
    fn beat(&mut self, cluster: &mut Cluster) {
        self.beat_at = Some(self.awake_ms);
        self.is_beat_wanted = false;
        if !self.engine.is_ready(Link::Commands) {
            return;
        }
        // What it counts must have been published.
        self.flush(cluster);
        let mut heartbeat = Heartbeat::new(self.incarnation, &self.config.name, self.is_stopping);
        heartbeat.channels = cluster
            .channels()
            .map(|(channel, name)| {
                let Position { next, messages } = cluster.outbox.end(channel);
                let receivers = cluster.receivers_here(channel);
                ChannelBeat { name, next, messages, receivers }
            })
            .take(Heartbeat::CHANNELS_MAX)
            .collect();
        heartbeat.wants = self.peers.wants(cluster).take(Heartbeat::WANTS_MAX).collect();
        self.engine.publish_heartbeat(&self.keys.nodes_channel(), &heartbeat.to_bytes());
        let lease_ms = if self.is_stopping { 0 } else { LEASE_MS };
        self.names.renew(&mut self.engine, &self.config.name, lease_ms, cluster);
    }

    /// Publishes what the turn has made.
    pub fn flush(&mut self, cluster: &mut Cluster) {
        self.names.call(&mut self.engine, &self.config.name, cluster);
        if cluster.outbox.is_empty() {
            return;
        }
        // What is closed is empty.
        for channel in 0..cluster.outbox.channels() {
            while let Some(batch) = cluster.outbox.pop(channel) {
                let header = Header::new(self.incarnation, batch.first, batch.messages_before);
                let mut buffer = [0; Header::LEN_MAX];
                self.channel_key.clear();
                self.keys.write_channel(cluster.channel_name(channel), &mut self.channel_key);
                let parts = [header.write(&mut buffer), &batch.bytes];
                if self.engine.publish(&self.channel_key, &parts) {
                    self.stats.published_total += batch.messages;
                } else {
                    cluster.outbox.note_dropped(batch.messages);
                }
                cluster.outbox.reuse(batch);
            }
        }
    }

    /// The node stops: it says so.
    pub fn stop(&mut self, cluster: &mut Cluster) {
        if !self.is_stopping {
            self.is_stopping = true;
            self.beat(cluster);
        }
    }

    /// Whether there is something for rooms to act on.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.tasks.is_empty() || self.batch.is_some()
    }

    /// The next thing that has come. What a room is to act on comes again until it is
    /// [`done`](Self::done).
    pub fn next(&mut self, cluster: &mut Cluster, now: Millis) -> Option<Input<'_>> {
        // What is heard is heard now, not at the last turn.
        self.advance_clock(now);
        if !self.has_input() {
            if !self.hear(cluster, now) {
                return None;
            }
            if !self.has_input() {
                return Some(NO_INPUT);
            }
        }
        if let Some(Task { channel, kind }) = self.tasks.front().copied() {
            let remote = match kind {
                TaskKind::Missed(count) => Remote::Missed(count),
                TaskKind::NodeGone(node) => {
                    Remote::NodeGone { node, name: Some(&self.peers.get(node).name) }
                }
                TaskKind::RoomClosed(node) => Remote::NodeGone { node, name: None },
            };
            return Some(Input { channel, remote: Some(remote) });
        }
        let batch = self.batch.as_mut()?;
        let (node, channel) = (batch.node, batch.channel);
        let decoded = postcard::take_from_bytes::<Event<'_>>(&self.events[batch.at..]);
        let Ok((event, rest)) = decoded else {
            // It is of a version that this one does not know, and so missed, with all behind it.
            self.batch = None;
            return Some(NO_INPUT);
        };
        let snapshot = match event {
            Event::SnapshotBegins => Some(SnapshotEdge::Begins),
            Event::SnapshotEnds => Some(SnapshotEdge::Ends),
            _ => None,
        };
        let (end, is_message) = (self.events.len() - rest.len(), event.is_message());
        batch.current = Some(Current { end, is_message, snapshot });
        // Only all that is known of the members, and in order, says who is there.
        let is_partial = event == Event::SnapshotEnds && !self.peers.has_snapshot(node, channel);
        let remote = (!is_partial).then_some(Remote::Event { node, event });
        Some(Input { channel, remote })
    }

    /// Marks the last input as acted on.
    pub fn done(&mut self) {
        if self.tasks.pop_front().is_none() {
            self.finish_event(true);
        }
    }

    /// Marks the last input, a message, as one that its room cannot take: it is missed.
    pub fn refuse(&mut self, cluster: &Cluster) {
        if let Some(Batch { channel, .. }) = self.batch {
            self.finish_event(false);
            self.note_missed(channel, Some(1), cluster);
        }
    }

    fn finish_event(&mut self, is_taken: bool) {
        let Some(batch) = &mut self.batch else { return };
        let Some(Current { end, is_message, snapshot }) = batch.current.take() else { return };
        let (node, channel) = (batch.node, batch.channel);
        batch.at = end;
        if end == self.events.len() {
            self.batch = None;
        }
        match snapshot {
            Some(SnapshotEdge::Begins) => self.peers.begin_snapshot(node, channel),
            Some(SnapshotEdge::Ends) => self.peers.end_snapshot(node, channel),
            None => {}
        }
        self.stats.received_total += u64::from(is_message && is_taken);
        self.peers.advance(node, channel, is_message);
    }

    /// Takes the next thing that the engine has sent. Returns whether there was any.
    fn hear(&mut self, cluster: &mut Cluster, now: Millis) -> bool {
        let Some(event) = self.engine.next_event(now) else { return false };
        match event {
            EngineEvent::Message { channel, payload } => {
                let Some(name) = self.keys.channel_name(channel) else { return true };
                if name == NODES {
                    self.events.clear();
                    self.events.extend_from_slice(payload);
                    self.hear_notice(cluster);
                } else if let Some(channel) = cluster.find(name)
                    && let Some((header, events)) = Header::parse(payload)
                    && header.incarnation != self.incarnation
                {
                    self.events.clear();
                    self.events.extend_from_slice(events);
                    self.hear_batch(channel, header, cluster);
                }
            }
            EngineEvent::CommandsReady => {
                cluster.can_claim = true;
                self.beats_since = Some(self.awake_ms);
                self.names.begin(&mut self.engine, &self.config.name, cluster);
                self.beat_at = None;
                self.claim_all(cluster);
            }
            EngineEvent::SubscriberReady => {
                self.hears_since = Some(self.awake_ms);
                self.beat_at = None;
                // Who has lost a name may not have heard so.
                self.claim_all(cluster);
            }
            EngineEvent::Lost(Link::Commands) => {
                cluster.can_claim = false;
                self.beats_since = None;
                self.names.give_up(cluster);
            }
            EngineEvent::Lost(Link::Subscriber) => self.hears_since = None,
            EngineEvent::Answer { tag, result } => {
                match self.names.on_answer(tag, result, cluster) {
                    Standing::Sure => {}
                    Standing::LeaseLost => self.claim_all(cluster),
                    Standing::Unknown => {
                        self.claims_due_at.get_or_insert(self.awake_ms + CLAIM_PAUSE_MS);
                    }
                }
            }
        }
        true
    }

    /// Claims all members' names anew: others may have them, or the engine may not know them. So do
    /// those who are about to be members, once they are.
    fn claim_all(&mut self, cluster: &mut Cluster) {
        self.claims_due_at = None;
        self.names.release_left_over(&mut self.engine, &self.config.name, cluster);
        if cluster.can_claim {
            cluster.doubt_names();
            self.tellings.claims = cluster.rooms().map(|(channel, _)| (channel, 0)).collect();
        }
    }

    /// Whether whoever is heard for the first time has just begun.
    fn is_settled(&self) -> bool {
        self.hears_since.is_some_and(|since| self.awake_ms - since >= SETTLED_MS)
    }

    fn hear_batch(&mut self, channel: Channel, header: Header, cluster: &mut Cluster) {
        let Some(node) = self.peers.hear(header.incarnation, self.awake_ms, cluster) else {
            return;
        };
        let first = Position { next: header.first, messages: header.messages_before };
        let Reception { skip, .. } = self.receive(node, channel, first, cluster);
        let mut left = &self.events[..];
        for _ in 0..skip {
            match postcard::take_from_bytes::<Event<'_>>(left) {
                Ok((_, behind)) => left = behind,
                Err(_) => return,
            }
        }
        let at = self.events.len() - left.len();
        self.batch = (!left.is_empty()).then_some(Batch { channel, node, at, current: None });
    }

    /// A stream is at `first`. What was missed before that is counted, and its room told.
    fn receive(
        &mut self,
        node: NodeNumber,
        channel: Channel,
        first: Position,
        cluster: &Cluster,
    ) -> Reception {
        let is_new = !self.peers.knows(node, channel);
        let is_fresh = self.is_settled();
        let reception = self.peers.receive(node, channel, first, is_fresh);
        if reception.missed > 0 {
            self.note_missed(channel, Some(reception.missed), cluster);
        } else if is_new && !is_fresh && first.messages > 0 {
            // It may have been before this node could hear, or have been lost on its way here.
            self.note_missed(channel, None, cluster);
        }
        reception
    }

    fn note_missed(&mut self, channel: Channel, count: Option<u64>, cluster: &Cluster) {
        let lost = count.unwrap_or_default();
        self.stats.lost_total = self.stats.lost_total.saturating_add(lost);
        let is_told = self.tasks.iter_mut().any(|task| match (&mut task.kind, count) {
            (TaskKind::Missed(Some(told)), Some(more)) if task.channel == channel => {
                *told = told.saturating_add(more);
                true
            }
            (TaskKind::Missed(None), None) => task.channel == channel,
            _ => false,
        });
        if !is_told {
            self.tasks.push_back(Task { channel, kind: TaskKind::Missed(count) });
        }
        // Where nobody was, nobody has missed anything.
        let or_more = count.is_none() && cluster.receivers_here(channel) > 0;
        self.loss_log.note(lost, or_more, self.last_time);
    }

    fn hear_notice(&mut self, cluster: &mut Cluster) {
        let events = std::mem::take(&mut self.events);
        if let Some(Notice { loser, loss, room, folded }) = Notice::parse(&events) {
            let channel = str::from_utf8(room).ok().and_then(|room| cluster.find(room));
            if loser == self.names.holder()
                && let Some(channel) = channel
            {
                let outcome = match loss {
                    Loss::Older => NameOutcome::Older,
                    Loss::LoggedIn => NameOutcome::LoggedIn,
                };
                cluster.settle_name(None, Verdict { channel, nick: folded.into(), outcome });
            }
        } else if let Some(heartbeat) = Heartbeat::parse(&events) {
            if heartbeat.incarnation == self.incarnation {
                self.heard_self_at = self.awake_ms;
            } else {
                self.hear_heartbeat(&heartbeat, cluster);
            }
        }
        self.events = events;
        self.events.clear();
    }

    fn hear_heartbeat(&mut self, heartbeat: &Heartbeat<'_>, cluster: &mut Cluster) {
        let is_late = heartbeat.is_last && !self.peers.is_present(heartbeat.incarnation);
        if is_late || heartbeat.name.len() > NODE_NAME_LEN_MAX {
            return;
        }
        let node = self.peers.hear(heartbeat.incarnation, self.awake_ms, cluster);
        let Some(node) = node else { return };
        if self.peers.must_log(node) {
            info!("cluster: node {} is there", SingleLine(heartbeat.name));
        }
        for beat in &heartbeat.channels {
            if let Some(channel) = cluster.find(beat.name) {
                self.receive(node, channel, beat.end(), cluster);
                if self.peers.note_end(node, channel, beat.end(), self.awake_ms) {
                    self.note_missed(channel, None, cluster);
                }
            }
        }
        for channel in self.peers.note_heartbeat(node, heartbeat, cluster) {
            self.tasks.push_back(Task { channel, kind: TaskKind::RoomClosed(node) });
        }
        for (incarnation, room) in &heartbeat.wants {
            if *incarnation == self.incarnation
                && let Some(channel) = cluster.find(room)
            {
                self.begin_snapshot(channel);
            }
        }
        if heartbeat.is_last {
            self.lose(node, cluster);
        } else if self.peers.get(node).wanted_rooms(cluster).next().is_some() {
            self.is_beat_wanted = true;
        }
    }

    /// Tells the others who is there, unless that has just been done: who has missed it asks again.
    fn begin_snapshot(&mut self, channel: Channel) {
        let is_told = self.tellings.snapshots.iter().any(|(told, _)| *told == channel);
        let last = self.snapshots_at.get(&channel);
        let is_recent = last.is_some_and(|at| self.awake_ms - at < SNAPSHOT_PAUSE_MS);
        if !is_told && !is_recent {
            self.snapshots_at.insert(channel, self.awake_ms);
            self.tellings.snapshots.push_back((channel, None));
        }
    }

    /// Everyone who is there has been heard since this node could not hear. What those that are not
    /// have published in between is not known.
    fn tell_of_unheard(&mut self, cluster: &Cluster) {
        while let Some(node) = self.peers.take_unheard() {
            for channel in self.peers.channels_of(node) {
                self.note_missed(channel, None, cluster);
            }
        }
    }

    /// A node has gone: its rooms are told.
    fn lose(&mut self, node: NodeNumber, cluster: &mut Cluster) {
        info!("cluster: node {} is gone", SingleLine(&self.peers.get(node).name));
        let heard_at = self.peers.get(node).heard_at;
        let is_unheard =
            self.deaf_ms().is_some() || self.hears_since.is_none_or(|since| heard_at < since);
        self.peers.remove(node, is_unheard, cluster);
        for channel in self.peers.channels_of(node) {
            self.tasks.push_back(Task { channel, kind: TaskKind::NodeGone(node) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine_types::EngineConfig;
    use super::*;

    const ROOM: &str = "chat:lobby";

    fn push(texts: &[&[u8]], count: &str) -> Vec<u8> {
        let mut bytes = b">3\r\n".to_vec();
        for text in texts {
            bytes.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            bytes.extend_from_slice(text);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(count.as_bytes());
        bytes
    }

    /// A node in a room, whose subscriber hears.
    struct Fixture {
        node: Node,
        cluster: Cluster,
        now: Millis,
    }

    impl Fixture {
        fn new() -> Self {
            let mut cluster = Cluster::new(0x10, 1 << 20);
            cluster.open(ROOM, true);
            let now = Millis(5_000);
            let here = NodeConfig { name: "here".to_owned(), prefix: "p".to_owned() };
            let mut node =
                Node::new(here, Engine::new(EngineConfig::for_tests(), 7), &cluster, now);
            node.set_channels(&mut cluster);
            let mut fixture = Fixture { node, cluster, now };
            fixture.subscribe();
            fixture
        }

        fn subscribe(&mut self) {
            let (link, now) = (Link::Subscriber, self.now);
            self.node.engine.want(link, now);
            self.node.engine.on_connecting(link, now);
            self.node.engine.on_connected(link, now);
            self.node.engine.on_bytes(link, b"%0\r\n", now);
            for channel in [NODES, ROOM] {
                let channel = self.node.keys.channel(channel);
                let confirmation = push(&[b"subscribe", &channel], ":1\r\n");
                self.node.engine.on_bytes(link, &confirmation, now);
            }
            self.hear();
        }

        fn publish(&mut self, channel: &str, payload: &[u8]) {
            let bytes = push(&[b"message", &self.node.keys.channel(channel), payload], "");
            self.node.engine.on_bytes(Link::Subscriber, &bytes, self.now);
        }

        /// The other node says that it is there, and where its stream ends.
        fn beat(&mut self, next: u64) {
            let mut heartbeat = Heartbeat::new(0x20, "there", false);
            heartbeat.channels = vec![ChannelBeat { name: ROOM, next, messages: 0, receivers: 1 }];
            self.publish(NODES, &heartbeat.to_bytes());
        }

        /// It publishes an event, or somebody does in its name.
        fn batch(&mut self, first: u64, event: &Event<'_>) {
            let mut bytes = Header::new(0x20, first, 0).write(&mut [0; Header::LEN_MAX]).to_vec();
            postcard::to_io(event, &mut bytes).unwrap();
            self.publish(ROOM, &bytes);
        }

        /// A turn. Returns its steps.
        fn hear(&mut self) -> Vec<String> {
            let mut steps = Vec::new();
            while let Some(input) = self.node.next(&mut self.cluster, self.now) {
                steps.push(input.remote.map_or_else(String::new, |it| format!("{it:?}")));
                self.node.done();
            }
            self.node.on_time(&mut self.cluster, self.now);
            steps
        }
    }

    #[test]
    fn node_is_heard_when_its_heartbeat_comes() {
        let mut here = Fixture::new();
        here.now = here.now.after(900);
        here.beat(0);
        here.hear();
        assert_eq!(here.node.others().next(), Some((0, "there", 0)));
        here.now = here.now.after(STEP_MS_MAX * 9);
        here.hear();
        assert_eq!(here.node.silent_ms(), 900 + STEP_MS_MAX, "a pause counts once");
    }

    /// A subscriber that is there has heard nothing yet.
    #[test]
    fn connection_is_no_proof_of_hearing() {
        let mut here = Fixture::new();
        for _ in 0..4 {
            here.now = here.now.after(STEP_MS_MAX);
            here.hear();
        }
        assert_eq!(here.node.deaf_ms(), Some(4 * STEP_MS_MAX));
        here.node.engine.on_failed(Link::Subscriber, "it has ended", here.now);
        here.subscribe();
        assert!(here.node.hears_since.is_some());
        assert_eq!(here.node.deaf_ms(), Some(4 * STEP_MS_MAX));
        here.publish(NODES, &Heartbeat::new(0x10, "here", false).to_bytes());
        here.hear();
        assert_eq!(here.node.deaf_ms(), None);
    }

    /// Whoever has waited as long as one may before it connects was there before this node.
    #[test]
    fn history_is_not_missed() {
        let mut here = Fixture::new();
        for _ in 0..ATTEMPT_MS / STEP_MS_MAX {
            here.now = here.now.after(STEP_MS_MAX);
            here.hear();
        }
        let mut heartbeat = Heartbeat::new(0x20, "there", false);
        let messages = 1_000_000;
        heartbeat.channels =
            vec![ChannelBeat { name: ROOM, next: 2 * messages, messages, receivers: 1 }];
        here.publish(NODES, &heartbeat.to_bytes());
        assert_eq!(here.hear(), ["Missed(None)"]);
        assert_eq!(here.node.stats().lost_total, 0);
    }

    #[test]
    fn heartbeat_is_a_step() {
        let mut here = Fixture::new();
        assert!(!here.node.engine.has_news());
        (0..3).for_each(|_| here.beat(0));
        assert!(here.node.next(&mut here.cluster, here.now).is_some());
        here.node.done();
        assert!(here.node.engine.has_news() && !here.node.has_input(), "two are left");
        assert_eq!(here.hear(), ["", ""]);
        assert!(!here.node.engine.has_news());
    }

    #[test]
    fn stream_is_heard_again_behind_a_forged_number() {
        let mut here = Fixture::new();
        here.beat(0);
        here.hear();
        here.batch(u64::MAX - 1, &Event::Joined("forged"));
        here.batch(0, &Event::Joined("ann"));
        assert_eq!(here.hear(), ["Event { node: 0, event: Joined(\"forged\") }", ""]);
        for _ in 0..3 {
            here.beat(1);
            assert_eq!(here.hear(), [""]);
            here.now = here.now.after(1_000);
        }
        here.beat(1);
        assert_eq!(here.hear(), ["Missed(None)"]);
        here.batch(1, &Event::Joined("ben"));
        assert_eq!(here.hear(), ["Event { node: 0, event: Joined(\"ben\") }"]);
    }

    #[test]
    fn what_waits_is_counted() {
        let mut here = Fixture::new();
        let text = "x".repeat(100_000);
        here.cluster.publish(0, &Event::Post { from: "ann", text: &text });
        let before = here.node.allocated();
        here.node.flush(&mut here.cluster);
        assert!(here.node.allocated() >= before + text.len());
        here.batch(0, &Event::Post { from: "ben", text: &text });
        let before = here.node.allocated();
        here.hear();
        assert!(here.node.allocated() >= before + text.len(), "the batch at hand");
    }
}
