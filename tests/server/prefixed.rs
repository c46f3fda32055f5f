//! The `prefixed` protocol: one length byte, then the bytes, reversed.

use std::thread;

use super::support::{Client, Observer, Server, random_bytes};

fn start(args: &[&str]) -> Server {
    Server::start(&[&["-l", "prefixed://127.0.0.1:0"], args].concat())
}

#[test]
fn answer_has_the_same_length_and_the_bytes_reversed() {
    let server = start(&[]);
    let mut client = server.connect();
    client.send(b"\x0cHello, world");
    client.expect(b"\x0cdlrow ,olleH");
    client.send(b"\x03\xc3\xa9!");
    client.expect(b"\x03!\xa9\xc3");
}

#[test]
fn message_has_any_length_from_0_to_255() {
    let server = start(&[]);
    let mut client = server.connect();
    let bytes = random_bytes(255);
    for len in 0..=255u8 {
        let payload = &bytes[..usize::from(len)];
        client.send(&[&[len], payload].concat());
        let reversed: Vec<u8> = payload.iter().rev().copied().collect();
        client.expect(&[&[len], reversed.as_slice()].concat());
    }
}

#[test]
fn messages_in_one_write_are_answered_in_order() {
    let server = start(&[]);
    let mut client = server.connect();
    client.send(b"\x03abc\x00\x01x\x00\x02yz");
    client.expect(b"\x03cba\x00\x01x\x00\x02zy");
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&b"\x04mynah\x03abc\x00".repeat(100_000)));
        // `\x04mynah` is a message of four, and the `h` begins one of 104 bytes.
        let stream = b"\x04mynah\x03abc\x00".repeat(100_000);
        let mut rest = stream.as_slice();
        let mut replies = Vec::new();
        while let Some((&len, after)) = rest.split_first() {
            let Some((payload, after)) = after.split_at_checked(usize::from(len)) else { break };
            replies.push(len);
            replies.extend(payload.iter().rev());
            rest = after;
        }
        client.expect(&replies);
    });
}

#[test]
fn message_may_be_split_at_every_byte() {
    const REQUESTS: &[u8] = b"\x05split\x00\x03abc";
    const REPLIES: &[u8] = b"\x05tilps\x00\x03cba";
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0", "-l", "command://127.0.0.1:0"]);
    let mut observer = Observer::new(server.connect_to(1));
    for cut in 1..REQUESTS.len() {
        let mut client = server.connect();
        observer.send_split(&mut client, REQUESTS, cut);
        client.expect(REPLIES);
    }
}

#[test]
fn half_closed_client_gets_every_reply() {
    let server = start(&[]);
    let answers = |requests: &[u8]| {
        let mut client: Client = server.connect();
        client.send(requests);
        client.half_close();
        client.read_to_end()
    };
    assert_eq!(answers(b"\x02ab\x01c"), b"\x02ba\x01c");
    assert_eq!(answers(b"\x02ab\x03cd"), b"\x02ba");
    assert_eq!(answers(b"\x03"), b"");
    server.wait_for_line("disconnected: closed by peer");
}

#[test]
fn quiet_client_is_closed_silently_and_logged() {
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0?idle=1"]);
    let mut client = server.connect();
    client.send(b"\x02hi");
    client.expect(b"\x02ih");
    client.expect_eof();
    let line = server.wait_for_line("disconnected: idle timeout");
    let peer = format!(" 127.0.0.1:{} ", client.local_port());
    assert!(line.contains(&peer), "{line}");
}

#[test]
fn unfinished_message_is_closed_silently_and_logged() {
    let server = start(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    client.send(b"\x01a\x05hal");
    client.expect(b"\x01a");
    client.expect_eof();
    server.wait_for_line("disconnected: frame timeout");
}
