//! Checks of a world: after each turn, and of its outcome when it is at rest.

use std::collections::{BTreeSet, HashMap};

use mynah::internal::limits::DRAIN_STALL_MS;

use super::{FRAME_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS, IDLE_MS, PAUSE_MS, Peer, TRICKLE_MS, World};
use crate::simulation::admission::{reads_behind, refused_as_full};
use crate::simulation::chat::{JOINED, LEFT};
use crate::simulation::clients::{Broadcast, Kind};
use crate::simulation::layered::Wire;
use crate::simulation::layers::SimulatedLayer;
use crate::simulation::network::Socket;

impl<L: SimulatedLayer> World<L> {
    /// No more connections linger than may, but for closed ones there was no time to reap.
    fn check_lingering(&self) {
        if self.stopped || self.server.poll_timeout(self.now) == Some(0) {
            return;
        }
        let network = self.network.borrow();
        let lingers = |socket: &&Socket| socket.lingered && !socket.server_closed;
        let lingering = network.sockets.iter().filter(lingers).count();
        assert!(lingering <= self.limits.lingering_max, "{lingering} connections linger");
    }

    /// All that matters of a client where something is wrong with it.
    fn describe(&self, number: usize) -> String {
        let (peer, network) = (&self.peers[number], self.network.borrow());
        let socket = peer.socket.map(|socket| &network.sockets[socket]);
        format!(
            "client {number}, {:?}, {:?}, handed {} (last at {:?}), heard {} (last at {:?}), closed {:?} \
             (silent for {} ms), stop {:?}, {socket:?}",
            peer.ending,
            peer.pace,
            peer.handed,
            peer.last_sent_at,
            peer.heard_len,
            peer.last_heard_at,
            peer.closed_at,
            peer.silent_ms,
            self.stopped_at
        )
    }

    /// Notes what changed for each client in a turn, and checks that no frame is trickled for ever.
    pub(super) fn check_turn(&mut self, passed_ms: u64) {
        self.check_lingering();
        let refused = refused_as_full(&self.server.stats());
        let full = refused > std::mem::replace(&mut self.refused, refused);
        let network = self.network.borrow();
        if let Some(admission) = &mut self.admission {
            let is_done = self.server.poll_timeout(self.now) != Some(0);
            admission.check_turn(&network, self.now, is_done, self.stopped);
        }
        if let Some(accounts) = &self.accounts {
            accounts.check_turn(&network);
        }
        for (number, peer) in self.peers.iter_mut().enumerate() {
            let Some(socket) = peer.socket.map(|socket| &network.sockets[socket]) else { continue };
            if peer.taken_at.is_none() && socket.to_server.is_empty() {
                peer.taken_at = Some(self.now);
            }
            // What the network has taken may come late.
            if std::mem::replace(&mut peer.awaits_late_bytes, socket.has_late_bytes)
                && let Some(since) = peer.was_open_since
            {
                peer.longest_open_ms = peer.longest_open_ms.max(self.now.since(since));
            }
            if full && peer.heard_len == 0 {
                peer.may_have_been_refused = true;
            }
            if socket.server_shut && peer.closed_at.is_none() {
                peer.closed_at = Some(self.now);
                peer.silent_ms = match socket.was_late_at_shut {
                    true => peer.pause_ms,
                    false => self.now.since(peer.last_sent_at),
                };
            }
            // While replies wait for a slow reader, the server does not read, and no clock runs.
            // The end of a line is waited for as long as it takes.
            let is_frame = self.listeners[peer.listener] != Kind::Chat;
            let open = is_frame && peer.leaves_it_open() && peer.open_since.is_some();
            let trickling = open && !socket.was_full;
            if peer.client.waits_for_login() {
                // It is not read from meanwhile, and no clock runs.
                peer.trickled_ms = 0;
            }
            if trickling && socket.reads.len() > peer.reads_before_trickle {
                peer.trickled_ms += passed_ms.min(TRICKLE_MS);
                let alive = !socket.server_shut && !self.stopped;
                assert!(
                    !alive || peer.trickled_ms < FRAME_TIMEOUT_MS + 10_000,
                    "client {number} has kept a frame alive for {} ms",
                    peer.trickled_ms
                );
            }
        }
    }

    /// Checks, once the world is idle, that every client has what is due.
    pub(super) fn check_outcome(&self) {
        self.server.assert_invariants();
        let mut slow = Vec::new();
        let mut cut_for_memory = 0;
        for (number, peer) in self.peers.iter().enumerate() {
            let Some(socket) = peer.socket else { continue };
            let network = self.network.borrow();
            if self.check_admission(peer, socket, &network.sockets[socket]) {
                continue;
            }
            let socket = &network.sockets[socket];
            if let Some(wire) = &peer.wire
                && self.check_layer(number, peer, wire, socket)
            {
                continue;
            }
            if let Some(allowed) = self.allowed_close(peer) {
                cut_for_memory += usize::from(allowed == AllowedClose::Memory);
                if allowed == AllowedClose::Slow {
                    let lacks = check_answered(peer, socket);
                    slow.push(format!("{}: {lacks:?}", self.describe(number)));
                }
                continue;
            }
            if let Err(why) = check_answered(peer, socket) {
                panic!("{}: {why}", self.describe(number));
            }
            // Whoever does not log in has its time, and no more.
            let due = self.is_close_due(peer) || peer.client.is_outside();
            assert_eq!(socket.server_shut, due, "{}: closed", self.describe(number));
            if self.stopped && !peer.shut && !peer.client.expects_close(peer.handed) {
                let told = peer.client.was_told_of_stop();
                assert_ne!(told, Some(false), "client {number} was not told of the stop");
            }
        }
        let cut = self.server.stats().slow_consumers_total as usize;
        assert!(slow.len() <= cut, "{cut} were cut as slow, but these lack something: {slow:#?}");
        let memory_cuts = self.server.stats().memory_cuts_total as usize;
        assert!(
            cut_for_memory <= memory_cuts + cut,
            "{memory_cuts} were cut for memory and {cut} as slow, but {cut_for_memory} lack something"
        );
        assert!(self.is_tight || memory_cuts == 0, "cut although there was memory enough");
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].has_broadcasts() {
                self.check_broadcasts(listener);
            }
        }
    }

    /// Checks what became of a client before anything reached its protocol; true if nothing ever
    /// did.
    fn check_admission(&self, peer: &Peer, number: usize, socket: &Socket) -> bool {
        let Some(admission) = &self.admission else { return false };
        admission.check_outcome(number, socket, peer.client.over_limit(), peer.heard_len);
        admission.is_refused(number, socket, peer.heard_len > 0)
    }

    /// Checks a client with a layer; true if nothing else is to be checked of it.
    fn check_layer(&self, number: usize, peer: &Peer, wire: &Wire, socket: &Socket) -> bool {
        let manner = wire.manner();
        if wire.is_bad() {
            assert!(
                socket.server_shut,
                "client {number}, {manner:?}, is still there: {socket:?} {wire:?}"
            );
            return true;
        }
        let is_gone = peer.reset || peer.panicked || socket.register_failed;
        if socket.server_shut || is_gone {
            if wire.is_broken() && socket.lingered && wire.is_confirmed() {
                assert!(wire.has_last_word(), "client {number} was not told what was wrong");
            }
            // Whoever ends in good order is told so even where the server need not wait for it.
            let is_cut = peer.closed_at.zip(self.stopped_at).is_some_and(|(at, stop)| {
                self.stopped && at.since(stop) >= self.limits.drain_timeout_ms
            });
            let is_orderly = !is_cut
                && self.server.stats().memory_cuts_total == 0
                && self.server.stats().slow_consumers_total == 0
                && !is_gone
                && peer.shut
                && wire.is_confirmed()
                && !socket.reset_by_server
                && self.allowed_close(peer).is_none();
            assert!(
                !is_orderly || wire.has_last_word(),
                "client {number}, {:?}, heard no end: {socket:?}, {:?}, {wire:?}",
                peer.ending,
                self.stopped_at
            );
            return false;
        }
        assert!(wire.is_confirmed(), "the handshake of client {number} is forgotten: {socket:?}");
        false
    }

    /// Whether a client may have been closed before its handshake was over.
    fn may_lack_handshake(&self, peer: &Peer, wire: &Wire) -> bool {
        let opening_ms = peer.closed_at.map_or(0, |at| at.since(peer.connected_at));
        let is_evicted = self.server.stats().handshake_failures_total > 0;
        !wire.is_confirmed() && (self.stopped || opening_ms >= HANDSHAKE_TIMEOUT_MS || is_evicted)
    }

    /// Why a client may have been closed before all was answered.
    fn allowed_close(&self, peer: &Peer) -> Option<AllowedClose> {
        let network = self.network.borrow();
        let number = peer.socket?;
        let socket = &network.sockets[number];
        if let Some(admission) = &self.admission
            && admission.is_refused(number, socket, peer.heard_len > 0)
        {
            return Some(AllowedClose::Gone);
        }
        let kind = self.listeners[peer.listener];
        let until = peer.closed_at.unwrap_or(self.now);
        let open_ms = peer.open_since.map_or(0, |since| until.since(since));
        let late = peer.longest_open_ms.max(open_ms) >= FRAME_TIMEOUT_MS;
        if peer.client.was_late() {
            assert!(late, "{} ms: a frame was called late that was not", peer.longest_open_ms);
        }
        // Who is idle has nothing on its way that could be read.
        let unread = socket.reset_by_server && !socket.lingered && !socket.has_late_bytes;
        let is_silent = peer.silent_ms >= IDLE_MS && !unread;
        let idle = kind == Kind::Prefixed && self.idles && is_silent;
        // A refused client hears why, unless the protocol has no refusal, or so many others came
        // that it had to make way before the refusal was taken.
        let refused = peer.client.was_refused()
            || (peer.may_have_been_refused
                && peer.heard_len == 0
                && (peer.wire.is_some()
                    || !kind.says_full()
                    || socket.was_full
                    || socket.reset_by_server));
        if peer.reset || peer.panicked || socket.register_failed || refused {
            return Some(AllowedClose::Gone);
        }
        if !socket.server_shut {
            return None;
        }
        let connected_ms = until.since(peer.connected_at);
        if peer.client.was_slow_to_log_in() {
            assert!(
                connected_ms >= HANDSHAKE_TIMEOUT_MS,
                "{connected_ms} ms were the time to log in"
            );
        }
        if peer.client.is_outside() && connected_ms >= HANDSHAKE_TIMEOUT_MS {
            return Some(AllowedClose::Gone);
        }
        // It lingered, and had to make way at the moment when more came from it.
        if socket.reset_by_server && socket.lingered && socket.has_late_bytes {
            return Some(AllowedClose::Gone);
        }
        // A late record has no answer, whatever the protocol.
        let has_no_answer = kind == Kind::Prefixed || peer.wire.is_some();
        if idle || peer.client.was_late() || (has_no_answer && late) {
            return Some(AllowedClose::Gone);
        }
        if let Some(wire) = &peer.wire
            && (wire.is_broken() || self.may_lack_handshake(peer, wire))
        {
            return Some(AllowedClose::Gone);
        }
        // What came behind its end is not read.
        if socket.reset_by_server && peer.wire.as_ref().is_some_and(Wire::sends_more) {
            return Some(AllowedClose::Gone);
        }
        // Cut because it took none of its last replies for a minute.
        let drained_for_ms = peer.closed_at.map_or(0, |at| at.since(peer.last_heard_at));
        if socket.was_full && drained_for_ms >= DRAIN_STALL_MS {
            return Some(AllowedClose::Gone);
        }
        // Cut when the drain time was over. Without any, everybody has one visit, and may have
        // asked for more than that.
        let stopped_for_ms =
            peer.closed_at.zip(self.stopped_at).map_or(0, |(at, stop)| at.since(stop));
        // Where that is none, everyone has one turn, which may be short or come to nothing where
        // the log is full; and where much time passes at once, it may be over before there were
        // turns enough.
        let has_one_turn = self.limits.drain_timeout_ms == 0;
        let is_hurried = (has_one_turn && (self.clock.step > 0 || kind.has_broadcasts()))
            || self.jumps
            || self.pause_ms_max > PAUSE_MS;
        let is_over = self.stopped && stopped_for_ms >= self.limits.drain_timeout_ms;
        if is_over && (socket.was_full || is_hurried) {
            return Some(AllowedClose::Gone);
        }
        // An answer that is being hashed is waited for as long as any. What is behind one that comes
        // later is not read.
        let may_wait_ms = self.limits.drain_timeout_ms / 2;
        let waited_until =
            if peer.client.waits_for_login() { peer.closed_at } else { peer.login_answered_at };
        let times = waited_until.zip(self.stopped_at);
        if times.is_some_and(|(at, stop)| at >= stop.after(may_wait_ms)) {
            return Some(AllowedClose::Gone);
        }
        if self.is_served(peer) {
            return None;
        }
        // Whoever was cut for memory held some.
        let slow = kind.has_broadcasts() && socket.was_full;
        match self.server.stats().memory_cuts_total {
            0 => slow.then_some(AllowedClose::Slow),
            _ => Some(AllowedClose::Memory),
        }
    }

    /// Whether the server is to close a client once all is answered.
    fn is_close_due(&self, peer: &Peer) -> bool {
        let has_shut = peer.shut && !peer.follows;
        peer.client.expects_close(peer.handed) || has_shut || self.stopped
    }

    fn is_served(&self, peer: &Peer) -> bool {
        let network = self.network.borrow();
        let Some(socket) = peer.socket else { return false };
        let due = self.is_close_due(peer);
        due && check_answered(peer, &network.sockets[socket]).is_ok()
    }

    /// Broadcasts come whole (each client saw to that), once, in one order, to all who were there.
    fn check_broadcasts(&self, listener: usize) {
        let room: Vec<(usize, &Peer)> =
            self.peers.iter().enumerate().filter(|(_, peer)| peer.listener == listener).collect();
        let gone = room.iter().filter(|(_, peer)| peer.closed_at.is_some() || peer.reset).count();
        let mut hearers: HashMap<Broadcast, usize> = HashMap::new();
        for broadcast in room.iter().flat_map(|(_, peer)| peer.client.heard()) {
            *hearers.entry(*broadcast).or_default() += 1;
        }
        for &(number, peer) in &room {
            let heard = peer.client.heard();
            let distinct: BTreeSet<&Broadcast> = heard.iter().collect();
            assert_eq!(distinct.len(), heard.len(), "client {number} heard something twice");
            for &(sender, _) in heard {
                let speaker = &self.peers[sender];
                // Plugins speak to everyone on every plugin listener.
                let everywhere = self.listeners[listener] == Kind::Plugin
                    && self.listeners[speaker.listener] == Kind::Plugin;
                assert!(everywhere || speaker.listener == listener, "heard from another room");
            }
            for &(sequence, receivers) in peer.client.receipts() {
                let this = (number, sequence);
                let heard_by = hearers.get(&this).copied().unwrap_or(0);
                assert!(
                    heard_by <= receivers && receivers <= heard_by + gone,
                    "{this:?} was heard by {heard_by} of {receivers}, {gone} are gone"
                );
            }
        }
        if listener == 0 && self.has_witness && !self.peers[0].panicked {
            let order = self.peers[0].client.heard();
            room.iter().for_each(|&(number, peer)| self.check_order(number, peer, order));
            if self.listeners[listener] == Kind::Chat && !self.stopped {
                self.check_departures(&room, order);
            }
        }
        self.check_private_messages(&room);
    }

    /// Whoever was a member and has gone was said to have left, and nobody else.
    fn check_departures(&self, room: &[(usize, &Peer)], order: &[Broadcast]) {
        if self.peers[0].closed_at.is_some() || self.allowed_close(&self.peers[0]).is_some() {
            return;
        }
        for &(number, peer) in &room[1..] {
            let network = self.network.borrow();
            let gone = peer.socket.is_some_and(|socket| network.sockets[socket].server_shut);
            let joined = order.contains(&(number, JOINED));
            let left = order.contains(&(number, LEFT));
            assert_eq!(left, gone && joined, "client {number} left");
        }
    }

    /// Messages to one other alone that their sender was told had been sent are heard by that one
    /// and nobody else.
    fn check_private_messages(&self, room: &[(usize, &Peer)]) {
        for &(number, peer) in room {
            for &(to, sequence) in peer.client.private_sent() {
                let private_message = (number, sequence);
                let hearer = &self.peers[to];
                let heard = hearer.client.overheard().contains(&private_message);
                let gone = hearer.closed_at.is_some() || hearer.reset;
                assert!(heard || gone, "client {to} did not hear {private_message:?}");
                assert!(room.iter().any(|(other, _)| *other == to), "heard in another room");
            }
            let overheard = peer.client.overheard();
            let distinct: BTreeSet<&Broadcast> = overheard.iter().collect();
            assert_eq!(
                distinct.len(),
                overheard.len(),
                "client {number} heard a private message twice"
            );
            for &(sender, sequence) in overheard {
                let speaker = &self.peers[sender];
                let meant = speaker.client.private_sent().contains(&(number, sequence));
                let gone = speaker.closed_at.is_some() || speaker.reset || speaker.panicked;
                assert!(meant || gone, "client {number} heard {sequence} of {sender}");
            }
        }
    }

    /// The broadcasts a client heard are a piece of what the witness heard, less its own, and up to
    /// the end if it was there at the end.
    fn check_order(&self, number: usize, peer: &Peer, order: &[Broadcast]) {
        if self.allowed_close(&self.peers[0]).is_some() {
            return;
        }
        // The witness says nothing and stays, but in a stop it leaves before those who have
        // something to say, and it may be cut for what came while nobody let it read.
        let is_cut = self.peers[0].closed_at.is_some();
        // What it said and the server took, everyone heard, and so did the witness. Of one that was
        // cut for memory nobody knows what was taken.
        let may_lack = is_cut || (self.is_tight && peer.closed_at.is_some());
        if number != 0 && !may_lack && self.allowed_close(peer).is_none() {
            for sequence in peer.client.said(peer.handed) {
                let is_heard = order.contains(&(number, sequence));
                assert!(is_heard, "{sequence} is lost of {}", self.describe(number));
            }
        }
        let heard = peer.client.heard();
        let hears_itself = self.listeners[peer.listener] == Kind::Plugin;
        let others: Vec<Broadcast> =
            order.iter().copied().filter(|&(sender, _)| hears_itself || sender != number).collect();
        let Some(first) = heard.first() else { return };
        let start = others.iter().position(|broadcast| broadcast == first);
        let Some(start) = start else {
            assert!(is_cut, "client {number} heard what nobody else did");
            return;
        };
        let known = if is_cut { heard.len().min(others.len() - start) } else { heard.len() };
        let piece = others.get(start..start + known);
        assert_eq!(
            piece,
            Some(&heard[..known]),
            "client {number} heard them in another order, or not all"
        );
        if peer.closed_at.is_none() && !peer.reset {
            assert_eq!(start + known, others.len(), "client {number} missed the last ones");
        }
    }
}

/// Checks that a client was answered what the server read.
fn check_answered(peer: &Peer, socket: &Socket) -> Result<(), String> {
    let reads = reads_behind(&socket.reads, socket.header_len);
    match &peer.wire {
        Some(wire) => peer.client.check_answered(peer.handed, &wire.plain_reads(reads)),
        None => peer.client.check_answered(peer.handed, reads),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum AllowedClose {
    /// It was cut for a reason that shows.
    Gone,
    /// It must have been cut as a slow consumer.
    Slow,
    /// It must have been cut for memory, or as a slow consumer.
    Memory,
}
