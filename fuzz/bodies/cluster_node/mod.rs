//! A node and what others publish: three nodes that keep to the rules, some of whose batches are lost
//! or come twice, and others that publish whatever they like. Nothing panics; members hear whole lines
//! that only the server could have begun so; what honest nodes say comes once and in order, and what
//! is lost is counted to the message; their members are known when they have told them; no lie takes
//! a name from a member of this node; what is kept is bounded.
//!
//! The input is a list of steps: a byte whose lower half says what is done, its upper half to whom or
//! how much; then where that takes bytes, a length and so many.

mod engine;
mod node;
mod sockets;
mod wire;

use std::collections::BTreeSet;

use mynah::internal::cluster::Link;
use mynah::internal::limits::PEERS_MAX;

use node::{CHANNELS, INCARNATION, World};
use wire::{Event, Place};

/// Nodes that keep to the rules have the incarnations from 1 on.
const HONEST: usize = 3;

/// The local members.
const LOCAL: [&str; 2] = ["ann", "bob"];

/// Numbers at which things may go wrong.
const EDGES: [u64; 8] = [0, 1, 2, 300, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];

/// Bytes that may be held for an input of some thousands.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Checks one input.
///
/// # Panics
///
/// When something does not hold.
pub fn run(data: &[u8]) {
    let mut model = Model::new();
    let mut steps = data;
    while let [step, rest @ ..] = steps {
        steps = model.step(step % 16, step / 16, rest);
        model.check();
    }
    model.finish();
}

/// A node that keeps to the rules.
#[derive(Default)]
struct Peer {
    places: [Place; 2],
    members: BTreeSet<String>,
    /// Posts it has published, and those that each member has heard: up to that number, so many.
    sent: u64,
    heard: [(u64, u64); 2],
    last_batch: Option<Vec<u8>>,
}

struct Model {
    world: World,
    peers: [Peer; HONEST],
    /// Somebody has lied.
    has_lies: bool,
    /// The engine has refused names.
    has_refused: bool,
    /// Members were told of losses without a number.
    has_unknown: bool,
    lost_total: u64,
    /// Connections have ended, or time has passed: it takes time until all is quiet.
    is_troubled: bool,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        for (client, nick) in LOCAL.iter().enumerate() {
            world.send(client, format!("{nick}\n").as_bytes());
            let welcome = String::from_utf8(world.take_output(client)).expect("text");
            assert!(welcome.starts_with("[INFO] Welcome, "), "{welcome}");
        }
        world.take_output(0);
        // Whoever is heard for the first time from now on has just begun.
        world.pass(8_000);
        let peers = Default::default();
        let (has_lies, has_refused, has_unknown) = (false, false, false);
        let is_troubled = false;
        Model { world, peers, has_lies, has_refused, has_unknown, lost_total: 0, is_troubled }
    }

    /// One step. Returns what is left of the input.
    fn step<'a>(&mut self, step: u8, number: u8, rest: &'a [u8]) -> &'a [u8] {
        self.is_troubled |= matches!(step, 10 | 12 | 13);
        let peer = usize::from(number) % HONEST;
        let more = usize::from(number) / HONEST;
        match step {
            0..=3 => {
                let (bytes, rest) = take_bytes(rest);
                let channel = ["nodes", CHANNELS[0], CHANNELS[1], "chat:elsewhere"];
                self.lie(channel[usize::from(step)], bytes.to_vec());
                return rest;
            }
            4 | 5 => self.post(peer, more + 1, step == 4),
            6 | 7 => self.change_member(peer, more, step == 6),
            8 => self.beat(peer),
            9 => self.repeat(peer),
            10 => self.world.pass(1 << number.min(13)),
            11 => {
                let (bytes, rest) = take_bytes(rest);
                self.say(usize::from(number) % LOCAL.len(), more, bytes);
                return rest;
            }
            12 => self.world.fail(Link::ALL[usize::from(number) % 2]),
            13 => {
                self.world.engine.refuses = number & 1 == 1;
                self.has_refused |= self.world.engine.refuses;
                self.world.engine.is_mute = number & 2 == 2;
            }
            14 => {
                let ([first, messages], rest) = take_edges(rest);
                let (bytes, rest) = take_bytes(rest);
                let place = Place { next: first, messages };
                let header = wire::header(100 + u64::from(number) / 4, place);
                self.lie(CHANNELS[usize::from(number) % 2], [&header, bytes].concat());
                return rest;
            }
            _ => {
                let ([next, messages], rest) = take_edges(rest);
                let (bytes, rest) = take_bytes(rest);
                let name = String::from_utf8_lossy(bytes);
                let place = Place { next, messages };
                let channels = [(CHANNELS[0], place, u32::MAX), (CHANNELS[1], place, 7)];
                let channels = &channels[..usize::from(number) % 3];
                let wants = [(INCARNATION, CHANNELS[0])];
                let is_last = number & 8 == 8;
                let node = 100 + u64::from(number) % 4;
                self.lie("nodes", wire::heartbeat(node, &name, is_last, channels, &wants));
                return rest;
            }
        }
        rest
    }

    /// Publishes whatever it is, but not under the name of a node that keeps to the rules, nor as the
    /// engine's script.
    fn lie(&mut self, channel: &str, mut bytes: Vec<u8>) {
        self.has_lies = true;
        let at = match (channel, &bytes[..]) {
            ("nodes", [2, ..]) => Some(0),
            ("nodes", [1, 1, ..]) => Some(2),
            ("nodes", _) => None,
            _ => Some(1),
        };
        if let Some(byte) = at.and_then(|at| bytes.get_mut(at))
            && (1..=HONEST as u8).contains(&(*byte & 0x7f))
        {
            *byte |= 0x10;
        }
        // Nor in the names of their members.
        for at in 0..bytes.len().saturating_sub(1) {
            if bytes[at] == b'h' && bytes[at + 1].is_ascii_digit() {
                bytes[at] = b'x';
            }
        }
        self.world.engine.publish(channel, &bytes);
        self.world.run();
    }

    /// A node publishes events of the room, which this one hears or not.
    fn publish(&mut self, peer: usize, events: &[Event<'_>], is_heard: bool) {
        let place = &mut self.peers[peer].places[0];
        let bytes = wire::batch(peer as u64 + 1, *place, events);
        place.next += events.len() as u64;
        place.messages += events.iter().filter(|event| event.is_message()).count() as u64;
        if is_heard {
            self.world.engine.publish(CHANNELS[0], &bytes);
            self.world.run();
        }
        self.peers[peer].last_batch = Some(bytes);
    }

    fn post(&mut self, peer: usize, count: usize, is_heard: bool) {
        let from = format!("h0{peer}");
        let sent = self.peers[peer].sent;
        self.peers[peer].sent += count as u64;
        let texts: Vec<String> = (0..count).map(|n| format!("{}", sent + n as u64 + 1)).collect();
        let events = texts.iter().map(|text| Event::Post { from: &from, text });
        self.publish(peer, &events.collect::<Vec<_>>(), is_heard);
    }

    /// A member joins, or leaves if it is there.
    fn change_member(&mut self, peer: usize, number: usize, is_heard: bool) {
        let nick = format!("h{peer}-{number}");
        let members = &mut self.peers[peer].members;
        let event = if members.remove(&nick) {
            Event::Left(&nick)
        } else {
            members.insert(nick.clone());
            Event::Joined(&nick)
        };
        self.publish(peer, &[event], is_heard);
    }

    fn beat(&mut self, peer: usize) {
        let [chat, command] = self.peers[peer].places;
        let channels = [(CHANNELS[0], chat, 2), (CHANNELS[1], command, 0)];
        let name = format!("honest{peer}");
        let bytes = wire::heartbeat(peer as u64 + 1, &name, false, &channels, &[]);
        self.world.engine.publish("nodes", &bytes);
        self.world.run();
    }

    /// What was published last comes once more.
    fn repeat(&mut self, peer: usize) {
        if let Some(bytes) = self.peers[peer].last_batch.clone() {
            self.world.engine.publish(CHANNELS[0], &bytes);
            self.world.run();
        }
    }

    /// A member says something, which leaves it what it is.
    fn say(&mut self, client: usize, how: usize, bytes: &[u8]) {
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
        let start: &[u8] = [&b"x"[..], b"/msg ", b"/who"][how % 3];
        self.world.send(client, &[start, &text, b"\n"].concat());
    }

    fn check(&mut self) {
        for client in 0..LOCAL.len() {
            self.hear(client);
        }
        let node = self.world.server.node().expect("it is a node");
        let stats = node.stats();
        assert!(stats.lost_total >= self.lost_total, "losses do not come back");
        self.lost_total = stats.lost_total;
        assert!(node.others().count() <= PEERS_MAX);
        assert!(node.others().all(|(_, name, _)| name.len() <= 64));
        assert!(self.world.server.memory().used() <= HELD_BYTES_MAX);
    }

    /// What a member has been sent: whole lines, begun as only the server begins them.
    fn hear(&mut self, client: usize) {
        let bytes = self.world.take_output(client);
        let text = String::from_utf8(bytes).expect("the server speaks UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
        for line in text.lines() {
            let tame = |c: char| c == '\t' || !(c.is_control() || "\u{2028}\u{2029}".contains(c));
            assert!(line.chars().all(tame), "{line:?} moves the cursor");
            self.hear_line(client, line);
        }
    }

    fn hear_line(&mut self, client: usize, line: &str) {
        const STARTS: [&str; 6] =
            ["[INFO] ", "[ERROR] ", "[SERVER] ", "[PM] ", "[PM to ", "Online: "];
        if let Some(rest) = line.strip_prefix("[h0") {
            let (peer, number) = rest.split_once("]: ").expect("a whole post");
            let (peer, number): (usize, u64) =
                (peer.parse().expect("a peer"), number.parse().expect("a number"));
            let (last, count) = &mut self.peers[peer].heard[client];
            assert!(number > *last, "{number} of {peer} behind {last}");
            (*last, *count) = (number, *count + 1);
            return;
        }
        self.has_unknown |= line == "[INFO] messages may have been missed";
        let is_taken =
            LOCAL.iter().any(|nick| line.starts_with(&format!("[ERROR] {nick} is taken")));
        assert!(!is_taken || self.has_refused, "{line:?} by a lie");
        let is_post = || line.starts_with('[') && line.contains("]: ");
        let is_own = STARTS.iter().any(|start| line.starts_with(start));
        assert!(is_own || is_post(), "{line:?}");
    }

    /// All is quiet: what honest nodes have said was heard or is counted, and their members are known.
    fn finish(&mut self) {
        self.world.engine.is_mute = false;
        for _ in 0..if self.is_troubled { 12 } else { 1 } {
            (0..HONEST).for_each(|peer| self.beat(peer));
            self.world.pass(1_000);
            self.check();
        }
        assert!(self.world.engine.is_subscribed, "the subscriber is there");
        (0..HONEST).for_each(|peer| self.beat(peer));
        self.check_losses();
        self.tell_members();
        self.check();
        if !self.has_refused {
            self.check_members();
        }
    }

    fn check_losses(&self) {
        let sum = |count: &dyn Fn(&Peer) -> u64| self.peers.iter().map(count).sum::<u64>();
        let stats = self.world.server.node().expect("it is a node").stats();
        let sent = sum(&|peer| peer.sent);
        for client in 0..LOCAL.len() {
            let heard = sum(&|peer| peer.heard[client].1);
            if !self.has_refused {
                assert!(heard <= stats.received_total);
            }
            if !self.has_lies && !self.has_refused {
                assert_eq!(heard, stats.received_total, "of {client}");
                let known = heard + stats.lost_total;
                assert!(known == sent || self.has_unknown && known < sent, "{known} of {sent}");
            }
        }
    }

    fn tell_members(&mut self) {
        for peer in 0..HONEST {
            let members = self.peers[peer].members.clone();
            let present = members.iter().map(|nick| Event::Present(nick));
            let events = [Event::SnapshotBegins].into_iter().chain(present);
            let events: Vec<Event<'_>> = events.chain([Event::SnapshotEnds]).collect();
            self.publish(peer, &events, true);
        }
    }

    fn check_members(&mut self) {
        self.world.send(0, b"/who\n");
        let text = String::from_utf8(self.world.take_output(0)).expect("text");
        let online =
            text.lines().find_map(|line| line.strip_prefix("Online: ")).expect("an answer");
        let listed: BTreeSet<&str> = online.split(", ").collect();
        let honest = self.peers.iter().flat_map(|peer| peer.members.iter().map(String::as_str));
        let expected: BTreeSet<&str> = LOCAL.into_iter().chain(honest).collect();
        if self.has_lies {
            assert!(online.contains('…') || expected.is_subset(&listed), "{online}");
        } else {
            assert_eq!(listed, expected);
        }
    }
}

/// A length, and so many bytes; and what is behind them.
fn take_bytes(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len().min(usize::from(*len)))
}

/// A byte that stands for two numbers, and what is behind it.
fn take_edges(input: &[u8]) -> ([u64; 2], &[u8]) {
    let (byte, rest) = input.split_first().map_or((0, input), |(byte, rest)| (*byte, rest));
    let edge = |at: u8| EDGES[usize::from(at) % EDGES.len()];
    ([edge(byte), edge(byte / 16)], rest)
}
