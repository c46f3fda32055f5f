//! The server core in small scenarios on the simulated network: rules that once broke, or that
//! chance seldom puts to the test.

mod accepting;
#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "admission")]
mod admission;
mod backpressure;
mod broadcasts;
mod chat;
mod closing;
mod layers;
mod long_frames;
mod memory_limit;
mod removal;
mod reporting;
mod stop;
mod timeouts;
mod turn_budget;

use std::cell::Cell;
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol, Protocol};
use mynah::internal::server::{Layer, ListenerConfig, NoLayer, Server};

use crate::simulation::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared};
use crate::support::rng::Rng;

const LIMITS: Limits = Limits {
    clients_max: 8,
    lingering_max: 2,
    send_queue_bytes_max: 4_096,
    memory_bytes_max: 1 << 30,
    broadcast_log_bytes_max: 4_096,
    frame_timeout_ms: 3_000,
    handshake_timeout_ms: 10_000,
    handshakes_max: 16,
    #[cfg(feature = "admission")]
    headerless_max: 4,
    drain_timeout_ms: 5_000,
};

/// More bytes than any scenario sends to a client that is meant to take everything.
const AMPLE: usize = 1 << 20;

/// A server with one kind of listener, a network without faults, and a clock that the test moves.
struct Scenario<L: Layer = NoLayer> {
    network: Shared,
    server: Server<FakeStream<L>>,
    now: Millis,
}

impl Scenario {
    fn new(limits: Limits, idle_ms: u64) -> Self {
        Scenario::with_listeners(1, limits, idle_ms)
    }

    fn chat(limits: Limits) -> Self {
        Scenario::with_protocol(|| ChatProtocol::new(Lang::En).into(), 1, limits, 0)
    }

    fn with_listeners(n: usize, limits: Limits, idle_ms: u64) -> Self {
        Scenario::with_protocol(
            || CommandProtocol { payload_len_max: 1 << 20 }.into(),
            n,
            limits,
            idle_ms,
        )
    }

    fn with_protocol(
        protocol: impl Fn() -> Protocol,
        n: usize,
        limits: Limits,
        idle_ms: u64,
    ) -> Self {
        Scenario::with_layer(protocol, n, limits, idle_ms)
    }
}

impl<L: Layer> Scenario<L> {
    /// Without layers, as yet, on any of its listeners.
    fn with_layer(protocol: impl Fn() -> Protocol, n: usize, limits: Limits, idle_ms: u64) -> Self {
        let network = Network::new(n, Faults::default(), Rng::new(1));
        let mut server = Server::new(limits, Millis(0));
        for listener in 0..n {
            let acceptor = FakeAcceptor::new(&network, listener);
            let (name, protocol) = ("command".to_owned(), protocol());
            server.add_listener(acceptor, ListenerConfig { name, protocol, idle_ms });
        }
        Scenario { network, server, now: Millis(0) }
    }

    /// Connects a client whose buffers, and the network on the way, hold `capacity` bytes for it.
    fn connect(&mut self, capacity: usize) -> usize {
        let socket = self.network.borrow_mut().connect(0, 16 << 20, capacity);
        self.run_until_idle();
        socket
    }

    fn send(&mut self, socket: usize, bytes: &[u8]) {
        assert_eq!(self.network.borrow_mut().send(socket, bytes), bytes.len());
    }

    fn receive(&mut self, socket: usize) -> Vec<u8> {
        self.network.borrow_mut().receive(socket, usize::MAX)
    }

    fn receive_all(&mut self, socket: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.receive(socket);
            if bytes.is_empty() {
                return all;
            }
            all.extend(bytes);
            self.run_until_idle();
        }
    }

    fn round(&mut self) {
        let events = self.network.borrow_mut().poll(usize::MAX);
        self.server.begin_batch(self.now);
        for event in events {
            match event {
                Event::Acceptable(listener) => self.server.on_acceptable(listener),
                Event::Ready(id, ready) => {
                    self.server.on_ready(&(), id, ready, self.now);
                }
            }
        }
        self.server.turn(&(), self.now);
        // The check visits every connection, which takes long where there are thousands.
        if self.server.sockets() < 100 {
            self.server.assert_turn_invariants();
        }
    }

    /// Runs rounds until nothing is left to do but wait.
    fn run_until_idle(&mut self) {
        for _ in 0..1_000 {
            self.round();
            let waits = self.server.poll_timeout(self.now) != Some(0);
            if self.server.is_stopped() || (waits && self.network.borrow().is_quiet()) {
                self.server.assert_invariants();
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    fn stop(&mut self) {
        self.server.stop(&(), self.now);
    }

    fn is_closed(&self, socket: usize) -> bool {
        self.network.borrow().sockets[socket].server_closed
    }

    /// Has `nick` join the chat; returns its socket, whose welcome is not read yet.
    fn join(&mut self, nick: &str) -> usize {
        let socket = self.connect(AMPLE);
        self.send(socket, format!("{nick}\n").as_bytes());
        self.run_until_idle();
        socket
    }

    /// Gives the server a clock that moves on by `step_us` at each look, one after each
    /// `clock_check_bytes` of work. Returns the time it shows.
    fn set_clock(&mut self, step_us: u64, clock_check_bytes: usize) -> Rc<Cell<u64>> {
        let micros = Rc::new(Cell::new(0));
        let shown = Rc::clone(&micros);
        let look = move || {
            shown.set(shown.get() + step_us);
            shown.get()
        };
        self.server.set_clock(Box::new(look), clock_check_bytes);
        micros
    }
}

/// Adds members that lag by most of a log of a mebibyte; returns them and the sender.
fn add_laggards(scenario: &mut Scenario, count: usize) -> (Vec<usize>, usize) {
    let members: Vec<usize> = (0..count)
        .map(|n| {
            let member = scenario.connect(200);
            scenario.send(member, format!("member{n:03}\n").as_bytes());
            scenario.run_until_idle();
            member
        })
        .collect();
    let sender = scenario.join("sender");
    for member in &members {
        scenario.receive_all(*member);
    }
    for n in 0..200 {
        scenario.send(sender, format!("{n:04}{}\n", "x".repeat(3_990)).as_bytes());
        scenario.run_until_idle();
    }
    (members, sender)
}

/// A chat whose log takes a mebibyte.
fn chat_with_a_long_log() -> Scenario {
    let limits = Limits {
        clients_max: 100,
        broadcast_log_bytes_max: 1 << 20,
        send_queue_bytes_max: 4 << 20,
        ..LIMITS
    };
    Scenario::with_protocol(|| ChatProtocol::new(Lang::En).into(), 1, limits, 0)
}
