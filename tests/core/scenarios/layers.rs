//! Layers under sessions, each rule by itself: handshakes and their bounds, records that come in
//! pieces, ends that are said and those that are not. The layer is the simulation's stub of TLS.

use mynah::internal::clock::Millis;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits};
use mynah::internal::protocol::CommandProtocol;

use super::{AMPLE, LIMITS, Scenario};
use crate::simulation::layers::stub::{Client, Config, Stub};
use crate::simulation::layers::{End, Stage};
use crate::simulation::network::Socket;
use crate::simulation::panics;
use crate::support::{frame, logger};

/// Bytes of the server's flight.
const FLIGHT: usize = 1_500;

/// A client with its end of the layer.
struct Layered {
    socket: usize,
    end: Client,
    /// Data that has come.
    plain: Vec<u8>,
}

impl Scenario<Stub> {
    fn layered(limits: Limits, idle_ms: u64) -> Self {
        let protocol = || CommandProtocol { payload_len_max: 1 << 20 }.into();
        let mut scenario = Scenario::with_layer(protocol, 1, limits, idle_ms);
        scenario.server.set_layer(0, Config::new(FLIGHT, false));
        scenario
    }

    /// A client that has been accepted and has said nothing.
    fn connect_layered(&mut self, capacity: usize) -> Layered {
        let socket = self.connect(capacity);
        Layered { socket, end: Client::new(socket as u64, 100), plain: Vec::new() }
    }

    /// One that is open.
    fn open(&mut self, capacity: usize) -> Layered {
        let mut client = self.connect_layered(capacity);
        let finished = self.exchange(&mut client);
        self.send(client.socket, &finished);
        self.run_until_idle();
        self.hear(&mut client);
        assert_eq!(client.end.stage(), Stage::Confirmed);
        client
    }

    /// Goes through the handshake until the client's last message, which it returns.
    fn exchange(&mut self, client: &mut Layered) -> Vec<u8> {
        let hello = hello(client);
        self.send(client.socket, &hello);
        self.run_until_idle();
        self.hear(client)
    }

    /// Takes what has come for a client; returns what is to be answered.
    fn hear(&mut self, client: &mut Layered) -> Vec<u8> {
        let mut answer = Vec::new();
        loop {
            let bytes = self.receive(client.socket);
            if bytes.is_empty() {
                return answer;
            }
            client.end.receive(&bytes, &mut client.plain, &mut answer).unwrap();
            self.run_until_idle();
        }
    }

    fn say(&mut self, client: &mut Layered, plain: &[u8]) {
        let wire = sealed(client, plain);
        self.send(client.socket, &wire);
    }

    /// Has a client say something, and takes what comes of it.
    fn ask(&mut self, client: &mut Layered, plain: &[u8]) -> Vec<u8> {
        self.say(client, plain);
        self.run_until_idle();
        self.hear(client);
        std::mem::take(&mut client.plain)
    }

    fn end(&mut self, client: &mut Layered) {
        let mut wire = Vec::new();
        client.end.seal_end(&mut wire);
        self.send(client.socket, &wire);
    }

    fn shut(&mut self, client: &Layered) {
        self.network.borrow_mut().shut(client.socket);
        self.run_until_idle();
    }

    fn used(&self) -> usize {
        self.server.memory().used()
    }

    fn is_read(&self, socket: usize) -> bool {
        !self.network.borrow().sockets[socket].reads.is_empty()
    }
}

fn hello(client: &mut Layered) -> Vec<u8> {
    let mut wire = Vec::new();
    client.end.receive(&[], &mut Vec::new(), &mut wire).unwrap();
    wire
}

fn sealed(client: &mut Layered, plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    client.end.seal(plain, &mut wire);
    wire
}

fn has_line(lines: &[String], end: &str) -> bool {
    lines.iter().any(|line| line.ends_with(end))
}

#[test]
fn silent_client_is_closed_after_the_timeout() {
    logger::capture();
    let mut scenario = Scenario::layered(LIMITS, 0);
    let client = scenario.connect_layered(AMPLE);
    for (at, closed) in [(9_999, false), (10_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.is_closed(client.socket), closed, "at {at} ms");
    }
    assert_eq!(scenario.receive(client.socket), b"");
    assert!(has_line(&logger::take_texts(), "stub handshake failed: nothing came within 10 s"));
}

#[test]
fn begun_handshake_is_closed_after_the_timeout() {
    logger::capture();
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.connect_layered(AMPLE);
    scenario.exchange(&mut client);
    for at in (500..10_000).step_by(500) {
        // Bytes of an endless record do not help.
        scenario.now = Millis(at);
        scenario.send(client.socket, if at == 500 { &[23, 3, 3, 1, 0] } else { &[0] });
        scenario.run_until_idle();
        assert!(!scenario.is_closed(client.socket), "at {at} ms");
    }
    scenario.now = Millis(10_000);
    scenario.run_until_idle();
    assert!(scenario.is_closed(client.socket));
    let lines = logger::take_texts();
    assert!(has_line(&lines, "stub handshake failed: not finished within 10 s"), "{lines:?}");
    assert_eq!(scenario.server.stats().handshake_failures_total, 1);
}

#[test]
fn handshakes_over_the_bound_evict_the_oldest() {
    let mut scenario = Scenario::layered(Limits { handshakes_max: 3, ..LIMITS }, 0);
    // The network gives the first five sockets one address, and the next two one each.
    scenario.network.borrow_mut().sockets.resize_with(5, Socket::default);
    let clients: Vec<Layered> = (0..4).map(|_| scenario.connect_layered(AMPLE)).collect();
    let closed: Vec<bool> = clients.iter().map(|c| scenario.is_closed(c.socket)).collect();
    assert_eq!(closed, [false, false, true, false], "the first of the address that has two");
    assert_eq!(scenario.server.stats().handshake_failures_total, 1);
}

#[test]
fn open_clients_do_not_count_as_handshakes() {
    let mut scenario = Scenario::layered(Limits { handshakes_max: 1, ..LIMITS }, 0);
    let mut clients: Vec<Layered> = (0..5).map(|_| scenario.open(AMPLE)).collect();
    for client in &mut clients {
        assert_eq!(scenario.ask(client, &frame(1, b"hi")), frame(1, b"hi"));
    }
    assert_eq!(scenario.server.stats().handshakes_total, 5);
}

#[test]
fn turn_has_2_ms_for_handshakes_in_order() {
    let limits = Limits { clients_max: 30, handshakes_max: 30, ..LIMITS };
    let mut scenario = Scenario::layered(limits, 0);
    let mut clients: Vec<Layered> = (0..20).map(|_| scenario.connect_layered(AMPLE)).collect();
    scenario.set_clock(400, CLOCK_CHECK_BYTES);
    for client in clients.iter_mut().rev() {
        let hello = hello(client);
        scenario.send(client.socket, &hello);
    }
    for round in 1..=4 {
        scenario.round();
        let read = clients.iter().take_while(|c| scenario.is_read(c.socket)).count();
        assert_eq!(read, 5 * round, "those that were accepted first");
        assert!(clients[read..].iter().all(|c| !scenario.is_read(c.socket)));
    }
}

#[test]
fn open_client_is_served_while_10_000_wait() {
    let limits = Limits { clients_max: 11_000, handshakes_max: 11_000, ..LIMITS };
    let mut scenario = Scenario::layered(limits, 0);
    let mut client = scenario.open(AMPLE);
    let mut crowd: Vec<Layered> = (0..10_000)
        .map(|_| {
            let socket = scenario.network.borrow_mut().connect(0, 1_000, 10_000);
            Layered { socket, end: Client::new(socket as u64, 100), plain: Vec::new() }
        })
        .collect();
    scenario.run_until_idle();
    for one in &mut crowd {
        let hello = hello(one);
        scenario.send(one.socket, &hello);
    }
    scenario.set_clock(400, CLOCK_CHECK_BYTES);
    scenario.round();
    scenario.say(&mut client, &frame(1, b"hi"));
    scenario.round();
    let bytes = scenario.receive(client.socket);
    client.end.receive(&bytes, &mut client.plain, &mut Vec::new()).unwrap();
    assert_eq!(client.plain, frame(1, b"hi"));
    let read = crowd.iter().filter(|one| scenario.is_read(one.socket)).count();
    assert_eq!(read, 10, "five a turn");
}

#[test]
fn replies_of_a_turn_are_one_write() {
    let mut scenario = Scenario::layered(Limits { send_queue_bytes_max: AMPLE, ..LIMITS }, 0);
    let mut client = scenario.open(AMPLE);
    let before = scenario.network.borrow().sockets[client.socket].writes;
    let echoes = frame(1, &[b'e'; 100]).repeat(100);
    assert!(echoes.len() < 16_384);
    assert_eq!(scenario.ask(&mut client, &echoes), echoes);
    assert_eq!(scenario.network.borrow().sockets[client.socket].writes - before, 1);
}

#[test]
fn broadcast_is_sealed_for_each_member() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut members: Vec<Layered> = (0..4).map(|_| scenario.open(AMPLE)).collect();
    let mut opening = scenario.connect_layered(AMPLE);
    scenario.exchange(&mut opening);
    // The log keeps a page.
    scenario.ask(&mut members[0], &frame(4, b"first"));
    let used = scenario.used();
    for member in &mut members {
        scenario.hear(member);
        member.plain.clear();
    }
    let sender = &mut members[0];
    assert_eq!(scenario.ask(sender, &frame(4, b"news")), frame(1, b"3"), "open ones count");
    let mut wires = Vec::new();
    for member in &mut members[1..] {
        let wire = scenario.receive(member.socket);
        member.end.receive(&wire, &mut member.plain, &mut Vec::new()).unwrap();
        assert_eq!(member.plain, frame(4, b"news"));
        wires.push(wire);
    }
    wires.dedup();
    assert_eq!(wires.len(), 3, "each has its own keys");
    assert_eq!(scenario.receive(opening.socket), b"");
    assert_eq!(scenario.used(), used);
}

#[test]
fn stop_closes_a_handshake_and_ends_the_open() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut open = scenario.open(AMPLE);
    let mut opening = scenario.connect_layered(AMPLE);
    scenario.exchange(&mut opening);
    let silent = scenario.connect_layered(AMPLE);
    scenario.stop();
    scenario.run_until_idle();
    assert!(scenario.is_closed(opening.socket) && scenario.is_closed(silent.socket));
    scenario.hear(&mut open);
    assert_eq!(open.end.stage(), Stage::Ended);
    scenario.shut(&open);
    assert!(scenario.server.is_stopped());
}

#[test]
fn idle_connection_holds_nothing() {
    let mut scenario = Scenario::layered(Limits { send_queue_bytes_max: AMPLE, ..LIMITS }, 0);
    let mut client = scenario.open(2_000);
    let idle = scenario.used();
    let echo = frame(1, &[7; 50_000]);
    let wire = sealed(&mut client, &echo[..10_000]);
    scenario.send(client.socket, &wire[..5_000]);
    scenario.run_until_idle();
    assert!(scenario.used() >= idle + 5_000, "the beginning of a record");
    scenario.send(client.socket, &wire[5_000..]);
    for part in echo[10_000..].chunks(16_384) {
        scenario.say(&mut client, part);
    }
    scenario.run_until_idle();
    assert!(scenario.used() >= idle + 40_000, "replies, some of them sealed");
    scenario.hear(&mut client);
    assert_eq!(client.plain, echo);
    assert_eq!(scenario.used(), idle);
}

#[test]
fn account_is_empty_when_all_have_gone() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let client = scenario.open(AMPLE);
    scenario.network.borrow_mut().reset(client.socket);
    scenario.run_until_idle();
    let before = scenario.used();
    let mut opening = scenario.connect_layered(100);
    scenario.exchange(&mut opening);
    let mut blocked = scenario.open(2_000);
    scenario.network.borrow_mut().sockets[blocked.socket].to_client_max = 10;
    scenario.say(&mut blocked, &frame(1, &[7; 3_000]));
    let mut begun = scenario.open(AMPLE);
    let wire = sealed(&mut begun, b"half a record");
    scenario.send(begun.socket, &wire[..10]);
    scenario.run_until_idle();
    assert!(scenario.used() > before + 3_000);
    for socket in [opening.socket, blocked.socket, begun.socket] {
        scenario.network.borrow_mut().reset(socket);
    }
    scenario.run_until_idle();
    assert_eq!(scenario.used(), before);
}

#[test]
fn full_server_closes_without_a_word() {
    let mut scenario = Scenario::layered(Limits { clients_max: 1, ..LIMITS }, 0);
    let mut client = scenario.open(AMPLE);
    let refused = scenario.connect_layered(AMPLE);
    assert!(scenario.is_closed(refused.socket));
    assert_eq!(scenario.receive(refused.socket), b"");
    assert_eq!(scenario.server.stats().refused_total, 1);
    assert_eq!(scenario.ask(&mut client, &frame(1, b"hi")), frame(1, b"hi"));
}

#[test]
fn truncation_answers_whole_messages_and_drops_the_rest() {
    logger::capture();
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(AMPLE);
    let wire = sealed(&mut client, &[frame(1, b"whole"), vec![1, 0, 0, 0, 9, b'h']].concat());
    scenario.send(client.socket, &wire);
    scenario.shut(&client);
    scenario.hear(&mut client);
    assert_eq!((client.plain, client.end.stage()), (frame(1, b"whole"), Stage::Ended));
    let end = "disconnected: truncated: closed without close_notify";
    assert!(has_line(&logger::take_texts(), end));
}

#[test]
fn end_of_input_is_answered_before_the_end() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(100);
    scenario.say(&mut client, &frame(1, &[7; 3_000]));
    scenario.end(&mut client);
    scenario.say(&mut client, &frame(1, b"behind the end"));
    scenario.run_until_idle();
    scenario.hear(&mut client);
    assert_eq!((&client.plain, client.end.stage()), (&frame(1, &[7; 3_000]), Stage::Ended));
    // What comes behind the end is read on, so that closing does not reset the reply.
    assert!(!scenario.is_closed(client.socket));
    scenario.shut(&client);
    scenario.run_until_idle();
    assert!(scenario.is_closed(client.socket));
}

#[test]
fn wrong_tag_is_answered_with_an_alert_and_nothing_else() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(200);
    let before = scenario.ask(&mut client, &frame(1, b"before"));
    assert_eq!(before, frame(1, b"before"));
    scenario.say(&mut client, &frame(1, &[7; 1_000]));
    let mut wire = sealed(&mut client, &frame(1, b"flipped"));
    *wire.last_mut().unwrap() ^= 1;
    scenario.send(client.socket, &wire);
    scenario.run_until_idle();
    scenario.hear(&mut client);
    assert_eq!(client.end.stage(), Stage::Failed);
    assert!(!client.plain.ends_with(b"flipped"));
}

/// Found by the simulation, seed 806: the ticket of a connection whose handler had panicked went to
/// the next client.
#[test]
fn closed_connection_leaves_nothing_to_the_next() {
    panics::install();
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut victim = scenario.connect_layered(AMPLE);
    let mut wire = scenario.exchange(&mut victim);
    wire.extend(sealed(&mut victim, &frame(1, b"panic")));
    scenario.send(victim.socket, &wire);
    panics::arm(Some(0));
    scenario.run_until_idle();
    assert!(panics::take_victim().is_some() && scenario.is_closed(victim.socket));
    panics::arm(None);
    let mut client = scenario.open(AMPLE);
    assert_eq!(scenario.ask(&mut client, &frame(1, b"hi")), frame(1, b"hi"));
}

/// Found by the simulation: bytes of a record that came by themselves did not count, so that a
/// client was closed as idle while it sent.
#[test]
fn client_that_sends_a_long_record_is_not_idle() {
    let mut scenario = Scenario::layered(LIMITS, 1_000);
    let mut client = scenario.open(AMPLE);
    let wire = sealed(&mut client, &frame(1, &[7; 3_000]));
    for (at, part) in wire.chunks(wire.len() / 4).enumerate() {
        scenario.now = Millis(600 * at as u64);
        scenario.send(client.socket, part);
        scenario.run_until_idle();
        assert!(!scenario.is_closed(client.socket), "after {at} parts");
    }
    scenario.hear(&mut client);
    assert_eq!(client.plain, frame(1, &[7; 3_000]));
}

#[test]
fn frame_is_not_late_while_its_record_comes() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(AMPLE);
    let echo = frame(1, &[7; 6_000]);
    scenario.say(&mut client, &echo[..5]);
    let wire = sealed(&mut client, &echo[5..]);
    // Faster than the slowest that is waited for, and for longer than the timeout.
    for (at, part) in wire.chunks(wire.len() / 5).enumerate() {
        scenario.now = Millis(900 * at as u64);
        scenario.send(client.socket, part);
        scenario.run_until_idle();
    }
    scenario.hear(&mut client);
    assert_eq!(client.plain, echo);
}

#[test]
fn record_that_is_never_whole_is_late() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(AMPLE);
    let wire = sealed(&mut client, b"never whole");
    scenario.send(client.socket, &wire[..3]);
    for (at, stage) in [(0, Stage::Confirmed), (2_999, Stage::Confirmed), (3_000, Stage::Ended)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        scenario.hear(&mut client);
        assert_eq!(client.end.stage(), stage, "at {at} ms");
    }
}

#[test]
fn records_may_be_cut_at_every_byte() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.open(AMPLE);
    let echo = frame(1, b"cut");
    for cut in 1..30 {
        let wire = sealed(&mut client, &echo);
        let (front, back) = wire.split_at(cut.min(wire.len() - 1));
        scenario.send(client.socket, front);
        scenario.run_until_idle();
        scenario.send(client.socket, back);
        scenario.run_until_idle();
        scenario.hear(&mut client);
        assert_eq!(std::mem::take(&mut client.plain), echo, "cut at {cut}");
    }
}

#[test]
fn handshake_may_come_a_byte_at_a_time() {
    let mut scenario = Scenario::layered(LIMITS, 0);
    let mut client = scenario.connect_layered(1);
    let mut said = hello(&mut client);
    while client.end.stage() < Stage::Confirmed {
        for byte in std::mem::take(&mut said) {
            scenario.send(client.socket, &[byte]);
            scenario.run_until_idle();
        }
        said = scenario.hear(&mut client);
    }
    assert_eq!(scenario.ask(&mut client, &frame(1, b"hi")), frame(1, b"hi"));
}

#[test]
fn handshake_fails_where_the_client_speaks_none() {
    logger::capture();
    let mut scenario = Scenario::layered(LIMITS, 0);
    let client = scenario.connect_layered(AMPLE);
    scenario.send(client.socket, &frame(1, b"plain"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client.socket), [21, 3, 3, 0, 2, 2, 20], "an alert");
    assert!(has_line(&logger::take_texts(), "stub handshake failed: no record"));
    scenario.shut(&client);
    assert!(scenario.is_closed(client.socket));
}
