//! The cluster as protocols see it: the channel of their room, what they publish to it, and the
//! names they claim. The nodes and the engine are behind it, in `cluster/`.

mod claims;
mod event;
mod outbox;

use std::collections::HashMap;

pub use claims::{Claimed, NameOutcome, NameRequest, NameRequestKind, Verdict};
pub use event::{Event, Payload};
pub use outbox::{Batch, Channel, Outbox, Position};

use claims::Claims;

use super::{Context, Room, Shared};
use crate::clock::Millis;
use crate::conn_id::ConnId;

/// Another node, by number. A node that comes back has the number it had, unless it is another
/// incarnation.
pub type NodeNumber = u16;

/// Something that has happened elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Remote<'a> {
    /// In the room of another node.
    Event {
        /// The node.
        node: NodeNumber,
        /// The event.
        event: Event<'a>,
    },
    /// A node has stopped, is not heard any more, or has closed its part of the room.
    NodeGone {
        /// The node.
        node: NodeNumber,
        /// Its name, unless only the room has gone.
        name: Option<&'a str>,
    },
    /// Messages have been missed: so many, where that is known.
    Missed(Option<u64>),
}

/// How far a room has come with something that has happened elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It takes more than one step: the room is to be asked again.
    More,
    /// It is longer than what the room may ever take: it is missed.
    Refused,
}

/// A kind of report of a room's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// To the other nodes: who is there.
    Snapshot,
    /// To the engine: whose the names are.
    Claims,
}

/// A node's place in the cluster, as its protocols see it.
#[derive(Debug)]
pub struct Cluster {
    /// This node, drawn at start.
    pub incarnation: u64,
    /// Events to be published.
    pub outbox: Outbox,
    /// The engine can be asked for names.
    pub can_claim: bool,
    /// This node has heard of all that were there when it began: others begin later.
    pub has_settled: bool,
    claims: Claims,
    channels: Vec<ChannelState>,
    by_name: HashMap<Box<str>, Channel>,
    /// Incarnations of the other nodes, by number.
    nodes: Vec<u64>,
}

/// One channel.
#[derive(Debug)]
struct ChannelState {
    /// `chat:lobby`.
    name: Box<str>,
    /// A listener is in it.
    is_open: bool,
    /// It is a room whose members other nodes are told of.
    has_members: bool,
    /// Clients that broadcasts reach on other nodes, as those last said.
    receivers_elsewhere: usize,
    /// The same here.
    receivers_here: u32,
}

impl Cluster {
    /// A node alone, in no channel. What waits to be published takes up at most `unsent_bytes_max`.
    #[must_use]
    pub fn new(incarnation: u64, unsent_bytes_max: usize) -> Self {
        Cluster {
            incarnation,
            outbox: Outbox::new(unsent_bytes_max),
            can_claim: false,
            has_settled: false,
            claims: Claims::default(),
            channels: Vec::new(),
            by_name: HashMap::new(),
            nodes: Vec::new(),
        }
    }

    /// Opens the channel of a name. One that was closed goes on with its numbers.
    pub fn open(&mut self, name: &str, has_members: bool) -> Channel {
        let known = self.by_name.get(name).copied();
        let channel = known.unwrap_or_else(|| {
            let state = ChannelState {
                name: name.into(),
                is_open: false,
                has_members,
                receivers_elsewhere: 0,
                receivers_here: 0,
            };
            self.channels.push(state);
            self.outbox.add_channel();
            // A server has at most as many listeners as a number of 16 bits has values.
            let channel = (self.channels.len() - 1) as Channel;
            self.by_name.insert(name.into(), channel);
            channel
        });
        self.channels[usize::from(channel)].is_open = true;
        channel
    }

    /// Closes a channel: no listener is in it any more.
    pub fn close(&mut self, channel: Channel) {
        self.channels[usize::from(channel)].is_open = false;
        // What waits has its numbers, should the channel be opened again.
        while self.outbox.pop(channel).is_some() {}
    }

    /// Whether a listener is in a channel.
    #[must_use]
    pub fn is_open(&self, channel: Channel) -> bool {
        self.channels[usize::from(channel)].is_open
    }

    /// The channels that are open, with their names.
    pub fn channels(&self) -> impl Iterator<Item = (Channel, &str)> {
        let open = self.channels.iter().enumerate().filter(|(_, channel)| channel.is_open);
        open.map(|(number, channel)| (number as Channel, &*channel.name))
    }

    /// Those of them whose members other nodes are told of.
    pub fn rooms(&self) -> impl Iterator<Item = (Channel, &str)> {
        self.channels().filter(|(number, _)| self.channels[usize::from(*number)].has_members)
    }

    /// The open channel of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Channel> {
        self.by_name.get(name).copied().filter(|channel| self.is_open(*channel))
    }

    /// The name of a channel.
    #[must_use]
    pub fn channel_name(&self, channel: Channel) -> &str {
        &self.channels[usize::from(channel)].name
    }

    /// Publishes an event of a channel, if that is open.
    pub fn publish(&mut self, channel: Channel, event: &Event<'_>) {
        if self.is_open(channel) {
            self.outbox.push(channel, event);
        }
    }

    /// How many clients a broadcast reaches on other nodes, as those last said.
    #[must_use]
    pub fn receivers_elsewhere(&self, channel: Channel) -> usize {
        self.channels[usize::from(channel)].receivers_elsewhere
    }

    /// The other nodes have said how many clients a broadcast reaches there.
    pub fn set_receivers_elsewhere(&mut self, channel: Channel, receivers: usize) {
        self.channels[usize::from(channel)].receivers_elsewhere = receivers;
    }

    /// How many clients a broadcast of another node reaches here.
    #[must_use]
    pub fn receivers_here(&self, channel: Channel) -> u32 {
        self.channels[usize::from(channel)].receivers_here
    }

    /// Sets how many that are.
    pub fn set_receivers_here(&mut self, channel: Channel, receivers: usize) {
        self.channels[usize::from(channel)].receivers_here =
            u32::try_from(receivers).unwrap_or(u32::MAX);
    }

    /// A number stands for another node from now on.
    pub fn set_node(&mut self, node: NodeNumber, incarnation: u64) {
        let at = usize::from(node);
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, 0);
        }
        self.nodes[at] = incarnation;
    }

    /// The incarnation of another node.
    #[must_use]
    pub fn node(&self, node: NodeNumber) -> u64 {
        self.nodes.get(usize::from(node)).copied().unwrap_or_default()
    }

    /// A connection has gone: the name it claimed is nobody's.
    pub fn disconnect(&mut self, id: ConnId) {
        self.claims.abandon(id);
    }

    /// Asks the engine for something.
    pub fn request_name(&mut self, request: NameRequest) {
        self.claims.request(request);
    }

    /// Something may have become of a name that connections claim: whoever is a member under it then
    /// claims it anew. Returns whether any does.
    pub fn doubt_name(&mut self, channel: Channel, nick: &str) -> bool {
        self.claims.doubt(channel, nick)
    }

    /// The same of all names that connections claim.
    pub fn doubt_names(&mut self) {
        self.claims.doubt_all();
    }

    /// The next request to the engine.
    pub fn next_name_request(&mut self) -> Option<NameRequest> {
        self.claims.next_request()
    }

    /// Whether the engine is to be asked for something.
    #[must_use]
    pub fn has_name_requests(&self) -> bool {
        self.claims.has_requests()
    }

    /// Bytes allocated for what waits to be published and for names, about.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.outbox.allocated() + self.claims.allocated()
    }

    /// The engine has decided whose a name is, which a connection has claimed or a member has.
    pub fn settle_name(&mut self, id: Option<ConnId>, verdict: Verdict) {
        self.claims.settle(id, verdict);
    }

    /// The engine cannot say whether a connection may have the name it claimed.
    pub fn give_up_claim(&mut self, id: ConnId) {
        self.claims.give_up(id);
    }

    /// Gives up claims that have waited for too long.
    pub fn expire_claims(&mut self, now: Millis) {
        self.claims.expire(now);
    }

    /// When the oldest claim is given up.
    #[must_use]
    pub fn claims_due_at(&self) -> Option<Millis> {
        self.claims.due_at()
    }

    /// A connection whose claim has an outcome, each once.
    pub fn next_finished_claim(&mut self) -> Option<ConnId> {
        self.claims.next_finished()
    }

    /// A name that the engine has decided on while no connection waited for it.
    pub fn next_verdict(&mut self) -> Option<Verdict> {
        self.claims.next_verdict()
    }

    /// Whether outcomes or verdicts wait to be acted on.
    #[must_use]
    pub fn has_name_work(&self) -> bool {
        self.claims.has_work()
    }

    /// Whether any connection waits for the outcome of its claim.
    #[must_use]
    pub fn has_pending_claims(&self) -> bool {
        self.claims.has_pending()
    }

    /// Whether a connection waits for its outcome, or has not been told that it has come.
    #[must_use]
    pub fn is_claim_awaited(&self, id: ConnId) -> bool {
        self.claims.is_awaited(id)
    }
}

/// Publishes an event of a room, where it spans nodes.
pub(super) fn publish(room: &Room, shared: &mut Shared, event: &Event<'_>) {
    if let Some(channel) = room.channel
        && let Some(cluster) = &mut shared.cluster
    {
        cluster.publish(channel, event);
    }
}

/// Asks for a name for a client that wants to join. The outcome comes when the message is tried
/// again.
pub(super) fn claim(nick: &str, is_forced: bool, ctx: &mut Context<'_>) -> Claimed {
    let Some((channel, cluster)) = ctx.room.channel.zip(ctx.shared.cluster.as_mut()) else {
        return Claimed::Granted;
    };
    let is_waiting = cluster.claims.is_known(ctx.id);
    if !cluster.can_claim && !is_waiting {
        return Claimed::Unknown;
    }
    cluster.claims.claim(ctx.id, (channel, nick), is_forced, ctx.shared.now)
}

/// A client has the name that it claimed.
pub(super) fn finish_claim(ctx: &mut Context<'_>) {
    if let Some(cluster) = &mut ctx.shared.cluster {
        cluster.claims.finish(ctx.id);
    }
}

/// A client's message has been answered: what it has claimed, and has not, is nobody's.
pub(super) fn end_claim(ctx: &mut Context<'_>) {
    if let Some(cluster) = &mut ctx.shared.cluster {
        cluster.claims.abandon(ctx.id);
    }
}

/// A name is to be claimed behind what has happened already, or given back.
pub(super) fn request(room: &Room, shared: &mut Shared, nick: &str, kind: NameRequestKind) {
    if let Some(channel) = room.channel
        && let Some(cluster) = &mut shared.cluster
        && cluster.can_claim
    {
        cluster.request_name(NameRequest { channel, nick: nick.into(), kind });
    }
}
