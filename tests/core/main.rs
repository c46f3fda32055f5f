//! The library in this process: the server core in small scenes on the simulated network, one for
//! each thing that once went wrong or that chance seldom brings about; in simulated worlds; parsers
//! against references; plugins, nicknames, layers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "measurements are printed")]
#![allow(clippy::print_stderr, reason = "a failing test shows its input")]
#![allow(unreachable_pub, reason = "modules of one test program, and bodies of the fuzz targets")]

mod allocations;
#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;
mod bounds;
mod differential;
mod fuzz_bodies;
mod layers;
mod nicknames;
#[cfg(feature = "plugins")]
mod plugins;
#[cfg(feature = "plugins")]
use plugins::support as rig;
mod simulation;
#[allow(dead_code, reason = "the tests of the programs use the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;

use allocation_counter::measure;
use mynah::clock::Millis;
use mynah::limits::{CHAT_LOG_BYTES_MIN, Limits, READ_TURN_BYTES_MAX};
use mynah::protocol::Protocol;
use mynah::protocol::chat::Lang;
use mynah::server::{ListenerConfig, Server};
use mynah::stats::Stats;

use simulation::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared};
use support::rng::Rng;
use support::{frame, logger};

const LIMITS: Limits = Limits {
    clients_max: 8,
    lingering_max: 2,
    send_queue_bytes_max: 4_096,
    memory_bytes_max: 1 << 30,
    broadcast_log_bytes_max: 4_096,
    frame_timeout_ms: 3_000,
    drain_timeout_ms: 5_000,
};

/// More than any of these scenes sends to a client that is meant to take everything.
const ROOMY: usize = 1 << 20;

/// A `command` listener, a network without faults, and a clock in the hand.
struct Scene {
    network: Shared,
    server: Server<FakeStream>,
    now: Millis,
}

impl Scene {
    fn new(limits: Limits, idle_ms: u64) -> Self {
        Scene::with_listeners(1, limits, idle_ms)
    }

    fn chat(limits: Limits) -> Self {
        Scene::speaking(&Protocol::Chat { lang: Lang::En }, 1, limits, 0)
    }

    fn with_listeners(n: usize, limits: Limits, idle_ms: u64) -> Self {
        Scene::speaking(&Protocol::Command { frame_len_max: 1 << 20 }, n, limits, idle_ms)
    }

    fn speaking(protocol: &Protocol, n: usize, limits: Limits, idle_ms: u64) -> Self {
        let network = Network::new(n, Faults::default(), Rng::new(1));
        let mut server = Server::new(limits, Millis(0));
        for listener in 0..n {
            let acceptor = FakeAcceptor { network: Shared::clone(&network), listener };
            let (name, protocol) = ("command".to_owned(), protocol.clone());
            server.add_listener(acceptor, ListenerConfig { name, protocol, idle_ms });
        }
        Scene { network, server, now: Millis(0) }
    }

    /// A client whose buffers, and the network on the way, hold `room` bytes for it.
    fn connect(&mut self, room: usize) -> usize {
        let socket = self.network.borrow_mut().connect(0, 16 << 20, room);
        self.settle();
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
            self.settle();
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
        // It looks at everybody, which takes its time where there are thousands.
        if self.server.sockets() < 100 {
            self.server.assert_invariants();
        }
    }

    /// Rounds until nothing is left to do but wait.
    fn settle(&mut self) {
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
}

#[test]
fn replies_queued_and_replies_at_hand_together_hold_a_client_back_without_spinning() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    scene.send(client, &frame(1, &[7; 1000]));
    scene.settle();
    scene.send(client, &frame(1, &[7; 700]).repeat(3));
    scene.settle();
    assert_eq!(scene.receive_all(client).len(), 1005 + 3 * 705);
}

#[test]
fn the_broadcast_of_a_laggard_is_not_released_before_others_have_it() {
    let mut scene = Scene::new(LIMITS, 0);
    let (laggard, other) = (scene.connect(100), scene.connect(ROOMY));
    scene.send(other, &frame(4, &[b'x'; 300]));
    scene.settle();
    assert_eq!(scene.receive(other), frame(1, b"1"));
    for news in [&b"hello"[..], b"again"] {
        scene.send(laggard, &frame(4, news));
        scene.settle();
        assert_eq!(scene.receive(other), frame(4, news));
    }
    assert_eq!(scene.server.stats().slow_consumers_total, 0);
}

#[test]
fn an_idle_laggard_is_closed_without_a_copy_of_what_it_lags_behind() {
    let limits =
        Limits { broadcast_log_bytes_max: 1 << 20, send_queue_bytes_max: 4 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    let (laggard, other) = (scene.connect(100), scene.connect(ROOMY));
    scene.now = Millis(5_000);
    for _ in 0..4 {
        scene.send(other, &frame(4, &[b'x'; 200_000]));
        scene.settle();
    }
    let cost = measure(|| {
        scene.now = Millis(10_500);
        scene.settle();
    });
    assert!(scene.is_closed(laggard));
    assert!(cost.bytes_max < 50_000, "{} bytes for a queue of 4096", cost.bytes_max);
}

/// While the server waits for a client to take its replies, no clock of that client runs.
#[test]
fn idle_clock_stands_still_while_a_client_is_not_read_from() {
    let mut scene = Scene::new(LIMITS, 10_000);
    let client = scene.connect(100);
    scene.send(client, &frame(1, &[7; 3_000]));
    scene.settle();
    for at in [10_000, 50_000] {
        scene.now = Millis(at);
        scene.settle();
        assert!(!scene.is_closed(client), "at {at} ms");
    }
    assert_eq!(scene.receive_all(client).len(), 3_005);
    for (at, shut) in [(59_999, false), (60_000, true)] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.network.borrow().sockets[client].server_shut, shut, "at {at} ms");
    }
}

#[test]
fn connections_that_lingered_are_forgotten() {
    let mut scene = Scene::new(LIMITS, 0);
    let cost = measure(|| {
        for _ in 0..5_000 {
            let client = scene.connect(1_000);
            scene.send(client, &frame(3, b""));
            scene.round();
            scene.network.borrow_mut().shut(client);
            scene.settle();
            assert!(scene.is_closed(client));
        }
        scene.network.borrow_mut().forget_everyone();
    });
    assert!(cost.bytes_current < 20_000, "{} bytes kept", cost.bytes_current);
}

#[test]
fn a_stop_answers_what_arrived_beyond_one_turns_budget() {
    let mut scene = Scene::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, &vec![7; 600_000]));
    scene.settle();
    scene.send(client, &frame(99, &[7; 100]).repeat(7_000));
    scene.settle();
    scene.stop();
    scene.settle();
    scene.network.borrow_mut().sockets[client].to_client_max = 16 << 20;
    let unknown = frame(255, b"unknown command 99").len();
    assert_eq!(scene.receive_all(client).len(), 600_005 + 7_000 * unknown);
}

#[test]
fn a_stop_gives_the_long_silent_the_drain_time_too() {
    let mut scene = Scene::new(LIMITS, 0);
    let (silent, other) = (scene.connect(100), scene.connect(ROOMY));
    scene.now = Millis(100_000);
    scene.send(other, &frame(4, &[b'x'; 300]));
    scene.settle();
    scene.stop();
    scene.settle();
    assert_eq!(scene.receive_all(silent).len(), 305);
}

#[test]
fn a_drain_time_of_zero_still_answers_everyone_once() {
    let limits = Limits { clients_max: 3_000, drain_timeout_ms: 0, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let clients: Vec<usize> =
        (0..2_000).map(|_| scene.network.borrow_mut().connect(0, 1_000, 1_000)).collect();
    scene.settle();
    for &client in &clients {
        scene.send(client, &frame(1, b"hi"));
    }
    scene.stop();
    while !scene.server.is_stopped() {
        scene.server.turn(&(), scene.now);
    }
    for client in clients {
        assert_eq!(scene.receive(client), frame(1, b"hi"));
    }
}

#[test]
fn a_stop_closes_nobody_who_is_still_sending() {
    let mut scene = Scene::new(LIMITS, 0);
    let clients: Vec<usize> = (0..6).map(|_| scene.connect(1_000)).collect();
    for &client in &clients {
        scene.send(client, &frame(1, b"hi"));
    }
    scene.settle();
    scene.stop();
    for _ in 0..10 {
        scene.round();
        for &client in &clients {
            scene.send(client, &frame(1, b"more"));
        }
    }
    assert!(clients.iter().all(|&client| !scene.is_closed(client)));
}

#[test]
fn a_stop_ends_with_its_last_timer() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, b"hi"));
    scene.settle();
    scene.stop();
    while !scene.server.is_stopped() {
        let wait_ms = scene.server.poll_timeout(scene.now).expect("a timer");
        scene.now = scene.now.after(wait_ms);
        scene.round();
    }
    assert_eq!(scene.now, Millis(1_000), "the time it lingers");
}

#[test]
fn a_listener_that_fails_for_good_accepts_no_more() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    assert!(scene.server.is_accepting());
    scene.network.borrow_mut().listeners_fail = true;
    scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.settle();
    assert!(!scene.server.is_accepting());
    scene.send(client, &frame(1, b"hi"));
    scene.settle();
    assert_eq!(scene.receive(client), frame(1, b"hi"), "those who are in stay");
}

#[test]
fn accepting_pauses_when_files_are_out_and_goes_on_when_one_is_free() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    let waiting = scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.settle();
    assert_eq!(scene.server.poll_timeout(scene.now), Some(100), "not at once");
    scene.network.borrow_mut().faults.accept_exhausted = 0;
    scene.network.borrow_mut().shut(client);
    scene.settle();
    assert!(scene.is_closed(client));
    scene.send(waiting, &frame(1, b"hi"));
    scene.settle();
    assert_eq!(scene.receive(waiting), frame(1, b"hi"));
}

#[test]
fn a_broadcaster_waits_for_the_fan_out_and_not_for_the_slow() {
    let limits = Limits { clients_max: 3_000, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let sender = scene.connect(ROOMY);
    let listeners: Vec<usize> =
        (0..1_100).map(|_| scene.network.borrow_mut().connect(0, 1_000, ROOMY)).collect();
    scene.settle();
    // Three times what the log holds, to more listeners than one slice serves.
    let news = frame(4, &[b'n'; 1_000]);
    scene.send(sender, &news.repeat(12));
    scene.settle();
    for listener in listeners {
        assert_eq!(scene.receive(listener), news.repeat(12));
    }
    assert_eq!(scene.receive(sender), frame(1, b"1100").repeat(12));
    assert_eq!(
        scene.server.stats().frames_in_total,
        12,
        "each is counted once, if it waited or not"
    );
    assert_eq!(scene.server.stats().slow_consumers_total, 0);
}

#[test]
fn who_falls_off_the_end_of_the_log_is_cut_and_counted() {
    let mut scene = Scene::new(LIMITS, 0);
    let (slow, sender, fast) = (scene.connect(500), scene.connect(ROOMY), scene.connect(ROOMY));
    let news = frame(4, &[b'n'; 1_000]);
    for _ in 0..6 {
        scene.send(sender, &news);
        scene.settle();
    }
    assert!(scene.is_closed(slow));
    assert_eq!(scene.server.stats().slow_consumers_total, 1);
    assert_eq!(scene.receive(fast), news.repeat(6));
    assert_eq!(scene.receive_all(sender), [frame(1, b"2").repeat(5), frame(1, b"1")].concat());
}

#[test]
fn a_log_is_empty_when_the_last_laggard_has_caught_up_inside_a_pass() {
    let mut scene = Scene::new(Limits { clients_max: 3_000, ..LIMITS }, 0);
    let sender = scene.connect(ROOMY);
    for _ in 0..1_100 {
        scene.network.borrow_mut().connect(0, 1_000, ROOMY);
    }
    scene.settle();
    // The last to come is visited in the first slice of two.
    let laggard = scene.connect(100);
    let news = frame(4, &[b'n'; 150]);
    scene.send(sender, &news);
    scene.round();
    let mut heard = scene.receive(laggard);
    scene.round();
    scene.server.assert_invariants();
    heard.extend(scene.receive_all(laggard));
    assert_eq!(heard, news);
}

#[test]
fn listeners_are_counted() {
    assert_eq!(Scene::with_listeners(2, LIMITS, 0).server.listener_count(), 2);
}

#[test]
fn the_counters_count_what_happens() {
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    let (client, refused) = (scene.connect(1_000), scene.connect(1_000));
    scene.send(client, &frame(1, b"hi"));
    scene.settle();
    assert_eq!(scene.receive(client), frame(1, b"hi"));
    let no = frame(255, b"server is full: 1 clients");
    assert_eq!(scene.receive(refused), no);
    let expected = Stats {
        connections: 1,
        accepted_total: 1,
        refused_total: 1,
        frames_in_total: 1,
        bytes_in_total: 7,
        bytes_out_total: 7 + no.len() as u64,
        ..Stats::default()
    };
    assert_eq!(*scene.server.stats(), expected);
}

#[test]
fn memory_is_charged_for_what_waits_and_credited_when_it_goes() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    let idle = scene.server.memory().used();
    scene.send(client, b"\x01\0\0\0\x05he");
    scene.settle();
    let begun = scene.server.memory().used();
    assert!((idle + 1..idle + 500).contains(&begun), "{begun}: the beginning of a frame");
    scene.send(client, b"llo");
    scene.settle();
    assert_eq!(scene.server.memory().used(), idle, "the frame is answered");
    scene.receive(client);
    scene.send(client, &frame(1, &[7; 1_000]));
    scene.settle();
    let queued = scene.server.memory().used();
    assert!((idle + 905..idle + 1_500).contains(&queued), "{queued}: what was not taken");
    scene.receive_all(client);
    assert_eq!(scene.server.memory().used(), idle);
    let freed = scene.server.memory().freed_total();
    assert!((905..4_000).contains(&freed), "{freed}");
}

#[test]
fn a_pause_in_accepting_lasts_100_ms() {
    let mut scene = Scene::new(LIMITS, 0);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    let client = scene.connect(1_000);
    scene.network.borrow_mut().faults.accept_exhausted = 0;
    scene.send(client, &frame(1, b"hi"));
    for (at, answer) in [(99, vec![]), (100, frame(1, b"hi"))] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.receive(client), answer, "after {at} ms");
    }
}

#[test]
fn a_listener_is_asked_for_connections_only_when_some_wait_and_accepting_is_not_paused() {
    let mut scene = Scene::with_listeners(2, LIMITS, 0);
    scene.settle();
    assert_eq!(scene.network.borrow().accepts, 2, "once each, for who came before the server");
    scene.round();
    assert_eq!(scene.network.borrow().accepts, 2);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    for listener in [0, 1] {
        scene.network.borrow_mut().connect(listener, 1_000, 1_000);
    }
    scene.settle();
    assert_eq!(scene.network.borrow().accepts, 3, "files are out for the other one too");
}

#[test]
fn a_burst_of_refused_clients_never_takes_more_descriptors_than_there_may_be() {
    let mut scene = Scene::new(LIMITS, 0);
    for _ in 0..50 {
        scene.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scene.settle();
    assert_eq!(scene.server.stats().refused_total, 42);
    assert_eq!(scene.network.borrow().open_max, LIMITS.clients_max + LIMITS.lingering_max);
}

#[test]
fn a_client_that_leaves_after_a_long_silence_has_a_whole_minute_to_take_its_replies() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    scene.send(client, &frame(1, &[7; 1_000]));
    scene.settle();
    scene.now = Millis(50_000);
    scene.network.borrow_mut().shut(client);
    for (at, closed) in [(50_000, false), (109_999, false), (110_000, true)] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.is_closed(client), closed, "at {at} ms");
    }
}

#[test]
fn a_stop_waits_for_nobody_who_has_been_silent_for_more_than_a_second() {
    for (silent_ms, stopped) in [(0, false), (1_000, false), (1_001, true), (60_000, true)] {
        let mut scene = Scene::new(LIMITS, 0);
        scene.connect(1_000);
        scene.now = Millis(silent_ms);
        scene.stop();
        scene.settle();
        assert_eq!(scene.server.is_stopped(), stopped, "after {silent_ms} ms");
    }
}

#[test]
fn input_that_is_thrown_away_has_a_turns_budget_too() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    scene.send(client, &[frame(1, &[7; 1_000]), frame(3, b"")].concat());
    scene.settle();
    let before = scene.server.stats().bytes_in_total;
    scene.send(client, &vec![0; 4 << 20]);
    scene.round();
    let read = scene.server.stats().bytes_in_total - before;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn a_frame_is_late_when_its_last_byte_is_as_old_as_the_frame_timeout() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, &[7; 3_000])[..1_500]);
    scene.settle();
    scene.now = Millis(2_000);
    scene.send(client, &[7; 1_000]);
    for (at, answer) in
        [(2_000, vec![]), (4_999, vec![]), (5_000, frame(255, b"frame incomplete after 5 s"))]
    {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.receive(client), answer, "at {at} ms");
    }
}

#[test]
fn the_counters_are_logged_as_status_reports_them() {
    logger::capture();
    let mut scene = Scene::new(LIMITS, 0);
    scene.connect(1_000);
    logger::take_texts();
    scene.server.log_status(Millis(7_999));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#"status {{"version":"{version}","uptime_secs":7,"connections":1,"accepted_total":1,"refused_total":0,"frames_in_total":0,"bytes_in_total":0,"bytes_out_total":0,"broadcasts_total":0,"slow_consumers_total":0}}"#
    );
    assert_eq!(logger::take_texts(), [expected]);
}

#[test]
fn a_client_that_comes_and_goes_is_logged_with_its_address_and_why_it_left() {
    logger::capture();
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    let client = scene.connect(1_000);
    scene.connect(1_000);
    scene.send(client, &frame(3, b""));
    scene.settle();
    let expected = [
        "#1 127.0.0.1:0 connected to command",
        "#2 127.0.0.1:1 refused by command: server is full: 1 clients",
        "server is full: 1 clients; 1 refused in the last second",
        "#1 127.0.0.1:0 disconnected: quit",
    ];
    assert_eq!(logger::take_texts(), expected);
}

#[test]
fn a_hundred_connection_lines_are_logged_a_second_and_the_rest_summed_up() {
    logger::capture();
    let mut scene = Scene::new(Limits { clients_max: 200, ..LIMITS }, 0);
    for _ in 0..150 {
        scene.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scene.settle();
    assert_eq!(logger::take_texts().len(), 100);
    scene.now = Millis(400);
    assert_eq!(scene.server.poll_timeout(scene.now), Some(600), "the sum is due with the second");
    for (at, lines) in [
        (999, &[][..]),
        (1_000, &["50 more connection events, not logged one by one"]),
        (2_000, &[]),
    ] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(logger::take_texts(), lines, "at {at} ms");
    }
    scene.connect(1_000);
    assert_eq!(logger::take_texts(), ["#151 127.0.0.1:150 connected to command"], "a new second");
}

#[test]
fn that_files_are_out_is_logged_at_most_once_a_second() {
    logger::capture();
    let mut scene = Scene::new(LIMITS, 0);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    scene.connect(1_000);
    let line = "command cannot accept for now: too many open files";
    for (at, lines) in [(0, &[line][..]), (999, &[]), (1_100, &[line])] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(logger::take_texts(), lines, "at {at} ms");
    }
}

#[test]
fn a_stop_that_has_to_cut_says_how_many_had_replies_unsent() {
    logger::capture();
    let mut scene = Scene::new(LIMITS, 0);
    let slow = [scene.connect(100), scene.connect(100)];
    scene.connect(1_000);
    for client in slow {
        scene.send(client, &frame(1, &[7; 1_000]));
    }
    scene.settle();
    logger::take_texts();
    scene.stop();
    scene.settle();
    let drain_ms = LIMITS.drain_timeout_ms;
    scene.now = Millis(drain_ms - 1);
    scene.settle();
    assert_eq!(scene.server.poll_timeout(scene.now), Some(1));
    scene.now = Millis(drain_ms);
    scene.settle();
    assert!(scene.server.is_stopped());
    let lines = logger::take_texts();
    assert_eq!(lines.first().unwrap(), "stopping, connections open: 3");
    let cut = "the drain time is over; connections cut with replies unsent: 2";
    assert!(lines.iter().any(|line| line == cut), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "stopped");
}

#[test]
fn what_comes_after_a_stop_has_read_a_client_dry_is_not_answered() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, b"before"));
    scene.stop();
    scene.round();
    scene.send(client, &frame(1, b"after"));
    scene.settle();
    assert_eq!(scene.receive(client), frame(1, b"before"));
}

#[test]
fn a_slice_of_a_fan_out_ends_after_32_pages_even_where_they_are_nearly_empty() {
    const PAGE: usize = 256;
    let mut scene = Scene::new(Limits { clients_max: 40 * PAGE, ..LIMITS }, 0);
    for _ in 0..40 * PAGE {
        scene.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scene.settle();
    for client in (0..40 * PAGE).filter(|client| client % PAGE != 0) {
        scene.network.borrow_mut().reset(client);
    }
    scene.settle();
    // The pass goes from the last page to the first, where the sender is.
    scene.send(0, &frame(4, b"news"));
    scene.round();
    let heard = (0..40).filter(|page| !scene.receive(page * PAGE).is_empty());
    assert_eq!(heard.collect::<Vec<_>>(), [vec![0], (8..40).collect()].concat());
}

#[test]
fn a_fan_out_spends_nothing_on_members_who_got_the_broadcast_before_a_reply() {
    let mut scene = Scene::new(Limits { clients_max: 3_000, ..LIMITS }, 0);
    let clients: Vec<usize> =
        (0..2_000).map(|_| scene.network.borrow_mut().connect(0, 1_000, 1_000)).collect();
    scene.settle();
    scene.send(clients[0], &frame(4, b"news"));
    for &client in &clients[1..] {
        scene.send(client, &frame(1, b"hi"));
    }
    scene.round();
    assert_eq!(scene.server.poll_timeout(scene.now), None, "one slice was enough");
    assert_eq!(scene.receive(clients[1]), [frame(4, b"news"), frame(1, b"hi")].concat());
}

#[test]
fn a_client_that_floods_is_read_from_for_a_turns_budget_at_a_time() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, &[7; 1 << 20]));
    scene.round();
    let read = scene.server.stats().bytes_in_total;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn status_tells_the_uptime_in_whole_seconds() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.now = Millis(7_999);
    scene.send(client, &frame(7, b""));
    scene.settle();
    let reply = scene.receive(client);
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.contains(r#""uptime_secs":7,"#), "{reply}");
}

#[test]
fn a_stop_listens_to_those_who_go_on_talking_for_half_the_drain_time() {
    let mut scene = Scene::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let client = scene.connect(ROOMY);
    scene.send(client, &frame(99, &[7; 100_000]).repeat(100));
    scene.stop();
    for (at, shut) in [(0, false), (2_499, false), (2_500, true)] {
        scene.now = Millis(at);
        scene.round();
        scene.round();
        assert_eq!(scene.network.borrow().sockets[client].server_shut, shut, "at {at} ms");
    }
}

#[test]
fn a_stop_asks_a_listener_for_connections_until_none_waits() {
    let mut scene = Scene::new(LIMITS, 0);
    scene.settle();
    for _ in 0..3 {
        scene.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    let before = scene.network.borrow().accepts;
    scene.stop();
    assert_eq!(scene.network.borrow().accepts - before, 3 + 1);
    assert_eq!(scene.server.sockets(), 3);
}

#[test]
fn in_a_stop_nobody_leaves_before_all_that_had_arrived_is_answered() {
    let mut scene = Scene::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let (silent, talker) = (scene.connect(1_000), scene.connect(ROOMY));
    scene.send(talker, &frame(99, &[7; 100_000]).repeat(20));
    scene.send(talker, &frame(4, b"last words"));
    scene.stop();
    scene.settle();
    assert_eq!(scene.receive(silent), frame(4, b"last words"));
}

#[test]
fn who_takes_what_had_to_wait_is_not_idle() {
    for waits_for_broadcasts in [false, true] {
        let mut scene = Scene::new(LIMITS, 10_000);
        let (client, other) = (scene.connect(100), scene.connect(ROOMY));
        match waits_for_broadcasts {
            true => scene.send(other, &frame(4, &[7; 1_000])),
            false => scene.send(client, &frame(1, &[7; 1_000])),
        }
        scene.settle();
        scene.now = Millis(8_000);
        assert_eq!(scene.receive(client).len(), 100);
        for (at, closed) in [(8_000, false), (17_999, false), (18_000, true)] {
            scene.now = Millis(at);
            scene.settle();
            assert_eq!(scene.is_closed(client), closed, "at {at} ms");
        }
    }
}

#[test]
fn however_many_run_out_at_once_others_are_served_in_between() {
    const CROWD: usize = 3_000;
    let limits = Limits { clients_max: CROWD + 1, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    for _ in 0..CROWD {
        scene.network.borrow_mut().connect(0, ROOMY, ROOMY);
    }
    scene.settle();
    scene.now = Millis(5_000);
    let alive = scene.connect(ROOMY);
    scene.now = Millis(10_000);
    let mut turns = 0;
    while scene.server.stats().connections > 1 {
        turns += 1;
        scene.send(alive, b"\x01\0\0\0\x02hi");
        scene.round();
        assert_eq!(scene.receive(alive), b"\x01\0\0\0\x02hi");
    }
    assert!(turns > CROWD / 500, "{turns} turns");
}

#[test]
fn an_idle_client_that_is_owed_nothing_is_shut_and_has_five_seconds_to_shut_its_own_side() {
    let mut scene = Scene::new(LIMITS, 10_000);
    let client = scene.connect(1_000);
    for (at, shut, closed) in
        [(9_999, false, false), (10_000, true, false), (14_999, true, false), (15_000, true, true)]
    {
        scene.now = Millis(at);
        scene.settle();
        let socket = &scene.network.borrow().sockets[client];
        assert_eq!((socket.server_shut, socket.server_closed), (shut, closed), "at {at} ms");
    }
}

#[test]
fn a_refused_client_has_five_seconds_to_take_the_reason() {
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scene.connect(ROOMY);
    let refused = scene.connect(10);
    for (at, closed) in [(4_999, false), (5_000, true)] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.is_closed(refused), closed, "at {at} ms");
    }
}

#[test]
fn a_drain_time_of_more_than_a_minute_is_waited_out() {
    let mut scene = Scene::new(Limits { drain_timeout_ms: 120_000, ..LIMITS }, 0);
    let client = scene.connect(100);
    scene.send(client, &frame(1, &[7; 1_000]));
    scene.settle();
    scene.stop();
    for (at, closed) in [(0, false), (119_999, false), (120_000, true)] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.is_closed(client), closed, "at {at} ms");
    }
}

#[test]
fn a_silent_client_is_idle_even_if_it_takes_every_broadcast() {
    let mut scene = Scene::new(LIMITS, 10_000);
    let (silent, other) = (scene.connect(1_000), scene.connect(ROOMY));
    for at in [4_000, 8_000] {
        scene.now = Millis(at);
        scene.send(other, &frame(4, b"news"));
        scene.settle();
        assert_eq!(scene.receive(silent), frame(4, b"news"));
    }
    scene.now = Millis(10_000);
    scene.settle();
    assert!(scene.network.borrow().sockets[silent].server_shut);
}

#[test]
fn only_clients_cut_with_replies_unsent_are_worth_a_warning() {
    logger::capture();
    for (room, warnings) in [(ROOMY, &[][..]), (100, &["1"])] {
        let mut scene = Scene::new(Limits { drain_timeout_ms: 0, ..LIMITS }, 0);
        let client = scene.connect(room);
        scene.connect(ROOMY);
        scene.send(client, &frame(1, &[7; 1_000]));
        scene.settle();
        scene.stop();
        scene.settle();
        let text = "the drain time is over; connections cut with replies unsent: ";
        let lines = logger::take_texts();
        let cut: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(text)).collect();
        assert_eq!(cut, warnings);
    }
}

#[test]
fn a_connection_that_fails_is_closed_at_once_and_logged_with_the_error() {
    logger::capture();
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    logger::take_texts();
    scene.network.borrow_mut().reset(client);
    scene.settle();
    assert!(scene.is_closed(client));
    let line = "#1 127.0.0.1:0 disconnected: connection failed: connection reset";
    assert_eq!(logger::take_texts(), [line]);
}

#[test]
fn a_short_read_has_emptied_the_stream_and_is_not_followed_by_another() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, b"hi"));
    scene.settle();
    assert_eq!(scene.receive(client), frame(1, b"hi"));
    assert_eq!(scene.network.borrow().sockets[client].read_calls, 1);
}

#[test]
fn a_refused_client_that_has_gone_already_is_closed_at_once() {
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scene.connect(1_000);
    let refused = scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.network.borrow_mut().reset(refused);
    scene.settle();
    assert_eq!(scene.server.stats().refused_total, 1);
    assert!(scene.is_closed(refused));
}

/// Seed 783 of the simulation: the rest of a long line became a message, and the next was dropped.
#[test]
fn a_line_that_is_too_long_ends_where_it_ends_also_among_deferred_input() {
    let mut scene = Scene::chat(LIMITS);
    let client = scene.connect(200);
    let long = "x".repeat(10_000);
    let lines = format!("ann\n{}{long}\n/msg\n", "/help\n".repeat(40));
    scene.send(client, lines.as_bytes());
    scene.settle();
    let answer = scene.receive_all(client);
    let answer = String::from_utf8(answer).unwrap();
    let end = "[ERROR] message over 4096 bytes\n[ERROR] usage: /msg USER TEXT\n";
    assert!(answer.ends_with(end), "{answer}");
}

/// Seed 16 of the simulation: half of `a b c` was taken for a nickname.
#[test]
fn a_stop_takes_no_half_line_of_a_chat_for_a_message() {
    let mut scene = Scene::chat(LIMITS);
    let client = scene.connect(ROOMY);
    scene.send(client, b"me\nann");
    scene.settle();
    assert_eq!(scene.receive(client), b"[ERROR] a nickname has 3 to 16 characters\n");
    scene.stop();
    scene.settle();
    assert_eq!(scene.receive_all(client), b"[INFO] The server has shut down\n");
}

/// Who has never ended a message is not waited for: `ann` is all there will be.
#[test]
fn a_stop_takes_what_an_unterminated_client_has_sent_for_a_message() {
    let mut scene = Scene::chat(LIMITS);
    let client = scene.connect(ROOMY);
    scene.send(client, b"ann");
    scene.settle();
    scene.stop();
    scene.settle();
    let expected = b"[INFO] Welcome, ann!\n[INFO] The server has shut down\n";
    assert_eq!(scene.receive_all(client), expected);
}

/// A leaver cannot be made to wait, as a speaker can.
#[test]
fn everyone_who_leaves_is_mentioned_even_if_the_log_has_no_room_for_all_at_once() {
    const LEAVERS: usize = 700;
    let mut scene = Scene::chat(Limits { clients_max: 1_000, ..LIMITS });
    let witness = scene.connect(ROOMY);
    scene.send(witness, b"witness\n");
    scene.settle();
    let nick = |n: usize| format!("long-nickname{n:03}");
    let leavers: Vec<usize> = (0..LEAVERS)
        .map(|n| {
            let socket = scene.connect(ROOMY);
            scene.send(socket, format!("{}\n", nick(n)).as_bytes());
            socket
        })
        .collect();
    scene.settle();
    scene.receive_all(witness);
    for socket in leavers {
        scene.network.borrow_mut().reset(socket);
    }
    scene.settle();
    let heard = String::from_utf8(scene.receive_all(witness)).unwrap();
    assert!(heard.len() > CHAT_LOG_BYTES_MIN, "more than the log holds");
    let mut heard: Vec<&str> = heard.lines().collect();
    heard.sort_unstable();
    let mut expected: Vec<String> =
        (0..LEAVERS).map(|n| format!("[SERVER] {} left", nick(n))).collect();
    expected.sort_unstable();
    assert_eq!(heard, expected);
}

/// The reply to a long frame takes its place behind the broadcast that is being sent.
#[test]
fn a_long_reply_does_not_tear_a_broadcast_that_a_laggard_has_half() {
    let limits =
        Limits { send_queue_bytes_max: 1 << 20, broadcast_log_bytes_max: 1 << 16, ..LIMITS };
    for command in [1, 2] {
        let mut scene = Scene::new(limits, 0);
        let (laggard, other) = (scene.connect(100), scene.connect(ROOMY));
        scene.send(other, &frame(4, &[b'x'; 300]));
        scene.settle();
        let long = frame(command, &[b'y'; 5_000]);
        scene.send(laggard, &long[..3_000]);
        scene.settle();
        scene.send(laggard, &long[3_000..]);
        scene.settle();
        let expected = [frame(4, &[b'x'; 300]), frame(1, &[b'y'; 5_000])].concat();
        assert!(scene.receive_all(laggard) == expected, "command {command}");
    }
}

/// What comes behind a long REVERSE while it is worked on belongs to the next.
#[test]
fn a_long_text_is_reversed_whatever_comes_behind_it() {
    let limits = Limits { send_queue_bytes_max: 64 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let client = scene.connect(ROOMY);
    let plain = "plain ".repeat(1_000);
    let other = "Hé!日本🦜".repeat(1_000);
    let requests = [
        frame(2, plain.as_bytes()),
        frame(2, other.as_bytes()),
        frame(2, &[plain.as_bytes(), b"\xff", plain.as_bytes()].concat()),
        frame(1, b"hi"),
    ]
    .concat();
    let reversed = |text: &str| frame(1, text.chars().rev().collect::<String>().as_bytes());
    let expected = [
        reversed(&plain),
        reversed(&other),
        frame(255, b"REVERSE needs UTF-8: invalid byte at offset 6000"),
        frame(1, b"hi"),
    ]
    .concat();
    for cut in [3_000, 5_000, 6_004, 6_005, 6_006, 10_000, 21_000] {
        for next in [1, 3_000, 5_000, 9_000, 40_000] {
            scene.send(client, &requests[..cut]);
            scene.settle();
            let next = (cut + next).min(requests.len());
            scene.send(client, &requests[cut..next]);
            scene.settle();
            scene.send(client, &requests[next..]);
            scene.settle();
            assert!(scene.receive_all(client) == expected, "cut at {cut} and {next}");
        }
    }
}

/// One write takes so many pieces, and what is left of the log does not fit among them.
#[test]
fn a_laggard_is_sent_the_rest_of_the_log_also_where_its_queue_filled_the_write() {
    for replies in 1..20 {
        let limits =
            Limits { send_queue_bytes_max: 1 << 16, broadcast_log_bytes_max: 1 << 16, ..LIMITS };
        let mut scene = Scene::new(limits, 0);
        let (laggard, other) = (scene.connect(100), scene.connect(ROOMY));
        let mut expected = Vec::new();
        for n in 0..=replies {
            let news = frame(4, &[n; 300]);
            scene.send(other, &news);
            scene.settle();
            expected.extend(news);
            if n < replies {
                scene.send(laggard, &frame(1, &[n]));
                scene.settle();
                expected.extend(frame(1, &[n]));
            }
        }
        scene.network.borrow_mut().sockets[laggard].to_client_max = ROOMY;
        assert!(scene.receive_all(laggard) == expected, "{replies} replies");
    }
}

/// Waiting for the log is no silence of the client's.
#[test]
fn who_waited_for_the_log_is_not_idle() {
    let mut scene = Scene::new(Limits { clients_max: 3_000, ..LIMITS }, 10_000);
    let (first, second) = (scene.connect(ROOMY), scene.connect(ROOMY));
    for _ in 0..1_100 {
        scene.network.borrow_mut().connect(0, 1_000, ROOMY);
    }
    scene.settle();
    // As much as the log holds, to more listeners than one slice serves.
    let news = frame(4, &[b'n'; 1_000]);
    scene.send(first, &news.repeat(4));
    scene.send(second, &news);
    scene.round();
    assert_eq!(scene.receive(second), news.repeat(4), "and no answer");
    for (at, shut) in [(11_000, false), (20_999, false), (21_000, true)] {
        scene.now = Millis(at);
        scene.settle();
        assert_eq!(scene.network.borrow().sockets[second].server_shut, shut, "at {at} ms");
    }
}

/// Closing descriptors takes time; whoever was closed first has waited longest.
#[test]
fn those_closed_first_are_dropped_first() {
    const CLOSED_A_ROUND: usize = 12;
    let mut scene = Scene::new(Limits { clients_max: 100, ..LIMITS }, 0);
    let clients: Vec<usize> = (0..96).map(|_| scene.connect(ROOMY)).collect();
    // It takes 100 µs to the next look, and each drop is followed by one: a turn drops five.
    let time = Cell::new(0);
    let clock = move || time.replace(time.get() + 100);
    scene.server.set_clock(Box::new(clock), 1);
    for group in clients.chunks(CLOSED_A_ROUND) {
        group.iter().for_each(|&client| scene.network.borrow_mut().reset(client));
        scene.round();
    }
    let dropped: Vec<bool> = clients.iter().map(|&client| scene.is_closed(client)).collect();
    assert!(dropped.contains(&false), "some still wait");
    assert!(dropped.is_sorted_by_key(|is_dropped| !is_dropped), "{dropped:?}");
}

/// Writing takes time as well, and the next in the line may want no more than an echo.
#[test]
fn those_who_are_owed_much_are_written_little_before_others_are_answered() {
    let limits = Limits { clients_max: 30, broadcast_log_bytes_max: 4 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let (innocent, sender) = (scene.connect(ROOMY), scene.connect(ROOMY));
    let laggards: Vec<usize> = (0..20).map(|_| scene.connect(100_000)).collect();
    scene.send(sender, &frame(4, &[b'n'; 1_000_000]));
    scene.settle();
    scene.receive(innocent);
    // A gigabyte a second.
    let network = Shared::clone(&scene.network);
    let clock = move || {
        let sockets = &network.borrow().sockets;
        sockets.iter().map(|socket| socket.to_client.len() as u64).sum::<u64>() / 1_000
    };
    scene.server.set_clock(Box::new(clock), 1);
    for &laggard in &laggards {
        scene.network.borrow_mut().sockets[laggard].to_client_max = ROOMY;
        assert_eq!(scene.network.borrow_mut().receive(laggard, 1), b"\x04");
    }
    scene.send(innocent, &frame(1, b"hi"));
    scene.round();
    assert_eq!(scene.receive(innocent), frame(1, b"hi"));
}

/// What a line takes up in the log is more than its sender wrote: each begins with a nickname. And
/// the share of one is more than another may make wait, who is not held back for it: it would lose its
/// place every time.
#[test]
fn who_waits_for_the_log_of_a_chat_has_a_share_of_it_in_lines_as_they_are_there() {
    let mut scene = Scene::chat(LIMITS);
    let nicks = ["listener", "ann", "bob"];
    let sockets = nicks.map(|nick| {
        let socket = scene.connect(ROOMY);
        scene.send(socket, format!("{nick}\n").as_bytes());
        scene.settle();
        socket
    });
    let [listener, ann, bob] = sockets;
    scene.receive_all(listener);
    scene.send(ann, &b"x\n".repeat(5_000));
    scene.send(bob, &b"x\n".repeat(5_000));
    scene.settle();
    let heard = String::from_utf8(scene.receive_all(listener)).unwrap();
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines.len(), 10_000);
    let runs: Vec<usize> = lines.chunk_by(|a, b| a == b).map(|run| run.len() * 9).collect();
    // The first had the log to itself, and the last had nobody to share it with.
    let longest = runs[1..runs.len() - 1].iter().max().unwrap();
    assert!(*longest <= CHAT_LOG_BYTES_MIN / 2 + 9, "{runs:?}");
}

/// A frame of which a half was read before broadcasts filled what the client may make wait.
#[test]
fn frame_clock_stands_still_while_a_client_is_not_read_from() {
    let mut scene = Scene::new(LIMITS, 0);
    let (slow, sender) = (scene.connect(16), scene.connect(ROOMY));
    let echo = frame(1, b"in two halves");
    scene.send(slow, &echo[..9]);
    scene.settle();
    for _ in 0..3 {
        scene.send(sender, &frame(4, &[b'x'; 1_000]));
        scene.settle();
    }
    scene.send(slow, &echo[9..]);
    scene.settle();
    scene.now = scene.now.after(LIMITS.frame_timeout_ms);
    scene.settle();
    let heard = scene.receive_all(slow);
    assert!(heard.ends_with(&echo), "{:?}", String::from_utf8_lossy(&heard));
}

/// Has `scene` look at a clock that goes on by 100 µs with each look, after each visit.
fn set_slow_clock(scene: &mut Scene) {
    let micros = Cell::new(0);
    let look = move || micros.replace(micros.get() + 100);
    scene.server.set_clock(Box::new(look), 1_024);
}

#[test]
fn however_many_close_at_once_a_turn_reaps_those_it_has_time_for() {
    let mut scene = Scene::new(Limits { clients_max: 400, ..LIMITS }, 0);
    let sockets: Vec<usize> = (0..300).map(|_| scene.connect(ROOMY)).collect();
    set_slow_clock(&mut scene);
    sockets.iter().for_each(|&socket| scene.network.borrow_mut().reset(socket));
    scene.round();
    let left = scene.server.sockets();
    assert!(left >= 290, "{left} are left");
    assert!(scene.server.stats().connections < 255, "closed are many more");
    scene.settle();
    assert_eq!(scene.server.sockets(), 0);
}

#[test]
fn however_many_wait_for_a_log_a_turn_lets_in_those_it_has_time_for() {
    const SENDERS: usize = 90;
    let mut scene = Scene::new(Limits { clients_max: 100, ..LIMITS }, 0);
    let first = scene.connect(ROOMY);
    let others: Vec<usize> = (0..SENDERS).map(|_| scene.connect(ROOMY)).collect();
    scene.send(first, &frame(4, &[b'x'; 1_000]).repeat(5));
    others.iter().for_each(|&socket| scene.send(socket, &frame(4, b"y")));
    set_slow_clock(&mut scene);
    let mut most = 0;
    let mut before = 4;
    scene.round();
    assert_eq!(scene.server.stats().broadcasts_total, before, "the log is full");
    while scene.server.poll_timeout(scene.now) == Some(0) {
        scene.round();
        let sent = scene.server.stats().broadcasts_total;
        most = most.max(sent - before);
        before = sent;
    }
    assert_eq!(before, 5 + SENDERS as u64);
    assert!(most <= 6, "{most} in one turn");
}

/// Seed 208 of the simulation: whoever took everything at once was cut for what came in between.
#[test]
fn who_has_room_is_not_cut_for_messages_that_came_before_its_turn() {
    let mut scene = Scene::chat(LIMITS);
    let sockets = ["ann", "bob"].map(|nick| {
        let socket = scene.connect(ROOMY);
        scene.send(socket, format!("{nick}\n").as_bytes());
        scene.settle();
        socket
    });
    let [ann, bob] = sockets;
    scene.receive_all(bob);
    let text = "x".repeat(500);
    scene.send(ann, format!("/msg bob {text}\n").repeat(100).as_bytes());
    scene.settle();
    assert_eq!(scene.server.stats().slow_consumers_total, 0);
    let heard = String::from_utf8(scene.receive_all(bob)).unwrap();
    assert_eq!(heard, format!("[PM] ann: {text}\n").repeat(100));
}

/// Seed 3024 of the simulation: an echo that becomes its own reply is never among the replies at
/// hand, and so came in front of the rest of a broadcast.
#[test]
fn a_long_echo_comes_behind_the_broadcast_that_a_slow_client_has_begun_to_take() {
    let mut scene = Scene::new(LIMITS, 0);
    let (slow, sender) = (scene.connect(16), scene.connect(ROOMY));
    let (broadcast, echo) = (frame(4, &[b'x'; 100]), frame(1, &[b'e'; 3_000]));
    scene.send(sender, &broadcast);
    scene.settle();
    scene.send(slow, &echo[..1_000]);
    scene.settle();
    scene.send(slow, &echo[1_000..]);
    scene.settle();
    assert!(scene.receive_all(slow) == [broadcast, echo].concat(), "torn apart");
}

/// Where thousands hold a little, asking the system for all of them would be most of the work.
#[test]
fn whose_memory_it_is_is_asked_once_however_often_memory_runs_out() {
    let limits = Limits { clients_max: 50, memory_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let small: Vec<usize> = (0..20).map(|_| scene.connect(ROOMY)).collect();
    for &client in &small {
        scene.send(client, &frame(1, &[7; 100])[..50]);
    }
    for _ in 0..5 {
        for _ in 0..2 {
            let large = scene.connect(ROOMY);
            scene.send(large, &frame(1, &[7; 1 << 20])[..700_000]);
            scene.settle();
        }
    }
    assert!(scene.server.stats().memory_cuts_total >= 5);
    let asked = |&client: &usize| scene.network.borrow().sockets[client].peer_addr_calls;
    assert!(small.iter().map(asked).all(|calls| calls == 1));
}

/// Whoever is closed may have to wait for its turn to be reaped, and does not know: what it sends
/// meanwhile shall not destroy what is on its way to it.
#[test]
fn what_comes_while_a_closed_connection_waits_to_be_reaped_does_not_reset_it() {
    let mut scene = Scene::chat(Limits { clients_max: 100, ..LIMITS });
    let sockets: Vec<usize> = (0..100).map(|_| scene.connect(ROOMY)).collect();
    // They have been silent for so long that a stop does not wait for them.
    scene.now = scene.now.after(2_000);
    set_slow_clock(&mut scene);
    scene.stop();
    let waiting = loop {
        assert!(!scene.server.is_stopped(), "nobody waits");
        scene.round();
        let network = scene.network.borrow();
        let waits = |&socket: &usize| {
            let socket = &network.sockets[socket];
            !socket.to_client.is_empty() && !socket.server_closed && !socket.lingered
        };
        let waiting: Vec<usize> = sockets.iter().copied().filter(waits).collect();
        if !waiting.is_empty() {
            break waiting;
        }
    };
    waiting.iter().for_each(|&socket| scene.send(socket, b"x"));
    scene.settle();
    for socket in waiting {
        assert_eq!(scene.receive(socket), b"[INFO] The server has shut down\n");
    }
}
