//! The time budget of a turn: no part of the loop holds up the rest.

use mynah::internal::limits::{Limits, VISIT_BYTES_CROWDED};

use super::{AMPLE, LIMITS, Scenario};
use crate::simulation::network::Shared;
use crate::support::frame;

/// Writing takes time as well: laggards are written a part each, and an echo is answered between.
#[test]
fn echo_is_answered_between_large_laggard_writes() {
    let limits = Limits { clients_max: 30, broadcast_log_bytes_max: 4 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let (innocent, sender) = (scenario.connect(AMPLE), scenario.connect(AMPLE));
    let laggards: Vec<usize> = (0..20).map(|_| scenario.connect(100_000)).collect();
    scenario.send(sender, &frame(4, &[b'n'; 1_000_000]));
    scenario.run_until_idle();
    scenario.receive(innocent);
    // A gigabyte a second.
    let network = Shared::clone(&scenario.network);
    let clock = move || {
        let sockets = &network.borrow().sockets;
        sockets.iter().map(|socket| socket.to_client.len() as u64).sum::<u64>() / 1_000
    };
    scenario.server.set_clock(Box::new(clock), 1);
    for &laggard in &laggards {
        scenario.network.borrow_mut().sockets[laggard].to_client_max = AMPLE;
        assert_eq!(scenario.network.borrow_mut().receive(laggard, 1), b"\x04");
    }
    scenario.send(innocent, &frame(1, b"hi"));
    scenario.round();
    assert_eq!(scenario.receive(innocent), frame(1, b"hi"));
}

#[test]
fn turn_reaps_only_as_many_as_it_has_time_for() {
    let mut scenario = Scenario::new(Limits { clients_max: 400, ..LIMITS }, 0);
    let sockets: Vec<usize> = (0..300).map(|_| scenario.connect(AMPLE)).collect();
    scenario.set_clock(100, 1_024);
    sockets.iter().for_each(|&socket| scenario.network.borrow_mut().reset(socket));
    scenario.round();
    let left = scenario.server.sockets();
    assert!(left >= 295, "{left} are left");
    assert!(scenario.server.stats().connections < 275, "closed are many more");
    scenario.run_until_idle();
    assert_eq!(scenario.server.sockets(), 0);
}

#[test]
fn turn_admits_only_as_many_as_it_has_time_for() {
    const SENDERS: usize = 90;
    let mut scenario = Scenario::new(Limits { clients_max: 100, ..LIMITS }, 0);
    let first = scenario.connect(AMPLE);
    let others: Vec<usize> = (0..SENDERS).map(|_| scenario.connect(AMPLE)).collect();
    scenario.send(first, &frame(4, &[b'x'; 1_000]).repeat(5));
    others.iter().for_each(|&socket| scenario.send(socket, &frame(4, b"y")));
    scenario.set_clock(100, 1_024);
    let mut most = 0;
    let mut before = 4;
    scenario.round();
    assert_eq!(scenario.server.stats().broadcasts_total, before, "the log is full");
    while scenario.server.poll_timeout(scenario.now) == Some(0) {
        scenario.round();
        let sent = scenario.server.stats().broadcasts_total;
        most = most.max(sent - before);
        before = sent;
    }
    assert_eq!(before, 5 + SENDERS as u64);
    assert!(most <= 6, "{most} in one turn");
}

#[test]
fn turn_takes_10_ms_whatever_a_crowd_asks_for() {
    let limits = Limits { clients_max: 500, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let crowd: Vec<usize> = (0..400).map(|_| scenario.connect(AMPLE)).collect();
    let innocent = scenario.connect(AMPLE);
    let micros = scenario.set_clock(100, 4_096);
    for client in crowd {
        scenario.send(client, &frame(7, b"").repeat(2_000));
    }
    for round in 0..100 {
        scenario.send(innocent, &frame(1, b"hi"));
        let before = micros.get();
        scenario.round();
        let took = micros.get() - before;
        assert!(took <= 12_000, "a turn took {took} µs");
        // At first it waits for one visit to each client that came before it.
        if round > 60 {
            assert_eq!(scenario.receive(innocent), frame(1, b"hi"), "round {round}");
        } else {
            scenario.receive(innocent);
        }
    }
    assert_eq!(scenario.server.poll_timeout(scenario.now), Some(0), "the crowd is not done yet");
}

#[test]
fn fan_out_resumes_in_the_middle_of_a_page() {
    let mut scenario = Scenario::new(Limits { clients_max: 1_000, ..LIMITS }, 0);
    let clients: Vec<usize> = (0..600).map(|_| scenario.connect(AMPLE)).collect();
    let micros = scenario.set_clock(500, 4_096);
    scenario.send(clients[0], &frame(4, b"news"));
    let mut rounds = 0;
    while clients[1..]
        .iter()
        .any(|&client| scenario.network.borrow().sockets[client].to_client.is_empty())
    {
        let before = micros.get();
        scenario.round();
        assert!(micros.get() - before <= 6_000);
        rounds += 1;
        assert!(rounds < 500);
    }
    assert!(rounds > 20, "{rounds} rounds");
    for &client in &clients[1..] {
        assert_eq!(scenario.receive(client), frame(4, b"news"));
    }
}

/// First visits are short where more clients have events than the turn has time for.
#[test]
fn deferred_event_is_served_before_the_resume_list() {
    let limits = Limits { clients_max: 50, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let crowd: Vec<usize> = (0..20).map(|_| scenario.connect(AMPLE)).collect();
    let innocent = scenario.connect(AMPLE);
    // Each look finds the budget spent.
    scenario.set_clock(10_000, 4_096);
    for &client in &crowd {
        scenario.send(client, &frame(7, b"").repeat(5_000));
    }
    scenario.send(innocent, &frame(1, b"hi"));
    let mut rounds = 0;
    while scenario.receive(innocent).is_empty() {
        scenario.round();
        rounds += 1;
        if rounds == 1 {
            // The first was served before the time was over, the second had waited.
            let answered = scenario.receive(crowd[1]).len();
            assert!((1..=2 * VISIT_BYTES_CROWDED).contains(&answered), "{answered} bytes at first");
        }
        assert!(rounds <= crowd.len() + 2, "it waits for more than the first answers of others");
    }
}
