//! Counters, STATUS and log lines.

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;
use mynah::internal::stats::Stats;

use super::{LIMITS, Scenario};
use crate::support::{frame, logger};

#[test]
fn counters_count_what_happens() {
    let mut scenario = Scenario::new(Limits { clients_max: 1, ..LIMITS }, 0);
    let (client, refused) = (scenario.connect(1_000), scenario.connect(1_000));
    scenario.send(client, &frame(1, b"hi"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi"));
    let no = frame(255, b"server is full: 1 clients");
    assert_eq!(scenario.receive(refused), no);
    let expected = Stats {
        connections: 1,
        accepted_total: 1,
        refused_total: 1,
        frames_in_total: 1,
        bytes_in_total: 7,
        bytes_out_total: 7 + no.len() as u64,
        ..Stats::default()
    };
    assert_eq!(scenario.server.stats(), expected);
}

#[test]
fn counters_are_logged_as_status_reports_them() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0);
    scenario.connect(1_000);
    logger::take_texts();
    scenario.server.log_status(Millis(7_999));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#"status {{"version":"{version}","uptime_secs":7,"connections":1,"accepted_total":1,"refused_total":0,"frames_in_total":0,"bytes_in_total":0,"bytes_out_total":0,"broadcasts_total":0,"slow_consumers_total":0}}"#
    );
    assert_eq!(logger::take_texts(), [expected]);
}

#[test]
fn connection_is_logged_with_address_and_reason() {
    logger::capture();
    let mut scenario = Scenario::new(Limits { clients_max: 1, ..LIMITS }, 0);
    let client = scenario.connect(1_000);
    scenario.connect(1_000);
    scenario.send(client, &frame(3, b""));
    scenario.run_until_idle();
    let expected = [
        "#1 127.0.0.1:0 connected to command",
        "#2 127.0.0.1:1 refused by command: server is full: 1 clients",
        "server is full: 1 clients; 1 refused in the last second",
        "#1 127.0.0.1:0 disconnected: quit",
    ];
    assert_eq!(logger::take_texts(), expected);
}

#[test]
fn connection_lines_over_100_a_second_are_summed_up() {
    logger::capture();
    let mut scenario = Scenario::new(Limits { clients_max: 200, ..LIMITS }, 0);
    for _ in 0..150 {
        scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scenario.run_until_idle();
    assert_eq!(logger::take_texts().len(), 100);
    scenario.now = Millis(400);
    assert_eq!(
        scenario.server.poll_timeout(scenario.now),
        Some(600),
        "the sum is due with the second"
    );
    for (at, lines) in [
        (999, &[][..]),
        (1_000, &["50 more connection events, not logged one by one"]),
        (2_000, &[]),
    ] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(logger::take_texts(), lines, "at {at} ms");
    }
    scenario.connect(1_000);
    assert_eq!(logger::take_texts(), ["#151 127.0.0.1:150 connected to command"], "a new second");
}

#[test]
fn descriptor_shortage_is_logged_once_a_second() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0);
    scenario.network.borrow_mut().faults.accept_exhausted = 1;
    scenario.connect(1_000);
    let line = "command cannot accept for now: too many open files";
    for (at, lines) in [(0, &[line][..]), (999, &[]), (1_100, &[line])] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(logger::take_texts(), lines, "at {at} ms");
    }
}

#[test]
fn status_reports_uptime_in_whole_seconds() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.now = Millis(7_999);
    scenario.send(client, &frame(7, b""));
    scenario.run_until_idle();
    let reply = scenario.receive(client);
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.contains(r#""uptime_secs":7,"#), "{reply}");
}
