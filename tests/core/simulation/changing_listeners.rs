//! A world whose listeners come, go and change while clients are served: nobody loses a reply to
//! what had arrived, nobody else notices, and nothing is left of a listener that was removed.

use std::mem;

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::CommandProtocol;
use mynah::internal::server::{ListenerConfig, Server};

use super::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared};
use crate::support::frame;
use crate::support::rng::Rng;

/// Ports that a listener may be opened at.
const PORTS: usize = 5;
const CLIENTS_MAX: usize = 400;
/// More than any client is sent.
const AMPLE: usize = 1 << 20;

pub fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.between(50, 600) {
        world.step();
    }
    world.finish();
}

struct World {
    rng: Rng,
    now: Millis,
    network: Shared,
    server: Server<FakeStream>,
    /// The number of the listener at each port, while there is one.
    numbers: [Option<usize>; PORTS],
    clients: Vec<Client>,
}

struct Client {
    socket: usize,
    port: usize,
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Bytes it had sent when its listener was removed.
    due: Option<usize>,
    has_shut: bool,
}

fn config(idle_ms: u64) -> ListenerConfig {
    let protocol = CommandProtocol { payload_len_max: 1 << 10 }.into();
    ListenerConfig { name: "command".to_owned(), protocol, idle_ms }
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let limits = Limits {
            clients_max: CLIENTS_MAX,
            lingering_max: 16,
            drain_timeout_ms: [0, 500, 5_000][rng.below(3)],
            ..Limits::default()
        };
        let network = Network::new(PORTS, Faults::default(), Rng::new(seed ^ 0x11f7));
        let server = Server::new(limits, Millis(0));
        let (numbers, clients) = ([None; PORTS], Vec::new());
        let mut world = World { rng, now: Millis(0), network, server, numbers, clients };
        world.open(0);
        world
    }

    fn open(&mut self, port: usize) {
        let acceptor = FakeAcceptor::new(&self.network, port);
        self.numbers[port] = Some(self.server.add_listener(acceptor, config(0)));
    }

    /// Requests that the clients of a port have sent are to be answered: of those that wait to be
    /// accepted, too, or not.
    fn mark_due(&mut self, port: usize, with_backlog: bool) {
        let network = self.network.borrow();
        for client in self.clients.iter_mut().filter(|client| client.port == port) {
            let is_in = with_backlog || network.sockets[client.socket].accepted_at.is_some();
            if client.due.is_none() && is_in {
                client.due = Some(client.sent.len());
            }
        }
    }

    fn step(&mut self) {
        let port = self.rng.below(PORTS);
        match (self.rng.below(40), self.numbers[port]) {
            (0, Some(number)) => {
                self.mark_due(port, true);
                self.server.remove_listener(number);
                self.numbers[port] = None;
                // Its backlog is not that of the next listener there.
                self.round();
            }
            (1, Some(number)) => {
                self.mark_due(port, false);
                self.server.replace_listener(number, config(0));
            }
            (2, Some(number)) => {
                self.server.configure_listener(number, config(0));
                self.server.rearm_deadlines();
            }
            (0..4, None) => self.open(port),
            (3..9, Some(_)) if self.clients.len() < CLIENTS_MAX => {
                let socket = self.network.borrow_mut().connect(port, AMPLE, AMPLE);
                let (sent, received) = (Vec::new(), Vec::new());
                let client = Client { socket, port, sent, received, due: None, has_shut: false };
                self.clients.push(client);
            }
            (9, _) => self.now = self.now.after(self.rng.below(800) as u64),
            (10..25, _) => self.client_acts(),
            _ => self.round(),
        }
    }

    fn client_acts(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.rng.below(self.clients.len());
        if self.rng.one_in(3) {
            return self.receive(at);
        }
        let client = &mut self.clients[at];
        if client.has_shut {
            return;
        }
        let mut network = self.network.borrow_mut();
        if self.rng.one_in(8) {
            client.has_shut = true;
            network.shut(client.socket);
            return;
        }
        for _ in 0..self.rng.between(1, 20) {
            let len = self.rng.below(300);
            let frame = frame(1, &self.rng.bytes(len));
            network.send(client.socket, &frame);
            client.sent.extend(frame);
        }
    }

    fn receive(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let bytes = self.network.borrow_mut().receive(client.socket, usize::MAX);
        client.received.extend(bytes);
        assert!(client.sent.starts_with(&client.received), "{}: other replies", client.socket);
    }

    fn round(&mut self) {
        let most = self.rng.between(1, 50);
        let events = self.network.borrow_mut().poll(most);
        self.server.begin_batch(self.now);
        for event in events {
            match event {
                Event::Acceptable(port) => {
                    if let Some(number) = self.numbers[port] {
                        self.server.on_acceptable(number);
                    }
                }
                Event::Ready(id, ready) => self.server.on_ready(&(), id, ready, self.now),
            }
        }
        self.server.turn(&(), self.now);
        self.server.assert_turn_invariants();
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            for _ in 0..2_000 {
                self.round();
                let waits = self.server.poll_timeout(self.now) != Some(0);
                if waits && self.network.borrow().is_quiet() {
                    break;
                }
            }
            (0..self.clients.len()).for_each(|at| self.receive(at));
            self.now = self.now.after(500);
        }
    }

    fn finish(&mut self) {
        self.settle();
        for client in &self.clients {
            let socket = &self.network.borrow().sockets[client.socket];
            match client.due {
                Some(due) => {
                    let answered = client.received.len();
                    assert!(answered >= due, "{answered} of {due} bytes answered");
                    assert!(socket.server_closed, "{} was not drained", client.socket);
                    assert!(!socket.reset_by_server || socket.has_late_bytes, "it was reset");
                }
                None if client.has_shut => {}
                None => assert_eq!(client.received, client.sent, "who stays is served"),
            }
        }
        let open = self.numbers.iter().flatten().count();
        assert_eq!(self.server.listener_count(), open, "drained listeners leave nothing");
        assert!(self.server.next_listener_number() <= 2 * PORTS, "numbers are used again");
        for number in mem::take(&mut self.numbers).into_iter().flatten() {
            self.server.remove_listener(number);
        }
        self.settle();
        assert_eq!((self.server.listener_count(), self.server.sockets()), (0, 0));
        assert_eq!(self.server.next_listener_number(), 0);
    }
}
