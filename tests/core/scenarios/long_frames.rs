//! Long frames: their memory, and the time they leave for others.

use mynah::internal::limits::{Limits, REVERSE_SLICE_BYTES};
use mynah::internal::protocol::CommandProtocol;

use super::{AMPLE, LIMITS, Scenario};
use crate::support::frame;

/// Bytes that arrive while a long REVERSE is worked on belong to the next frame.
#[test]
fn long_reverse_ignores_what_follows_it() {
    let limits = Limits { send_queue_bytes_max: 64 << 20, ..LIMITS };
    let mut scenario = Scenario::new(limits, 0);
    let client = scenario.connect(AMPLE);
    let plain = "plain ".repeat(1_000);
    let other = "Hé!日本🦜".repeat(1_000);
    let requests = [
        frame(2, plain.as_bytes()),
        frame(2, other.as_bytes()),
        frame(2, &[plain.as_bytes(), b"\xff", plain.as_bytes()].concat()),
        frame(1, b"hi"),
    ]
    .concat();
    let reversed = |text: &str| frame(1, text.chars().rev().collect::<String>().as_bytes());
    let expected = [
        reversed(&plain),
        reversed(&other),
        frame(255, b"REVERSE needs UTF-8: invalid byte at offset 6000"),
        frame(1, b"hi"),
    ]
    .concat();
    for cut in [3_000, 5_000, 6_004, 6_005, 6_006, 10_000, 21_000] {
        for next in [1, 3_000, 5_000, 9_000, 40_000] {
            scenario.send(client, &requests[..cut]);
            scenario.run_until_idle();
            let next = (cut + next).min(requests.len());
            scenario.send(client, &requests[cut..next]);
            scenario.run_until_idle();
            scenario.send(client, &requests[next..]);
            scenario.run_until_idle();
            assert!(scenario.receive_all(client) == expected, "cut at {cut} and {next}");
        }
    }
}

/// A frame that came in pieces is its own reply: nothing is copied.
#[test]
fn long_echo_takes_no_more_memory_than_its_frame() {
    const LEN: usize = 6_000_000;
    let protocol = || CommandProtocol { payload_len_max: 8 << 20 }.into();
    let limits = Limits { send_queue_bytes_max: 1 << 20, ..LIMITS };
    for code in [1, 2] {
        let mut scenario = Scenario::with_protocol(protocol, 1, limits, 0);
        let client = scenario.connect(1);
        let request = frame(code, &vec![b'x'; LEN]);
        for piece in request.chunks(50_000) {
            scenario.send(client, piece);
            scenario.run_until_idle();
        }
        let held = scenario.server.memory().used();
        assert!(held <= LEN * 11 / 10, "{held} bytes are held for a frame of {LEN}");
        scenario.network.borrow_mut().sockets[client].to_client_max = 16 << 20;
        assert_eq!(scenario.receive_all(client), frame(1, &vec![b'x'; LEN]));
    }
}

#[test]
fn long_reverse_leaves_time_for_others() {
    const SLICES: usize = 3;
    let protocol = || CommandProtocol { payload_len_max: 8 << 20 }.into();
    let limits = Limits { send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scenario = Scenario::with_protocol(protocol, 1, limits, 0);
    let (client, other) = (scenario.connect(16 << 20), scenario.connect(AMPLE));
    let text = "é€x".repeat(SLICES * REVERSE_SLICE_BYTES / 6);
    let request = frame(2, text.as_bytes());
    let (most, rest) = request.split_at(request.len() - 10);
    scenario.send(client, most);
    scenario.run_until_idle();
    scenario.send(client, &[rest, &frame(1, b"next")].concat());
    let mut rounds = 0;
    while scenario.network.borrow().sockets[client].to_client.is_empty() {
        scenario.send(other, &frame(1, b"hi"));
        scenario.round();
        assert_eq!(scenario.receive(other), frame(1, b"hi"));
        rounds += 1;
    }
    assert!(rounds >= 2 * SLICES, "{rounds} rounds");
    scenario.run_until_idle();
    let reversed: String = text.chars().rev().collect();
    let expected = [frame(1, reversed.as_bytes()), frame(1, b"next")].concat();
    assert_eq!(scenario.receive_all(client), expected);
}

#[test]
fn long_reverse_with_a_bad_end_is_refused_whole() {
    let protocol = || CommandProtocol { payload_len_max: 8 << 20 }.into();
    let mut scenario = Scenario::with_protocol(protocol, 1, LIMITS, 0);
    let client = scenario.connect(AMPLE);
    let mut text = vec![b'x'; 2 * REVERSE_SLICE_BYTES];
    text.extend(b"\xe2\x82");
    for piece in [frame(2, &text), frame(1, b"next")].concat().chunks(50_000) {
        scenario.send(client, piece);
        scenario.run_until_idle();
    }
    let why = format!("REVERSE needs UTF-8: invalid byte at offset {}", 2 * REVERSE_SLICE_BYTES);
    let expected = [frame(255, why.as_bytes()), frame(1, b"next")].concat();
    assert_eq!(scenario.receive_all(client), expected);
}
