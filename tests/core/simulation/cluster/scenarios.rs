//! Small worlds without chance in what happens: what the worlds of many seeds have found.

use mynah::internal::cluster::Link;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::CommandProtocol;
use mynah::internal::server::{ListenerConfig, Server};

#[cfg(feature = "accounts")]
use super::clients::State;
use super::clients::{Client, Heard};
use super::engine::{ModelEngine, Trouble};
use super::node::{CHAT, COMMAND, Node, listener_config};
use super::wires::Wires;
use crate::simulation::network::FakeStream;
use crate::support::rng::Rng;

const STEP_MS: u64 = 5;

/// After so long, whoever is heard for the first time has just begun.
const SETTLED_MS: u64 = 8_000;

/// Some nodes, each with one who is to be a member.
struct Small {
    nodes: Vec<Node>,
    engine: ModelEngine,
    wires: Wires,
    clients: Vec<Client>,
    now: u64,
}

impl Small {
    fn pair() -> Self {
        Small::new(vec![Node::new(0, Rng::new(1)), Node::new(1, Rng::new(2))])
    }

    fn new(mut nodes: Vec<Node>) -> Self {
        nodes.iter_mut().for_each(|node| node.start(Limits::default(), None, 0));
        let mut wires = Wires::new(Rng::new(3));
        wires.delay_ms_max = 2;
        let clients = nodes.iter().map(|node| Client::connect(node.number, node, true, 0));
        let clients = clients.collect();
        Small { nodes, engine: ModelEngine::new(Rng::new(4)), wires, clients, now: 0 }
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
        self.clients[number].ask(["anna", "ben", "cop"][number]);
        self.run(50);
        assert!(self.clients[number].is_member());
    }

    /// What is on the wires arrives, and the nodes act on it, at one moment.
    fn run_at_once(&mut self) {
        for _ in 0..20 {
            self.wires.advance(&mut self.engine, self.now);
            for node in &mut self.nodes {
                node.run(&mut self.wires, &mut self.engine, self.now);
            }
            for client in &mut self.clients {
                client.run(&self.nodes[client.node], self.now);
            }
        }
    }

    /// Another client of a node, and its number.
    fn connect(&mut self, node: usize, is_chat: bool) -> usize {
        let number = self.clients.len();
        self.clients.push(Client::connect(number, &self.nodes[node], is_chat, self.now));
        self.run(50);
        number
    }

    fn server(&mut self, node: usize) -> &mut Server<FakeStream> {
        self.nodes[node].server.as_mut().expect("it runs")
    }

    /// Messages that a node has heard, and missed.
    fn counts(&mut self, node: usize) -> (u64, u64) {
        let stats = self.server(node).node().expect("it is a node").stats();
        (stats.received_total, stats.lost_total)
    }

    /// Nicknames of the members, as a member is told.
    fn who(&mut self, number: usize) -> Vec<String> {
        self.clients[number].line("/who");
        self.run(50);
        match self.clients[number].heard.pop() {
            Some((_, Heard::Who(nicks))) => nicks,
            heard => panic!("{heard:?} is not who is there"),
        }
    }

    /// What a client has heard from a mark on.
    fn heard_from(&self, number: usize, mark: usize) -> Vec<Heard> {
        self.clients[number].heard[mark..].iter().map(|(_, heard)| heard.clone()).collect()
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
    let mut pair = Small::pair();
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
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    pair.join(0);
    pair.join(1);
    pair.wires.block(1, Link::Commands, [true, true]);
    pair.run(SETTLED_MS);
    // The engine closes what it cannot reach.
    pair.engine.cut(false);
    pair.run(SETTLED_MS);
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
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
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

/// One that slept with input in its hand until its next heartbeat fell behind, and was deaf.
#[test]
fn input_that_a_turn_had_no_time_for_does_not_wait() {
    const POSTS: usize = 2_000;
    let mut pair = Small::pair();
    (pair.wires.delay_ms_max, pair.wires.window) = (1, 1 << 20);
    pair.run(SETTLED_MS);
    pair.join(0);
    pair.join(1);
    pair.nodes[1].set_clock(100, 4_096);
    for _ in 0..POSTS {
        // A batch each.
        pair.clients[0].post(pair.now);
        pair.clients[0].run(&pair.nodes[0], pair.now);
        pair.nodes[0].run(&mut pair.wires, &mut pair.engine, pair.now);
    }
    pair.run_at_once();
    assert_eq!(pair.heard(), (POSTS, 0));
}

/// No event tells a node that its receivers have taken what its log was full of.
#[test]
fn input_that_a_log_had_no_space_for_does_not_wait() {
    const BROADCASTS: u64 = 50;
    let mut pair = Small::pair();
    (pair.wires.delay_ms_max, pair.wires.window) = (1, 1 << 20);
    pair.run(SETTLED_MS);
    let sender = pair.connect(0, false);
    pair.connect(1, false);
    pair.server(1).set_limits(Limits { broadcast_log_bytes_max: 4_000, ..Limits::default() });
    // A short one first: the space that it leaves is too little for the next.
    for number in 0..BROADCASTS {
        pair.clients[sender].broadcast_long(if number == 0 { 1 } else { 900 }, pair.now);
    }
    pair.run_at_once();
    assert_eq!(pair.counts(1), (BROADCASTS, 0));
}

/// Verdicts on all names come at once when the engine is back.
#[test]
fn names_are_settled_in_the_time_of_a_turn() {
    let mut pair = Small::pair();
    (pair.wires.delay_ms_max, pair.wires.window) = (1, 1 << 20);
    pair.run(SETTLED_MS);
    for number in 2..202 {
        pair.clients.push(Client::connect(number, &pair.nodes[1], true, pair.now));
        pair.clients[number].ask(&format!("user{number}"));
    }
    pair.run(1_000);
    assert!(pair.clients[2..].iter().all(Client::is_member));
    pair.nodes[1].set_clock(100, 4_096);
    pair.engine.cut(false);
    pair.run(SETTLED_MS);
    let longest = pair.nodes[1].longest_turn_micros;
    assert!((500..3_000).contains(&longest), "{longest} µs");
    assert!(pair.clients[2..].iter().all(Client::is_member));
}

/// What no listener there would take is missed, and what follows is heard.
#[test]
fn broadcast_over_the_limits_of_a_node_is_missed() {
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    let (sender, receiver) = (pair.connect(0, false), pair.connect(1, false));
    for round in 1..=2 {
        if round == 1 {
            let limits = Limits { broadcast_log_bytes_max: 600, ..Limits::default() };
            pair.server(1).set_limits(limits);
        } else {
            pair.server(1).set_limits(Limits::default());
            let protocol = CommandProtocol { payload_len_max: 600 }.into();
            let config = ListenerConfig { protocol, ..listener_config(COMMAND) };
            pair.server(1).configure_listener(COMMAND, config);
        }
        pair.clients[sender].broadcast_long(800, pair.now);
        pair.clients[sender].post(pair.now);
        pair.run(500);
        let last = Heard::Post { nick: String::new(), from: sender, seq: 2 * round - 1 };
        assert_eq!(pair.clients[receiver].heard.pop().map(|(_, heard)| heard), Some(last));
        assert!(pair.clients[receiver].heard.is_empty());
        assert_eq!(pair.counts(1), (round, round), "heard and missed");
    }
}

#[test]
fn reload_bounds_what_waits_to_be_published() {
    const BROADCASTS: u64 = 2_000;
    let mut pair = Small::pair();
    pair.wires.block(0, Link::Commands, [true, true]);
    pair.run(SETTLED_MS);
    let sender = pair.connect(0, false);
    pair.server(0).set_limits(Limits { send_queue_bytes_max: 2_000, ..Limits::default() });
    for _ in 0..BROADCASTS {
        pair.clients[sender].broadcast_long(900, pair.now);
        pair.run(5);
    }
    pair.wires.unblock_all();
    pair.run(2 * SETTLED_MS);
    let (heard, missed) = pair.counts(1);
    assert!((1_000..1_200).contains(&heard), "{heard} of {BROADCASTS}: a mebibyte of them");
    assert_eq!(missed, BROADCASTS - heard);
}

/// However little one client may leave unread.
#[test]
fn members_are_told_whatever_the_send_queue_is() {
    const MEMBERS: usize = 600;
    let mut pair = Small::pair();
    (pair.wires.delay_ms_max, pair.wires.window) = (1, 1 << 20);
    pair.server(0).set_limits(Limits { send_queue_bytes_max: 4_096, ..Limits::default() });
    pair.run(SETTLED_MS);
    pair.join(1);
    pair.wires.block(1, Link::Subscriber, [true, true]);
    pair.engine.cut(true);
    for number in 2..2 + MEMBERS {
        pair.clients.push(Client::connect(number, &pair.nodes[0], true, pair.now));
        pair.clients[number].ask(&format!("user{number}"));
        if number % 50 == 0 {
            pair.run(20);
        }
    }
    pair.run(200);
    assert!(pair.clients[2..].iter().all(Client::is_member));
    pair.wires.unblock_all();
    pair.run(2_000);
    assert_eq!(pair.who(1).len(), 1 + MEMBERS);
}

/// What was published before a stop, and that the node stops, is sent first.
#[test]
fn stop_waits_for_what_is_to_be_published() {
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    pair.join(0);
    pair.join(1);
    pair.wires.window = 100;
    pair.wires.block(0, Link::Commands, [true, true]);
    for _ in 0..20 {
        pair.clients[0].post(pair.now);
        pair.run(20);
    }
    pair.nodes[0].stop(pair.now);
    pair.run(1_000);
    assert!(pair.nodes[0].server.is_some(), "there is something to be said");
    pair.wires.unblock_all();
    let mark = pair.clients[1].heard.len();
    pair.run(2_000);
    assert!(pair.nodes[0].server.is_none());
    let heard = pair.heard_from(1, mark);
    assert_eq!(heard.last(), Some(&Heard::Left("anna".to_owned())));
    assert_eq!(pair.heard(), (20, 0));
}

/// Whether this node's names stayed its own all the time, or its lease ran out meanwhile.
#[test]
fn name_whose_release_has_failed_is_free_when_the_engine_is_well() {
    for trouble_ms in [0, 6_000] {
        let mut pair = Small::pair();
        pair.run(SETTLED_MS);
        pair.join(0);
        let other = pair.connect(1, true);
        pair.engine.trouble = Some(Trouble::NoDisk);
        pair.run(trouble_ms);
        pair.clients[0].leave(&pair.nodes[0], false);
        pair.run(500);
        // The other's next renewal would remove the names of a node without a lease.
        pair.wires.block(1, Link::Commands, [true, true]);
        pair.engine.trouble = None;
        pair.run(1_500);
        pair.wires.unblock_all();
        pair.run(2_500);
        pair.clients[other].ask("anna");
        pair.run(500);
        assert!(pair.clients[other].is_member(), "after {trouble_ms} ms");
    }
}

/// The release failed for a script that the engine had forgotten, and the claim of who has the name now
/// came behind another node's scripts: the release is not to be made up for by another.
#[test]
fn release_whose_script_was_forgotten_takes_no_name_later() {
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    pair.join(0);
    let successor = pair.connect(0, true);
    pair.engine.flush_scripts();
    pair.wires.block(0, Link::Commands, [false, true]);
    pair.clients[0].leave(&pair.nodes[0], false);
    pair.run(50);
    pair.join(1);
    pair.clients[successor].ask("anna");
    pair.run(50);
    pair.wires.unblock_all();
    pair.run(4_000);
    assert!(pair.clients[successor].is_member());
    assert_eq!(pair.engine.live_names(), ["anna", "ben"]);
}

/// SPEC: no ghosts.
#[test]
fn replaced_chat_is_another_room() {
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    pair.join(0);
    pair.join(1);
    let mark = pair.clients[1].heard.len();
    pair.nodes[0].replace_chat();
    pair.run(1_000);
    assert!(!pair.clients[0].is_member());
    let left = Heard::Left("anna".to_owned());
    assert_eq!(pair.heard_from(1, mark), [left]);
    assert_eq!(pair.who(1), ["ben"]);
    // The others are known to it, and its names are free.
    let (third, fourth) = (pair.connect(0, true), pair.connect(1, true));
    pair.clients[third].ask("Ben");
    pair.clients[fourth].ask("anna");
    pair.run(500);
    assert!(!pair.clients[third].is_member() && pair.clients[fourth].is_member());
    pair.clients[third].ask("cop");
    pair.run(500);
    for number in [1, third, fourth] {
        assert_eq!(pair.who(number), ["anna", "ben", "cop"]);
    }
    let mark = pair.clients[third].heard.len();
    pair.clients[1].post(pair.now);
    pair.run(500);
    assert_eq!(pair.heard_from(third, mark).len(), 1);
    assert_eq!(pair.counts(0).1 + pair.counts(1).1, 0);
}

/// Its members are in the other room from then on, and those of the first have left.
#[test]
fn renamed_chat_goes_from_room_to_room() {
    let nodes = (0..3).map(|at| Node::new(at, Rng::new(at as u64))).collect();
    let mut world = Small::new(nodes);
    world.server(2).set_channel(CHAT, Some("chat:attic"));
    world.run(SETTLED_MS);
    (0..3).for_each(|number| world.join(number));
    // There is an anna in either room.
    let other = world.connect(2, true);
    world.clients[other].ask("anna");
    world.run(500);
    let rooms = [("chat:lobby", vec!["anna"]), ("chat:attic", vec!["cop", "anna"])];
    for (from, to) in [(0, 1), (1, 0)] {
        let (name, come) = &rooms[to];
        let marks: Vec<usize> = world.clients.iter().map(|client| client.heard.len()).collect();
        world.server(1).set_channel(CHAT, Some(name));
        world.run(3_000);
        let gone = rooms[from].1.iter().map(|nick| Heard::Left((*nick).to_owned()));
        let expected = gone.chain(come.iter().map(|nick| Heard::Joined((*nick).to_owned())));
        assert_eq!(world.heard_from(1, marks[1]), expected.collect::<Vec<_>>(), "in {name}");
        let (rest, next) = (2 * from, 2 * to);
        assert_eq!(world.heard_from(rest, marks[rest]), [Heard::Left("ben".to_owned())]);
        assert_eq!(world.heard_from(next, marks[next]), [Heard::Joined("ben".to_owned())]);
        let mut nicks = [&come[..], &["ben"]].concat();
        nicks.sort_unstable();
        assert_eq!(world.who(1), nicks);
        assert_eq!(world.who(next), nicks);
    }
}

/// The account is added while the engine is asked for its name.
#[cfg(feature = "accounts")]
#[test]
fn outcome_of_a_claim_is_not_for_another_name() {
    let mut pair = Small::pair();
    pair.run(SETTLED_MS);
    pair.clients[1].ask("cop");
    pair.run(500);
    pair.wires.block(0, Link::Commands, [false, true]);
    pair.clients[0].ask("eva");
    pair.run(100);
    pair.nodes[0].add_accounts();
    pair.wires.unblock_all();
    pair.run(500);
    assert_eq!(pair.clients[0].state, State::Outside, "the name is an account's");
    pair.clients[0].ask("COP");
    pair.run(500);
    assert!(!pair.clients[0].is_member(), "there is one on the other node");
    // The name that was granted is not kept.
    let third = pair.connect(1, true);
    pair.clients[third].ask("eva");
    pair.run(500);
    assert!(pair.clients[third].is_member());
}

/// Whichever of the two comes first: that the account's client has joined, or that the guest has left.
#[cfg(feature = "accounts")]
#[test]
fn take_over_is_told_in_order_on_every_node() {
    for (seed, is_late) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut nodes: Vec<Node> =
            (0..3).map(|at| Node::new(at, Rng::new(seed + at as u64))).collect();
        nodes[0].has_accounts = true;
        let mut world = Small::new(nodes);
        world.wires.delay_ms_max = 20;
        world.run(SETTLED_MS);
        (0..3).for_each(|number| world.join(number));
        for (number, node) in [(3, 2), (4, 0)] {
            world.clients.push(Client::connect(number, &world.nodes[node], true, world.now));
        }
        world.clients[3].ask("eva");
        world.run(1_000);
        let marks: Vec<usize> = world.clients.iter().map(|client| client.heard.len()).collect();
        if is_late {
            world.wires.block(2, Link::Subscriber, [true, true]);
        }
        world.clients[4].log_in("EVA");
        world.run(1_000);
        world.wires.unblock_all();
        world.run(1_000);
        assert!(!world.clients[3].is_member() && world.clients[4].is_member());
        for (client, mark) in world.clients.iter().zip(marks).take(3) {
            let heard: Vec<&Heard> = client.heard[mark..].iter().map(|(_, heard)| heard).collect();
            let (left, joined) = (Heard::Left("eva".to_owned()), Heard::Joined("eva".to_owned()));
            assert_eq!(heard, [&left, &joined], "on node {} (seed {seed}, {is_late})", client.node);
        }
    }
}

/// Its node was cut off from the notice, and claims the name again for a member who was there before.
#[cfg(feature = "accounts")]
#[test]
fn login_is_not_undone_by_who_has_not_heard_of_it() {
    let mut world = Small::pair();
    world.nodes[1].add_accounts();
    world.run(SETTLED_MS);
    world.clients[0].ask("eva");
    world.run(10_000);
    assert!(world.clients[0].is_member());
    world.wires.block(0, Link::Subscriber, [true, true]);
    world.engine.cut(true);
    world.run(500);
    world.clients[1].log_in("EVA");
    world.run(1_000);
    assert!(world.clients[1].is_member());
    world.wires.unblock_all();
    world.run(10_000);
    let members = world.clients.iter().map(Client::is_member);
    assert_eq!(members.collect::<Vec<_>>(), [false, true]);
}

/// Both are granted the name, one behind the other; and the first may hear that it has lost it before
/// it hears that it had it.
#[cfg(feature = "accounts")]
#[test]
fn two_logins_at_a_time_leave_one_member() {
    for seed in 0..20 {
        let mut nodes: Vec<Node> =
            (0..2).map(|at| Node::new(at, Rng::new(seed + at as u64))).collect();
        nodes.iter_mut().for_each(|node| node.has_accounts = true);
        let mut world = Small::new(nodes);
        world.wires.delay_ms_max = 20;
        world.run(SETTLED_MS);
        // The answers of one are late.
        world.wires.block(0, Link::Commands, [false, true]);
        world.clients[0].log_in("eva");
        world.run(100);
        world.clients[1].log_in("EVA");
        world.run(100);
        world.wires.unblock_all();
        world.run(1_000);
        let members = world.clients.iter().map(Client::is_member);
        assert_eq!(members.collect::<Vec<_>>(), [false, true], "seed {seed}");
    }
}
