//! A whole server that is a node, with two members and a `command` client, and an engine that does what
//! it is asked.

use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, EngineConfig, Link, NodeConfig};
use mynah::internal::limits::Limits;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Readiness, Server};

use super::engine::StubEngine;
use super::sockets::{Client, Clients, Stream};

/// The node's own incarnation.
pub(super) const INCARNATION: u64 = 1 << 40;

/// The names of its channels.
pub(super) const CHANNELS: [&str; 2] = ["chat:lobby", "command:room"];

/// Rounds at one moment after which the server counts as spinning.
const ROUNDS_MAX: usize = 1_000;

/// The node, its clients and its engine.
pub(super) struct World {
    pub(super) server: Server<Stream>,
    pub(super) now: Millis,
    pub(super) clients: Vec<Client>,
    pub(super) engine: StubEngine,
}

impl World {
    pub(super) fn new() -> World {
        let now = Millis(1_000_000);
        let mut server = Server::new(Limits::default(), now);
        let clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
        let chat = ChatProtocol::new(Lang::En).into();
        let command = CommandProtocol { payload_len_max: 1_000 }.into();
        let sides = [(chat, &clients[..2]), (command, &clients[2..])];
        for (number, (protocol, clients)) in sides.into_iter().enumerate() {
            let config = ListenerConfig { name: String::new(), protocol, idle_ms: 0 };
            server.add_listener(Clients(clients.iter().rev().map(Rc::clone).collect()), config);
            server.on_acceptable(number);
        }
        let config = EngineConfig {
            url: "redis://engine".to_owned(),
            username: String::new(),
            password: Vec::new(),
            database: 0,
            client_name: "mynah:n".to_owned(),
            unsent_bytes_max: Limits::default().send_queue_bytes_max,
            message_bytes_max: 1 << 20,
        };
        let node = NodeConfig { name: "n".to_owned(), prefix: "p".to_owned() };
        server.enable_cluster(node, Engine::new(config, 1), INCARNATION);
        CHANNELS.iter().enumerate().for_each(|(at, name)| server.set_channel(at, Some(name)));
        let mut world = World { server, now, clients, engine: StubEngine::default() };
        world.run();
        world
    }

    /// A client sends bytes.
    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].borrow_mut().to_server.extend_from_slice(bytes);
        let id = self.clients[client].borrow().id.expect("it was accepted");
        let ready = Readiness { readable: true, writable: true, read_closed: false };
        self.server.begin_batch(self.now);
        self.server.on_ready(&(), id, ready, self.now);
        self.run();
    }

    /// What a client has been sent since the last call.
    pub(super) fn take_output(&mut self, client: usize) -> Vec<u8> {
        std::mem::take(&mut self.clients[client].borrow_mut().to_client)
    }

    /// Time passes, a second at a time at most.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.after(ms);
        while self.now < end {
            self.now = self.now.after(1_000).min(end);
            self.run();
        }
    }

    /// A connection to the engine ends. What was said on it is lost.
    pub(super) fn fail(&mut self, link: Link) {
        let client = self.server.cluster_engine_mut().expect("it is a node");
        self.engine.end(link, client, self.now);
        self.run();
    }

    /// Turns until there is nothing to do.
    pub(super) fn run(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the server spins");
            self.server.begin_batch(self.now);
            self.engine.advance(self.server.cluster_engine_mut().expect("it is a node"), self.now);
            self.server.turn(&(), self.now);
            self.server.assert_turn_invariants();
            let client = self.server.cluster_engine().expect("it is a node");
            if self.engine.is_quiet(client) && self.server.poll_timeout(self.now) != Some(0) {
                return;
            }
        }
    }
}
