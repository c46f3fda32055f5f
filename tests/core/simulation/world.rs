//! A world from a seed: what there is in it, what happens, and the judgement at its end.
//!
//! First comes the storm: clients, faults, time and the server take turns at random. Then calm: no
//! more faults, everybody reads and finishes speaking, and the world must come to rest. Then the
//! server is stopped, unless it was in the middle of the storm. Safety is judged as bytes come in,
//! liveness when the world is at rest.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::limits::{
    CLOCK_CHECK_BYTES, DRAIN_STALL_MS, Limits, UNTERMINATED_QUIET_MS, turn_micros,
};
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{
    ChatProtocol, CommandProtocol, PrefixedProtocol, Protocol, RawProtocol,
};
use mynah::internal::server::{ListenerConfig, Server};

use super::chat::{JOINED, LEFT};
use super::clients::{Broadcast, Client, Ending, FRAME_LEN_MAX, HAS_PLUGINS, Kind, RAW_PREFIX};
use super::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared, Socket};
use super::panics;
use crate::support::rng::Rng;

const FRAME_TIMEOUT_MS: u64 = 3_000;
const IDLE_MS: u64 = 2_000;
/// How many say nothing and stay, where there is a crowd: more than one slice of a fan-out takes.
const BYSTANDERS: usize = 1_300;
/// Most milliseconds that pass at a time in most worlds.
const PAUSE_MS: usize = 30;
/// How often a trickling client sends a byte.
const TRICKLE_MS: u64 = 300;
/// How long the calm may last: longer than any timeout there is.
const CALM_MS: u64 = 80_000;
/// Rounds after which a calm that goes on is one that will not end.
const CALM_ROUNDS_MAX: usize = 200_000;
/// Rounds without anything happening after which the server counts as spinning.
const SPIN_ROUNDS_MAX: usize = 5_000;

/// Runs the world of `seed` and returns the hash of all that happened.
///
/// # Panics
///
/// When the server breaks a rule.
pub fn run(seed: u64) -> u64 {
    panics::install();
    let mut world = World::new(seed);
    world.storm();
    world.calm();
    if !world.stopped {
        world.judge();
        world.stop();
        world.calm();
    }
    world.judge();
    panics::arm(None);
    world.network.borrow().trace_hash()
}

struct World {
    rng: Rng,
    now: Millis,
    /// When the server last had a turn.
    served_at: Millis,
    network: Shared,
    server: Server<FakeStream>,
    listeners: Vec<Kind>,
    limits: Limits,
    /// Whether prefixed listeners have an idle limit.
    idles: bool,
    /// Whether the clock jumps.
    jumps: bool,
    /// Most milliseconds that pass at a time when it does not.
    pause_ms_max: usize,
    peers: Vec<Peer>,
    /// Hears everything on listener 0 from the beginning: the order of the broadcasts.
    has_witness: bool,
    steps: usize,
    stop_at: Option<usize>,
    panics: bool,
    stopped: bool,
    stopped_at: Option<Millis>,
    /// Whether there is too little memory for all.
    is_tight: bool,
    clock: Clock,
    crowded: bool,
    /// How many the server has turned away.
    refused: u64,
}

/// The clock the server looks at within a turn. It stands still but for its looks, so what it shows
/// at the end of a turn is how often it was looked at.
struct Clock {
    micros: Rc<Cell<u64>>,
    /// How far it goes on with each look.
    step: u64,
}

/// A client and its circumstances.
struct Peer {
    listener: usize,
    client: Box<dyn Client>,
    socket: Option<usize>,
    pace: Pace,
    ending: Ending,
    messages_left: usize,
    /// Since when the server has had all that was sent.
    taken_at: Option<Millis>,
    outgoing: Vec<u8>,
    ended: bool,
    shut: bool,
    /// Bytes the network has taken.
    handed: usize,
    /// Since when a message has been on its way to the network.
    open_since: Option<Millis>,
    longest_open_ms: u64,
    heard_len: usize,
    /// When it last took something, or connected.
    last_heard_at: Millis,
    last_sent_at: Millis,
    /// The trickle's first byte was read by the server.
    trickles_since: Option<Millis>,
    reads_before_trickle: usize,
    closed_at: Option<Millis>,
    /// How long it had sent nothing when it was closed.
    silent_ms: u64,
    panicked: bool,
    reset: bool,
    /// Somebody was turned away while this one had heard nothing: it may have been this one.
    came_to_full_house: bool,
}

impl Peer {
    /// Whether what it is sending is the message it never finishes.
    fn leaves_it_open(&self) -> bool {
        self.ended && matches!(self.ending, Ending::Unfinished | Ending::Trickle)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Prompt,
    Slow,
    /// Reads nothing before the calm.
    Stalled,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let crowded = rng.one_in(250);
        let jumps = rng.one_in(4);
        let faults = faults(&mut rng, jumps);
        let listeners: Vec<Kind> = (0..rng.between(1, 3))
            .map(|number| {
                let any = Kind::all()[rng.below(Kind::all().len())];
                match rng.below(8) {
                    // All of a crowd are idle at once.
                    4..8 if number == 0 && crowded => Kind::Prefixed,
                    0..4 if number == 0 || crowded => Kind::Command,
                    4..6 if number == 0 && !crowded => Kind::Chat,
                    _ => any,
                }
            })
            .collect();
        // So little memory beside the table that some have to be cut. A crowd's table alone takes
        // more.
        let is_tight = !crowded && rng.one_in(5);
        let limits = Limits {
            clients_max: if crowded { 2_000 } else { rng.between(3, 24) },
            lingering_max: rng.between(1, 6),
            send_queue_bytes_max: [4_096, 20_000][rng.below(2)],
            memory_bytes_max: if is_tight {
                listeners.len() * 20_000 + rng.between(10_000, 150_000)
            } else {
                1 << 30
            },
            broadcast_log_bytes_max: [4_096, 12_288][rng.below(2)],
            frame_timeout_ms: FRAME_TIMEOUT_MS,
            drain_timeout_ms: [0, 500, 5_000][rng.below(3)],
        };
        let pause_ms_max = if rng.one_in(4) { 10 * PAUSE_MS } else { PAUSE_MS };
        let idles = rng.one_in(if crowded { 2 } else { 3 });
        let gather_ms = [0, 0, 20][rng.below(3)];
        let network = Network::new(listeners.len(), faults, Rng::new(seed ^ 0x5eed));
        let mut server = Server::new(limits, Millis(0));
        for (listener, kind) in listeners.iter().enumerate() {
            let acceptor = FakeAcceptor { network: Shared::clone(&network), listener };
            server.add_listener(acceptor, listener_config(*kind, idles, gather_ms));
        }
        // With the longest step each part of a turn has time for one thing. A crowd would take too
        // long with it.
        let steps = if crowded { &[0, 100, 100][..] } else { &[0, 100, 4_000] };
        let clock = Clock { micros: Rc::default(), step: steps[rng.below(3)] };
        let (micros, step) = (Rc::clone(&clock.micros), clock.step);
        let look = move || {
            micros.set(micros.get() + step);
            micros.get()
        };
        let most = if crowded { 4_096 } else { CLOCK_CHECK_BYTES };
        server.set_clock(Box::new(look), [1_024, 4_096, most][rng.below(3)]);
        // A stop that takes no time has none for plugins.
        let hurried = limits.drain_timeout_ms == 0;
        let step_ms = if hurried { 0 } else { rng.below(4) as u64 };
        // Visits are shorter where there are no plugins: half of the worlds that can do without
        // have none.
        let wants_plugins = listeners.contains(&Kind::Plugin) || seed.is_multiple_of(2);
        let has_plugins = HAS_PLUGINS && wants_plugins;
        if has_plugins {
            set_plugins(&mut server, step_ms);
        }
        let steps = rng.between(100, 1_500);
        let stop_at = rng.one_in(3).then(|| rng.below(steps));
        let has_witness = listeners[0].has_broadcasts() && !rng.one_in(4);
        let panics = rng.one_in(5);
        let count = rng.between(2, 30) + if crowded { BYSTANDERS } else { 0 };
        let mut world = World {
            rng,
            now: Millis(0),
            served_at: Millis(0),
            network,
            server,
            listeners,
            limits,
            idles,
            jumps,
            pause_ms_max,
            peers: Vec::new(),
            has_witness,
            steps,
            stop_at,
            panics,
            stopped: false,
            stopped_at: None,
            is_tight,
            clock,
            crowded,
            refused: 0,
        };
        world.populate(count, has_plugins);
        world
    }

    fn populate(&mut self, count: usize, has_plugins: bool) {
        for number in 0..count {
            let witness = self.has_witness && number == 0;
            let quiet = witness || self.is_bystander(number);
            let rng = &mut self.rng;
            let listener = if quiet { 0 } else { rng.below(self.listeners.len()) };
            let broadcast_len_max = self.limits.broadcast_len_max();
            let endings = [
                Ending::Stay,
                Ending::Stay,
                Ending::Shut,
                Ending::Shut,
                Ending::Reset,
                Ending::Goodbye,
                Ending::Offence,
                Ending::Unfinished,
                Ending::Trickle,
            ];
            let paces = [Pace::Prompt, Pace::Prompt, Pace::Slow, Pace::Stalled];
            self.peers.push(Peer {
                listener,
                client: self.listeners[listener].client(number, broadcast_len_max, has_plugins),
                socket: None,
                pace: if quiet { Pace::Prompt } else { paces[rng.below(4)] },
                ending: if quiet { Ending::Stay } else { endings[rng.below(endings.len())] },
                messages_left: match self.listeners[listener] {
                    // Until it has a nickname.
                    Kind::Chat if quiet => 20,
                    _ if quiet => 0,
                    _ => rng.skewed(60),
                },
                taken_at: None,
                outgoing: Vec::new(),
                ended: false,
                shut: false,
                handed: 0,
                open_since: None,
                longest_open_ms: 0,
                heard_len: 0,
                last_heard_at: Millis(0),
                last_sent_at: Millis(0),
                trickles_since: None,
                reads_before_trickle: 0,
                closed_at: None,
                silent_ms: 0,
                panicked: false,
                reset: false,
                came_to_full_house: false,
            });
        }
        if self.crowded {
            (0..BYSTANDERS).for_each(|number| self.connect(number));
        } else if self.has_witness {
            self.connect(0);
            // Where it has to join first, it does so before anybody else speaks.
            for _ in 0..100 {
                self.visit(0, true);
                self.round();
            }
            self.has_witness = self.peers[0].client.is_member();
            self.peers[0].messages_left = 0;
        }
        self.round();
    }

    fn storm(&mut self) {
        for step in 0..self.steps {
            if self.stop_at == Some(step) {
                self.stop();
            }
            match self.rng.below(10) {
                0..4 => {
                    let number = self.rng.below(self.peers.len());
                    self.visit(number, false);
                }
                4..8 => self.round(),
                _ => self.pass_time(),
            }
        }
    }

    /// No more faults, and everybody does what is left to do, until nothing is.
    fn calm(&mut self) {
        self.network.borrow_mut().faults = Faults::default();
        let until = self.now.after(CALM_MS);
        let mut rounds = 0;
        let mut idle_rounds = 0;
        while !(self.stopped && self.server.is_stopped()) {
            rounds += 1;
            assert!(rounds < CALM_ROUNDS_MAX, "the world does not come to rest");
            let before = self.network.borrow().trace_hash();
            let mut progress = false;
            for number in 0..self.peers.len() {
                progress |= self.visit(number, true);
            }
            self.round();
            let network = self.network.borrow();
            if progress || !network.is_quiet() || network.trace_hash() != before {
                continue;
            }
            drop(network);
            match self.server.poll_timeout(self.now) {
                None => break,
                Some(0) => {
                    idle_rounds += 1;
                    assert!(idle_rounds < SPIN_ROUNDS_MAX, "the server spins");
                }
                Some(_) if self.now > until => break,
                Some(wait_ms) => {
                    idle_rounds = 0;
                    // Slowly enough for those who trickle.
                    self.now = self.now.after(wait_ms.min(TRICKLE_MS));
                }
            }
        }
        for number in 0..self.peers.len() {
            self.listen(number, true);
        }
        if self.stopped {
            assert!(self.server.is_stopped(), "the stop does not come to its end");
            assert_eq!(self.server.sockets(), 0, "sockets are left");
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.stopped_at = Some(self.now);
        let mut network = self.network.borrow_mut();
        // From here on, what has arrived has arrived.
        let faults = network.faults;
        network.faults = Faults { short_write: faults.short_write, ..Faults::default() };
        drop(network);
        for peer in &mut self.peers {
            peer.messages_left = 0;
            // Whoever has sent half a message does not say that it is one by shutting its side.
            if !peer.outgoing.is_empty() {
                peer.ending = Ending::Stay;
            }
            peer.outgoing.clear();
            peer.ended = true;
        }
        self.server.stop(&(), self.now);
        self.server.assert_invariants();
        self.round();
    }

    fn pass_time(&mut self) {
        let jump = self.jumps && self.rng.one_in(20);
        let ms = match jump {
            true => self.rng.below(3 * FRAME_TIMEOUT_MS as usize),
            false => self.rng.skewed(self.pause_ms_max),
        };
        self.now = self.now.after(ms as u64);
    }

    fn connect(&mut self, number: usize) {
        let quiet = self.is_bystander(number);
        let peer = &mut self.peers[number];
        let undivided = peer.client.is_undivided();
        let to_client_max = if quiet { 8_192 } else { self.rng.between(64, 8_192) };
        let to_server_max = self.rng.between(if undivided { 8_192 } else { 16 }, 70_000);
        let mut network = self.network.borrow_mut();
        let socket = network.connect(peer.listener, to_server_max, to_client_max);
        network.sockets[socket].undivided = undivided;
        peer.socket = Some(socket);
        peer.last_heard_at = self.now;
        peer.last_sent_at = self.now;
    }

    /// One of a crowd that says nothing and takes everything.
    fn is_bystander(&self, number: usize) -> bool {
        self.crowded && number < BYSTANDERS
    }

    /// A client does something; true if it did.
    fn visit(&mut self, number: usize, calm: bool) -> bool {
        if let (true, Some(socket)) = (self.is_bystander(number), self.peers[number].socket) {
            // Looked at by the thousand, and seldom with anything to do.
            let network = self.network.borrow();
            let socket = &network.sockets[socket];
            let is_over = socket.server_shut && !self.peers[number].shut;
            if socket.to_client.is_empty() && !is_over {
                return false;
            }
        }
        if self.peers[number].socket.is_none() {
            if self.stopped {
                return false;
            }
            self.connect(number);
            return true;
        }
        let heard = self.listen(number, calm);
        let spoke = !self.peers[number].reset && self.speak(number, calm);
        heard || spoke
    }

    fn listen(&mut self, number: usize, calm: bool) -> bool {
        let peer = &mut self.peers[number];
        let Some(socket) = peer.socket else { return false };
        let most = match peer.pace {
            _ if calm => usize::MAX,
            Pace::Prompt => usize::MAX,
            Pace::Slow => self.rng.skewed(400),
            Pace::Stalled => return false,
        };
        let mut network = self.network.borrow_mut();
        let bytes = network.receive(socket, most);
        peer.heard_len += bytes.len();
        if !bytes.is_empty() && peer.closed_at.is_none() {
            peer.last_heard_at = self.now;
        }
        if let Err(why) = peer.client.hear(&bytes) {
            panic!("client {number}: {why}");
        }
        let state = &network.sockets[socket];
        let over = state.server_shut && state.to_client.is_empty();
        // Most clients hang up when the server has.
        if over && !peer.shut && !peer.reset && (calm || !self.rng.one_in(8)) {
            peer.shut = true;
            peer.ended = true;
            peer.outgoing.clear();
            network.shut(socket);
            return true;
        }
        !bytes.is_empty()
    }

    fn speak(&mut self, number: usize, calm: bool) -> bool {
        let Some(socket) = self.peers[number].socket else { return false };
        if self.peers[number].outgoing.is_empty() {
            return self.think(number);
        }
        let peer = &mut self.peers[number];
        let trickles = peer.ended && peer.ending == Ending::Trickle;
        let most = match calm {
            _ if trickles && self.now.since(peer.last_sent_at) < TRICKLE_MS => return false,
            _ if trickles => 1,
            _ if peer.client.is_undivided() => peer.outgoing.len(),
            true => peer.outgoing.len(),
            false => self.rng.skewed(peer.outgoing.len()),
        };
        let mut network = self.network.borrow_mut();
        network.sockets[socket].undivided = peer.client.is_undivided();
        let taken = network.send(socket, &peer.outgoing[..most]);
        if taken > 0 {
            peer.handed += taken;
            peer.outgoing.drain(..taken);
            peer.last_sent_at = self.now;
            peer.taken_at = None;
            let since = *peer.open_since.get_or_insert(self.now);
            if peer.outgoing.is_empty() && !peer.leaves_it_open() {
                peer.longest_open_ms = peer.longest_open_ms.max(self.now.since(since));
                peer.open_since = None;
            }
        }
        taken > 0
    }

    /// A client decides what to say next.
    fn think(&mut self, number: usize) -> bool {
        let peer = &mut self.peers[number];
        let Some(socket) = peer.socket else { return false };
        let quiet =
            peer.taken_at.is_none_or(|at| at.after(UNTERMINATED_QUIET_MS) <= self.served_at);
        if !peer.client.is_ready(quiet && peer.outgoing.is_empty()) {
            return false;
        }
        if peer.messages_left > 0 {
            // Some send many at once, which the server may read at once.
            let pipelines = !peer.client.is_undivided() && self.rng.one_in(4);
            let most = if pipelines { self.rng.between(2, 12) } else { 1 };
            for _ in 0..most.min(peer.messages_left) {
                peer.messages_left -= 1;
                let message = peer.client.speak(&mut self.rng);
                peer.outgoing.extend(message);
            }
            if let Some(since) = peer.open_since.take() {
                peer.longest_open_ms = peer.longest_open_ms.max(self.now.since(since));
            }
            return true;
        }
        if !peer.ended {
            peer.ended = true;
            peer.outgoing = peer.client.end(peer.ending, &mut self.rng);
            peer.open_since = None;
            peer.reads_before_trickle = self.network.borrow().sockets[socket].reads.len();
            if peer.ending == Ending::Reset {
                peer.reset = true;
                self.network.borrow_mut().reset(socket);
            }
            return true;
        }
        if peer.ending == Ending::Shut && !peer.shut {
            peer.shut = true;
            self.network.borrow_mut().shut(socket);
            return true;
        }
        false
    }

    /// One round of the server's loop.
    fn round(&mut self) {
        if self.panics && self.rng.one_in(40) {
            panics::arm(Some(self.rng.skewed(30)));
        }
        let most = self.rng.between(1, 40);
        let events = self.network.borrow_mut().poll(most);
        let is_due = !events.is_empty() || self.server.poll_timeout(self.now) == Some(0);
        self.clock.micros.set(self.clock.micros.get().max(self.now.0 * 1_000));
        let began_at = self.clock.micros.get();
        self.server.begin_batch(self.now);
        self.network.borrow_mut().in_batch = true;
        for event in events {
            match event {
                Event::Acceptable(listener) => self.server.on_acceptable(listener),
                Event::Ready(id, ready) => {
                    self.server.on_ready(&(), id, ready, self.now);
                    self.note_panic();
                    // Memory is bounded at each event: a batch may have a thousand.
                    if self.is_tight {
                        self.server.assert_invariants();
                    }
                }
            }
        }
        self.network.borrow_mut().in_batch = false;
        let before = self.network.borrow().trace_hash();
        self.server.turn(&(), self.now);
        let is_idle = self.network.borrow().trace_hash() == before;
        assert!(is_due || is_idle, "a real loop would have slept through what this turn did");
        let took = self.clock.micros.get() - began_at;
        let most = self.turn_micros_max();
        // The last turn of a stop closes all that is left.
        assert!(took <= most || self.server.is_stopped(), "a turn took {took} µs of {most}");
        self.served_at = self.now;
        self.note_panic();
        if !self.crowded || self.rng.one_in(20) {
            self.server.assert_invariants();
        }
        self.look_around();
    }

    /// How long a turn may take: each part stops at the look that finds its time over, and all but
    /// the batch of events begin with a look of their own.
    fn turn_micros_max(&self) -> u64 {
        use turn_micros::{ACCEPT, ADMIT, ARRIVALS, DISPATCH, FANOUT, REAP, RESUME, TIMERS};

        let step = self.clock.step;
        if step == 0 {
            return 0;
        }
        let listeners = self.listeners.len() as u64;
        let parts = [ARRIVALS, ACCEPT, RESUME, FANOUT, TIMERS, REAP];
        let looks: u64 = parts.iter().map(|part| 1 + part.div_ceil(step)).sum();
        let admitting = listeners * (1 + ADMIT.div_ceil(step));
        // Every listener lets one in.
        let accepting = listeners - 1;
        (DISPATCH.div_ceil(step) + looks + admitting + accepting) * step
    }

    fn note_panic(&mut self) {
        let Some(generation) = panics::take_victim() else { return };
        let socket = self.network.borrow().socket_of(generation);
        let victim = self.peers.iter_mut().find(|peer| peer.socket == socket);
        victim.expect("whoever panics has a socket").panicked = true;
    }

    /// No more connections linger than may, but for closed ones there was no time to reap.
    fn count_lingering(&self) {
        if self.stopped || self.server.poll_timeout(self.now) == Some(0) {
            return;
        }
        let network = self.network.borrow();
        let lingers = |socket: &&Socket| socket.lingered && !socket.server_closed;
        let lingering = network.sockets.iter().filter(lingers).count();
        assert!(lingering <= self.limits.lingering_max, "{lingering} connections linger");
    }

    /// Notes what changed for each client, and that nobody trickles for ever.
    fn look_around(&mut self) {
        self.count_lingering();
        let refused = self.server.stats().refused_total;
        let full = refused > std::mem::replace(&mut self.refused, refused);
        let network = self.network.borrow();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            let Some(socket) = peer.socket.map(|socket| &network.sockets[socket]) else { continue };
            if peer.taken_at.is_none() && socket.to_server.is_empty() {
                peer.taken_at = Some(self.now);
            }
            if full && peer.heard_len == 0 {
                peer.came_to_full_house = true;
            }
            if socket.server_shut && peer.closed_at.is_none() {
                peer.closed_at = Some(self.now);
                peer.silent_ms = self.now.since(peer.last_sent_at);
            }
            // While replies wait for a slow reader, the server does not read, and no clock runs.
            // The end of a line is waited for as long as it takes.
            let is_frame = self.listeners[peer.listener] != Kind::Chat;
            let open = is_frame && peer.leaves_it_open() && peer.open_since.is_some();
            let trickling = open && !socket.was_full;
            if trickling && socket.reads.len() > peer.reads_before_trickle {
                let since = *peer.trickles_since.get_or_insert(self.now);
                let ms = self.now.since(since);
                let alive = !socket.server_shut && !self.stopped;
                assert!(
                    !alive || ms < FRAME_TIMEOUT_MS + 10_000,
                    "client {number} has kept a frame alive for {ms} ms"
                );
            }
        }
    }

    /// The world is at rest: has everybody what is due?
    fn judge(&self) {
        self.server.assert_invariants();
        let mut slow = Vec::new();
        let mut cut_for_memory = 0;
        for (number, peer) in self.peers.iter().enumerate() {
            let Some(socket) = peer.socket else { continue };
            let network = self.network.borrow();
            let socket = &network.sockets[socket];
            if let Some(excuse) = self.excuse(peer) {
                cut_for_memory += usize::from(excuse == Excuse::Memory);
                if excuse == Excuse::Slow {
                    let lacks = peer.client.check_answered(peer.handed, &socket.reads);
                    slow.push(format!(
                        "{number}: {:?}, {:?}, closed {:?}, handed {}, {socket:?}: {lacks:?}",
                        peer.ending, peer.pace, peer.closed_at, peer.handed
                    ));
                }
                continue;
            }
            if let Err(why) = peer.client.check_answered(peer.handed, &socket.reads) {
                panic!(
                    "client {number}, {:?}, {:?}, handed {} (last at {:?}), closed {:?} (stop {:?}), \
                     {socket:?}: {why}",
                    peer.ending,
                    peer.pace,
                    peer.handed,
                    peer.last_sent_at,
                    peer.closed_at,
                    self.stopped_at
                );
            }
            let due = peer.client.expects_close(peer.handed) || peer.shut || self.stopped;
            assert_eq!(socket.server_shut, due, "client {number}, {:?}: closed", peer.ending);
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
                self.judge_broadcasts(listener);
            }
        }
    }

    /// Why a client may have been closed before all was answered.
    fn excuse(&self, peer: &Peer) -> Option<Excuse> {
        let network = self.network.borrow();
        let socket = &network.sockets[peer.socket?];
        let kind = self.listeners[peer.listener];
        let open_ms = peer.open_since.map_or(0, |since| self.now.since(since));
        let late = peer.longest_open_ms.max(open_ms) >= FRAME_TIMEOUT_MS;
        if peer.client.was_late() {
            assert!(late, "a frame was called late that was not");
        }
        // Who is idle has nothing on its way that could be read.
        let unread = socket.reset_by_server && !socket.lingered && !socket.has_late_bytes;
        let is_silent = peer.silent_ms >= IDLE_MS && !unread;
        let idle = kind == Kind::Prefixed && self.idles && is_silent;
        // Who is turned away hears why, unless there is no word for it, or so many others came that
        // it had to make way before the word was taken.
        let refused = peer.client.was_refused()
            || (peer.came_to_full_house
                && peer.heard_len == 0
                && (!kind.says_full() || socket.was_full || socket.reset_by_server));
        if peer.reset || peer.panicked || socket.register_failed || refused {
            return Some(Excuse::Gone);
        }
        if !socket.server_shut {
            return None;
        }
        // It lingered, and had to make way at the moment when more came from it.
        if socket.reset_by_server && socket.lingered && socket.has_late_bytes {
            return Some(Excuse::Gone);
        }
        if idle || peer.client.was_late() || (kind == Kind::Prefixed && late) {
            return Some(Excuse::Gone);
        }
        // Cut because it took none of its last replies for a minute.
        let drained_for_ms = peer.closed_at.map_or(0, |at| at.since(peer.last_heard_at));
        if socket.was_full && drained_for_ms >= DRAIN_STALL_MS {
            return Some(Excuse::Gone);
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
            return Some(Excuse::Gone);
        }
        if self.is_served(peer) {
            return None;
        }
        // Whoever was cut for memory held some.
        let slow = kind.has_broadcasts() && socket.was_full;
        match self.server.stats().memory_cuts_total {
            0 => slow.then_some(Excuse::Slow),
            _ => Some(Excuse::Memory),
        }
    }

    fn is_served(&self, peer: &Peer) -> bool {
        let network = self.network.borrow();
        let reads = peer.socket.map_or(&[][..], |socket| &network.sockets[socket].reads);
        let due = peer.client.expects_close(peer.handed) || peer.shut || self.stopped;
        due && peer.client.check_answered(peer.handed, reads).is_ok()
    }

    /// Broadcasts come whole (each client saw to that), once, in one order, to all who were there.
    fn judge_broadcasts(&self, listener: usize) {
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
            room.iter().for_each(|&(number, peer)| self.judge_order(number, peer, order));
            if self.listeners[listener] == Kind::Chat && !self.stopped {
                self.judge_leavers(&room, order);
            }
        }
        self.judge_whispers(&room);
    }

    /// Whoever was a member and has gone was said to have left, and nobody else.
    fn judge_leavers(&self, room: &[(usize, &Peer)], order: &[Broadcast]) {
        if self.peers[0].closed_at.is_some() || self.excuse(&self.peers[0]).is_some() {
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

    /// What one said to another alone, and was told had been sent, is heard by that one and nobody
    /// else.
    fn judge_whispers(&self, room: &[(usize, &Peer)]) {
        for &(number, peer) in room {
            for &(to, sequence) in peer.client.whispered() {
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
                let meant = speaker.client.whispered().contains(&(number, sequence));
                let gone = speaker.closed_at.is_some() || speaker.reset || speaker.panicked;
                assert!(meant || gone, "client {number} heard {sequence} of {sender}");
            }
        }
    }

    /// What a client heard is a piece of what the witness heard, less its own, and up to the end if
    /// it was there at the end.
    fn judge_order(&self, number: usize, peer: &Peer, order: &[Broadcast]) {
        if self.excuse(&self.peers[0]).is_some() {
            return;
        }
        // The witness says nothing and stays, but in a stop it leaves before those who have
        // something to say, and it may be cut for what came while nobody let it read.
        let is_cut = self.peers[0].closed_at.is_some();
        // What it said and the server took, everyone heard, and so did the witness. Of one that was
        // cut for memory nobody knows what was taken.
        let may_lack = is_cut || (self.is_tight && peer.closed_at.is_some());
        if number != 0 && !may_lack && self.excuse(peer).is_none() {
            for sequence in peer.client.said(peer.handed) {
                assert!(order.contains(&(number, sequence)), "{sequence} of {number} is lost");
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

#[derive(Debug, PartialEq, Eq)]
enum Excuse {
    /// It was cut for a reason that shows.
    Gone,
    /// It must have been cut as a slow consumer.
    Slow,
    /// It must have been cut for memory, or as a slow consumer.
    Memory,
}

fn faults(rng: &mut Rng, jumps: bool) -> Faults {
    let mut often = |least: usize| if rng.one_in(2) { 0 } else { least + rng.below(3 * least) };
    let mut faults = Faults {
        short_read: often(2),
        short_write: often(2),
        would_block: often(3),
        interrupted: often(10),
        accept_retry: often(3),
        accept_exhausted: often(5),
        register: often(30),
        spurious_event: often(5),
        stale_event: often(5),
        late_event: often(3),
    };
    // A frame of which a part is late may become late for good when the clock jumps.
    // But the loop itself may be late, with bytes that have arrived and were not looked at.
    if jumps {
        (faults.short_read, faults.would_block, faults.late_event) = (0, 0, 2);
    }
    faults
}

#[cfg(not(feature = "plugins"))]
fn set_plugins(_: &mut Server<FakeStream>, _: u64) {}

/// Plugins in whose eyes `step_ms` pass with every look at the clock, so that the server has to
/// share its turns among them and everybody else.
#[cfg(feature = "plugins")]
fn set_plugins(server: &mut Server<FakeStream>, step_ms: u64) {
    use std::time::Duration;

    use mynah::internal::protocol::plugin::{PluginHost, PluginOptions};

    let options = PluginOptions {
        dir: std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/simulation/plugins"),
        budget: Duration::from_secs(1),
        memory_bytes_max: 4 << 20,
        broadcast_bytes_max: 1_000,
    };
    let now_ms = std::cell::Cell::new(0);
    let clock = move || {
        now_ms.set(now_ms.get() + step_ms);
        Duration::from_millis(now_ms.get())
    };
    let loaded = PluginHost::load(&options, Box::new(clock)).expect("the folder is there");
    assert!(loaded.broken.is_empty(), "{}", loaded.broken[0]);
    server.set_plugins(loaded.host);
    server.start_plugins();
}

fn listener_config(kind: Kind, idles: bool, gather_ms: u64) -> ListenerConfig {
    let protocol: Protocol = match kind {
        Kind::Command => CommandProtocol { payload_len_max: FRAME_LEN_MAX as u32 }.into(),
        Kind::Prefixed => PrefixedProtocol.into(),
        Kind::Raw => RawProtocol { prefix: RAW_PREFIX.to_vec() }.into(),
        Kind::Chat => ChatProtocol::new(Lang::En).into(),
        #[cfg(feature = "plugins")]
        Kind::Plugin => {
            mynah::internal::protocol::PluginProtocol { gather_ms, package_len_max: 16_000 }.into()
        }
        #[cfg(not(feature = "plugins"))]
        Kind::Plugin => unreachable!("this build has no plugins, gather_ms {gather_ms}"),
    };
    let idle_ms = if idles && kind == Kind::Prefixed { IDLE_MS } else { 0 };
    ListenerConfig { name: format!("{kind:?}"), protocol, idle_ms }
}
