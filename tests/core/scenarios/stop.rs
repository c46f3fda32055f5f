//! An orderly stop: what is still answered, whom it waits for, and when it ends.

use allocation_counter::measure;
use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario, add_laggards, chat_with_a_long_log};
use crate::support::{frame, logger};

#[test]
fn stop_answers_input_beyond_one_turn_budget() {
    let mut scenario = Scenario::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, &vec![7; 600_000]));
    scenario.run_until_idle();
    scenario.send(client, &frame(99, &[7; 100]).repeat(7_000));
    scenario.run_until_idle();
    scenario.stop();
    scenario.run_until_idle();
    scenario.network.borrow_mut().sockets[client].to_client_max = 16 << 20;
    let unknown = frame(255, b"unknown command 99").len();
    assert_eq!(scenario.receive_all(client).len(), 600_005 + 7_000 * unknown);
}

#[test]
fn stop_waits_for_clients_with_unsent_replies() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (silent, other) = (scenario.connect(100), scenario.connect(AMPLE));
    scenario.now = Millis(100_000);
    scenario.send(other, &frame(4, &[b'x'; 300]));
    scenario.run_until_idle();
    scenario.stop();
    scenario.run_until_idle();
    assert_eq!(scenario.receive_all(silent).len(), 305);
}

#[test]
fn stop_without_drain_time_answers_everyone_once() {
    let limits = Limits { clients_max: 3_000, drain_timeout_ms: 0, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let clients: Vec<usize> =
        (0..2_000).map(|_| scenario.network.borrow_mut().connect(0, 1_000, 1_000)).collect();
    scenario.run_until_idle();
    for &client in &clients {
        scenario.send(client, &frame(1, b"hi"));
    }
    scenario.stop();
    while !scenario.server.is_stopped() {
        scenario.server.turn(&(), scenario.now);
    }
    for client in clients {
        assert_eq!(scenario.receive(client), frame(1, b"hi"));
    }
}

#[test]
fn stop_closes_no_client_that_is_sending() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let clients: Vec<usize> = (0..6).map(|_| scenario.connect(1_000)).collect();
    for &client in &clients {
        scenario.send(client, &frame(1, b"hi"));
    }
    scenario.run_until_idle();
    scenario.stop();
    for _ in 0..10 {
        scenario.round();
        for &client in &clients {
            scenario.send(client, &frame(1, b"more"));
        }
    }
    assert!(clients.iter().all(|&client| !scenario.is_closed(client)));
}

#[test]
fn stop_ends_with_its_last_timer() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, b"hi"));
    scenario.run_until_idle();
    scenario.stop();
    while !scenario.server.is_stopped() {
        let wait_ms = scenario.server.poll_timeout(scenario.now).expect("a timer");
        scenario.now = scenario.now.after(wait_ms);
        scenario.round();
    }
    assert_eq!(scenario.now, Millis(1_000), "the time it lingers");
}

#[test]
fn stop_does_not_linger_on_clients_idle_over_1_s() {
    for (silent_ms, stopped) in [(0, false), (1_000, false), (1_001, true), (60_000, true)] {
        let mut scenario = Scenario::new(LIMITS, 0);
        scenario.connect(1_000);
        scenario.now = Millis(silent_ms);
        scenario.stop();
        scenario.run_until_idle();
        assert_eq!(scenario.server.is_stopped(), stopped, "after {silent_ms} ms");
    }
}

#[test]
fn stop_logs_how_many_clients_it_cut() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0);
    let slow = [scenario.connect(100), scenario.connect(100)];
    scenario.connect(1_000);
    for client in slow {
        scenario.send(client, &frame(1, &[7; 1_000]));
    }
    scenario.run_until_idle();
    logger::take_texts();
    scenario.stop();
    scenario.run_until_idle();
    let drain_ms = LIMITS.drain_timeout_ms;
    scenario.now = Millis(drain_ms - 1);
    scenario.run_until_idle();
    assert_eq!(scenario.server.poll_timeout(scenario.now), Some(1));
    scenario.now = Millis(drain_ms);
    scenario.run_until_idle();
    assert!(scenario.server.is_stopped());
    let lines = logger::take_texts();
    assert_eq!(lines.first().unwrap(), "stopping, connections open: 3");
    let cut = "the drain time is over; connections cut with replies unsent: 2";
    assert!(lines.iter().any(|line| line == cut), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "stopped");
}

#[test]
fn stop_answers_nothing_after_the_last_read() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, b"before"));
    scenario.stop();
    scenario.round();
    scenario.send(client, &frame(1, b"after"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"before"));
}

#[test]
fn stop_reads_senders_for_half_the_drain_timeout() {
    let mut scenario = Scenario::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let client = scenario.connect(AMPLE);
    scenario.send(client, &frame(99, &[7; 100_000]).repeat(100));
    scenario.stop();
    for (at, shut) in [(0, false), (2_499, false), (2_500, true)] {
        scenario.now = Millis(at);
        scenario.round();
        scenario.round();
        assert_eq!(scenario.network.borrow().sockets[client].server_shut, shut, "at {at} ms");
    }
}

#[test]
fn stop_accepts_until_no_connection_waits() {
    let mut scenario = Scenario::new(LIMITS, 0);
    scenario.run_until_idle();
    for _ in 0..3 {
        scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    let before = scenario.network.borrow().accepts;
    scenario.stop();
    assert_eq!(scenario.network.borrow().accepts - before, 3 + 1);
    assert_eq!(scenario.server.sockets(), 3);
}

#[test]
fn stop_closes_no_client_before_all_are_answered() {
    let mut scenario = Scenario::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let (silent, talker) = (scenario.connect(1_000), scenario.connect(AMPLE));
    scenario.send(talker, &frame(99, &[7; 100_000]).repeat(20));
    scenario.send(talker, &frame(4, b"last words"));
    scenario.stop();
    scenario.run_until_idle();
    assert_eq!(scenario.receive(silent), frame(4, b"last words"));
}

#[test]
fn stop_waits_out_a_drain_time_over_a_minute() {
    let mut scenario = Scenario::new(Limits { drain_timeout_ms: 120_000, ..LIMITS }, 0);
    let client = scenario.connect(100);
    scenario.send(client, &frame(1, &[7; 1_000]));
    scenario.run_until_idle();
    scenario.stop();
    for (at, closed) in [(0, false), (119_999, false), (120_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.is_closed(client), closed, "at {at} ms");
    }
}

#[test]
fn stop_warns_only_of_clients_with_unsent_replies() {
    logger::capture();
    for (room, warnings) in [(AMPLE, &[][..]), (100, &["1"])] {
        let mut scenario = Scenario::new(Limits { drain_timeout_ms: 0, ..LIMITS }, 0);
        let client = scenario.connect(room);
        scenario.connect(AMPLE);
        scenario.send(client, &frame(1, &[7; 1_000]));
        scenario.run_until_idle();
        scenario.stop();
        scenario.run_until_idle();
        let text = "the drain time is over; connections cut with replies unsent: ";
        let lines = logger::take_texts();
        let cut: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(text)).collect();
        assert_eq!(cut, warnings);
    }
}

/// Simulation seed 16: half of `a b c` was taken for a nickname.
#[test]
fn stop_drops_a_half_line() {
    let mut scenario = Scenario::chat(LIMITS);
    let client = scenario.connect(AMPLE);
    scenario.send(client, b"me\nann");
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), b"[ERROR] a nickname has 3 to 16 characters\n");
    scenario.stop();
    scenario.run_until_idle();
    assert_eq!(scenario.receive_all(client), b"[INFO] The server has shut down\n");
}

/// A client that has never ended a message is not waited for: `ann` is all it will send.
#[test]
fn stop_delivers_an_unterminated_message() {
    let mut scenario = Scenario::chat(LIMITS);
    let client = scenario.connect(AMPLE);
    scenario.send(client, b"ann");
    scenario.run_until_idle();
    scenario.stop();
    scenario.run_until_idle();
    let expected = b"[INFO] Welcome, ann!\n[INFO] The server has shut down\n";
    assert_eq!(scenario.receive_all(client), expected);
}

/// Laggards share the rest of the log, which is stored once.
#[test]
fn stop_copies_no_log_for_laggards() {
    let mut scenario = chat_with_a_long_log();
    let (members, _) = add_laggards(&mut scenario, 20);
    let cost = measure(|| {
        scenario.stop();
        scenario.run_until_idle();
    });
    assert!(cost.bytes_max < 100_000, "{} bytes", cost.bytes_max);
    for member in members {
        scenario.network.borrow_mut().sockets[member].to_client_max = 16 << 20;
        let heard = String::from_utf8(scenario.receive_all(member)).unwrap();
        assert_eq!(heard.lines().count(), 201);
        assert!(heard.ends_with("[INFO] The server has shut down\n"));
    }
}
