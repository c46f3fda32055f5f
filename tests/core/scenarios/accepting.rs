//! Accepting: limits, refusals, pauses, and fairness between listeners.

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::frame;

#[test]
fn listener_stops_after_a_fatal_accept_error() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    assert!(scenario.server.is_accepting());
    scenario.network.borrow_mut().listeners_fail = true;
    scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    scenario.run_until_idle();
    assert!(!scenario.server.is_accepting());
    scenario.send(client, &frame(1, b"hi"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi"), "those who are in stay");
}

#[test]
fn accepting_resumes_when_a_descriptor_is_free() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.network.borrow_mut().faults.accept_exhausted = 1;
    let waiting = scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    scenario.run_until_idle();
    assert_eq!(scenario.server.poll_timeout(scenario.now), Some(100), "not at once");
    scenario.network.borrow_mut().faults.accept_exhausted = 0;
    scenario.network.borrow_mut().shut(client);
    scenario.run_until_idle();
    assert!(scenario.is_closed(client));
    scenario.send(waiting, &frame(1, b"hi"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(waiting), frame(1, b"hi"));
}

#[test]
fn listeners_are_counted() {
    assert_eq!(Scenario::with_listeners(2, LIMITS, 0).server.listener_count(), 2);
}

#[test]
fn accepting_pause_lasts_100_ms() {
    let mut scenario = Scenario::new(LIMITS, 0);
    scenario.network.borrow_mut().faults.accept_exhausted = 1;
    let client = scenario.connect(1_000);
    scenario.network.borrow_mut().faults.accept_exhausted = 0;
    scenario.send(client, &frame(1, b"hi"));
    for (at, answer) in [(99, vec![]), (100, frame(1, b"hi"))] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.receive(client), answer, "after {at} ms");
    }
}

#[test]
fn listener_is_asked_only_when_connections_wait() {
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    scenario.run_until_idle();
    assert_eq!(scenario.network.borrow().accepts, 2, "once each, for who came before the server");
    scenario.round();
    assert_eq!(scenario.network.borrow().accepts, 2);
    scenario.network.borrow_mut().faults.accept_exhausted = 1;
    for listener in [0, 1] {
        scenario.network.borrow_mut().connect(listener, 1_000, 1_000);
    }
    scenario.run_until_idle();
    assert_eq!(scenario.network.borrow().accepts, 3, "files are out for the other one too");
}

#[test]
fn refused_clients_stay_within_the_descriptor_limit() {
    let mut scenario = Scenario::new(LIMITS, 0);
    for _ in 0..50 {
        scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scenario.run_until_idle();
    assert_eq!(scenario.server.stats().refused_total, 42);
    assert_eq!(scenario.network.borrow().open_max, LIMITS.clients_max + LIMITS.lingering_max);
}

#[test]
fn refused_client_has_5_s_to_take_the_reason() {
    let mut scenario = Scenario::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scenario.connect(AMPLE);
    let refused = scenario.connect(10);
    for (at, closed) in [(4_999, false), (5_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.is_closed(refused), closed, "at {at} ms");
    }
}

#[test]
fn refused_client_that_has_gone_is_closed_at_once() {
    let mut scenario = Scenario::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scenario.connect(1_000);
    let refused = scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    scenario.network.borrow_mut().reset(refused);
    scenario.run_until_idle();
    assert_eq!(scenario.server.stats().refused_total, 1);
    assert!(scenario.is_closed(refused));
}

/// A turn divides its time for accepting among the listeners; none takes over the rest of another.
#[test]
fn listeners_share_the_time_for_accepting() {
    let limits = Limits { clients_max: 2_000, ..LIMITS };
    let mut scenario = Scenario::with_listeners(2, limits, 0);
    scenario.set_clock(100, 4_096);
    let connect = |scenario: &mut Scenario, listener| {
        scenario.network.borrow_mut().connect(listener, 1_000, 1_000)
    };
    for _ in 0..1_000 {
        connect(&mut scenario, 0);
    }
    let others: Vec<usize> = (0..100).map(|_| connect(&mut scenario, 1)).collect();
    others.iter().for_each(|&client| scenario.send(client, &frame(1, b"hi")));
    let mut rounds = 0;
    while others
        .iter()
        .any(|&client| scenario.network.borrow().sockets[client].to_client.is_empty())
    {
        scenario.round();
        rounds += 1;
        assert!(rounds <= 30, "they are still waiting");
    }
    assert!(scenario.server.sockets() < 1_000, "the storm is over");
}
