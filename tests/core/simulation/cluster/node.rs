//! One node: a real server, its clients' network, its clock, and its two connections to the engine,
//! driven as `src/net/engine_link/connection.rs` drives them.

use std::cell::Cell;
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, EngineConfig, Link, NodeConfig, Want};
use mynah::internal::limits::Limits;
use mynah::internal::protocol::chat::Lang;
#[cfg(feature = "accounts")]
use mynah::internal::protocol::login::Auth;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Server};

#[cfg(feature = "accounts")]
use super::accounts::Accounts;
use super::engine::ModelEngine;
use super::trace;
use super::wires::Wires;
use crate::simulation::network::{self, Event, FakeAcceptor, FakeStream, Faults, Network};
use crate::support::rng::Rng;

/// The listeners of each node.
pub const CHAT: usize = 0;
pub const COMMAND: usize = 1;

/// Rounds at one moment after which a server counts as spinning.
const SPIN_ROUNDS_MAX: usize = 3_000;

/// Work between two looks at the clock within a turn: an event.
const LOOK_BYTES: usize = 1_024;

pub struct Node {
    pub number: usize,
    pub name: String,
    /// How often it has been started.
    pub life: usize,
    pub server: Option<Server<FakeStream>>,
    pub network: network::Shared,
    links: [State; 2],
    clock: Clock,
    /// It has no turns until then.
    pub paused_until: u64,
    pub incarnation: u64,
    pub is_stopping: bool,
    /// The loop goes round once, as something has been done to it from outside (a signal), or a
    /// connection to the engine has had an event.
    is_woken: bool,
    /// Clients of its chat can log in.
    pub has_accounts: bool,
    #[cfg(feature = "accounts")]
    accounts: Accounts,
    /// Time that passes from one look at the clock within a turn to the next, in microseconds; 0 in a
    /// server that does not look.
    pub look_micros: u64,
    micros: Rc<Cell<u64>>,
    /// The longest turn by that clock.
    pub longest_turn_micros: u64,
    rng: Rng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Connecting { at: u64 },
    Open { wire: u64 },
}

/// A node's clock: it begins anywhere, and goes a little faster or slower than time does.
struct Clock {
    base: u64,
    since: u64,
    per_mille: u64,
}

impl Clock {
    fn read(&self, now: u64) -> Millis {
        Millis(self.base + (now - self.since) * self.per_mille / 1_000)
    }

    /// The moment at which it shows that.
    fn when(&self, at: Millis) -> u64 {
        let ahead = at.0.saturating_sub(self.base) as u128 * 1_000;
        let per_mille = u128::from(self.per_mille);
        self.since.saturating_add(u64::try_from(ahead.div_ceil(per_mille)).unwrap_or(u64::MAX / 2))
    }
}

impl Node {
    pub fn new(number: usize, rng: Rng) -> Self {
        Node {
            number,
            name: format!("node{number}"),
            life: 0,
            server: None,
            network: Network::new(2, Faults::default(), Rng::new(0)),
            links: [State::Idle; 2],
            clock: Clock { base: 0, since: 0, per_mille: 1_000 },
            paused_until: 0,
            incarnation: 0,
            is_stopping: false,
            is_woken: false,
            has_accounts: false,
            #[cfg(feature = "accounts")]
            accounts: Accounts::default(),
            look_micros: 0,
            micros: Rc::default(),
            longest_turn_micros: 0,
            rng,
        }
    }

    /// Starts it, under the name it has, as a new process.
    pub fn start(&mut self, limits: Limits, password: Option<Vec<u8>>, now: u64) {
        let rng = &mut self.rng;
        let per_mille = [1_000, 1_000, 990, 1_010][rng.below(4)];
        self.clock = Clock { base: rng.below(100_000) as u64, since: now, per_mille };
        self.life += 1;
        self.incarnation = u64::from_le_bytes(rng.bytes(8).try_into().expect("eight"));
        self.is_stopping = false;
        self.is_woken = true;
        self.paused_until = 0;
        self.links = [State::Idle; 2];
        self.network = Network::new(2, Faults::default(), Rng::new(rng.below(usize::MAX) as u64));
        let at = self.clock.read(now);
        let mut server = Server::new(limits, at);
        for listener in [CHAT, COMMAND] {
            let acceptor = FakeAcceptor::new(&self.network, listener);
            server.add_listener(acceptor, listener_config(listener));
        }
        #[cfg(feature = "accounts")]
        if self.has_accounts {
            self.accounts = Accounts::default();
            self.accounts.install(&mut server);
        }
        let config = EngineConfig {
            url: "redis://engine".to_owned(),
            username: String::new(),
            password: password.unwrap_or_default(),
            database: rng.below(2) as u32,
            client_name: format!("mynah:{}", self.name),
            unsent_bytes_max: limits.cluster_unsent_bytes_max(),
            message_bytes_max: limits.cluster_message_bytes_max(),
        };
        let engine = Engine::new(config, rng.below(usize::MAX) as u64);
        let config = NodeConfig { name: self.name.clone(), prefix: "mynah".to_owned() };
        server.enable_cluster(config, engine, self.incarnation);
        server.set_channel(CHAT, Some("chat:lobby"));
        server.set_channel(COMMAND, Some("command:room"));
        self.server = Some(server);
        if self.look_micros > 0 {
            self.set_clock(self.look_micros, LOOK_BYTES);
        }
    }

    /// Gives its server a clock that goes on by so much at each look, one after so much work.
    pub fn set_clock(&mut self, look_micros: u64, look_bytes: usize) {
        let micros = Rc::clone(&self.micros);
        let look = move || micros.replace(micros.get() + look_micros);
        let server = self.server.as_mut().expect("it runs");
        server.set_clock(Box::new(look), look_bytes);
    }

    /// Gives it accounts while it runs, as a reload may.
    #[cfg(feature = "accounts")]
    pub fn add_accounts(&mut self) {
        self.has_accounts = true;
        self.is_woken = true;
        self.accounts = Accounts::default();
        self.accounts.install(self.server.as_mut().expect("it runs"));
    }

    /// Another listener takes the place of its chat, as at a reload that has it speak TLS.
    pub fn replace_chat(&mut self) {
        self.is_woken = true;
        let server = self.server.as_mut().expect("it runs");
        server.replace_listener(CHAT, listener_config(CHAT));
        #[cfg(feature = "accounts")]
        if self.has_accounts {
            server.set_auth(CHAT, Auth::Optional);
        }
        server.set_channel(CHAT, Some("chat:lobby"));
    }

    /// It dies: nothing of it is left, and the engine finds its connections closed.
    pub fn kill(&mut self, wires: &mut Wires, now: u64) {
        self.server = None;
        for link in Link::ALL {
            self.close(link, wires, now);
        }
    }

    /// Its clock goes ahead, as that of a machine that slept.
    pub fn jump(&mut self, ms: u64) {
        self.clock.base += ms;
    }

    pub fn stop(&mut self, now: u64) {
        let at = self.clock.read(now);
        if let Some(server) = &mut self.server
            && !self.is_stopping
        {
            self.is_stopping = true;
            self.is_woken = true;
            server.stop(&(), at);
        }
    }

    pub fn is_running(&self, now: u64) -> bool {
        self.server.is_some() && self.paused_until <= now
    }

    /// Turns until there is nothing more to do at this moment.
    pub fn run(&mut self, wires: &mut Wires, engine: &mut ModelEngine, now: u64) {
        if !self.is_running(now) {
            return;
        }
        for round in 0.. {
            assert!(round < SPIN_ROUNDS_MAX, "the server of {} spins", self.name);
            let is_due = self.round(wires, engine, now);
            let Some(server) = &self.server else { return };
            if server.is_stopped() {
                return self.kill(wires, now);
            }
            if !is_due && server.poll_timeout(self.clock.read(now)) != Some(0) {
                break;
            }
        }
    }

    /// One round of the server's loop. Returns whether another is due although the server has
    /// nothing to do.
    fn round(&mut self, wires: &mut Wires, engine: &mut ModelEngine, now: u64) -> bool {
        let at = self.clock.read(now);
        let most = self.rng.between(1, 40);
        let events = self.network.borrow_mut().poll(most);
        let is_due = !events.is_empty() || self.next_due(now).is_some_and(|due_at| due_at <= now);
        #[cfg(feature = "accounts")]
        let is_due = is_due || self.accounts.is_busy();
        let before = self.effects();
        let Some(server) = &mut self.server else { return false };
        server.begin_batch(at);
        for event in events {
            match event {
                Event::Acceptable(listener) => server.on_acceptable(listener),
                Event::Ready(id, ready) => server.on_ready(&(), id, ready, at),
            }
        }
        let mut has_read = false;
        for link in Link::ALL {
            has_read |= self.advance(link, wires, engine, now);
        }
        let is_due = std::mem::take(&mut self.is_woken) || is_due;
        let Some(server) = &mut self.server else { return false };
        let began_at = self.micros.get();
        server.turn(&(), at);
        let micros = self.micros.get() - began_at;
        self.longest_turn_micros = self.longest_turn_micros.max(micros);
        server.assert_turn_invariants();
        let is_idle = self.effects() == before;
        assert!(is_due || is_idle, "the loop of {} would have slept through this turn", self.name);
        for link in Link::ALL {
            self.send(link, wires, now);
        }
        #[cfg(feature = "accounts")]
        let has_read = has_read || self.accounts.is_busy();
        has_read || !self.network.borrow().is_quiet()
    }

    /// What others can see of it: what has passed on its clients' network, and of its connections to
    /// the engine.
    fn effects(&mut self) -> (u64, [State; 2], [usize; 2]) {
        let unsent = Link::ALL.map(|link| self.client().unsent(link).len());
        (self.network.borrow().trace_hash(), self.links, unsent)
    }

    /// Goes on with a connection to the engine. Returns whether bytes were read.
    fn advance(
        &mut self,
        link: Link,
        wires: &mut Wires,
        engine: &mut ModelEngine,
        now: u64,
    ) -> bool {
        let at = self.clock.read(now);
        let number = self.number;
        let mut has_read = false;
        if let State::Connecting { at: due } = self.links[link as usize]
            && due <= now
            && wires.is_through(number, link)
        {
            let wire = wires.connect(number, link, engine);
            self.links[link as usize] = State::Open { wire };
            trace(|| format!("{} {link:?} open, wire {wire}", self.name));
            self.client().on_connected(link, at);
            self.is_woken = true;
        }
        self.is_woken |= self.send(link, wires, now);
        if let State::Open { wire } = self.links[link as usize] {
            while self.client().may_read(link) {
                match wires.receive(wire, now) {
                    None => break,
                    Some(bytes) if bytes.is_empty() => {
                        self.close(link, wires, now);
                        trace(|| format!("{} {link:?} is closed", self.name));
                        self.client().on_failed(link, "it closed the connection", at);
                        self.is_woken = true;
                        break;
                    }
                    Some(bytes) => self.client().on_bytes(link, &bytes, at),
                }
                has_read = true;
            }
            self.is_woken |= has_read;
        }
        match self.client().want(link, at) {
            Want::Nothing => {}
            Want::Close => {
                trace(|| format!("{} closes {link:?}", self.name));
                self.close(link, wires, now);
            }
            Want::Connect => {
                self.close(link, wires, now);
                self.client().on_connecting(link, at);
                let at = now + self.rng.below(wires.delay_ms_max) as u64;
                self.links[link as usize] = State::Connecting { at };
            }
        }
        has_read
    }

    fn client(&mut self) -> &mut Engine {
        let server = self.server.as_mut().expect("it runs");
        server.cluster_engine_mut().expect("it is a node")
    }

    /// Returns whether bytes were sent.
    fn send(&mut self, link: Link, wires: &mut Wires, now: u64) -> bool {
        let State::Open { wire } = self.links[link as usize] else { return false };
        let mut has_sent = false;
        loop {
            let bytes = self.client().unsent(link);
            let taken = if bytes.is_empty() { 0 } else { wires.send(wire, bytes, now) };
            if taken == 0 {
                return has_sent;
            }
            self.client().on_sent(link, taken);
            has_sent = true;
        }
    }

    fn close(&mut self, link: Link, wires: &mut Wires, now: u64) {
        if let State::Open { wire } = self.links[link as usize] {
            wires.close(wire, now);
        }
        self.links[link as usize] = State::Idle;
    }

    /// When it has something to do although nothing happens.
    pub fn next_due(&self, now: u64) -> Option<u64> {
        let server = self.server.as_ref()?;
        if self.paused_until > now {
            return Some(self.paused_until);
        }
        let at = self.clock.read(now);
        let turn = server.poll_timeout(at).map(|ms| self.clock.when(at.after(ms)));
        let engine = server.cluster_engine()?.next_due().map(|at| self.clock.when(at));
        let connecting = self.links.iter().filter_map(|state| match state {
            State::Connecting { at } if *at > now => Some(*at),
            _ => None,
        });
        connecting.chain(turn).chain(engine).min()
    }
}

pub fn listener_config(listener: usize) -> ListenerConfig {
    let (name, protocol) = match listener {
        CHAT => ("chat", ChatProtocol::new(Lang::En).into()),
        _ => ("command", CommandProtocol { payload_len_max: 1_000 }.into()),
    };
    ListenerConfig { name: name.to_owned(), protocol, idle_ms: 0 }
}
