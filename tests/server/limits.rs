//! Bounds of what a client may take up: places, memory and time.

use std::thread;
use std::time::{Duration, Instant};

use super::support::{Client, Server, error, frame, random_bytes, wait_until};

#[test]
fn client_over_the_limit_gets_an_error() {
    let server = Server::command(&["-m", "2"]);
    let mut first = server.connect();
    let mut second = server.connect();
    first.expect_alive();
    second.expect_alive();
    let mut third = server.connect();
    third.expect(b"\xff\0\0\0\x19server is full: 2 clients");
    third.expect_eof();
    let line = server.wait_for_line("refused by command://");
    let peer = format!(" 127.0.0.1:{} ", third.local_port());
    assert!(line.contains(&peer), "{line}");
    let status = first.status();
    assert_eq!(status.get("connections"), 2);
    assert_eq!(status.get("accepted_total"), 2);
    assert_eq!(status.get("refused_total"), 1);
    second.expect_alive();
}

/// It has sent megabytes before it could know: a reset would destroy what it is told.
#[test]
fn refused_client_gets_the_error_whole() {
    let server = Server::command(&["-m", "1"]);
    let mut first = server.connect();
    first.expect_alive();
    let mut second = server.connect();
    second.send(&frame(1, &random_bytes(1_000_000)).repeat(5));
    second.expect(&error("server is full: 1 clients"));
    second.expect_eof();
    let status = first.status();
    assert_eq!(status.get("frames_in_total"), 2, "nothing of it is answered");
}

#[test]
fn refusal_over_prefixed_and_raw_is_silent() {
    let server = Server::start(&[
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0",
        "-m",
        "1",
    ]);
    let mut first = server.connect();
    first.expect_alive();
    for (listener, protocol) in [(1, "prefixed"), (2, "raw")] {
        let mut refused = server.connect_to(listener);
        refused.send(b"\x01x");
        refused.expect_eof();
        server.wait_for_line(&format!("refused by {protocol}://"));
    }
    assert_eq!(first.status().get("refused_total"), 2);
}

#[test]
fn client_slot_is_free_after_a_close() {
    let server = Server::command(&["-m", "1"]);
    for round in 0..20 {
        let mut client = server.connect();
        client.expect_alive();
        let mut refused = server.connect();
        refused.expect(&error("server is full: 1 clients"));
        if round % 2 == 0 {
            client.send(b"\x03\0\0\0\0");
        } else {
            client.half_close();
        }
        // When the end is here the place is free, though neither side has let go of its socket.
        client.expect_eof();
        let mut next = server.connect();
        next.expect_alive();
        next.half_close();
        next.expect_eof();
    }
}

#[test]
fn frame_behind_unread_replies_is_not_late() {
    let server = Server::command(&["--frame-timeout", "1", "--send-queue", "4096"]);
    let mut client = server.connect_with_small_buffer();
    let bytes = frame(1, &random_bytes(100_001)).repeat(200);
    let sent = client.send_until_blocked(&bytes);
    assert!(sent < bytes.len());
    let reply = frame(1, b"alive");
    let mut other = server.connect();
    let started_at = Instant::now();
    while started_at.elapsed() < Duration::from_millis(1_600) {
        other.send(&reply);
        other.expect(&reply);
        other.expect_silence(Duration::from_millis(100));
    }
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&bytes[sent..]));
        client.expect(&bytes);
    });
    client.expect_alive();
}

#[test]
fn frame_is_not_late_while_its_client_is_not_read() {
    let server = Server::command(&["--frame-timeout", "1", "--send-queue", "4096"]);
    let mut client = server.connect_with_small_buffer();
    let mut sender = server.connect();
    let broadcast = frame(4, &random_bytes(1_000_000));
    client.send(b"\x01\0\0\0\x04ha");
    for _ in 0..10 {
        sender.send(&broadcast);
        sender.expect(b"\x01\0\0\0\x011");
    }
    sender.expect_silence(Duration::from_millis(1_600));
    sender.expect_alive();
    client.send(b"lf");
    client.expect(&broadcast.repeat(10));
    client.expect(b"\x01\0\0\0\x04half");
}

#[test]
fn slow_consumer_is_cut_counted_and_not_waited_for() {
    const LEN: usize = 16_000;
    let server = Server::command(&["--broadcast-log", "65536"]);
    let mut slow = server.connect_with_small_buffer();
    slow.expect_alive();
    let mut sender = server.connect();
    let mut quick = server.connect();
    quick.expect_alive();
    let mut rounds = 0u32;
    while sender.status().get("slow_consumers_total") == 0 {
        rounds += 1;
        assert!(rounds < 5_000, "it was never cut");
        let mut payload = vec![b'.'; LEN];
        payload[..4].copy_from_slice(&rounds.to_be_bytes());
        let (code, count) = sender.ask(4, &payload);
        assert!(code == 1 && (count == b"2" || count == b"1"));
        quick.expect(&frame(4, &payload));
    }
    let line = server.wait_for_line("disconnected: slow consumer");
    let peer = format!(" 127.0.0.1:{} ", slow.local_port());
    assert!(line.contains(&peer), "{line}");
    let status = sender.status();
    assert_eq!(status.get("slow_consumers_total"), 1);
    assert_eq!(status.get("connections"), 2);
    assert_eq!(sender.ask(4, b"x"), (1, b"1".to_vec()));
    quick.expect(b"\x04\0\0\0\x01x");
    let got = slow.read_until_cut();
    assert!(got.len() < rounds as usize * (LEN + 5), "not all of it");
    for (number, part) in (1u32..).zip(got.chunks(LEN + 5)) {
        let begins = [b"\x04\0\0\x3e\x80".as_slice(), &number.to_be_bytes()].concat();
        let len = part.len().min(begins.len());
        assert_eq!(part[..len], begins[..len], "whole broadcasts, in order");
    }
}

/// `frame incomplete after N s`, where N is no more than what the client has seen pass, but for
/// the server's coarser clock: it reads the time once for all that happens in a turn.
#[track_caller]
fn expect_late(client: &mut Client, began_at: Instant) -> u64 {
    let (code, text) = client.read_frame();
    let text = String::from_utf8(text).unwrap();
    let seconds = text
        .strip_prefix("frame incomplete after ")
        .and_then(|rest| rest.strip_suffix(" s"))
        .unwrap_or_else(|| panic!("{text}"));
    let seconds: u64 = seconds.parse().unwrap();
    assert_eq!(code, 255);
    let passed = began_at.elapsed() + Duration::from_millis(50);
    assert!(seconds <= passed.as_secs(), "{text}");
    client.expect_eof();
    seconds
}

#[test]
fn frame_that_stalls_is_late() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let began_at = Instant::now();
    let parts = [&b"\x01"[..], b"\x01\0\0\0\x02", b"\x02\0\0\0\x02a", b"\x01\0\0\0\x01a\x07\0"];
    let mut clients = parts.map(|part| {
        let mut client = server.connect();
        client.send(part);
        client
    });
    clients[3].expect(b"\x01\0\0\0\x01a");
    for client in &mut clients {
        assert!(expect_late(client, began_at) >= 1);
    }
    wait_until("each is logged", || server.count_lines("disconnected: frame timeout") == 4);
}

#[test]
fn large_frame_that_stalls_is_late() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    let began_at = Instant::now();
    client.send(&frame(1, &random_bytes(1_000_000))[..900_000]);
    assert!(expect_late(&mut client, began_at) >= 1);
    assert!(began_at.elapsed() < Duration::from_secs(10));
}

/// Sends the bytes in steps of `len` every 50 ms until the server answers.
fn trickle(client: &Client, bytes: &[u8], len: usize) {
    let mut writer = client.twin();
    for step in bytes.chunks(len) {
        writer.send(step);
        if !writer.is_quiet_for(Duration::from_millis(50)) {
            return;
        }
    }
}

#[test]
fn frame_under_240_bytes_a_second_is_late() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    let began_at = Instant::now();
    trickle(&client, &frame(1, &[b'.'; 2_000]), 4);
    assert!(expect_late(&mut client, began_at) >= 1);
    assert!(began_at.elapsed() < Duration::from_secs(8));
}

#[test]
fn frame_age_counts_from_its_first_byte() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    let began_at = Instant::now();
    // About 700 bytes: enough for some three seconds, and never a second without a byte.
    client.send(&frame(1, &[b'.'; 2_000])[..600]);
    trickle(&client, &[b'.'; 1_000], 2);
    assert!(expect_late(&mut client, began_at) >= 2);
}

#[test]
fn frame_over_240_bytes_a_second_is_never_late() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    let request = frame(1, &random_bytes(2_000));
    let began_at = Instant::now();
    trickle(&client, &request, 40);
    assert!(began_at.elapsed() > Duration::from_secs(2));
    client.expect(&request);
    client.expect_alive();
}

#[test]
fn connection_between_frames_is_never_late() {
    let server = Server::command(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    client.expect_silence(Duration::from_millis(1_200));
    client.expect_alive();
    client.send(b"\x01\0\0\0\x04sp");
    client.send(b"it");
    client.expect(b"\x01\0\0\0\x04spit");
    client.expect_silence(Duration::from_millis(1_200));
    client.expect_alive();
}

#[test]
fn idle_client_is_closed_and_one_that_sends_is_not() {
    let server = Server::command(&["--idle-timeout", "2"]);
    let mut busy = server.connect();
    let mut idle = server.connect();
    let started_at = Instant::now();
    while started_at.elapsed() < Duration::from_millis(2_500) {
        busy.expect_alive();
        busy.expect_silence(Duration::from_millis(50));
    }
    idle.expect_eof();
    busy.expect_alive();
    assert_eq!(server.count_lines("disconnected: idle timeout"), 1);
}

#[test]
fn command_client_may_be_silent_without_end() {
    let server = Server::start(&["-l", "command://127.0.0.1:0?idle=0", "--idle-timeout", "1"]);
    let mut client = server.connect();
    client.expect_silence(Duration::from_millis(1_500));
    client.expect_alive();
}
