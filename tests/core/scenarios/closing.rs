//! Closing: lingering, reaping, and the order of both.

use allocation_counter::measure;
use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::{frame, logger};

#[test]
fn lingering_list_does_not_grow() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let cost = measure(|| {
        for _ in 0..5_000 {
            let client = scenario.connect(1_000);
            scenario.send(client, &frame(3, b""));
            scenario.round();
            scenario.network.borrow_mut().shut(client);
            scenario.run_until_idle();
            assert!(scenario.is_closed(client));
        }
        scenario.network.borrow_mut().forget_everyone();
    });
    // A page of the table, and little else.
    assert!(cost.bytes_current < 23_000, "{} bytes kept", cost.bytes_current);
}

#[test]
fn draining_client_has_60_s_to_take_its_replies() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(100);
    scenario.send(client, &frame(1, &[7; 1_000]));
    scenario.run_until_idle();
    scenario.now = Millis(50_000);
    scenario.network.borrow_mut().shut(client);
    for (at, closed) in [(50_000, false), (109_999, false), (110_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.is_closed(client), closed, "at {at} ms");
    }
}

#[test]
fn failed_connection_is_closed_and_logged() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    logger::take_texts();
    scenario.network.borrow_mut().reset(client);
    scenario.run_until_idle();
    assert!(scenario.is_closed(client));
    let line = "#1 127.0.0.1:0 disconnected: connection failed: connection reset";
    assert_eq!(logger::take_texts(), [line]);
}

/// Closing descriptors takes time, so some wait; the first closed is the first dropped.
#[test]
fn connections_are_dropped_in_closing_order() {
    const CLOSED_A_ROUND: usize = 12;
    let mut scenario = Scenario::new(Limits { clients_max: 100, ..LIMITS }, 0);
    let clients: Vec<usize> = (0..96).map(|_| scenario.connect(AMPLE)).collect();
    // Each drop is followed by a look at the clock, 100 µs later: a turn drops five.
    scenario.set_clock(100, 1);
    for group in clients.chunks(CLOSED_A_ROUND) {
        group.iter().for_each(|&client| scenario.network.borrow_mut().reset(client));
        scenario.round();
    }
    let dropped: Vec<bool> = clients.iter().map(|&client| scenario.is_closed(client)).collect();
    assert!(dropped.contains(&false), "some still wait");
    assert!(dropped.is_sorted_by_key(|is_dropped| !is_dropped), "{dropped:?}");
}

/// A closed connection may wait to be reaped, and its client does not know: input that arrives
/// meanwhile must not destroy the replies on their way.
#[test]
fn input_after_a_close_does_not_reset_the_connection() {
    let mut scenario = Scenario::chat(Limits { clients_max: 100, ..LIMITS });
    let sockets: Vec<usize> = (0..100).map(|_| scenario.connect(AMPLE)).collect();
    // They have been silent for so long that a stop does not wait for them.
    scenario.now = scenario.now.after(2_000);
    scenario.set_clock(100, 1_024);
    scenario.stop();
    let waiting = loop {
        assert!(!scenario.server.is_stopped(), "nobody waits");
        scenario.round();
        let network = scenario.network.borrow();
        let waits = |&socket: &usize| {
            let socket = &network.sockets[socket];
            !socket.to_client.is_empty() && !socket.server_closed && !socket.lingered
        };
        let waiting: Vec<usize> = sockets.iter().copied().filter(waits).collect();
        if !waiting.is_empty() {
            break waiting;
        }
    };
    waiting.iter().for_each(|&socket| scenario.send(socket, b"x"));
    scenario.run_until_idle();
    for socket in waiting {
        assert_eq!(scenario.receive(socket), b"[INFO] The server has shut down\n");
    }
}
