//! Small worlds without chance in what happens: what the worlds of many seeds have found.

use mynah::internal::cluster::Link;
use mynah::internal::limits::Limits;

use super::clients::{Client, Heard};
use super::engine::ModelEngine;
use super::node::Node;
use super::wires::Wires;
use crate::support::rng::Rng;

const STEP_MS: u64 = 5;

/// Two nodes, each with one who is to be a member.
struct Pair {
    nodes: [Node; 2],
    engine: ModelEngine,
    wires: Wires,
    clients: Vec<Client>,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        let mut nodes = [Node::new(0, Rng::new(1)), Node::new(1, Rng::new(2))];
        nodes.iter_mut().for_each(|node| node.start(Limits::default(), None, 0));
        let mut wires = Wires::new(Rng::new(3));
        wires.delay_ms_max = 2;
        let clients = nodes.iter().map(|node| Client::connect(node.number, node, true, 0));
        let clients = clients.collect();
        Pair { nodes, engine: ModelEngine::new(Rng::new(4)), wires, clients, now: 0 }
    }

    fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            self.now += STEP_MS;
            self.engine.set_now(self.now);
            self.wires.advance(&mut self.engine, self.now);
            for client in &mut self.clients {
                client.run(&self.nodes[client.node], self.now);
            }
            for node in &mut self.nodes {
                node.run(&mut self.wires, &mut self.engine, self.now);
            }
        }
    }

    fn join(&mut self, number: usize) {
        self.clients[number].ask(["anna", "ben"][number]);
        self.run(50);
        assert!(self.clients[number].is_member());
    }

    /// How often the second has heard the first, and been told that it may not have.
    fn heard(&self) -> (usize, usize) {
        let count = |is: &dyn Fn(&Heard) -> bool| {
            self.clients[1].heard.iter().filter(|(_, heard)| is(heard)).count()
        };
        let posts = count(&|heard| matches!(heard, Heard::Post { .. }));
        (posts, count(&|heard| *heard == Heard::Missed))
    }
}

#[test]
fn member_that_came_before_its_node_heard_is_told() {
    let mut pair = Pair::new();
    pair.wires.block(1, Link::Subscriber, [true, true]);
    pair.run(1_000);
    pair.join(0);
    pair.join(1);
    pair.clients[0].post(pair.now);
    pair.run(500);
    assert_eq!(pair.heard(), (0, 0));
    pair.wires.unblock_all();
    pair.run(3_000);
    assert_eq!(pair.heard(), (0, 1));
}

#[test]
fn node_hears_on_while_it_cannot_publish() {
    let mut pair = Pair::new();
    pair.run(4_000);
    pair.join(0);
    pair.join(1);
    pair.wires.block(1, Link::Commands, [true, true]);
    pair.run(4_000);
    // The engine closes what it cannot reach.
    pair.engine.cut(false);
    pair.run(4_000);
    pair.wires.unblock_all();
    for _ in 0..40 {
        pair.clients[0].post(pair.now);
        pair.run(50);
    }
    let (posts, missed) = pair.heard();
    assert_eq!((posts, missed), (40, 0));
}

#[test]
fn deaf_node_connects_anew_and_tells() {
    let mut pair = Pair::new();
    pair.run(4_000);
    pair.join(0);
    pair.join(1);
    pair.wires.block(1, Link::Subscriber, [false, true]);
    pair.clients[0].post(pair.now);
    pair.run(6_000);
    assert_eq!(pair.heard(), (0, 0));
    // What has come on the old connection is not read any more.
    pair.wires.unblock_all();
    pair.run(3_000);
    assert_eq!(pair.heard(), (0, 1));
    pair.clients[0].post(pair.now);
    pair.run(500);
    assert_eq!(pair.heard(), (1, 1));
}
