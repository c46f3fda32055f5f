//! Rates of one connection: who is over them waits, and loses nothing.

use std::time::{Duration, Instant};

use crate::support::{Client, Server, frame};

/// Time within which a connection that does not wait is answered.
const AT_ONCE: Duration = Duration::from_millis(900);

#[test]
fn messages_beyond_the_burst_wait_for_their_turn() {
    let server = Server::command(&["--message-rate", "100"]);
    let (mut fast, mut other) = (server.connect(), server.connect());
    let requests: Vec<u8> = (0u32..300).flat_map(|n| frame(1, &n.to_be_bytes())).collect();
    let began_at = Instant::now();
    fast.send(&requests);
    fast.expect(&requests[..200 * 9]);
    let burst = began_at.elapsed();
    let asked_at = Instant::now();
    other.expect_alive();
    assert!(asked_at.elapsed() < AT_ONCE, "another connection does not wait");
    fast.expect(&requests[200 * 9..]);
    let all = began_at.elapsed();
    assert!(all >= Duration::from_millis(990), "{all:?}");
    assert!(all - burst >= Duration::from_millis(900) || burst > AT_ONCE, "{burst:?} of {all:?}");
}

#[test]
fn connection_over_its_rate_is_not_read_from() {
    let server = Server::command(&["--message-rate", "1"]);
    let mut client = server.connect();
    let sent = client.send_until_blocked(&frame(1, &[7; 1000]).repeat(20_000));
    assert!(sent < 16_000_000, "{sent} bytes were taken");
    assert!(server.memory("VmRSS") < 40 << 20, "what waits stays in the kernel");
}

#[test]
fn every_protocol_keeps_to_the_rate() {
    for (url, request, reply) in [
        ("command://127.0.0.1:0", &b"\x02\0\0\0\x02ab"[..], &b"\x01\0\0\0\x02ba"[..]),
        ("prefixed://127.0.0.1:0", b"\x02ab", b"\x02ba"),
    ] {
        let server = Server::start(&["-l", url, "--message-rate", "20"]);
        let mut client = server.connect();
        let began_at = Instant::now();
        client.send(&request.repeat(50));
        client.expect(&reply.repeat(50));
        assert!(began_at.elapsed() >= Duration::from_millis(490), "{url}");
    }
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "--message-rate", "20"]);
    let mut client = server.connect();
    let began_at = Instant::now();
    client.send(&[&b"anna\n"[..], &b"/who\n".repeat(49)].concat());
    client.expect(b"[INFO] Welcome, anna!\n");
    client.expect(&b"Online: anna\n".repeat(49));
    assert!(began_at.elapsed() >= Duration::from_millis(490));
}

#[test]
fn long_frames_count_for_the_rate() {
    let server = Server::command(&["--message-rate", "10"]);
    let mut client = server.connect();
    let requests: Vec<u8> = frame(1, &[5; 100_000]).repeat(30);
    let began_at = Instant::now();
    let mut writer = client.twin();
    let copy = requests.clone();
    let sender = std::thread::spawn(move || writer.send(&copy));
    client.expect(&requests);
    sender.join().unwrap();
    assert!(began_at.elapsed() >= Duration::from_millis(700), "{:?}", began_at.elapsed());
}

#[test]
fn broadcasts_keep_to_their_own_rate() {
    let server = Server::command(&["--broadcast-rate", "1000"]);
    let (mut sender, mut receiver) = (server.connect(), server.connect());
    receiver.expect_alive();
    let began_at = Instant::now();
    let broadcast = frame(4, &[b'x'; 500]);
    sender.send(&broadcast.repeat(5));
    receiver.expect(&broadcast.repeat(4));
    receiver.expect(&broadcast);
    assert!(began_at.elapsed() >= Duration::from_millis(490));
    sender.expect(&frame(1, b"1").repeat(5));
    // What reaches nobody else does not wait.
    let asked_at = Instant::now();
    (0..5).for_each(|_| sender.expect_alive());
    assert!(asked_at.elapsed() < AT_ONCE);
}

#[test]
fn broadcast_over_a_burst_goes_out() {
    let server = Server::command(&["--broadcast-rate", "100000"]);
    let (mut sender, mut receiver) = (server.connect(), server.connect());
    receiver.expect_alive();
    let began_at = Instant::now();
    sender.send(&[frame(4, &[b'x'; 250_000]), frame(4, b"behind it")].concat());
    receiver.expect(&frame(4, &[b'x'; 250_000]));
    assert!(began_at.elapsed() < Duration::from_millis(500) + AT_ONCE);
    receiver.expect(&frame(4, b"behind it"));
    assert!(began_at.elapsed() >= Duration::from_millis(490));
}

#[test]
fn chat_lines_and_private_messages_count_as_broadcasts() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "--broadcast-rate", "100"]);
    let (mut anna, mut boris) = (server.connect(), server.connect());
    for (client, nick) in [(&mut anna, "anna\n"), (&mut boris, "boris\n")] {
        client.send(nick.as_bytes());
        client.read_line();
    }
    anna.expect(b"[SERVER] boris joined\n");
    let began_at = Instant::now();
    let text = "y".repeat(100);
    anna.send(format!("{text}\n/msg boris {}\n{text}\n", &text[..80]).as_bytes());
    boris.expect(format!("[anna]: {text}\n").as_bytes());
    boris.expect(format!("[PM] anna: {}\n", &text[..80]).as_bytes());
    boris.expect(format!("[anna]: {text}\n").as_bytes());
    assert!(began_at.elapsed() >= Duration::from_millis(900), "{:?}", began_at.elapsed());
}

#[test]
fn stop_answers_who_is_over_its_rate() {
    let mut server = Server::command(&["--message-rate", "1"]);
    let mut client = server.connect();
    let requests = frame(1, b"before the stop").repeat(20);
    client.send(&requests);
    client.expect(&requests[..40]);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    client.expect(&requests[40..]);
    client.expect_eof();
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn end_of_stream_waits_behind_messages() {
    let server = Server::command(&["--message-rate", "20"]);
    let mut client: Client = server.connect();
    let requests = frame(1, b"last words").repeat(50);
    client.send(&requests);
    client.half_close();
    client.expect(&requests);
    client.expect_eof();
}
