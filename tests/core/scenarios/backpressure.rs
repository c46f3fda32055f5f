//! Backpressure: how much the server reads from a client, and when it stops reading.

use mynah::internal::limits::READ_TURN_BYTES_MAX;

use super::{LIMITS, Scenario};
use crate::support::frame;

#[test]
fn backlogged_client_is_held_back_without_spinning() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(100);
    scenario.send(client, &frame(1, &[7; 1000]));
    scenario.run_until_idle();
    scenario.send(client, &frame(1, &[7; 700]).repeat(3));
    scenario.run_until_idle();
    assert_eq!(scenario.receive_all(client).len(), 1005 + 3 * 705);
}

#[test]
fn discarded_input_counts_against_the_read_budget() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(100);
    scenario.send(client, &[frame(1, &[7; 1_000]), frame(3, b"")].concat());
    scenario.run_until_idle();
    let before = scenario.server.stats().bytes_in_total;
    scenario.send(client, &vec![0; 4 << 20]);
    scenario.round();
    let read = scenario.server.stats().bytes_in_total - before;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn flooding_client_is_read_a_turn_budget_at_a_time() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, &[7; 1 << 20]));
    scenario.round();
    let read = scenario.server.stats().bytes_in_total;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn short_read_is_not_followed_by_another() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, b"hi"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi"));
    assert_eq!(scenario.network.borrow().sockets[client].read_calls, 1);
}
