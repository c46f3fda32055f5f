//! The memory limit: the account, tight memory, and which connections are cut.

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scene};
use crate::support::frame;

/// Queues a reply of `bytes`, header included, for a client that takes nothing.
fn keep_waiting(scene: &mut Scene, client: usize, bytes: usize) {
    scene.send(client, &frame(1, &vec![7; bytes - 5]));
    scene.run_until_idle();
}

/// The network gives most clients one address; clients 5 and 6 have one each.
const OTHER_ADDRESS: usize = 5;

#[test]
fn memory_is_charged_while_bytes_wait() {
    let mut scene = Scene::new(LIMITS, 0);
    let client = scene.connect(100);
    let idle = scene.server.memory().used();
    scene.send(client, b"\x01\0\0\0\x05he");
    scene.run_until_idle();
    let begun = scene.server.memory().used();
    assert!((idle + 1..idle + 500).contains(&begun), "{begun}: the beginning of a frame");
    scene.send(client, b"llo");
    scene.run_until_idle();
    assert_eq!(scene.server.memory().used(), idle, "the frame is answered");
    scene.receive(client);
    scene.send(client, &frame(1, &[7; 1_000]));
    scene.run_until_idle();
    let queued = scene.server.memory().used();
    assert!((idle + 905..idle + 1_500).contains(&queued), "{queued}: what was not taken");
    scene.receive_all(client);
    assert_eq!(scene.server.memory().used(), idle);
    let freed = scene.server.memory().freed_total();
    assert!((905..4_000).contains(&freed), "{freed}");
}

/// Addresses are asked for once and kept: with thousands of holders, asking the system each time
/// would be most of the work.
#[test]
fn memory_relief_asks_for_an_address_once() {
    let limits = Limits { clients_max: 50, memory_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let small: Vec<usize> = (0..20).map(|_| scene.connect(AMPLE)).collect();
    for &client in &small {
        scene.send(client, &frame(1, &[7; 100])[..50]);
    }
    for _ in 0..5 {
        for _ in 0..2 {
            let large = scene.connect(AMPLE);
            scene.send(large, &frame(1, &[7; 1 << 20])[..700_000]);
            scene.run_until_idle();
        }
    }
    assert!(scene.server.stats().memory_cuts_total >= 5);
    let asked = |&client: &usize| scene.network.borrow().sockets[client].peer_addr_calls;
    assert!(small.iter().map(asked).all(|calls| calls == 1));
}

#[test]
fn memory_limit_cuts_the_largest_of_the_top_address() {
    let limits = Limits { memory_bytes_max: 300_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let clients: Vec<usize> = (0..8).map(|_| scene.connect(1)).collect();
    keep_waiting(&mut scene, clients[OTHER_ADDRESS], 90_000);
    for (n, &client) in clients[..4].iter().enumerate() {
        keep_waiting(&mut scene, client, 30_000 + n * 1_000);
    }
    assert!(clients.iter().all(|&client| !scene.is_closed(client)));
    keep_waiting(&mut scene, clients[4], 80_000);
    assert!(scene.is_closed(clients[4]), "the largest of the address with most");
    let others = [0, 1, 2, 3, 5, 6, 7];
    assert!(others.iter().all(|&client| !scene.is_closed(client)));
    assert!(scene.server.memory().is_relieved());
    assert_eq!(scene.server.stats().memory_cuts_total, 1);
}

/// A client that holds nothing is served even where others hold more than the limit.
#[test]
fn memory_limit_cuts_no_client_that_holds_nothing() {
    let mut scene = Scene::new(Limits { memory_bytes_max: 40_000, ..LIMITS }, 0);
    let (innocent, hog) = (scene.connect(AMPLE), scene.connect(1));
    for _ in 0..3 {
        scene.send(innocent, &frame(1, b"hi"));
        scene.run_until_idle();
        assert_eq!(scene.receive(innocent), frame(1, b"hi"));
    }
    scene.send(hog, &frame(1, &[7; 100_000])[..60_000]);
    scene.run_until_idle();
    assert!(scene.is_closed(hog), "the beginning of a frame is held as well");
    scene.send(innocent, &frame(1, b"still here"));
    scene.run_until_idle();
    assert_eq!(scene.receive(innocent), frame(1, b"still here"));
}

#[test]
fn memory_limit_holds_against_a_thousand_clients() {
    let limits = Limits {
        clients_max: 1_000,
        memory_bytes_max: 1 << 20,
        send_queue_bytes_max: 8 << 20,
        ..LIMITS
    };
    let mut scene = Scene::new(limits, 0);
    let clients: Vec<usize> = (0..1_000).map(|_| scene.connect(100)).collect();
    let innocent = clients[999];
    for chunk in clients[..999].chunks(10) {
        for &client in chunk {
            if !scene.is_closed(client) {
                scene.send(client, &frame(7, b"").repeat(300));
            }
        }
        scene.round();
        assert!(scene.server.memory().used() <= limits.memory_bytes_max);
    }
    scene.run_until_idle();
    assert!(scene.server.stats().memory_cuts_total > 0);
    scene.send(innocent, &frame(1, b"hi"));
    scene.run_until_idle();
    assert_eq!(scene.receive_all(innocent), frame(1, b"hi"));
}

/// From three quarters of the limit on, a client with replies waiting is not read from; it is read
/// again once it has taken them, or memory is ample.
#[test]
fn tight_memory_stops_reading_clients_with_replies() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    let read = scene.server.stats().bytes_in_total;
    scene.send(client, &frame(1, b"more"));
    scene.run_until_idle();
    assert_eq!(scene.server.stats().bytes_in_total, read, "nobody reads from it");
    // The hog takes enough; the client, which has taken nothing, is read from again.
    scene.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
    assert_eq!(scene.receive_all(hog).len(), 300_000);
    scene.run_until_idle();
    assert_eq!(scene.server.stats().bytes_in_total, read + 9);
    assert_eq!(scene.receive_all(client).len(), 5_000 + 9);
}

#[test]
fn tight_memory_stops_deadlines() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    scene.send(client, &frame(1, b"more"));
    scene.now = Millis(20_000);
    scene.run_until_idle();
    assert!(!scene.is_closed(client) && !scene.is_closed(hog));
}

/// Time in which a client was not read from does not count as idle, neither while memory is tight
/// nor afterwards.
#[test]
fn tight_memory_stops_the_idle_clock() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    scene.now = Millis(20_000);
    scene.run_until_idle();
    scene.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
    assert_eq!(scene.receive_all(hog).len(), 300_000);
    scene.run_until_idle();
    assert!(!scene.is_closed(client), "it was not read from");
    scene.now = Millis(30_001);
    scene.run_until_idle();
    assert!(scene.is_closed(client), "it has been read from, and was silent");
}

/// A frame that has begun keeps the time it had left, and gets no more.
#[test]
fn tight_memory_stops_the_frame_clock() {
    for rest in [&b""[..], b"more"] {
        let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
        let mut scene = Scene::new(limits, 0);
        let (hog, client) = (scene.connect(1), scene.connect(1_000));
        keep_waiting(&mut scene, client, 5_000);
        scene.send(client, &frame(1, &[7; 100])[..50]);
        scene.run_until_idle();
        keep_waiting(&mut scene, hog, 300_000);
        for now in [Millis(20_000), Millis(30_000)] {
            scene.now = now;
            scene.send(client, rest);
            scene.run_until_idle();
        }
        scene.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
        scene.network.borrow_mut().sockets[client].to_client_max = AMPLE;
        assert_eq!(scene.receive_all(hog).len(), 300_000);
        assert_eq!(scene.receive_all(client).len(), 5_000);
        scene.now = Millis(32_999);
        scene.run_until_idle();
        assert!(scene.receive_all(client).is_empty());
        scene.now = Millis(33_001);
        scene.run_until_idle();
        assert_eq!(scene.receive_all(client), frame(255, b"frame incomplete after 3 s"));
    }
}
