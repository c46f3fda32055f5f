//! Backpressure: how much the server reads from a client, and when it stops reading.

use mynah::internal::limits::READ_TURN_BYTES_MAX;

use super::{LIMITS, Scene};
use crate::support::frame;

#[test]
fn backlogged_client_is_held_back_without_spinning() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    scene.send(client, &frame(1, &[7; 1000]));
    scene.run_until_idle();
    scene.send(client, &frame(1, &[7; 700]).repeat(3));
    scene.run_until_idle();
    assert_eq!(scene.receive_all(client).len(), 1005 + 3 * 705);
}

#[test]
fn discarded_input_counts_against_the_read_budget() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    scene.send(client, &[frame(1, &[7; 1_000]), frame(3, b"")].concat());
    scene.run_until_idle();
    let before = scene.server.stats().bytes_in_total;
    scene.send(client, &vec![0; 4 << 20]);
    scene.round();
    let read = scene.server.stats().bytes_in_total - before;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn flooding_client_is_read_a_turn_budget_at_a_time() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, &[7; 1 << 20]));
    scene.round();
    let read = scene.server.stats().bytes_in_total;
    assert_eq!(read, 2 * READ_TURN_BYTES_MAX as u64, "for an event and a turn");
}

#[test]
fn short_read_is_not_followed_by_another() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.send(client, &frame(1, b"hi"));
    scene.run_until_idle();
    assert_eq!(scene.receive(client), frame(1, b"hi"));
    assert_eq!(scene.network.borrow().sockets[client].read_calls, 1);
}
