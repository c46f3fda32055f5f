//! The time budget of a turn: no part of the loop holds up the rest.

use mynah::internal::limits::{Limits, VISIT_BYTES_CROWDED};

use super::{AMPLE, LIMITS, Scene};
use crate::simulation::network::Shared;
use crate::support::frame;

/// Writing takes time as well: laggards are written a part each, and an echo is answered between.
#[test]
fn echo_is_answered_between_large_laggard_writes() {
    let limits = Limits { clients_max: 30, broadcast_log_bytes_max: 4 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let (innocent, sender) = (scene.connect(AMPLE), scene.connect(AMPLE));
    let laggards: Vec<usize> = (0..20).map(|_| scene.connect(100_000)).collect();
    scene.send(sender, &frame(4, &[b'n'; 1_000_000]));
    scene.run_until_idle();
    scene.receive(innocent);
    // A gigabyte a second.
    let network = Shared::clone(&scene.network);
    let clock = move || {
        let sockets = &network.borrow().sockets;
        sockets.iter().map(|socket| socket.to_client.len() as u64).sum::<u64>() / 1_000
    };
    scene.server.set_clock(Box::new(clock), 1);
    for &laggard in &laggards {
        scene.network.borrow_mut().sockets[laggard].to_client_max = AMPLE;
        assert_eq!(scene.network.borrow_mut().receive(laggard, 1), b"\x04");
    }
    scene.send(innocent, &frame(1, b"hi"));
    scene.round();
    assert_eq!(scene.receive(innocent), frame(1, b"hi"));
}

#[test]
fn turn_reaps_only_as_many_as_it_has_time_for() {
    let mut scene = Scene::new(Limits { clients_max: 400, ..LIMITS }, 0);
    let sockets: Vec<usize> = (0..300).map(|_| scene.connect(AMPLE)).collect();
    scene.set_clock(100, 1_024);
    sockets.iter().for_each(|&socket| scene.network.borrow_mut().reset(socket));
    scene.round();
    let left = scene.server.sockets();
    assert!(left >= 290, "{left} are left");
    assert!(scene.server.stats().connections < 255, "closed are many more");
    scene.run_until_idle();
    assert_eq!(scene.server.sockets(), 0);
}

#[test]
fn turn_admits_only_as_many_as_it_has_time_for() {
    const SENDERS: usize = 90;
    let mut scene = Scene::new(Limits { clients_max: 100, ..LIMITS }, 0);
    let first = scene.connect(AMPLE);
    let others: Vec<usize> = (0..SENDERS).map(|_| scene.connect(AMPLE)).collect();
    scene.send(first, &frame(4, &[b'x'; 1_000]).repeat(5));
    others.iter().for_each(|&socket| scene.send(socket, &frame(4, b"y")));
    scene.set_clock(100, 1_024);
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

#[test]
fn turn_takes_10_ms_whatever_a_crowd_asks_for() {
    let limits = Limits { clients_max: 500, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let crowd: Vec<usize> = (0..400).map(|_| scene.connect(AMPLE)).collect();
    let innocent = scene.connect(AMPLE);
    let micros = scene.set_clock(100, 4_096);
    for client in crowd {
        scene.send(client, &frame(7, b"").repeat(2_000));
    }
    for round in 0..100 {
        scene.send(innocent, &frame(1, b"hi"));
        let before = micros.get();
        scene.round();
        let took = micros.get() - before;
        assert!(took <= 12_000, "a turn took {took} µs");
        // At first it waits for one visit to each client that came before it.
        if round > 60 {
            assert_eq!(scene.receive(innocent), frame(1, b"hi"), "round {round}");
        } else {
            scene.receive(innocent);
        }
    }
    assert_eq!(scene.server.poll_timeout(scene.now), Some(0), "the crowd is not done yet");
}

#[test]
fn fan_out_resumes_in_the_middle_of_a_page() {
    let mut scene = Scene::new(Limits { clients_max: 1_000, ..LIMITS }, 0);
    let clients: Vec<usize> = (0..600).map(|_| scene.connect(AMPLE)).collect();
    let micros = scene.set_clock(500, 4_096);
    scene.send(clients[0], &frame(4, b"news"));
    let mut rounds = 0;
    while clients[1..]
        .iter()
        .any(|&client| scene.network.borrow().sockets[client].to_client.is_empty())
    {
        let before = micros.get();
        scene.round();
        assert!(micros.get() - before <= 6_000);
        rounds += 1;
        assert!(rounds < 500);
    }
    assert!(rounds > 20, "{rounds} rounds");
    for &client in &clients[1..] {
        assert_eq!(scene.receive(client), frame(4, b"news"));
    }
}

/// First visits are short where more clients have events than the turn has time for.
#[test]
fn deferred_event_is_served_before_the_resume_list() {
    let limits = Limits { clients_max: 50, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let crowd: Vec<usize> = (0..20).map(|_| scene.connect(AMPLE)).collect();
    let innocent = scene.connect(AMPLE);
    // Each look finds the budget spent.
    scene.set_clock(10_000, 4_096);
    for &client in &crowd {
        scene.send(client, &frame(7, b"").repeat(5_000));
    }
    scene.send(innocent, &frame(1, b"hi"));
    let mut rounds = 0;
    while scene.receive(innocent).is_empty() {
        scene.round();
        rounds += 1;
        if rounds == 1 {
            // The first was served before the time was over, the second had waited.
            let answered = scene.receive(crowd[1]).len();
            assert!((1..=2 * VISIT_BYTES_CROWDED).contains(&answered), "{answered} bytes at first");
        }
        assert!(rounds <= crowd.len() + 2, "it waits for more than the first answers of others");
    }
}
