//! The `command` protocol, frame by frame.

use std::thread;

use super::support::{Client, Observer, Server, error, frame, random_bytes, wait_until};

#[test]
fn echo_answers_with_command_1_and_the_same_bytes() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x01\x00\x00\x00\x0dHello, World!");
    client.expect(b"\x01\x00\x00\x00\x0dHello, World!");
    client.send(b"\x01\0\0\0\x05\x00\xff\n\r\x80");
    client.expect(b"\x01\0\0\0\x05\x00\xff\n\r\x80");
}

#[test]
fn echo_of_nothing_is_a_frame_of_nothing() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x01\0\0\0\0");
    client.expect(b"\x01\0\0\0\0");
}

#[test]
fn echo_takes_a_mebibyte_and_not_one_byte_more() {
    let server = Server::command(&[]);
    let payload = random_bytes(1_048_576);
    assert_eq!(server.connect().ask(1, &payload), (1, payload));
    let mut client = server.connect();
    client.send(b"\x01\x00\x10\x00\x01");
    client.expect_frame(255, "frame of 1048577 bytes exceeds the limit of 1048576");
    client.expect_eof();
}

#[test]
fn reverse_turns_text_round_by_scalar_value() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x02\0\0\0\x04H\xc3\xa9!");
    client.expect(b"\x01\0\0\0\x04!\xc3\xa9H");
    for (text, reversed) in [
        ("", ""),
        ("custom protocols", "slocotorp motsuc"),
        ("a€🦜\0", "\0🦜€a"),
        ("e\u{301}x", "x\u{301}e"),
    ] {
        let (code, got) = client.ask(2, text.as_bytes());
        assert_eq!((code, got.as_slice()), (1, reversed.as_bytes()), "{text:?}");
    }
}

#[test]
fn reverse_names_the_offset_of_the_first_bad_sequence() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    for (bytes, offset) in [
        (&b"\xffabc"[..], 0),
        (b"\x80", 0),
        (b"ab\xffcd\xff", 2),
        (b"a\xc3\xa9\xc3(", 3),
        (b"a\xed\xa0\x80", 1),
        (b"a\xc0\xaf", 1),
        (b"a\xf4\x90\x80\x80", 1),
        (b"h\xc3\xa9\xe2\x82", 3),
        (b"abc\xf0\x9f\xa6", 3),
        (b"\xc3", 0),
    ] {
        client.send(&frame(2, bytes));
        client.expect_frame(255, &format!("REVERSE needs UTF-8: invalid byte at offset {offset}"));
    }
    client.expect_alive();
}

#[test]
fn quit_is_answered_by_eof_only() {
    let server = Server::command(&[]);
    for request in [&b"\x03\0\0\0\0"[..], b"\x03\0\0\0\x03bye"] {
        let mut client = server.connect();
        client.send(request);
        client.expect_eof();
    }
}

#[test]
fn quit_closes_after_earlier_replies() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    let large = frame(1, &random_bytes(1_000_000));
    let mut requests = large.repeat(5);
    requests.extend(b"\x02\0\0\0\x02ab\x09\0\0\0\0\x03\0\0\0\0");
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&requests));
        client.expect(&large.repeat(5));
        client.expect(b"\x01\0\0\0\x02ba");
        client.expect_frame(255, "unknown command 9");
        client.expect_eof();
    });
}

#[test]
fn quit_ignores_the_bytes_behind_it() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    let mut requests = b"\x01\0\0\0\x01a\x03\0\0\0\0\x01\0\0\0\x01b\xff\xff\xff".to_vec();
    requests.extend(random_bytes(300_000));
    client.send(&requests);
    client.expect(b"\x01\0\0\0\x01a");
    client.expect_eof();
    let status = server.connect().status();
    assert_eq!(status.get("frames_in_total"), 3, "ECHO, QUIT, STATUS");
}

#[test]
fn broadcast_reaches_every_other_client() {
    let server = Server::command(&[]);
    let mut sender = server.connect();
    let mut others = [server.connect(), server.connect(), server.connect()];
    for client in others.iter_mut().chain([&mut sender]) {
        client.expect_alive();
    }
    sender.send(b"\x04\0\0\0\x05hello\x01\0\0\0\x03end");
    sender.expect(b"\x01\0\0\0\x013\x01\0\0\0\x03end");
    for client in &mut others {
        client.expect(b"\x04\0\0\0\x05hello");
        client.expect_alive();
    }
    others[0].send(b"\x04\0\0\0\0");
    others[0].expect(b"\x01\0\0\0\x013");
    sender.expect(b"\x04\0\0\0\0");
    others[2].expect(b"\x04\0\0\0\0");
}

#[test]
fn broadcast_of_a_lone_client_reaches_nobody() {
    let server = Server::command(&[]);
    let mut sender = server.connect();
    sender.send(b"\x04\0\0\0\x02hi");
    sender.expect(b"\x01\0\0\0\x010");
    let mut late = server.connect();
    late.expect_alive();
    sender.send(b"\x04\0\0\0\x02ho");
    sender.expect(b"\x01\0\0\0\x011");
    late.expect(b"\x04\0\0\0\x02ho");
}

#[test]
fn broadcast_does_not_count_clients_that_left() {
    let server = Server::command(&[]);
    let mut sender = server.connect();
    let mut quitter = server.connect();
    let mut departing = server.connect();
    departing.expect_alive();
    drop(departing);
    quitter.send(b"\x03\0\0\0\0");
    // It keeps its side open, and is no longer one of the others all the same.
    quitter.expect_eof();
    server.wait_for_line("disconnected: closed by peer");
    assert_eq!(sender.ask(4, b"x"), (1, b"0".to_vec()));
}

#[test]
fn broadcasts_stay_on_their_listener() {
    let server = Server::start(&[
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0?prefix=",
    ]);
    let mut sender = server.connect_to(0);
    let mut same = server.connect_to(0);
    let mut other = server.connect_to(1);
    let mut raw = server.connect_to(2);
    same.expect_alive();
    other.expect_alive();
    raw.expect_alive();
    assert_eq!(sender.ask(4, b"here"), (1, b"1".to_vec()));
    same.expect(b"\x04\0\0\0\x04here");
    other.expect_alive();
    raw.expect_alive();
    assert_eq!(other.ask(4, b"there"), (1, b"0".to_vec()));
}

#[test]
fn broadcasts_come_whole_and_in_order_between_replies() {
    const ROUNDS: u32 = 2_000;
    let server = Server::command(&[]);
    let mut sender = server.connect();
    let mut listener = server.connect();
    listener.expect_alive();
    let payload = |round: u32| format!("{round} {}", "x".repeat(round as usize % 700));
    let broadcasts: Vec<u8> =
        (0..ROUNDS).flat_map(|round| frame(4, payload(round).as_bytes())).collect();
    let echoes: Vec<u8> =
        (0..ROUNDS).flat_map(|round| frame(1, payload(round).as_bytes())).collect();
    let (mut sending, mut echoing) = (sender.twin(), listener.twin());
    thread::scope(|scope| {
        scope.spawn(|| sending.send(&broadcasts));
        scope.spawn(|| echoing.send(&echoes));
        scope.spawn(|| sender.expect(&b"\x01\0\0\0\x011".repeat(ROUNDS as usize)));
        let mut next = [0, 0];
        for _ in 0..2 * ROUNDS {
            let (code, got) = listener.read_frame();
            let of = usize::from(code == 4);
            assert_eq!(got, payload(next[of]).as_bytes(), "command {code}");
            next[of] += 1;
        }
        assert_eq!(next, [ROUNDS, ROUNDS]);
    });
}

#[test]
fn broadcast_over_a_quarter_of_the_log_is_refused() {
    let server = Server::command(&["--broadcast-log", "4096"]);
    let mut sender = server.connect();
    let mut other = server.connect();
    other.expect_alive();
    sender.send(&frame(4, &[b'x'; 1025]));
    sender.expect_frame(255, "broadcast of 1025 bytes exceeds the limit of 1024");
    assert_eq!(sender.ask(4, &[b'y'; 1024]), (1, b"1".to_vec()));
    other.expect(&frame(4, &[b'y'; 1024]));
    sender.expect_alive();
}

/// The figures of a fresh server, to the byte; only the seconds are not known beforehand.
#[test]
fn status_is_one_json_object_with_its_keys_in_order() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x07\0\0\0\0");
    let (code, first) = client.read_frame();
    assert_eq!(code, 1);
    let json = |uptime: u64, frames: u32, bytes_in: u32, bytes_out: usize| {
        format!(
            "{{\"version\":\"{}\",\"uptime_secs\":{uptime},\"connections\":1,\
             \"accepted_total\":1,\"refused_total\":0,\"frames_in_total\":{frames},\
             \"bytes_in_total\":{bytes_in},\"bytes_out_total\":{bytes_out},\
             \"broadcasts_total\":0,\"slow_consumers_total\":0}}",
            env!("CARGO_PKG_VERSION"),
        )
    };
    let first = String::from_utf8(first).unwrap();
    assert!((0..60).any(|uptime| first == json(uptime, 1, 5, 0)), "{first}");
    let second = client.status().0;
    let out = 5 + first.len();
    assert!((0..60).any(|uptime| second == json(uptime, 2, 10, out)), "{second}");
}

#[test]
fn status_ignores_a_payload() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x07\0\0\0\x03abc\x07\0\0\0\0");
    for (frames, bytes) in [(1, 13), (2, 13)] {
        let (code, json) = client.read_frame();
        let json = String::from_utf8(json).unwrap();
        let figures = format!("\"frames_in_total\":{frames},\"bytes_in_total\":{bytes},");
        assert!(code == 1 && json.contains(&figures), "{code} {json}");
    }
}

#[test]
fn status_counts_connections_that_do_not_linger() {
    let server = Server::start(&[
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0",
    ]);
    let mut client = server.connect();
    let mut prefixed = server.connect_to(1);
    prefixed.send(b"\x02ab\x00");
    prefixed.expect(b"\x02ba\x00");
    let mut raw = server.connect_to(2);
    raw.send(b"abc");
    raw.expect(b"Echo: abc");
    let status = client.status();
    assert_eq!(status.get("connections"), 3);
    assert_eq!(status.get("accepted_total"), 3);
    assert_eq!(status.get("bytes_in_total"), 4 + 3 + 5);
    assert_eq!(status.get("bytes_out_total"), 4 + 9);
    let mut quitter = server.connect();
    quitter.send(b"\x03\0\0\0\0");
    quitter.expect_eof();
    drop((prefixed, raw));
    let mut status = client.status();
    wait_until("two are gone", || {
        status = client.status();
        status.get("connections") == 1
    });
    assert_eq!(status.get("accepted_total"), 4);
    assert_eq!(status.get("refused_total"), 0);
}

#[test]
fn status_counts_broadcasts_taken_not_refused() {
    let server = Server::command(&["--broadcast-log", "4096"]);
    let mut client = server.connect();
    client.ask(4, b"to nobody");
    let mut other = server.connect();
    other.expect_alive();
    client.ask(4, b"to one");
    client.ask(4, &[0; 1025]);
    assert_eq!(client.status().get("broadcasts_total"), 2);
}

#[test]
fn unknown_command_gets_an_error_and_may_go_on() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    let unknown = |code: &u8| ![1, 2, 3, 4, 7].contains(code);
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    for code in (0..=255).filter(unknown) {
        requests.extend(frame(code, b"whatever"));
        replies.extend(error(&format!("unknown command {code}")));
    }
    client.send(&requests);
    client.expect(&replies);
    client.send(b"\x00\0\0\0\0\x05\0\0\0\x01x\xff\0\0\0\0");
    client.expect(b"\xff\0\0\0\x11unknown command 0");
    client.expect(b"\xff\0\0\0\x11unknown command 5");
    client.expect(b"\xff\0\0\0\x13unknown command 255");
    client.expect_alive();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    const ROUNDS: usize = 20_000;
    let server = Server::command(&[]);
    let mut client = server.connect();
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    for round in 0..ROUNDS {
        let text = format!("{round:06}");
        let reversed: String = text.chars().rev().collect();
        requests.extend(frame(1, text.as_bytes()));
        replies.extend(frame(1, text.as_bytes()));
        requests.extend(frame(2, text.as_bytes()));
        replies.extend(frame(1, reversed.as_bytes()));
        requests.extend(frame(2, b"\xff"));
        replies.extend(error("REVERSE needs UTF-8: invalid byte at offset 0"));
        requests.extend(frame(77, b""));
        replies.extend(error("unknown command 77"));
        requests.extend(frame(4, b"to nobody"));
        replies.extend(frame(1, b"0"));
    }
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&requests));
        client.expect(&replies);
    });
    let frames = client.status().get("frames_in_total");
    assert_eq!(frames, 5 * ROUNDS as u64 + 1);
}

#[test]
fn frame_may_be_split_at_every_byte() {
    const REQUESTS: &[u8] = b"\x01\0\0\0\x03abc\x02\0\0\0\x04H\xc3\xa9!\x07\0\0\0\0";
    const REPLIES: &[u8] = b"\x01\0\0\0\x03abc\x01\0\0\0\x04!\xc3\xa9H\x01";
    let server = Server::command(&[]);
    let mut observer = Observer::new(server.connect());
    for cut in 1..REQUESTS.len() {
        let mut client = server.connect();
        observer.send_split(&mut client, REQUESTS, cut);
        client.expect(REPLIES);
        client.half_close();
        client.read_to_end();
    }
}

#[test]
fn frame_may_come_byte_by_byte() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    let request = frame(1, &random_bytes(500));
    for byte in &request {
        client.send(&[*byte]);
    }
    client.expect(&request);
}

#[test]
fn length_over_the_limit_is_refused_on_the_header() {
    let server = Server::start(&["-l", "command://127.0.0.1:0?max_frame=10"]);
    for (header, len) in [
        (b"\x01\0\0\0\x0b", 11u32),
        (b"\x02\xff\xff\xff\xff", u32::MAX),
        (b"\x63\x80\0\0\0", 1 << 31),
        (b"\x03\0\0\0\x0b", 11),
    ] {
        let mut client = server.connect();
        client.send(b"\x01\0\0\0\x0a0123456789");
        client.send(header);
        client.expect(b"\x01\0\0\0\x0a0123456789");
        client.expect_frame(255, &format!("frame of {len} bytes exceeds the limit of 10"));
        client.expect_eof();
    }
}

#[test]
fn frame_limit_of_zero_allows_empty_frames() {
    let server = Server::command(&["--max-frame", "0"]);
    let mut client = server.connect();
    client.send(b"\x01\0\0\0\0\x01\0\0\0\x01");
    client.expect(b"\x01\0\0\0\0");
    client.expect_frame(255, "frame of 1 bytes exceeds the limit of 0");
    client.expect_eof();
}

/// Closing with unread input would reset the connection and destroy the error on its way.
#[test]
fn error_survives_a_close_with_unread_input() {
    let server = Server::command(&["--max-frame", "100"]);
    let mut client = server.connect();
    let mut bytes = b"\x01\0\0\0\x02ok\x01\xff\xff\xff\xff".to_vec();
    bytes.extend(random_bytes(8_000_000));
    client.send(&bytes);
    client.expect(b"\x01\0\0\0\x02ok");
    client.expect_frame(255, "frame of 4294967295 bytes exceeds the limit of 100");
    client.expect_eof();
    client.send(b"and it may go on");
    server.wait_for_line("disconnected: protocol error");
}

#[test]
fn half_closing_client_gets_every_reply() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.send(b"\x01\0\0\0\x01a\x02\0\0\0\x02bc");
    client.half_close();
    client.expect(b"\x01\0\0\0\x01a\x01\0\0\0\x02cb");
    client.expect_eof();
    server.wait_for_line("disconnected: closed by peer");
}

#[test]
fn half_closed_client_that_reads_late_gets_all() {
    let server = Server::command(&["--send-queue", "65536"]);
    let mut client = server.connect_with_small_buffer();
    let bytes = frame(1, &random_bytes(100_000)).repeat(200);
    let sent = client.send_until_blocked(&bytes);
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&bytes[sent..]);
            writer.half_close();
        });
        client.expect(&bytes);
        client.expect_eof();
    });
}

#[test]
fn unfinished_frame_at_the_end_is_dropped_silently() {
    let server = Server::command(&[]);
    let half_closed = |requests: &[u8]| {
        let mut client: Client = server.connect();
        client.send(requests);
        client.half_close();
        client.read_to_end()
    };
    assert_eq!(half_closed(b""), b"");
    assert_eq!(half_closed(b"\x01"), b"");
    assert_eq!(half_closed(b"\x01\0\0\0\x05abcd"), b"");
    assert_eq!(half_closed(b"\x01\0\0\0\x01a\x01\0\0"), b"\x01\0\0\0\x01a");
    assert_eq!(half_closed(b"\x01\0\0\0\x01a\x02\0\0\0\x09b"), b"\x01\0\0\0\x01a");
}
