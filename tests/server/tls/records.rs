//! The records of an open connection: how they are cut, which ones a client would not send, and how
//! a stream ends that is not whole.

use std::io::Write;
use std::time::Duration;

use rustls::ContentType;
use rustls::version::{TLS12, TLS13};

use crate::support::tls::written;
use crate::support::{Client, Observer, Server, frame, random_bytes, wait_until};

/// A client whose records the test seals.
fn with_sealer(server: &Server) -> (Client, crate::support::tls::Sealer) {
    let mut config = server.identity().client_of(&TLS13);
    config.enable_secret_extraction = true;
    let mut client = server.connect_with(config);
    client.expect_alive();
    let sealer = client.take_sealer();
    (client, sealer)
}

/// Alerts have a byte of their own in plain TLS 1.3; the rest of what the server answers is sealed.
fn expect_cut(server: &Server, client: &mut Client, reason: &str) {
    let port = client.local_port();
    client.read_until_cut();
    let line = server.wait_for_line(&format!("127.0.0.1:{port} {reason}"));
    assert!(!line.contains("panic"), "{line}");
}

#[test]
fn request_in_a_record_cut_at_every_byte_is_answered() {
    let server = Server::tls("command", &["-l", "command://127.0.0.1:0"]);
    let mut observer = Observer::new(server.connect_to(1));
    let request = frame(1, b"cut");
    for version in [&TLS12, &TLS13] {
        let mut client = server.connect_with(server.identity().client_of(version));
        client.expect_alive();
        for cut in 1.. {
            let wire = client.seal(&request);
            if cut == wire.len() {
                break;
            }
            let (head, tail) = wire.split_at(cut);
            observer.until_read(cut, || client.stream().write_all(head).unwrap());
            client.stream().write_all(tail).unwrap();
            client.expect(&request);
        }
    }
}

#[test]
fn request_in_records_of_one_byte_is_answered() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let mut client = server.connect_with(server.identity().client_of(version));
        let request = frame(2, "Hé!".as_bytes());
        let wire: Vec<u8> = request.iter().flat_map(|&byte| client.seal(&[byte])).collect();
        for byte in wire {
            client.stream().write_all(&[byte]).unwrap();
        }
        client.expect(&frame(1, "!éH".as_bytes()));
    }
}

#[test]
fn thousands_of_tiny_records_are_answered() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect();
    let requests = frame(1, b"tiny").repeat(2_000);
    let wire: Vec<u8> = requests.iter().flat_map(|&byte| client.seal(&[byte])).collect();
    client.stream().write_all(&wire).unwrap();
    client.expect(&requests);
}

/// Replies of one turn are one record where they fit (and a ticket is one of its own).
#[test]
fn replies_of_a_turn_share_a_record() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect();
    client.expect_alive();
    let before = client.status().get("bytes_out_total");
    client.send(&frame(1, b"x").repeat(100));
    client.expect(&frame(1, b"x").repeat(100));
    let after = client.status().get("bytes_out_total");
    let status = 400;
    assert!(after - before < 600 + status + 5 * 22, "{} bytes for 600", after - before);
}

/// A few in a row pad what is said; more of them are a flood without an end.
#[test]
fn empty_records_are_ignored_up_to_a_flood() {
    let server = Server::tls("command", &[]);
    for (count, line) in
        [(20, "disconnected: quit"), (1_000, "TLS failed: peer misbehaved: TooManyEmptyFragments")]
    {
        let (mut client, mut sealer) = with_sealer(&server);
        let empty = |_| sealer.seal(ContentType::ApplicationData, b"");
        let mut wire: Vec<u8> = (0..count).flat_map(empty).collect();
        wire.extend(sealer.seal(ContentType::ApplicationData, b"\x03\0\0\0\0"));
        client.stream().write_all(&wire).unwrap();
        expect_cut(&server, &mut client, line);
    }
}

/// A message of a handshake that is begun and never ends, in as little of each record as can be.
#[test]
fn endless_handshake_message_after_the_handshake_is_cut() {
    let server = Server::tls("command", &[]);
    let mut honest = server.connect();
    honest.expect_alive();
    let before = server.memory("RssAnon");
    let (mut client, mut sealer) = with_sealer(&server);
    let mut wire = sealer.seal(ContentType::Handshake, &[24, 0, 0xff, 0xff]);
    for _ in 0..60_000 {
        wire.extend(sealer.seal(ContentType::Handshake, &[0]));
    }
    client.try_send(&wire);
    expect_cut(&server, &mut client, "TLS failed: ");
    let grown = server.memory("RssAnon").saturating_sub(before);
    assert!(grown < 2_000_000, "{grown} bytes");
    assert_eq!(server.count_lines("panicked"), 0);
    honest.expect_alive();
}

/// The piece waits while the reply to what came before it is sealed.
#[test]
fn handshake_message_in_pieces_is_refused() {
    let server = Server::tls("command", &[]);
    let mut honest = server.connect();
    for piece in [&[24][..], &[24, 0, 0, 1], &[1, 0, 0xff, 0xff, 3, 3]] {
        let (mut client, mut sealer) = with_sealer(&server);
        let mut wire = sealer.seal(ContentType::ApplicationData, &frame(1, b"before"));
        wire.extend(sealer.seal(ContentType::Handshake, piece));
        client.stream().write_all(&wire).unwrap();
        let reason = "TLS failed: a handshake message in pieces after the handshake";
        expect_cut(&server, &mut client, reason);
        assert_eq!(honest.ask(4, b"news"), (1, b"0".to_vec()));
    }
    assert_eq!(server.count_lines("panicked"), 0);
}

#[test]
fn record_that_announces_too_much_is_refused() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect();
    client.expect_alive();
    client.stream().write_all(b"\x17\x03\x03\xff\xff").unwrap();
    expect_cut(&server, &mut client, "TLS failed: ");
}

#[test]
fn record_that_was_changed_is_refused() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let mut client = server.connect_with(server.identity().client_of(version));
        client.expect_alive();
        let mut wire = client.seal(&frame(1, b"changed"));
        let last = wire.len() - 1;
        wire[last] ^= 1;
        client.stream().write_all(&wire).unwrap();
        expect_cut(&server, &mut client, "TLS failed: cannot decrypt peer's message");
    }
}

/// Data that came before a broken record is answered, as far as it can still be.
#[test]
fn broken_record_closes_its_connection_only() {
    let server = Server::tls("command", &[]);
    let mut other = server.connect();
    other.expect_alive();
    let mut client = server.connect();
    client.expect_alive();
    client.stream().write_all(b"no record at all").unwrap();
    expect_cut(&server, &mut client, "TLS failed: ");
    other.expect_alive();
    assert_eq!(other.status().get("connections"), 1);
}

#[test]
fn unfinished_record_is_late_as_a_frame_is() {
    let server = Server::tls("command", &["--frame-timeout", "1"]);
    let mut client = server.connect();
    client.expect_alive();
    let wire = client.seal(&frame(1, b"late"));
    client.stream().write_all(&wire[..wire.len() - 1]).unwrap();
    client.read_until_cut();
    server.wait_for_line("disconnected: frame timeout");
}

/// Whatever the protocol, and wherever in its input.
#[test]
fn stream_that_ends_without_close_notify_is_truncated() {
    for (protocol, whole, answer, half) in [
        ("command", frame(1, b"whole"), frame(1, b"whole"), b"\x01\0\0\0\x09hal".to_vec()),
        ("prefixed", b"\x02ab".to_vec(), b"\x02ba".to_vec(), b"\x09hal".to_vec()),
        ("raw", b"whole".to_vec(), b"Echo: whole".to_vec(), Vec::new()),
        ("chat", b"Ann\n".to_vec(), b"[INFO] Welcome, Ann!\n".to_vec(), b"half a line".to_vec()),
    ] {
        for version in [&TLS12, &TLS13] {
            let server = Server::tls(protocol, &[]);
            let config = || server.identity().client_of(version);
            let mut quiet = server.connect_with(config());
            quiet.send(&whole);
            quiet.expect(&answer);
            quiet.shut_tcp();
            assert_eq!(quiet.read_until_cut(), b"", "{protocol}");
            let mut midway = server.connect_with(config());
            midway.send(&whole);
            midway.expect(&answer);
            midway.send(&half);
            midway.shut_tcp();
            assert_eq!(midway.read_until_cut(), b"", "{protocol}");
            let mut in_record = server.connect_with(config());
            in_record.send(&whole);
            in_record.expect(&answer);
            let wire = in_record.seal(&whole);
            in_record.stream().write_all(&wire[..wire.len() - 1]).unwrap();
            in_record.shut_tcp();
            assert_eq!(in_record.read_until_cut(), b"", "{protocol}");
            wait_until("all three are logged", || {
                server.count_lines("disconnected: truncated: closed without close_notify") == 3
            });
        }
    }
}

/// The nickname of a client whose stream was truncated inside a message is not heard from again.
#[test]
fn truncated_line_is_not_said() {
    let server = Server::tls("chat", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.send(b"Ann\n");
    ann.read_line();
    bob.send(b"Bob\n");
    bob.read_line();
    assert_eq!(ann.read_line(), "[SERVER] Bob joined");
    bob.send(b"first\nsend 100 to Al");
    assert_eq!(ann.read_line(), "[Bob]: first");
    bob.shut_tcp();
    assert_eq!(ann.read_line(), "[SERVER] Bob left");
}

/// A close_notify ends a message as an end of file does.
#[test]
fn line_before_a_close_notify_is_said() {
    let server = Server::tls("chat", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.send(b"Ann\n");
    ann.read_line();
    bob.send(b"Bob\n");
    bob.read_line();
    assert_eq!(ann.read_line(), "[SERVER] Bob joined");
    bob.send(b"first\nlast");
    bob.half_close();
    assert_eq!(ann.read_line(), "[Bob]: first");
    assert_eq!(ann.read_line(), "[Bob]: last");
    assert_eq!(ann.read_line(), "[SERVER] Bob left");
    bob.discard_to_end();
}

/// A close_notify at once, after a request, inside one, and with the request.
#[test]
fn close_notify_is_answered_with_one() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let config = || server.identity().client_of(version);
        let mut at_once = server.connect_with(config());
        at_once.half_close();
        at_once.expect_eof();
        let mut after = server.connect_with(config());
        after.expect_alive();
        after.half_close();
        after.expect_eof();
        let mut inside = server.connect_with(config());
        inside.send(b"\x01\0\0\0\x09hal");
        inside.half_close();
        inside.expect_eof();
        let mut together = server.connect_with(config());
        let mut wire = together.seal(&frame(1, b"together"));
        together.tls_mut().send_close_notify();
        wire.extend(written(together.tls_mut()));
        together.stream().write_all(&wire).unwrap();
        together.expect(&frame(1, b"together"));
        together.expect_eof();
    }
    wait_until("all are gone", || server.count_lines("disconnected: closed by peer") == 8);
    assert_eq!(server.count_lines("truncated"), 0);
}

#[test]
fn key_update_of_the_client_is_followed() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_with(server.identity().client_of(&TLS13));
    for _ in 0..20 {
        client.expect_alive();
        client.tls_mut().refresh_traffic_keys().unwrap();
        client.expect_alive();
    }
}

/// Each asks for one in return, and there is never data between them.
#[test]
fn key_updates_without_data_are_cut() {
    let server = Server::tls("command", &[]);
    let mut honest = server.connect();
    let mut client = server.connect_with(server.identity().client_of(&TLS13));
    client.expect_alive();
    for _ in 0..40 {
        client.tls_mut().refresh_traffic_keys().unwrap();
        let wire = written(client.tls_mut());
        if client.stream().write_all(&wire).is_err() {
            break;
        }
    }
    expect_cut(&server, &mut client, "TLS failed: ");
    honest.expect_alive();
}

/// Each alert there is, where it is of no use.
#[test]
fn alerts_of_every_kind_close_at_most_their_own() {
    let server = Server::tls("command", &[]);
    let mut honest = server.connect();
    for description in [0, 10, 20, 42, 46, 47, 50, 80, 90, 100, 110, 112, 255] {
        for level in [1, 2, 3] {
            let (mut client, mut sealer) = with_sealer(&server);
            let record = sealer.seal(ContentType::Alert, &[level, description]);
            client.stream().write_all(&record).unwrap();
            client.stream().shutdown(std::net::Shutdown::Write).unwrap();
            client.read_until_cut();
        }
    }
    honest.expect_alive();
    wait_until("they are gone", || honest.status().get("connections") == 1);
    assert_eq!(server.count_lines("panicked"), 0);
}

/// Records sealed for a client that does not read are bounded, and one write at most.
#[test]
fn slow_reader_of_broadcasts_holds_little() {
    const LOG: u64 = 1 << 20;
    let server = Server::tls("command", &["--broadcast-log", &LOG.to_string()]);
    let mut sender = server.connect();
    let mut slow = server.connect_with_small_buffer();
    slow.expect_alive();
    let before = server.memory("RssAnon");
    let payload = random_bytes(100_000);
    let mut sent = 0;
    while sender.status().get("slow_consumers_total") == 0 {
        assert_eq!(sender.ask(4, &payload).0, 1);
        sent += 1;
        assert!(sent < 400, "it was never cut");
    }
    let grown = server.memory("RssAnon").saturating_sub(before);
    println!("{sent} broadcasts, {grown} bytes more");
    assert!(grown < 3 * LOG, "{grown}");
    // What it was sent is whole up to where it was cut, and no end was told.
    let error = std::io::copy(&mut slow, &mut std::io::sink()).unwrap_err();
    println!("{error}");
    sender.expect_alive();
    assert!(sender.is_quiet_for(Duration::from_millis(10)));
}
