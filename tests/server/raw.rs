//! The `raw` protocol: what a read returns comes back behind a prefix.

use std::thread;

use super::support::{Server, random_bytes};

fn start(url: &str) -> Server {
    Server::start(&["-l", url])
}

#[test]
fn reply_is_the_default_prefix_and_what_was_read() {
    let server = start("raw://127.0.0.1:0");
    let mut client = server.connect();
    client.send(b"Hello, Server!");
    client.expect(b"Echo: Hello, Server!");
    client.send(b"\x00\xff\r\n");
    client.expect(b"Echo: \x00\xff\r\n");
}

#[test]
fn empty_prefix_returns_every_byte_and_adds_none() {
    let server = start("raw://127.0.0.1:0?prefix=");
    let mut client = server.connect();
    for byte in 0..=255 {
        client.send(&[byte]);
        client.expect(&[byte]);
    }
    let all: Vec<u8> = (0..=255).collect();
    client.send(&all);
    client.expect(&all);
    client.half_close();
    client.expect_eof();
}

#[test]
fn empty_prefix_is_transparent_for_megabytes() {
    let server = start("raw://127.0.0.1:0?prefix=");
    let mut client = server.connect();
    let bytes = random_bytes(20_000_000);
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&bytes);
            writer.half_close();
        });
        client.expect(&bytes);
        client.expect_eof();
    });
}

#[test]
fn prefix_is_percent_encoded() {
    for (encoded, decoded) in [
        ("%5BHi%5D%20", &b"[Hi] "[..]),
        ("%00%ff%C3%a9", b"\x00\xff\xc3\xa9"),
        ("plain+text=", b"plain+text="),
    ] {
        let server = start(&format!("raw://127.0.0.1:0?prefix={encoded}"));
        let mut client = server.connect();
        client.send(b"x");
        client.expect(&[decoded, b"x"].concat());
    }
}

#[test]
fn prefix_comes_before_each_read() {
    let server = start("raw://127.0.0.1:0?prefix=%3E");
    let mut client = server.connect();
    let mut writer = client.twin();
    let bytes = vec![b'.'; 5_000_000];
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&bytes);
            writer.half_close();
        });
        client.read_to_end()
    });
    let (prefixes, echoed): (Vec<u8>, Vec<u8>) = answer.iter().partition(|&&byte| byte == b'>');
    assert!(echoed == bytes, "{} bytes came back", echoed.len());
    assert!(answer.starts_with(b">."), "a prefix stands before the bytes");
    assert!(!answer.ends_with(b">"), "the end of file is not a read");
    assert!(prefixes.len() > 1);
}

#[test]
fn half_closing_client_gets_its_answer_and_the_end() {
    let server = start("raw://127.0.0.1:0");
    let mut client = server.connect();
    client.send(b"last words");
    client.half_close();
    client.expect(b"Echo: last words");
    client.expect_eof();
    server.wait_for_line("disconnected: closed by peer");
}

#[test]
fn idle_raw_client_may_be_closed() {
    let server = start("raw://127.0.0.1:0?idle=1");
    let mut client = server.connect();
    client.expect_eof();
    server.wait_for_line("disconnected: idle timeout");
}
