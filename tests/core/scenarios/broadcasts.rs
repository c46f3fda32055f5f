//! Broadcasts: fan-out, the order of replies and broadcasts, admission to the log.

use mynah::internal::limits::Limits;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::frame;

#[test]
fn own_broadcast_of_a_laggard_reaches_the_others() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (laggard, other) = (scenario.connect(100), scenario.connect(AMPLE));
    scenario.send(other, &frame(4, &[b'x'; 300]));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(other), frame(1, b"1"));
    for news in [&b"hello"[..], b"again"] {
        scenario.send(laggard, &frame(4, news));
        scenario.run_until_idle();
        assert_eq!(scenario.receive(other), frame(4, news));
    }
    assert_eq!(scenario.server.stats().slow_consumers_total, 0);
}

#[test]
fn sender_waits_for_the_fan_out_not_for_the_slow() {
    let limits = Limits { clients_max: 3_000, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let sender = scenario.connect(AMPLE);
    let listeners: Vec<usize> =
        (0..1_100).map(|_| scenario.network.borrow_mut().connect(0, 1_000, AMPLE)).collect();
    scenario.run_until_idle();
    // Three times what the log holds, to more listeners than one slice serves.
    let news = frame(4, &[b'n'; 1_000]);
    scenario.send(sender, &news.repeat(12));
    scenario.run_until_idle();
    for listener in listeners {
        assert_eq!(scenario.receive(listener), news.repeat(12));
    }
    assert_eq!(scenario.receive(sender), frame(1, b"1100").repeat(12));
    assert_eq!(
        scenario.server.stats().frames_in_total,
        12,
        "each is counted once, if it waited or not"
    );
    assert_eq!(scenario.server.stats().slow_consumers_total, 0);
}

#[test]
fn client_that_fell_off_the_log_is_closed_and_counted() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (slow, sender, fast) =
        (scenario.connect(500), scenario.connect(AMPLE), scenario.connect(AMPLE));
    let news = frame(4, &[b'n'; 1_000]);
    for _ in 0..6 {
        scenario.send(sender, &news);
        scenario.run_until_idle();
    }
    assert!(scenario.is_closed(slow));
    assert_eq!(scenario.server.stats().slow_consumers_total, 1);
    assert_eq!(scenario.receive(fast), news.repeat(6));
    assert_eq!(scenario.receive_all(sender), [frame(1, b"2").repeat(5), frame(1, b"1")].concat());
}

#[test]
fn log_is_released_up_to_the_slowest_laggard() {
    let limits = Limits { broadcast_log_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let (laggard, sender) = (scenario.connect(700), scenario.connect(AMPLE));
    let news = frame(4, &[b'n'; 1_000]);
    scenario.send(sender, &news);
    scenario.send(sender, &news);
    let mut received = Vec::new();
    // 200 KB pass through the log, and the laggard is always one or two broadcasts behind.
    for round in 1..=200 {
        scenario.send(sender, &news);
        scenario.run_until_idle();
        while received.len() < round * news.len() {
            received.extend(scenario.receive(laggard));
            scenario.run_until_idle();
        }
        assert_eq!(scenario.receive(sender).len() % frame(1, b"1").len(), 0);
    }
    let held = scenario.server.memory().used();
    assert!(held < 64 * 1024, "{held} bytes are held for a laggard that is 2 KB behind");
    received.extend(scenario.receive_all(laggard));
    assert_eq!(received, news.repeat(202));
}

#[test]
fn log_is_empty_once_the_last_laggard_caught_up() {
    let mut scenario = Scenario::new(Limits { clients_max: 3_000, ..LIMITS }, 0);
    let sender = scenario.connect(AMPLE);
    for _ in 0..1_100 {
        scenario.network.borrow_mut().connect(0, 1_000, AMPLE);
    }
    scenario.run_until_idle();
    // The last to come is visited in the first slice of two.
    let laggard = scenario.connect(100);
    let news = frame(4, &[b'n'; 150]);
    scenario.send(sender, &news);
    scenario.round();
    let mut heard = scenario.receive(laggard);
    scenario.round();
    scenario.server.assert_invariants();
    heard.extend(scenario.receive_all(laggard));
    assert_eq!(heard, news);
}

#[test]
fn fan_out_slice_ends_after_32_pages() {
    const PAGE: usize = 292;
    let mut scenario = Scenario::new(Limits { clients_max: 40 * PAGE, ..LIMITS }, 0);
    for _ in 0..40 * PAGE {
        scenario.network.borrow_mut().connect(0, 1_000, 1_000);
    }
    scenario.run_until_idle();
    for client in (0..40 * PAGE).filter(|client| client % PAGE != 0) {
        scenario.network.borrow_mut().reset(client);
    }
    scenario.run_until_idle();
    // The pass goes from the last page to the first, where the sender is.
    scenario.send(0, &frame(4, b"news"));
    scenario.round();
    let heard = (0..40).filter(|page| !scenario.receive(page * PAGE).is_empty());
    assert_eq!(heard.collect::<Vec<_>>(), [vec![0], (8..40).collect()].concat());
}

#[test]
fn fan_out_skips_members_that_have_the_broadcast() {
    let mut scenario = Scenario::new(Limits { clients_max: 3_000, ..LIMITS }, 0);
    let clients: Vec<usize> =
        (0..2_000).map(|_| scenario.network.borrow_mut().connect(0, 1_000, 1_000)).collect();
    scenario.run_until_idle();
    scenario.send(clients[0], &frame(4, b"news"));
    for &client in &clients[1..] {
        scenario.send(client, &frame(1, b"hi"));
    }
    scenario.round();
    assert_eq!(scenario.server.poll_timeout(scenario.now), None, "one slice was enough");
    assert_eq!(scenario.receive(clients[1]), [frame(4, b"news"), frame(1, b"hi")].concat());
}

/// The reply to a long frame is queued behind the broadcast that is being sent.
#[test]
fn long_reply_does_not_tear_a_half_sent_broadcast() {
    let limits =
        Limits { send_queue_bytes_max: 1 << 20, broadcast_log_bytes_max: 1 << 16, ..LIMITS };
    for command in [1, 2] {
        let mut scenario = Scenario::new(limits, 0);
        let (laggard, other) = (scenario.connect(100), scenario.connect(AMPLE));
        scenario.send(other, &frame(4, &[b'x'; 300]));
        scenario.run_until_idle();
        let long = frame(command, &[b'y'; 5_000]);
        scenario.send(laggard, &long[..3_000]);
        scenario.run_until_idle();
        scenario.send(laggard, &long[3_000..]);
        scenario.run_until_idle();
        let expected = [frame(4, &[b'x'; 300]), frame(1, &[b'y'; 5_000])].concat();
        assert!(scenario.receive_all(laggard) == expected, "command {command}");
    }
}

/// A write takes a bounded number of pieces; here the queue uses them all and leaves none for the
/// log.
#[test]
fn log_follows_a_write_with_all_slices_used() {
    for replies in 1..20 {
        let limits =
            Limits { send_queue_bytes_max: 1 << 16, broadcast_log_bytes_max: 1 << 16, ..LIMITS };
        let mut scenario = Scenario::new(limits, 0);
        let (laggard, other) = (scenario.connect(100), scenario.connect(AMPLE));
        let mut expected = Vec::new();
        for n in 0..=replies {
            let news = frame(4, &[n; 300]);
            scenario.send(other, &news);
            scenario.run_until_idle();
            expected.extend(news);
            if n < replies {
                scenario.send(laggard, &frame(1, &[n]));
                scenario.run_until_idle();
                expected.extend(frame(1, &[n]));
            }
        }
        scenario.network.borrow_mut().sockets[laggard].to_client_max = AMPLE;
        assert!(scenario.receive_all(laggard) == expected, "{replies} replies");
    }
}

/// Simulation seed 3024: a long frame becomes its own reply, outside the reply buffer, and so came
/// before the rest of a broadcast.
#[test]
fn long_echo_follows_a_half_sent_broadcast() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (slow, sender) = (scenario.connect(16), scenario.connect(AMPLE));
    let (broadcast, echo) = (frame(4, &[b'x'; 100]), frame(1, &[b'e'; 3_000]));
    scenario.send(sender, &broadcast);
    scenario.run_until_idle();
    scenario.send(slow, &echo[..1_000]);
    scenario.run_until_idle();
    scenario.send(slow, &echo[1_000..]);
    scenario.run_until_idle();
    assert!(scenario.receive_all(slow) == [broadcast, echo].concat(), "torn apart");
}

/// The last reply to a laggard, too, comes behind the broadcasts before it.
#[test]
fn closing_error_follows_unsent_broadcasts() {
    let mut scenario = Scenario::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let (laggard, other) = (scenario.connect(100), scenario.connect(AMPLE));
    let news = frame(4, &[b'n'; 900]);
    scenario.send(other, &news.repeat(3));
    scenario.run_until_idle();
    scenario.send(laggard, &[frame(1, b"hi"), vec![1, 255, 255, 255, 255]].concat());
    scenario.run_until_idle();
    scenario.send(other, &frame(4, b"too late"));
    scenario.run_until_idle();
    let why = b"frame of 4294967295 bytes exceeds the limit of 1048576";
    let expected = [news.repeat(3), frame(1, b"hi"), frame(255, why)].concat();
    assert_eq!(scenario.receive_all(laggard), expected);
}

#[test]
fn senders_take_turns_for_log_space() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let (flooder, other, witness) =
        (scenario.connect(AMPLE), scenario.connect(AMPLE), scenario.connect(AMPLE));
    const FLOOD: usize = 20_000;
    scenario.send(flooder, &frame(4, b"").repeat(FLOOD));
    scenario.round();
    scenario.send(other, &frame(4, b"me too"));
    let mut rounds = 0;
    while scenario.receive(other).windows(6).all(|six| six != frame(1, b"2")) {
        scenario.round();
        rounds += 1;
        assert!(rounds < 20, "it is still waiting");
    }
    let done = scenario.receive(flooder).len() / 6;
    assert!(done < FLOOD / 2, "{done} broadcasts of the flood came first");
    scenario.run_until_idle();
    scenario.receive(flooder);
    let heard = scenario.receive_all(witness);
    assert_eq!(heard.len(), FLOOD * 5 + 11);
}

/// Each of three waiting senders has its turn within a round, in order of arrival.
#[test]
fn waiting_senders_are_admitted_in_order() {
    let mut scenario = Scenario::new(LIMITS, 0);
    let senders: Vec<usize> = (0..3).map(|_| scenario.connect(AMPLE)).collect();
    let witness = scenario.connect(AMPLE);
    let payload = |n: usize| vec![b'a' + n as u8; 1_000];
    for (n, &sender) in senders.iter().enumerate() {
        scenario.send(sender, &frame(4, &payload(n)).repeat(12));
    }
    scenario.run_until_idle();
    let heard = scenario.receive_all(witness);
    let order: Vec<u8> = heard.chunks(1_005).map(|broadcast| broadcast[5]).collect();
    assert_eq!(order.len(), 36);
    for (n, sender) in [b'a', b'b', b'c'].into_iter().enumerate() {
        assert_eq!(order.iter().filter(|&&s| s == sender).count(), 12);
        let last_first = order.iter().position(|&s| s == sender).unwrap();
        assert!(last_first <= 4 * (n + 1), "{} waited for {last_first}", sender as char);
    }
}
