//! Timeouts: idle and frame clocks, and when they stand still.

use allocation_counter::measure;
use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::frame;

#[test]
fn idle_laggard_is_closed_without_copying_the_log() {
    let limits =
        Limits { broadcast_log_bytes_max: 1 << 20, send_queue_bytes_max: 4 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 10_000);
    let (laggard, other) = (scenario.connect(100), scenario.connect(AMPLE));
    scenario.now = Millis(5_000);
    for _ in 0..4 {
        scenario.send(other, &frame(4, &[b'x'; 200_000]));
        scenario.run_until_idle();
    }
    let cost = measure(|| {
        scenario.now = Millis(10_500);
        scenario.run_until_idle();
    });
    assert!(scenario.is_closed(laggard));
    assert!(cost.bytes_max < 50_000, "{} bytes for a queue of 4096", cost.bytes_max);
}

/// No clock of a client runs while the server waits for it to take its replies.
#[test]
fn idle_clock_stops_while_a_client_is_not_read() {
    let mut scenario = Scenario::new(LIMITS, 10_000);
    let client = scenario.connect(100);
    scenario.send(client, &frame(1, &[7; 3_000]));
    scenario.run_until_idle();
    for at in [10_000, 50_000] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert!(!scenario.is_closed(client), "at {at} ms");
    }
    assert_eq!(scenario.receive_all(client).len(), 3_005);
    for (at, shut) in [(59_999, false), (60_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.network.borrow().sockets[client].server_shut, shut, "at {at} ms");
    }
}

#[test]
fn frame_is_late_a_timeout_after_its_last_byte() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let client = scenario.connect(1_000);
    scenario.send(client, &frame(1, &[7; 3_000])[..1_500]);
    scenario.run_until_idle();
    scenario.now = Millis(2_000);
    scenario.send(client, &[7; 1_000]);
    for (at, answer) in
        [(2_000, vec![]), (4_999, vec![]), (5_000, frame(255, b"frame incomplete after 5 s"))]
    {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.receive(client), answer, "at {at} ms");
    }
}

#[test]
fn client_that_takes_waiting_bytes_is_not_idle() {
    for waits_for_broadcasts in [false, true] {
        let mut scenario = Scenario::new(LIMITS, 10_000);
        let (client, other) = (scenario.connect(100), scenario.connect(AMPLE));
        match waits_for_broadcasts {
            true => scenario.send(other, &frame(4, &[7; 1_000])),
            false => scenario.send(client, &frame(1, &[7; 1_000])),
        }
        scenario.run_until_idle();
        scenario.now = Millis(8_000);
        assert_eq!(scenario.receive(client).len(), 100);
        for (at, closed) in [(8_000, false), (17_999, false), (18_000, true)] {
            scenario.now = Millis(at);
            scenario.run_until_idle();
            assert_eq!(scenario.is_closed(client), closed, "at {at} ms");
        }
    }
}

#[test]
fn timeouts_of_a_crowd_leave_time_for_others() {
    const CROWD: usize = 3_000;
    let limits = Limits { clients_max: CROWD + 1, ..LIMITS };
    let mut scenario = Scenario::new(limits, 10_000);
    for _ in 0..CROWD {
        scenario.network.borrow_mut().connect(0, AMPLE, AMPLE);
    }
    scenario.run_until_idle();
    scenario.now = Millis(5_000);
    let alive = scenario.connect(AMPLE);
    scenario.now = Millis(10_000);
    let mut turns = 0;
    while scenario.server.stats().connections > 1 {
        turns += 1;
        scenario.send(alive, b"\x01\0\0\0\x02hi");
        scenario.round();
        assert_eq!(scenario.receive(alive), b"\x01\0\0\0\x02hi");
    }
    assert!(turns > CROWD / 500, "{turns} turns");
}

#[test]
fn idle_client_is_shut_and_closed_5_s_later() {
    let mut scenario = Scenario::new(LIMITS, 10_000);
    let client = scenario.connect(1_000);
    for (at, shut, closed) in
        [(9_999, false, false), (10_000, true, false), (14_999, true, false), (15_000, true, true)]
    {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        let socket = &scenario.network.borrow().sockets[client];
        assert_eq!((socket.server_shut, socket.server_closed), (shut, closed), "at {at} ms");
    }
}

#[test]
fn silent_client_that_takes_broadcasts_is_idle() {
    let mut scenario = Scenario::new(LIMITS, 10_000);
    let (silent, other) = (scenario.connect(1_000), scenario.connect(AMPLE));
    for at in [4_000, 8_000] {
        scenario.now = Millis(at);
        scenario.send(other, &frame(4, b"news"));
        scenario.run_until_idle();
        assert_eq!(scenario.receive(silent), frame(4, b"news"));
    }
    scenario.now = Millis(10_000);
    scenario.run_until_idle();
    assert!(scenario.network.borrow().sockets[silent].server_shut);
}

/// Waiting for log space does not count as idle.
#[test]
fn sender_that_waits_for_the_log_is_not_idle() {
    let mut scenario = Scenario::new(Limits { clients_max: 3_000, ..LIMITS }, 10_000);
    let (first, second) = (scenario.connect(AMPLE), scenario.connect(AMPLE));
    for _ in 0..1_100 {
        scenario.network.borrow_mut().connect(0, 1_000, AMPLE);
    }
    scenario.run_until_idle();
    // As much as the log holds, to more listeners than one slice serves.
    let news = frame(4, &[b'n'; 1_000]);
    scenario.send(first, &news.repeat(4));
    scenario.send(second, &news);
    scenario.round();
    assert_eq!(scenario.receive(second), news.repeat(4), "and no answer");
    for (at, shut) in [(11_000, false), (20_999, false), (21_000, true)] {
        scenario.now = Millis(at);
        scenario.run_until_idle();
        assert_eq!(scenario.network.borrow().sockets[second].server_shut, shut, "at {at} ms");
    }
}

/// Half of the frame was read before broadcasts filled the client's backlog.
#[test]
fn frame_clock_stops_while_a_client_is_not_read() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (slow, sender) = (scenario.connect(16), scenario.connect(AMPLE));
    let echo = frame(1, b"in two halves");
    scenario.send(slow, &echo[..9]);
    scenario.run_until_idle();
    for _ in 0..3 {
        scenario.send(sender, &frame(4, &[b'x'; 1_000]));
        scenario.run_until_idle();
    }
    scenario.send(slow, &echo[9..]);
    scenario.run_until_idle();
    scenario.now = scenario.now.after(LIMITS.frame_timeout_ms);
    scenario.run_until_idle();
    let heard = scenario.receive_all(slow);
    assert!(heard.ends_with(&echo), "{:?}", String::from_utf8_lossy(&heard));
}
