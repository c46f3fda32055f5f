//! A world from a seed: what there is in it, and what happens. `checks` says what must hold.
//!
//! A run has two phases. With faults, clients, faults, time and the server take turns at random.
//! Then, without faults, every client reads and finishes sending until the world is idle. Then the
//! server is stopped, unless that happened in the first phase. Safety is checked as bytes come in
//! and after each turn, liveness when the world is idle.

mod checks;

use std::cell::Cell;
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits, UNTERMINATED_QUIET_MS, turn_micros};
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{
    ChatProtocol, CommandProtocol, PrefixedProtocol, Protocol, RawProtocol,
};
use mynah::internal::server::{ListenerConfig, NoLayer, Server};

use super::accounts::Accounts;
use super::admission::Admission;
use super::clients::{Client, Ending, FRAME_LEN_MAX, HAS_PLUGINS, Kind, RAW_PREFIX};
use super::layered::Wire;
use super::layers::SimulatedLayer;
use super::layers::stub::Stub;
use super::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared};
use super::origins::{Manner, Origin};
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
/// How long a world may take to become idle: longer than any timeout there is.
const IDLE_WAIT_MS: u64 = 80_000;
/// Rounds after which a world that is not idle counts as one that never is.
const IDLE_ROUNDS_MAX: usize = 200_000;
/// Rounds without anything happening after which the server counts as spinning.
const SPIN_ROUNDS_MAX: usize = 5_000;

/// One world in so many has listeners with a layer.
const LAYERED_EVERY: u64 = 3;
/// One world in so many has rustls for it, where there is rustls. A handshake of both sides takes a
/// millisecond in a test build, the stub's a hundredth of that.
const REAL_EVERY: u64 = 60;
const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;

/// Runs the world of `seed` and returns the hash of all that happened.
///
/// # Panics
///
/// When the server breaks a rule.
pub fn run(seed: u64) -> u64 {
    #[cfg(feature = "tls")]
    if seed % REAL_EVERY == REAL_EVERY - 1 {
        return run_with::<mynah::internal::tls::ServerRecords>(seed);
    }
    match seed % LAYERED_EVERY == LAYERED_EVERY - 1 {
        true => run_with::<Stub>(seed),
        false => run_with::<NoLayer>(seed),
    }
}

fn run_with<L: SimulatedLayer>(seed: u64) -> u64 {
    const { assert!(REAL_EVERY.is_multiple_of(LAYERED_EVERY), "those with rustls are among them") };
    panics::install();
    let mut world = World::<L>::new(seed);
    world.run_with_faults();
    world.run_until_idle();
    if !world.stopped {
        world.check_outcome();
        world.stop();
        world.run_until_idle();
    }
    world.check_outcome();
    panics::arm(None);
    world.network.borrow().trace_hash()
}

struct World<L: SimulatedLayer> {
    rng: Rng,
    /// Chance of the layers: worlds without any are what they were before there were some.
    layer_rng: Rng,
    now: Millis,
    /// When the server last had a turn.
    served_at: Millis,
    network: Shared,
    server: Server<FakeStream<L>>,
    listeners: Vec<Kind>,
    /// Which of them have a layer.
    layered: Vec<bool>,
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
    /// How many the server has refused because it was full.
    refused: u64,
    /// The model of admission, where that is limited.
    admission: Option<Admission>,
    /// Accounts that the clients of listener 0 may log in to.
    accounts: Option<Accounts>,
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
    /// Its layer, where its listener has one.
    wire: Option<Wire>,
    /// Since when it has been connected.
    connected_at: Millis,
    socket: Option<usize>,
    /// The rest of its PROXY header.
    header: Vec<u8>,
    /// It says nothing, because nobody could hear it.
    is_mute: bool,
    pace: Pace,
    ending: Ending,
    messages_left: usize,
    /// Since when the server has had all that was sent.
    taken_at: Option<Millis>,
    outgoing: Vec<u8>,
    ended: bool,
    shut: bool,
    /// It did so because the server had.
    follows: bool,
    /// Bytes the network has taken.
    handed: usize,
    /// Since when a message has been on its way to the network.
    open_since: Option<Millis>,
    longest_open_ms: u64,
    /// The same of the message before.
    was_open_since: Option<Millis>,
    /// Some of what the network has taken has not come yet.
    awaits_late_bytes: bool,
    heard_len: usize,
    /// When it last took something, or connected.
    last_heard_at: Millis,
    /// When it last heard the answer to a login, or something of one.
    login_answered_at: Option<Millis>,
    last_sent_at: Millis,
    /// How long it has trickled since the server read the first byte, but for the time in which the
    /// server had no turn.
    trickled_ms: u64,
    reads_before_trickle: usize,
    closed_at: Option<Millis>,
    /// How long it had sent nothing when it was closed, but for what came too late to be read.
    silent_ms: u64,
    /// How long it had sent nothing before what the server has not read.
    pause_ms: u64,
    panicked: bool,
    reset: bool,
    /// A client was refused while this one had heard nothing: it may have been this one.
    may_have_been_refused: bool,
}

impl Peer {
    /// It begins as one does who comes from there.
    fn begin(&mut self, origin: &Origin) {
        self.header = origin.header.clone();
        self.is_mute = !origin.manner.speaks();
        self.client.set_address(origin.client);
        if !origin.data.is_empty() && self.client.say_first(&origin.data) {
            self.outgoing = origin.data.clone();
        }
    }

    /// Whether what it is sending is the message it never finishes.
    fn leaves_it_open(&self) -> bool {
        self.ended && matches!(self.ending, Ending::Unfinished | Ending::Trickle)
    }

    /// The network took something; `was_read` says that the server had read all before it.
    fn note_sent(&mut self, was_read: bool, now: Millis) {
        if was_read {
            self.pause_ms = now.since(self.last_sent_at);
        }
        self.last_sent_at = now;
    }

    /// Nothing of what it is sending is missing any more.
    fn note_whole(&mut self, now: Millis) {
        if let Some(since) = self.open_since.take() {
            self.was_open_since = Some(since);
            self.longest_open_ms = self.longest_open_ms.max(now.since(since));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Prompt,
    Slow,
    /// Reads nothing while there are faults.
    Stalled,
}

impl<L: SimulatedLayer> World<L> {
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
        let admission = Admission::new(seed, listeners.len()).filter(|_| !crowded);
        let may_log_in = listeners[0] == Kind::Command && !crowded;
        let accounts = Accounts::new(seed).filter(|_| may_log_in);
        let mut layer_rng = Rng::new(seed ^ 0x1a7e);
        let has_layers = L::EXISTS && !crowded;
        let sure = layer_rng.below(listeners.len());
        let layered: Vec<bool> = (0..listeners.len())
            .map(|number| has_layers && (number == sure || layer_rng.one_in(2)))
            .collect();
        // So little memory beside the table that some have to be cut. A crowd's table alone takes
        // more.
        let is_tight = !crowded && rng.one_in(5);
        let limits = Limits {
            clients_max: if crowded { 2_000 } else { rng.between(3, 24) },
            lingering_max: rng.between(1, 6),
            send_queue_bytes_max: [4_096, 20_000][rng.below(2)],
            memory_bytes_max: if is_tight {
                listeners.len() * 23_000 + rng.between(10_000, 150_000)
            } else {
                1 << 30
            },
            broadcast_log_bytes_max: [4_096, 12_288][rng.below(2)],
            frame_timeout_ms: FRAME_TIMEOUT_MS,
            handshake_timeout_ms: HANDSHAKE_TIMEOUT_MS,
            handshakes_max: [2, 8, 16][layer_rng.below(3)],
            #[cfg(feature = "admission")]
            headerless_max: admission.as_ref().map_or(1_024, |admission| admission.headerless_max),
            drain_timeout_ms: [0, 500, 5_000][rng.below(3)],
        };
        let pause_ms_max = if rng.one_in(4) { 10 * PAUSE_MS } else { PAUSE_MS };
        let idles = rng.one_in(if crowded { 2 } else { 3 });
        let gather_ms = [0, 0, 20][rng.below(3)];
        let network = Network::new(listeners.len(), faults, Rng::new(seed ^ 0x5eed));
        let mut server = Server::new(limits, Millis(0));
        for (listener, kind) in listeners.iter().enumerate() {
            let acceptor = FakeAcceptor::new(&network, listener);
            server.add_listener(acceptor, listener_config(*kind, idles, gather_ms));
            if layered[listener] {
                server.set_layer(listener, L::config(&mut layer_rng));
            }
        }
        if let Some(admission) = &admission {
            admission.install(&mut server);
        }
        if let Some(accounts) = &accounts {
            accounts.install(&mut server);
        }
        network.borrow_mut().is_replayable = L::IS_REPLAYABLE;
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
        // A name that is asked for is logged like a message.
        let panics = rng.one_in(5) && L::IS_REPLAYABLE;
        let count = rng.between(2, 30) + if crowded { BYSTANDERS } else { 0 };
        let mut world = World {
            rng,
            layer_rng,
            layered,
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
            admission,
            accounts,
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
            let accounts = self.accounts.as_ref().filter(|_| listener == 0);
            let script = accounts.map(|accounts| accounts.script(number));
            let kind = self.listeners[listener];
            let client = kind.client(number, broadcast_len_max, has_plugins, script);
            let is_outside = client.is_outside();
            self.peers.push(Peer {
                listener,
                client,
                wire: None,
                connected_at: Millis(0),
                socket: None,
                header: Vec::new(),
                is_mute: false,
                pace: if quiet { Pace::Prompt } else { paces[rng.below(4)] },
                ending: if quiet { Ending::Stay } else { endings[rng.below(endings.len())] },
                messages_left: match self.listeners[listener] {
                    // Until it has a nickname.
                    Kind::Chat if quiet => 20,
                    // Until it is logged in, where it must be.
                    Kind::Command if quiet && is_outside => 20,
                    _ if quiet => 0,
                    _ => rng.skewed(60),
                },
                taken_at: None,
                outgoing: Vec::new(),
                ended: false,
                shut: false,
                follows: false,
                handed: 0,
                open_since: None,
                longest_open_ms: 0,
                was_open_since: None,
                awaits_late_bytes: false,
                heard_len: 0,
                last_heard_at: Millis(0),
                login_answered_at: None,
                last_sent_at: Millis(0),
                trickled_ms: 0,
                reads_before_trickle: 0,
                closed_at: None,
                silent_ms: 0,
                pause_ms: 0,
                panicked: false,
                reset: false,
                may_have_been_refused: false,
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
            let is_open = self.peers[0].wire.as_ref().is_none_or(Wire::is_confirmed);
            self.has_witness = self.peers[0].client.is_member() && is_open;
            self.peers[0].messages_left = 0;
        }
        self.round();
    }

    /// Lets clients, faults, time and the server take turns at random.
    fn run_with_faults(&mut self) {
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

    /// Without faults, lets every client do what is left to do, until nothing is.
    fn run_until_idle(&mut self) {
        self.network.borrow_mut().faults = Faults::default();
        if let Some(accounts) = &self.accounts {
            accounts.hurry();
        }
        let until = self.now.after(IDLE_WAIT_MS);
        let mut rounds = 0;
        let mut idle_rounds = 0;
        while !(self.stopped && self.server.is_stopped()) {
            rounds += 1;
            assert!(rounds < IDLE_ROUNDS_MAX, "the world does not come to rest");
            let before = self.network.borrow().trace_hash();
            let mut progress = false;
            for number in 0..self.peers.len() {
                progress |= self.visit(number, true);
            }
            self.round();
            let network = self.network.borrow();
            let is_hashing = self.accounts.as_ref().is_some_and(Accounts::is_busy);
            if progress || !network.is_quiet() || network.trace_hash() != before || is_hashing {
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
            let on_its_way = peer.wire.as_ref().is_some_and(|wire| !wire.out().is_empty());
            if !peer.outgoing.is_empty() || on_its_way {
                peer.ending = Ending::Stay;
            }
            peer.outgoing.clear();
            peer.is_mute |= !peer.header.is_empty();
            peer.header.clear();
            if let Some(wire) = &mut peer.wire {
                wire.forget_out();
            }
            peer.ended = true;
        }
        self.server.stop(&(), self.now);
        self.observe();
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
        peer.connected_at = self.now;
        if self.layered[peer.listener] {
            let wire = Wire::new::<L>(self.has_witness && number == 0, &mut self.layer_rng);
            if wire.breaks() {
                peer.ending = Ending::Shut;
            }
            peer.wire = Some(wire);
        }
        if let Some(admission) = &mut self.admission {
            let is_trusting = admission.trusting[peer.listener];
            let is_first = self.has_witness && number == 0;
            let choose = if is_first { Origin::innocent } else { Origin::any };
            let origin = choose(number, is_trusting, &mut admission.rng);
            network.sockets[socket].begin(&origin);
            peer.begin(&origin);
            let kind = self.listeners[peer.listener];
            admission.connect(origin, kind.says_full() && peer.wire.is_none());
        } else if self.accounts.is_some() {
            let address = Accounts::address(number);
            network.sockets[socket].from = Some(address);
            peer.client.set_address(address);
        }
        peer.last_heard_at = self.now;
        peer.last_sent_at = self.now;
    }

    /// One of a crowd that says nothing and takes everything.
    fn is_bystander(&self, number: usize) -> bool {
        self.crowded && number < BYSTANDERS
    }

    /// A client does something; true if it did.
    fn visit(&mut self, number: usize, fault_free: bool) -> bool {
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
        let heard = self.listen(number, fault_free);
        let spoke = !self.peers[number].reset && self.speak(number, fault_free);
        heard || spoke
    }

    fn listen(&mut self, number: usize, fault_free: bool) -> bool {
        let peer = &mut self.peers[number];
        let Some(socket) = peer.socket else { return false };
        let most = match peer.pace {
            _ if fault_free => usize::MAX,
            Pace::Prompt => usize::MAX,
            Pace::Slow => self.rng.skewed(400),
            Pace::Stalled => return false,
        };
        let mut network = self.network.borrow_mut();
        let bytes = network.receive(socket, most);
        peer.heard_len += bytes.len();
        let (waited, logins) = (peer.client.waits_for_login(), peer.client.logins_awaited());
        if !bytes.is_empty() && peer.closed_at.is_none() {
            peer.last_heard_at = self.now;
        }
        let plain = match &mut peer.wire {
            Some(wire) => wire.receive(&bytes, &mut self.layer_rng),
            None => Ok(bytes.clone()),
        };
        if let Err(why) = plain.and_then(|plain| peer.client.hear(&plain)) {
            panic!("client {number}: {why}");
        }
        if !bytes.is_empty() && (waited || peer.client.logins_awaited() < logins) {
            peer.login_answered_at = Some(self.now);
        }
        let state = &network.sockets[socket];
        let over = state.server_shut && state.to_client.is_empty();
        if over && state.lingered && !state.reset_by_server && !state.client_reset {
            let has_last_word =
                peer.wire.as_ref().is_none_or(|wire| !wire.is_confirmed() || wire.has_last_word());
            assert!(has_last_word, "client {number} was not told that no more would come");
        }
        // Most clients hang up when the server has.
        let is_shut = state.client_shut;
        if over && !is_shut && !peer.reset && (fault_free || !self.rng.one_in(8)) {
            peer.follows = !peer.shut;
            peer.shut = true;
            peer.ended = true;
            peer.outgoing.clear();
            peer.header.clear();
            if let Some(wire) = &mut peer.wire {
                wire.forget_out();
            }
            network.shut(socket);
            return true;
        }
        !bytes.is_empty()
    }

    fn speak(&mut self, number: usize, fault_free: bool) -> bool {
        let Some(socket) = self.peers[number].socket else { return false };
        if !self.peers[number].header.is_empty() || self.peers[number].is_mute {
            return self.send_header(number, socket, fault_free);
        }
        if self.peers[number].wire.is_some() {
            return self.speak_sealed(number, socket, fault_free);
        }
        if self.peers[number].outgoing.is_empty() {
            return self.think(number);
        }
        let peer = &mut self.peers[number];
        let trickles = peer.ended && peer.ending == Ending::Trickle;
        let most = match fault_free {
            _ if trickles && self.now.since(peer.last_sent_at) < TRICKLE_MS => return false,
            _ if trickles => 1,
            _ if peer.client.is_undivided() => peer.outgoing.len(),
            true => peer.outgoing.len(),
            false => self.rng.skewed(peer.outgoing.len()),
        };
        let mut network = self.network.borrow_mut();
        network.sockets[socket].undivided = peer.client.is_undivided();
        let was_read = network.sockets[socket].to_server.is_empty();
        let taken = network.send(socket, &peer.outgoing[..most]);
        if taken > 0 {
            peer.handed += taken;
            peer.outgoing.drain(..taken);
            peer.note_sent(was_read, self.now);
            peer.taken_at = None;
            peer.open_since.get_or_insert(self.now);
            if peer.outgoing.is_empty() && !peer.leaves_it_open() {
                peer.note_whole(self.now);
            }
        }
        taken > 0
    }

    /// Bytes before anything that a client says.
    fn send_header(&mut self, number: usize, socket: usize, fault_free: bool) -> bool {
        let (peer, Some(admission)) = (&mut self.peers[number], &mut self.admission) else {
            return false;
        };
        let manner = admission.origin(socket).manner;
        let mut network = self.network.borrow_mut();
        if peer.header.is_empty() {
            let hangs_up = manner == Manner::HangsUp && !network.sockets[socket].client_shut;
            if hangs_up {
                network.shut(socket);
            }
            return hangs_up;
        }
        let most = match manner {
            Manner::Dribbles if self.now.since(peer.last_sent_at) < TRICKLE_MS / 10 => {
                return false;
            }
            Manner::Dribbles => 1,
            _ if fault_free => peer.header.len(),
            _ => admission.rng.skewed(peer.header.len()),
        };
        network.sockets[socket].undivided = false;
        let taken = network.send(socket, &peer.header[..most]);
        peer.header.drain(..taken);
        peer.last_sent_at = self.now;
        taken > 0
    }

    /// The same through a layer.
    fn speak_sealed(&mut self, number: usize, socket: usize, fault_free: bool) -> bool {
        let peer = &mut self.peers[number];
        let Some(wire) = &mut peer.wire else { return false };
        if !wire.has_begun() {
            wire.begin(&mut self.layer_rng);
            return true;
        }
        let trickles = peer.ended && peer.ending == Ending::Trickle;
        let is_early = trickles && self.now.since(peer.last_sent_at) < TRICKLE_MS;
        let is_undivided = peer.client.is_undivided();
        if wire.out().is_empty() {
            let is_shut = self.network.borrow().sockets[socket].client_shut;
            if wire.shuts() && !is_shut {
                peer.shut |= wire.has_said_goodbye();
                peer.note_whole(self.now);
                self.network.borrow_mut().shut(socket);
                return true;
            }
            if !wire.may_speak() || peer.shut {
                return false;
            }
            if peer.outgoing.is_empty() {
                return self.think(number);
            }
            let all = peer.outgoing.len();
            let most = match fault_free {
                _ if trickles && !wire.trickles_records && is_early => return false,
                _ if trickles && !wire.trickles_records => 1,
                true => all,
                false if is_undivided => all,
                false => self.layer_rng.skewed(all),
            };
            wire.seal(&mut peer.outgoing, most, is_undivided, &mut self.layer_rng);
        }
        let all = wire.out().len();
        let most = match fault_free {
            _ if trickles && wire.trickles_records && is_early => return false,
            _ if trickles && wire.trickles_records => 1,
            true => all,
            false if is_undivided => all,
            false => self.layer_rng.skewed(all),
        };
        let mut network = self.network.borrow_mut();
        network.sockets[socket].undivided = is_undivided;
        let was_read = network.sockets[socket].to_server.is_empty();
        let taken = network.send(socket, &wire.out()[..most]);
        if taken > 0 {
            let is_handshake = !wire.may_speak() && !wire.has_said_goodbye();
            peer.handed += wire.hand(taken);
            peer.shut |= wire.has_ended();
            peer.taken_at = None;
            if !is_handshake {
                peer.open_since.get_or_insert(self.now);
                let is_all = peer.outgoing.is_empty() && wire.out().is_empty();
                let is_whole = is_all && !wire.leaves_record_open();
                if is_whole && !peer.leaves_it_open() {
                    peer.note_whole(self.now);
                }
            }
            peer.note_sent(was_read, self.now);
        }
        taken > 0
    }

    /// A client decides what to say next.
    fn think(&mut self, number: usize) -> bool {
        let peer = &mut self.peers[number];
        let Some(socket) = peer.socket else { return false };
        let quiet =
            peer.taken_at.is_some_and(|at| at.after(UNTERMINATED_QUIET_MS) <= self.served_at);
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
            peer.note_whole(self.now);
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
        if let (Ending::Shut, Some(wire)) = (peer.ending, &mut peer.wire) {
            wire.say_goodbye(&mut self.layer_rng);
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
        let is_woken = self.accounts.as_ref().is_some_and(|accounts| accounts.work(self.now));
        let is_due =
            !events.is_empty() || is_woken || self.server.poll_timeout(self.now) == Some(0);
        self.clock.micros.set(self.clock.micros.get().max(self.now.0 * 1_000));
        let began_at = self.clock.micros.get();
        self.server.begin_batch(self.now);
        self.network.borrow_mut().in_batch = true;
        for event in events {
            match event {
                Event::Acceptable(listener) => self.server.on_acceptable(listener),
                Event::Ready(id, ready) => {
                    let before = self.network.borrow().trace_hash();
                    self.server.on_ready(&(), id, ready, self.now);
                    let is_served = self.network.borrow().trace_hash() != before;
                    self.observe();
                    self.note_panic();
                    // Memory is bounded at each event that is not left for the turn: a batch may
                    // have a thousand.
                    if self.is_tight && is_served {
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
        let passed_ms = self.now.since(std::mem::replace(&mut self.served_at, self.now));
        self.observe();
        self.note_panic();
        if let Some(what) = L::take_violation() {
            panic!("{what}");
        }
        if !self.crowded || self.rng.one_in(20) {
            self.server.assert_turn_invariants();
        }
        self.check_turn(passed_ms);
    }

    /// How long a turn may take: each part stops at the look that finds its time over, and all but
    /// the batch of events begin with a look of their own.
    fn turn_micros_max(&self) -> u64 {
        use turn_micros::{
            ACCEPT, ADMIT, ARRIVALS, DISPATCH, FANOUT, HANDSHAKES, REAP, RESUME, TIMERS,
        };

        let step = self.clock.step;
        if step == 0 {
            return 0;
        }
        let listeners = self.listeners.len() as u64;
        let parts = [ARRIVALS, ACCEPT, RESUME, FANOUT, TIMERS, REAP];
        let looks: u64 = parts.iter().map(|part| 1 + part.micros.div_ceil(step)).sum();
        let admitting = listeners * (1 + ADMIT.micros.div_ceil(step));
        // Every listener lets one in.
        let accepting = listeners - 1;
        // A step of a handshake looks once, one that is over at once may look twice.
        let opening = if L::EXISTS { 2 + HANDSHAKES.micros.div_ceil(step) } else { 0 };
        (DISPATCH.micros.div_ceil(step) + looks + admitting + accepting + opening) * step
    }

    /// Looks at whom the server has let in.
    fn observe(&mut self) {
        if let Some(admission) = &mut self.admission {
            admission.observe(&mut self.network.borrow_mut(), &self.server.stats(), self.now);
        }
    }

    fn note_panic(&mut self) {
        let Some(generation) = panics::take_victim() else { return };
        let socket = self.network.borrow().socket_of(generation);
        let victim = self.peers.iter_mut().find(|peer| peer.socket == socket);
        victim.expect("whoever panics has a socket").panicked = true;
    }
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
fn set_plugins<L: SimulatedLayer>(_: &mut Server<FakeStream<L>>, _: u64) {}

/// Plugins in whose eyes `step_ms` pass with every look at the clock, so that the server has to
/// share its turns among them and everybody else.
#[cfg(feature = "plugins")]
fn set_plugins<L: SimulatedLayer>(server: &mut Server<FakeStream<L>>, step_ms: u64) {
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
