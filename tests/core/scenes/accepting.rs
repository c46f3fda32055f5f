//! Accepting: limits, refusals, pauses, and fairness between listeners.

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scene};
use crate::support::frame;

#[test]
fn listener_stops_after_a_fatal_accept_error() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    assert!(scene.server.is_accepting());
    scene.network.borrow_mut().listeners_fail = true;
    scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.run_until_idle();
    assert!(!scene.server.is_accepting());
    scene.send(client, &frame(1, b"hi"));
    scene.run_until_idle();
    assert_eq!(scene.receive(client), frame(1, b"hi"), "those who are in stay");
}

#[test]
fn accepting_resumes_when_a_descriptor_is_free() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(1_000);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    let waiting = scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.run_until_idle();
    assert_eq!(scene.server.poll_timeout(scene.now), Some(100), "not at once");
    scene.network.borrow_mut().faults.accept_exhausted = 0;
    scene.network.borrow_mut().shut(client);
    scene.run_until_idle();
    assert!(scene.is_closed(client));
    scene.send(waiting, &frame(1, b"hi"));
    scene.run_until_idle();
    assert_eq!(scene.receive(waiting), frame(1, b"hi"));
}

#[test]
fn listeners_are_counted() {
    assert_eq!(Scene::with_listeners(2, LIMITS, 0).server.listener_count(), 2);
}

#[test]
fn accepting_pause_lasts_100_ms() {
    let mut scene = Scene::new(LIMITS, 0);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    let client = scene.connect(1_000);
    scene.network.borrow_mut().faults.accept_exhausted = 0;
    scene.send(client, &frame(1, b"hi"));
    for (at, answer) in [(99, vec![]), (100, frame(1, b"hi"))] {
        scene.now = Millis(at);
        scene.run_until_idle();
        assert_eq!(scene.receive(client), answer, "after {at} ms");
    }
}

#[test]
fn listener_is_asked_only_when_connections_wait() {
    let mut scene = Scene::with_listeners(2, LIMITS, 0);
    scene.run_until_idle();
    assert_eq!(scene.network.borrow().accepts, 2, "once each, for who came before the server");
    scene.round();
    assert_eq!(scene.network.borrow().accepts, 2);
    scene.network.borrow_mut().faults.accept_exhausted = 1;
    for listener in [0, 1] {
        scene.network.borrow_mut().connect(listener, 1_000, 1_000);
    }
    scene.run_until_idle();
    assert_eq!(scene.network.borrow().accepts, 3, "files are out for the other one too");
}

#[test]
fn refused_clients_stay_within_the_descriptor_limit() {
    let mut scene = Scene::new(LIMITS, 0);
    for _ in 0..50 {
        scene.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scene.run_until_idle();
    assert_eq!(scene.server.stats().refused_total, 42);
    assert_eq!(scene.network.borrow().open_max, LIMITS.clients_max + LIMITS.lingering_max);
}

#[test]
fn refused_client_has_5_s_to_take_the_reason() {
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scene.connect(AMPLE);
    let refused = scene.connect(10);
    for (at, closed) in [(4_999, false), (5_000, true)] {
        scene.now = Millis(at);
        scene.run_until_idle();
        assert_eq!(scene.is_closed(refused), closed, "at {at} ms");
    }
}

#[test]
fn refused_client_that_has_gone_is_closed_at_once() {
    let mut scene = Scene::new(Limits { clients_max: 1, ..LIMITS }, 0);
    scene.connect(1_000);
    let refused = scene.network.borrow_mut().connect(0, 1_000, 1_000);
    scene.network.borrow_mut().reset(refused);
    scene.run_until_idle();
    assert_eq!(scene.server.stats().refused_total, 1);
    assert!(scene.is_closed(refused));
}

/// A turn divides its time for accepting among the listeners; none takes over the rest of another.
#[test]
fn listeners_share_the_time_for_accepting() {
    let limits = Limits { clients_max: 2_000, ..LIMITS };
    let mut scene = Scene::with_listeners(2, limits, 0);
    scene.set_clock(100, 4_096);
    let connect =
        |scene: &mut Scene, listener| scene.network.borrow_mut().connect(listener, 1_000, 1_000);
    for _ in 0..1_000 {
        connect(&mut scene, 0);
    }
    let others: Vec<usize> = (0..100).map(|_| connect(&mut scene, 1)).collect();
    others.iter().for_each(|&client| scene.send(client, &frame(1, b"hi")));
    let mut rounds = 0;
    while others.iter().any(|&client| scene.network.borrow().sockets[client].to_client.is_empty()) {
        scene.round();
        rounds += 1;
        assert!(rounds <= 30, "they are still waiting");
    }
    assert!(scene.server.sockets() < 1_000, "the storm is over");
}
