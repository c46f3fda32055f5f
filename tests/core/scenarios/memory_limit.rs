//! The memory limit: the account, tight memory, and which connections are cut.

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::frame;

/// Queues a reply of `bytes`, header included, for a client that takes nothing.
fn keep_waiting(scenario: &mut Scenario, client: usize, bytes: usize) {
    scenario.send(client, &frame(1, &vec![7; bytes - 5]));
    scenario.run_until_idle();
}

/// The network gives most clients one address; clients 5 and 6 have one each.
const OTHER_ADDRESS: usize = 5;

#[test]
fn memory_is_charged_while_bytes_wait() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(100);
    let idle = scenario.server.memory().used();
    scenario.send(client, b"\x01\0\0\0\x05he");
    scenario.run_until_idle();
    let begun = scenario.server.memory().used();
    assert!((idle + 1..idle + 500).contains(&begun), "{begun}: the beginning of a frame");
    scenario.send(client, b"llo");
    scenario.run_until_idle();
    assert_eq!(scenario.server.memory().used(), idle, "the frame is answered");
    scenario.receive(client);
    scenario.send(client, &frame(1, &[7; 1_000]));
    scenario.run_until_idle();
    let queued = scenario.server.memory().used();
    assert!((idle + 905..idle + 1_500).contains(&queued), "{queued}: what was not taken");
    scenario.receive_all(client);
    assert_eq!(scenario.server.memory().used(), idle);
    let freed = scenario.server.memory().freed_total();
    assert!((905..4_000).contains(&freed), "{freed}");
}

/// Addresses are asked for once and kept: with thousands of holders, asking the system each time
/// would be most of the work.
#[test]
fn memory_relief_asks_for_an_address_once() {
    let limits = Limits { clients_max: 50, memory_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let small: Vec<usize> = (0..20).map(|_| scenario.connect(AMPLE)).collect();
    for &client in &small {
        scenario.send(client, &frame(1, &[7; 100])[..50]);
    }
    for _ in 0..5 {
        for _ in 0..2 {
            let large = scenario.connect(AMPLE);
            scenario.send(large, &frame(1, &[7; 1 << 20])[..700_000]);
            scenario.run_until_idle();
        }
    }
    assert!(scenario.server.stats().memory_cuts_total >= 5);
    let asked = |&client: &usize| scenario.network.borrow().sockets[client].peer_addr_calls;
    assert!(small.iter().map(asked).all(|calls| calls == 1));
}

#[test]
fn memory_limit_cuts_the_largest_of_the_top_address() {
    let limits = Limits { memory_bytes_max: 300_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let clients: Vec<usize> = (0..8).map(|_| scenario.connect(1)).collect();
    keep_waiting(&mut scenario, clients[OTHER_ADDRESS], 90_000);
    for (n, &client) in clients[..4].iter().enumerate() {
        keep_waiting(&mut scenario, client, 30_000 + n * 1_000);
    }
    assert!(clients.iter().all(|&client| !scenario.is_closed(client)));
    keep_waiting(&mut scenario, clients[4], 80_000);
    assert!(scenario.is_closed(clients[4]), "the largest of the address with most");
    let others = [0, 1, 2, 3, 5, 6, 7];
    assert!(others.iter().all(|&client| !scenario.is_closed(client)));
    assert!(scenario.server.memory().is_relieved());
    assert_eq!(scenario.server.stats().memory_cuts_total, 1);
}

/// A client that holds nothing is served even where others hold more than the limit.
#[test]
fn memory_limit_cuts_no_client_that_holds_nothing() {
    let mut scenario = Scenario::new(Limits { memory_bytes_max: 40_000, ..LIMITS }, 0);
    let (innocent, hog) = (scenario.connect(AMPLE), scenario.connect(1));
    for _ in 0..3 {
        scenario.send(innocent, &frame(1, b"hi"));
        scenario.run_until_idle();
        assert_eq!(scenario.receive(innocent), frame(1, b"hi"));
    }
    scenario.send(hog, &frame(1, &[7; 100_000])[..60_000]);
    scenario.run_until_idle();
    assert!(scenario.is_closed(hog), "the beginning of a frame is held as well");
    scenario.send(innocent, &frame(1, b"still here"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(innocent), frame(1, b"still here"));
}

#[test]
fn memory_limit_holds_against_a_thousand_clients() {
    let limits = Limits {
        clients_max: 1_000,
        memory_bytes_max: 1 << 20,
        send_queue_bytes_max: 8 << 20,
        ..LIMITS
    };
    let mut scenario = Scenario::new(limits, 0);
    let clients: Vec<usize> = (0..1_000).map(|_| scenario.connect(100)).collect();
    let innocent = clients[999];
    for chunk in clients[..999].chunks(10) {
        for &client in chunk {
            if !scenario.is_closed(client) {
                scenario.send(client, &frame(7, b"").repeat(300));
            }
        }
        scenario.round();
        assert!(scenario.server.memory().used() <= limits.memory_bytes_max);
    }
    scenario.run_until_idle();
    assert!(scenario.server.stats().memory_cuts_total > 0);
    scenario.send(innocent, &frame(1, b"hi"));
    scenario.run_until_idle();
    assert_eq!(scenario.receive_all(innocent), frame(1, b"hi"));
}

/// From three quarters of the limit on, a client with replies waiting is not read from; it is read
/// again once it has taken them, or memory is ample.
#[test]
fn tight_memory_stops_reading_clients_with_replies() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let (hog, client) = (scenario.connect(1), scenario.connect(1_000));
    keep_waiting(&mut scenario, client, 5_000);
    keep_waiting(&mut scenario, hog, 300_000);
    let read = scenario.server.stats().bytes_in_total;
    scenario.send(client, &frame(1, b"more"));
    scenario.run_until_idle();
    assert_eq!(scenario.server.stats().bytes_in_total, read, "nobody reads from it");
    // The hog takes enough; the client, which has taken nothing, is read from again.
    scenario.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
    assert_eq!(scenario.receive_all(hog).len(), 300_000);
    scenario.run_until_idle();
    assert_eq!(scenario.server.stats().bytes_in_total, read + 9);
    assert_eq!(scenario.receive_all(client).len(), 5_000 + 9);
}

#[test]
fn tight_memory_stops_deadlines() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 10_000);
    let (hog, client) = (scenario.connect(1), scenario.connect(1_000));
    keep_waiting(&mut scenario, client, 5_000);
    keep_waiting(&mut scenario, hog, 300_000);
    scenario.send(client, &frame(1, b"more"));
    scenario.now = Millis(20_000);
    scenario.run_until_idle();
    assert!(!scenario.is_closed(client) && !scenario.is_closed(hog));
}

/// Time in which a client was not read from does not count as idle, neither while memory is tight
/// nor afterwards.
#[test]
fn tight_memory_stops_the_idle_clock() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 10_000);
    let (hog, client) = (scenario.connect(1), scenario.connect(1_000));
    keep_waiting(&mut scenario, client, 5_000);
    keep_waiting(&mut scenario, hog, 300_000);
    scenario.now = Millis(20_000);
    scenario.run_until_idle();
    scenario.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
    assert_eq!(scenario.receive_all(hog).len(), 300_000);
    scenario.run_until_idle();
    assert!(!scenario.is_closed(client), "it was not read from");
    scenario.now = Millis(30_001);
    scenario.run_until_idle();
    assert!(scenario.is_closed(client), "it has been read from, and was silent");
}

/// A frame that has begun keeps the time it had left, and gets no more.
#[test]
fn tight_memory_stops_the_frame_clock() {
    for rest in [&b""[..], b"more"] {
        let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
        let mut scenario = Scenario::new(limits, 0);
        let (hog, client) = (scenario.connect(1), scenario.connect(1_000));
        keep_waiting(&mut scenario, client, 5_000);
        scenario.send(client, &frame(1, &[7; 100])[..50]);
        scenario.run_until_idle();
        keep_waiting(&mut scenario, hog, 300_000);
        for now in [Millis(20_000), Millis(30_000)] {
            scenario.now = now;
            scenario.send(client, rest);
            scenario.run_until_idle();
        }
        scenario.network.borrow_mut().sockets[hog].to_client_max = AMPLE;
        scenario.network.borrow_mut().sockets[client].to_client_max = AMPLE;
        assert_eq!(scenario.receive_all(hog).len(), 300_000);
        assert_eq!(scenario.receive_all(client).len(), 5_000);
        scenario.now = Millis(32_999);
        scenario.run_until_idle();
        assert!(scenario.receive_all(client).is_empty());
        scenario.now = Millis(33_001);
        scenario.run_until_idle();
        assert_eq!(scenario.receive_all(client), frame(255, b"frame incomplete after 3 s"));
    }
}
