//! The other nodes as this one hears them: which are there, how far their streams have been heard,
//! and what was missed.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::Heartbeat;
use crate::limits::{PEER_TIMEOUT_MS, PEERS_MAX};
use crate::protocol::cluster::{Channel, Cluster, NodeNumber, Position};

/// How long heartbeats have a stream end before what is expected until they are believed: what a lost
/// connection held may come behind what its node has said since.
const AHEAD_MS: u64 = 3_000;

/// The other nodes. Those that have gone are remembered, so that what was missed is known when they
/// come back.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// By number.
    peers: Vec<Peer>,
    by_incarnation: BTreeMap<u64, NodeNumber>,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) incarnation: u64,
    /// Its name; empty until its first heartbeat.
    pub(super) name: Box<str>,
    /// When it was heard last, by this node's own clock.
    pub(super) heard_at: u64,
    /// It has stopped, or has not been heard for too long.
    pub(super) is_gone: bool,
    /// The log has said that it is there.
    is_logged: bool,
    /// It went while this node could not hear, and what it published then is not known.
    is_unheard: bool,
    streams: BTreeMap<Channel, Stream>,
}

/// One channel of another node.
#[derive(Debug, Default)]
struct Stream {
    /// The next expected position.
    expected: Position,
    /// Clients that a broadcast reaches there.
    receivers: usize,
    /// The node is in the channel, as its last heartbeat said.
    is_open: bool,
    /// Since then all heartbeats have had the stream end before what is expected.
    ahead_since: Option<u64>,
    members: MembersKnown,
}

/// Knowledge of the members of a stream's room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum MembersKnown {
    /// Not all: they are to be asked for.
    #[default]
    No,
    /// They are being told.
    Snapshot,
    /// All.
    Yes,
}

/// Outcome of a batch, or of a heartbeat's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reception {
    /// Messages that were missed before it.
    pub(super) missed: u64,
    /// Events at its beginning that have been heard before.
    pub(super) skip: u64,
}

impl Peers {
    /// The number of a node, which is there from now on. `None` where there are too many.
    pub(super) fn hear(
        &mut self,
        incarnation: u64,
        now: u64,
        cluster: &mut Cluster,
    ) -> Option<NodeNumber> {
        if let Some(number) = self.by_incarnation.get(&incarnation) {
            let peer = &mut self.peers[usize::from(*number)];
            peer.heard_at = now;
            peer.is_unheard = false;
            if std::mem::take(&mut peer.is_gone) {
                peer.streams.values_mut().for_each(|stream| stream.members = MembersKnown::No);
            }
            return Some(*number);
        }
        let peer = Peer {
            incarnation,
            name: Box::default(),
            heard_at: now,
            is_gone: false,
            is_logged: false,
            is_unheard: false,
            streams: BTreeMap::new(),
        };
        let number = if self.peers.len() < PEERS_MAX {
            self.peers.push(peer);
            self.peers.len() - 1
        } else {
            // The one that went first makes way.
            let gone = self.peers.iter_mut().enumerate().filter(|(_, peer)| peer.is_gone);
            let (number, oldest) = gone.min_by_key(|(_, peer)| peer.heard_at)?;
            self.by_incarnation.remove(&oldest.incarnation);
            *oldest = peer;
            number
        };
        let number = number as NodeNumber;
        self.by_incarnation.insert(incarnation, number);
        cluster.set_node(number, incarnation);
        Some(number)
    }

    pub(super) fn get(&self, number: NodeNumber) -> &Peer {
        &self.peers[usize::from(number)]
    }

    /// Whether the log is to say that a node is there, once.
    pub(super) fn must_log(&mut self, number: NodeNumber) -> bool {
        !std::mem::replace(&mut self.peers[usize::from(number)].is_logged, true)
    }

    /// Whether a node is there.
    pub(super) fn is_present(&self, incarnation: u64) -> bool {
        let number = self.by_incarnation.get(&incarnation);
        number.is_some_and(|number| !self.get(*number).is_gone)
    }

    /// A channel is closed here: what is said in it from now on is not missed.
    pub(super) fn forget(&mut self, channel: Channel, cluster: &mut Cluster) {
        cluster.set_receivers_elsewhere(channel, 0);
        for peer in &mut self.peers {
            peer.streams.remove(&channel);
        }
    }

    /// A room knows nobody: the members of all nodes that are in it are to be asked for.
    pub(super) fn doubt_members(&mut self, channel: Channel) {
        let streams = self.peers.iter_mut().filter_map(|peer| peer.streams.get_mut(&channel));
        for stream in streams.filter(|stream| stream.is_open) {
            stream.members = MembersKnown::No;
        }
    }

    /// Whether a channel of a node has been heard of.
    pub(super) fn knows(&self, number: NodeNumber, channel: Channel) -> bool {
        self.get(number).streams.contains_key(&channel)
    }

    /// Whether a snapshot of a room has been heard from its beginning.
    pub(super) fn has_snapshot(&self, number: NodeNumber, channel: Channel) -> bool {
        let stream = self.get(number).streams.get(&channel);
        stream.is_some_and(|stream| stream.members == MembersKnown::Snapshot)
    }

    /// All that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = (NodeNumber, &Peer)> {
        let all = self.peers.iter().enumerate();
        all.filter(|(_, peer)| !peer.is_gone).map(|(number, peer)| (number as NodeNumber, peer))
    }

    /// A batch has come that begins at `first`. `is_fresh` where this node has heard everything
    /// since before the other one began: what is not known was missed.
    pub(super) fn receive(
        &mut self,
        number: NodeNumber,
        channel: Channel,
        first: Position,
        is_fresh: bool,
    ) -> Reception {
        let peer = &mut self.peers[usize::from(number)];
        let stream = match peer.streams.get_mut(&channel) {
            Some(stream) => stream,
            None => {
                let expected = if is_fresh { Position::default() } else { first };
                let stream = Stream { expected, ..Stream::default() };
                peer.streams.entry(channel).or_insert(stream)
            }
        };
        if first.next <= stream.expected.next {
            return Reception { missed: 0, skip: stream.expected.next - first.next };
        }
        let missed = first.messages.saturating_sub(stream.expected.messages);
        stream.expected = first;
        stream.members = MembersKnown::No;
        Reception { missed, skip: 0 }
    }

    /// A heartbeat has said where a stream ends. Returns true where all have said for [`AHEAD_MS`] that it
    /// is before what is expected: that was not of this node, and is forgotten.
    pub(super) fn note_end(
        &mut self,
        number: NodeNumber,
        channel: Channel,
        end: Position,
        now: u64,
    ) -> bool {
        let Some(stream) = self.stream(number, channel) else { return false };
        if end.next >= stream.expected.next {
            stream.ahead_since = None;
            return false;
        }
        if now - *stream.ahead_since.get_or_insert(now) < AHEAD_MS {
            return false;
        }
        (stream.expected, stream.members, stream.ahead_since) = (end, MembersKnown::No, None);
        true
    }

    /// An event has been acted on.
    pub(super) fn advance(&mut self, number: NodeNumber, channel: Channel, is_message: bool) {
        if let Some(stream) = self.stream(number, channel) {
            // The numbers are the other node's: they may be anything.
            stream.expected.next = stream.expected.next.saturating_add(1);
            stream.expected.messages =
                stream.expected.messages.saturating_add(u64::from(is_message));
        }
    }

    /// The room's members are being told from now on.
    pub(super) fn begin_snapshot(&mut self, number: NodeNumber, channel: Channel) {
        if let Some(stream) = self.stream(number, channel) {
            stream.members = MembersKnown::Snapshot;
        }
    }

    /// The room's members have been told, all of them.
    pub(super) fn end_snapshot(&mut self, number: NodeNumber, channel: Channel) {
        if let Some(stream) = self.stream(number, channel)
            && stream.members == MembersKnown::Snapshot
        {
            stream.members = MembersKnown::Yes;
        }
    }

    /// A heartbeat has come: notes the node's name and receivers. Returns the channels that the node
    /// has left.
    pub(super) fn note_heartbeat(
        &mut self,
        number: NodeNumber,
        heartbeat: &Heartbeat<'_>,
        cluster: &mut Cluster,
    ) -> Vec<Channel> {
        let peer = &mut self.peers[usize::from(number)];
        if *peer.name != *heartbeat.name {
            peer.name = heartbeat.name.into();
        }
        let named = heartbeat.channels.iter().filter_map(|beat| cluster.find(beat.name));
        let named: BTreeSet<Channel> = named.collect();
        let mut left: Vec<Channel> = Vec::new();
        for (channel, stream) in &mut peer.streams {
            if named.contains(channel) {
                continue;
            }
            stream.set_receivers(*channel, 0, cluster);
            if std::mem::take(&mut stream.is_open) {
                stream.members = MembersKnown::Yes;
                left.push(*channel);
            }
        }
        for beat in &heartbeat.channels {
            if let Some(channel) = cluster.find(beat.name) {
                let stream = peer
                    .streams
                    .entry(channel)
                    .or_insert_with(|| Stream { expected: beat.end(), ..Stream::default() });
                stream.set_receivers(channel, beat.receivers as usize, cluster);
                if !std::mem::replace(&mut stream.is_open, true) {
                    stream.members = MembersKnown::No;
                }
            }
        }
        left
    }

    /// A node has gone. `is_unheard` where this one could not hear when it did.
    pub(super) fn remove(&mut self, number: NodeNumber, is_unheard: bool, cluster: &mut Cluster) {
        let peer = &mut self.peers[usize::from(number)];
        (peer.is_gone, peer.is_logged, peer.is_unheard) = (true, false, is_unheard);
        for (channel, stream) in &mut peer.streams {
            stream.set_receivers(*channel, 0, cluster);
        }
    }

    /// A node that went while this one could not hear, each once.
    pub(super) fn take_unheard(&mut self) -> Option<NodeNumber> {
        let number = self.peers.iter().position(|peer| peer.is_unheard)?;
        self.peers[number].is_unheard = false;
        Some(number as NodeNumber)
    }

    /// A node that has not been heard for too long.
    pub(super) fn silent(&self, now: u64) -> Option<NodeNumber> {
        let silent = |(_, peer): &(NodeNumber, &Peer)| now - peer.heard_at >= PEER_TIMEOUT_MS;
        self.present().find(silent).map(|(number, _)| number)
    }

    /// The rooms whose members are to be asked for.
    pub(super) fn wants<'a>(
        &'a self,
        cluster: &'a Cluster,
    ) -> impl Iterator<Item = (u64, &'a str)> + 'a {
        self.present().flat_map(move |(_, peer)| {
            peer.wanted_rooms(cluster).map(move |name| (peer.incarnation, name))
        })
    }

    /// The channels in which a node was heard.
    pub(super) fn channels_of(&self, number: NodeNumber) -> Vec<Channel> {
        self.get(number).streams.keys().copied().collect()
    }

    fn stream(&mut self, number: NodeNumber, channel: Channel) -> Option<&mut Stream> {
        self.peers[usize::from(number)].streams.get_mut(&channel)
    }
}

impl Peer {
    /// The rooms whose members are to be asked for.
    pub(super) fn wanted_rooms<'a>(
        &'a self,
        cluster: &'a Cluster,
    ) -> impl Iterator<Item = &'a str> + 'a {
        let rooms = cluster.rooms().filter(move |(channel, _)| {
            let stream = self.streams.get(channel);
            stream.is_some_and(|stream| stream.is_open && stream.members == MembersKnown::No)
        });
        rooms.map(|(_, name)| name)
    }
}

impl Stream {
    /// Sets how many clients a broadcast reaches there, and in the sum of all nodes.
    fn set_receivers(&mut self, channel: Channel, receivers: usize, cluster: &mut Cluster) {
        let others = cluster.receivers_elsewhere(channel) - self.receivers;
        cluster.set_receivers_elsewhere(channel, others + receivers);
        self.receivers = receivers;
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ChannelBeat;
    use super::*;

    const ROOM: &str = "chat:lobby";

    /// A node that is in a room, and another that is heard.
    fn pair() -> (Cluster, Channel, Peers, NodeNumber) {
        let mut cluster = Cluster::new(1, 1_000);
        let channel = cluster.open(ROOM, true);
        let mut peers = Peers::default();
        let number = peers.hear(2, 0, &mut cluster).unwrap();
        (cluster, channel, peers, number)
    }

    /// A heartbeat of the other, which is in the room with so many clients or not.
    fn beat(receivers: Option<u32>) -> Heartbeat<'static> {
        let mut heartbeat = Heartbeat::new(2, "there", false);
        let beat = |receivers| ChannelBeat { name: ROOM, next: 0, messages: 0, receivers };
        heartbeat.channels = receivers.map(beat).into_iter().collect();
        heartbeat
    }

    #[test]
    fn members_of_a_closed_room_are_not_asked_for() {
        let (mut cluster, channel, mut peers, number) = pair();
        peers.note_heartbeat(number, &beat(Some(1)), &mut cluster);
        assert!(peers.wants(&cluster).eq([(2, ROOM)]));
        assert_eq!(peers.note_heartbeat(number, &beat(None), &mut cluster), [channel]);
        assert_eq!(peers.wants(&cluster).count(), 0);
        // It is not heard for a while, and comes back without the room.
        peers.remove(number, false, &mut cluster);
        assert_eq!(peers.hear(2, 7_000, &mut cluster), Some(number));
        assert!(peers.note_heartbeat(number, &beat(None), &mut cluster).is_empty());
        assert_eq!(peers.wants(&cluster).count(), 0);
        peers.note_heartbeat(number, &beat(Some(1)), &mut cluster);
        assert!(peers.wants(&cluster).eq([(2, ROOM)]), "with it");
    }

    #[test]
    fn receivers_are_those_of_nodes_that_are_there() {
        let (mut cluster, channel, mut peers, number) = pair();
        let other = peers.hear(3, 0, &mut cluster).unwrap();
        peers.note_heartbeat(number, &beat(Some(5)), &mut cluster);
        peers.note_heartbeat(other, &beat(Some(u32::MAX)), &mut cluster);
        peers.note_heartbeat(other, &beat(Some(7)), &mut cluster);
        assert_eq!(cluster.receivers_elsewhere(channel), 12);
        peers.remove(other, false, &mut cluster);
        assert_eq!(cluster.receivers_elsewhere(channel), 5);
        peers.hear(3, 7_000, &mut cluster);
        peers.note_heartbeat(other, &beat(Some(2)), &mut cluster);
        peers.note_heartbeat(number, &beat(None), &mut cluster);
        assert_eq!(cluster.receivers_elsewhere(channel), 2);
        peers.forget(channel, &mut cluster);
        peers.note_heartbeat(number, &beat(Some(1)), &mut cluster);
        assert_eq!(cluster.receivers_elsewhere(channel), 1);
    }

    #[test]
    fn number_that_is_too_great_is_forgotten() {
        let (mut cluster, channel, mut peers, number) = pair();
        let at = |next| Position { next, messages: next };
        peers.note_heartbeat(number, &beat(Some(1)), &mut cluster);
        peers.begin_snapshot(number, channel);
        peers.end_snapshot(number, channel);
        // Somebody publishes in the node's name.
        peers.receive(number, channel, at(u64::MAX - 1), true);
        assert_eq!(peers.receive(number, channel, at(5), true).skip, u64::MAX - 6);
        let mut note = |next, now| peers.note_end(number, channel, at(next), now);
        assert!(!note(6, 100) && !note(6, 100 + AHEAD_MS - 1), "they may have been overtaken");
        assert!(note(6, 100 + AHEAD_MS));
        assert!(peers.wants(&cluster).eq([(2, ROOM)]));
        assert_eq!(peers.receive(number, channel, at(6), true), Reception { missed: 0, skip: 0 });
    }

    /// What a connection held that was lost comes behind what was said on the next one.
    #[test]
    fn heartbeats_that_were_overtaken_are_no_proof() {
        let (_, channel, mut peers, number) = pair();
        let at = |next| Position { next, messages: next };
        peers.receive(number, channel, at(0), true);
        for _ in 0..30 {
            peers.advance(number, channel, true);
        }
        for now in (0..3 * AHEAD_MS).step_by(500) {
            assert!(!peers.note_end(number, channel, at(28), now));
            assert!(!peers.note_end(number, channel, at(28), now));
            assert!(!peers.note_end(number, channel, at(30), now + 250));
        }
        assert_eq!(peers.receive(number, channel, at(28), true).skip, 2);
    }
}
