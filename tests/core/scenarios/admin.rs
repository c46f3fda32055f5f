//! Admin clients of a server with a crowd: nobody waits for them, and what they hold is counted.

use std::cell::Cell;
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits, turn_micros};
use mynah::internal::protocol::admin::Token;
use mynah::internal::protocol::{AdminProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Server};
use serde_json::Value;

use super::{AMPLE, LIMITS, Scenario};
use crate::simulation::network::{FakeAcceptor, Faults, Network};
use crate::support::rng::Rng;
use crate::support::{frame, logger};

/// Connections of a crowd. `MYNAH_CROWD=1000000` for as many as there may be.
const CROWD: usize = 20_000;

/// How long a clock check's worth of work takes at most, in microseconds: 64 kicks, or 2,730
/// looks at a connection.
const CHECK_MICROS: u64 = 200;

/// Most unsent reply bytes of a connection.
const SEND_QUEUE: usize = 1 << 20;

struct Site {
    scenario: Scenario,
    operator: usize,
}

impl Site {
    /// A server with a `command` listener, an admin listener and an operator.
    fn new(clients: usize) -> Site {
        let limits =
            Limits { clients_max: clients + 100, send_queue_bytes_max: SEND_QUEUE, ..LIMITS };
        let network = Network::new(2, Faults::default(), Rng::new(1));
        let mut server = Server::new(limits, Millis(0));
        server.enable_admin(Some(Token::parse(b"sesame").unwrap()));
        let command = CommandProtocol { payload_len_max: 1 << 20 }.into();
        for (listener, protocol) in [(0, command), (1, AdminProtocol::default().into())] {
            let name = ["command", "admin"][listener].to_owned();
            let acceptor = FakeAcceptor::new(&network, listener);
            server.add_listener(acceptor, ListenerConfig { name, protocol, idle_ms: 0 });
        }
        let scenario = Scenario { network, server, now: Millis(0) };
        let mut site = Site { scenario, operator: 0 };
        site.operator = site.connect_operator(AMPLE);
        site
    }

    /// With so many clients that say nothing.
    fn crowded(clients: usize) -> Site {
        let mut site = Site::new(clients);
        (0..clients).for_each(|_| {
            site.scenario.network.borrow_mut().connect(0, 100, 100);
        });
        while site.scenario.server.sockets() <= clients {
            site.round();
        }
        site
    }

    fn connect_operator(&mut self, capacity: usize) -> usize {
        let socket = self.scenario.network.borrow_mut().connect(1, 1 << 20, capacity);
        self.scenario.run_until_idle();
        socket
    }

    fn round(&mut self) {
        self.scenario.round();
    }

    /// Whether nothing is left to do but wait.
    fn is_at_rest(&self) -> bool {
        let Scenario { network, server, now } = &self.scenario;
        server.poll_timeout(*now) != Some(0) && network.borrow().is_quiet()
    }

    /// What comes for an operator until nothing is left to do.
    fn read_all(&mut self, operator: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.scenario.receive(operator);
            if bytes.is_empty() && self.is_at_rest() {
                return all;
            }
            all.extend(bytes);
            self.round();
        }
    }

    fn send(&mut self, operator: usize, method: &str, target: &str) {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer sesame\r\n\r\n"
        );
        self.scenario.send(operator, request.as_bytes());
    }

    /// Asks, and runs rounds until the answer has come; `after_round` is called behind each.
    fn ask(&mut self, method: &str, target: &str, mut after_round: impl FnMut()) -> Value {
        let operator = self.operator;
        self.send(operator, method, target);
        let mut heard = Vec::new();
        for _ in 0..100_000 {
            self.round();
            after_round();
            heard.extend(self.scenario.receive(operator));
            let end = heard.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end
                && let Ok(json) = serde_json::from_slice(&heard[end + 4..])
            {
                return json;
            }
        }
        panic!("no answer to {target}: {}", heard.escape_ascii());
    }
}

/// The bodies of responses that stand one behind the other.
fn json_bodies(mut responses: &[u8]) -> impl Iterator<Item = Value> {
    std::iter::from_fn(move || {
        let head_len = responses.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let mut bodies = serde_json::Deserializer::from_slice(&responses[head_len..]).into_iter();
        let body = bodies.next().expect("a body").expect("JSON");
        responses = &responses[head_len + bodies.byte_offset()..];
        Some(body)
    })
}

fn crowd() -> usize {
    std::env::var("MYNAH_CROWD").map_or(CROWD, |text| text.parse().expect("a number"))
}

/// The most that a turn takes while this is asked, by a clock that goes on with the work.
fn longest_turn(site: &mut Site, method: &str, target: &str) -> (Value, u64, usize) {
    let clock = site.scenario.set_clock(CHECK_MICROS, CLOCK_CHECK_BYTES);
    let (began_at, longest, turns) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let seen = Rc::clone(&clock);
    let answer = site.ask(method, target, || {
        let took = seen.get() - began_at.replace(seen.get());
        longest.set(longest.get().max(took));
        turns.set(turns.get() + 1);
    });
    (answer, longest.get(), turns.get())
}

/// All parts of a turn begin and end with looks at the clock, of which most do nothing here.
const IDLE_LOOKS: u64 = 12;

#[test]
fn crowd_is_searched_a_slice_a_turn() {
    let clients = crowd();
    let mut site = Site::crowded(clients);
    let most = turn_micros::ADMIN.micros + (2 + IDLE_LOOKS) * CHECK_MICROS;
    for target in [
        "/connections?limit=1000",
        "/connections?sort=queue&limit=1000",
        "/connections?sort=idle&limit=1000&listener=command",
        "/connections?ip=10.9.9.9",
        "/connections?name=nobody",
    ] {
        let (list, longest, turns) = longest_turn(&mut site, "GET", target);
        let is_all = !target.contains("ip=") && !target.contains("name=");
        let admins = usize::from(!target.contains("listener"));
        assert_eq!(list["total"], if is_all { clients + admins } else { 0 }, "{target}");
        assert!(longest <= most, "{target}: a turn took {longest} µs of {most}");
        println!("{target}: {turns} turns, the longest {longest} µs by the count");
    }
    let (answer, longest, turns) =
        longest_turn(&mut site, "DELETE", "/connections?listener=command");
    assert_eq!(answer["kicked"], clients);
    println!("kick: {turns} turns, the longest {longest} µs by the count");
    // Those who are closed are reaped besides.
    let most = most + turn_micros::REAP.micros;
    assert!(longest <= most, "a turn took {longest} µs of {most}");
}

/// Seconds for which a byte of a list is read in each.
const SECONDS: u64 = 3_000;

/// Lists that are asked for meanwhile: more than may wait to be sent.
const LISTS: usize = 40;

#[test]
fn reader_at_a_byte_a_second_holds_up_nobody() {
    let clients = crowd();
    let mut site = Site::crowded(clients);
    let (talker, slow) = (site.scenario.connect(AMPLE), site.connect_operator(1_000));
    (0..LISTS).for_each(|_| site.send(slow, "GET", "/connections?limit=1000"));
    let before = site.scenario.server.memory().used();
    let clock = site.scenario.set_clock(CHECK_MICROS, CLOCK_CHECK_BYTES);
    let (mut heard, mut held, mut turns, mut longest) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for second in 1..=SECONDS {
        site.scenario.now = Millis(second * 1_000);
        site.scenario.send(talker, &frame(1, b"alive"));
        for turn in 1.. {
            let began_at = clock.get();
            site.round();
            longest = longest.max(clock.get() - began_at);
            if turn == 1 {
                assert_eq!(site.scenario.receive(talker), frame(1, b"alive"), "at {second} s");
            }
            if site.is_at_rest() {
                turns.push(turn);
                break;
            }
        }
        held.push(site.scenario.server.memory().used() - before);
        heard.extend(site.scenario.network.borrow_mut().receive(slow, 1));
        if second.is_multiple_of(500) {
            let list = site.ask("GET", "/connections?limit=1000", || ());
            assert_eq!(list["total"], clients + 3);
        }
    }
    assert_eq!(heard.len() as u64, SECONDS, "a byte a second");
    // The lists are made in slices, as many as may wait: then it is not read from.
    println!("{} turns at first, the longest {longest} µs by the count", turns[0]);
    assert!(turns[0] > 10 && turns[1..].iter().all(|turns| *turns <= 2), "{turns:?}");
    let most = turn_micros::ADMIN.micros + (2 + IDLE_LOOKS) * CHECK_MICROS;
    assert!(longest <= most, "a turn took {longest} µs of {most}");
    let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
    println!("{least} to {most} bytes held");
    assert!(
        *least >= SEND_QUEUE / 2 && *most < SEND_QUEUE / 2 + 200_000,
        "{least} to {most} bytes"
    );
    // Now it reads, and every list is whole.
    site.scenario.network.borrow_mut().sockets[slow].to_client_max = AMPLE;
    heard.extend(site.read_all(slow));
    let totals = json_bodies(&heard).map(|list| list["total"].as_u64().unwrap() as usize);
    assert!(totals.eq([clients + 3; LISTS]), "{LISTS} lists");
}

#[test]
fn kick_by_number_ends_where_it_finds_it() {
    let mut site = Site::crowded(6_000);
    // The first in the table: the operator has number 1.
    let (answer, _, turns) = longest_turn(&mut site, "DELETE", "/connections/2");
    assert_eq!((&answer["kicked"], turns <= 3), (&Value::from(1), true), "{turns} turns");
}

#[test]
fn second_kick_leaves_what_was_answered() {
    let mut site = Site::new(10);
    let client = site.scenario.connect(100);
    let request = frame(1, &[5; 3_000]);
    site.scenario.send(client, &request);
    site.scenario.run_until_idle();
    for kicked in [1, 0] {
        let answer = site.ask("DELETE", "/connections?listener=command", || ());
        assert_eq!(answer["kicked"], kicked);
    }
    assert_eq!(site.scenario.receive_all(client), request);
    assert!(site.scenario.network.borrow().sockets[client].server_shut);
}

#[test]
fn lists_of_clients_that_left_are_dropped() {
    let mut site = Site::crowded(3_000);
    site.scenario.set_clock(1_000, 1_024);
    site.send(site.operator, "GET", "/connections?limit=1000");
    let before = site.scenario.server.memory().used();
    for _ in 0..500 {
        let socket = site.scenario.network.borrow_mut().connect(1, 1_000, 1_000);
        site.send(socket, "GET", "/connections");
        (0..3).for_each(|_| site.round());
        site.scenario.network.borrow_mut().reset(socket);
        site.round();
    }
    let held = site.scenario.server.memory().used() - before;
    assert!(held < 300_000, "{held} bytes are held for nobody");
}

#[test]
fn answers_are_charged_until_they_are_sent() {
    let mut site = Site::crowded(900);
    let slow = site.connect_operator(1_000);
    let before = site.scenario.server.memory().used();
    for _ in 0..3 {
        site.send(slow, "GET", "/connections?limit=1000");
    }
    site.scenario.run_until_idle();
    let held = site.scenario.server.memory().used() - before;
    assert!(held > 3 * 100_000, "{held} bytes are charged for three lists");
    let heard = site.scenario.receive_all(slow);
    assert!(heard.len() > 3 * 100_000, "{}", heard.len());
    let left = site.scenario.server.memory().used();
    assert!(left < before + 20_000, "{left} bytes are charged, {before} were");
}

#[test]
fn slow_turn_is_told_with_what_it_did() {
    logger::capture();
    let mut site = Site::new(10);
    let client = site.scenario.connect(AMPLE);
    logger::take_texts();
    site.scenario.set_clock(60_000, 1);
    site.scenario.send(client, &frame(1, b"hi"));
    site.round();
    site.round();
    let lines = logger::take_lines();
    let slow: Vec<_> = lines.iter().filter(|(_, text)| text.starts_with("slow turn: ")).collect();
    // At most one a second, whatever the turns take: the next says how many there were.
    assert!((1..=2).contains(&slow.len()), "{lines:?}");
    assert_eq!(slow[0].0, log::Level::Warn);
    assert!(slow[0].1.contains(" ms: ") && slow[0].1.contains("events "), "{lines:?}");
}

#[cfg(feature = "admission")]
#[test]
fn ban_begins_before_its_kick_is_over() {
    let mut site = Site::crowded(3_000);
    site.scenario.set_clock(1_000, 1_024);
    site.send(site.operator, "DELETE", "/connections?ip=10.9.9.9&ban=60");
    (0..4).for_each(|_| site.round());
    assert!(site.scenario.receive(site.operator).is_empty(), "the search goes on");
    let mut network = site.scenario.network.borrow_mut();
    let client = network.connect(0, 100, 100);
    network.sockets[client].from = Some(([10, 9, 9, 9], 1).into());
    drop(network);
    (0..4).for_each(|_| site.round());
    let network = site.scenario.network.borrow();
    let socket = &network.sockets[client];
    assert!(socket.accepted_at.is_some() && !socket.was_registered, "{socket:?}");
}
