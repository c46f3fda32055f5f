//! Connections that begin with a PROXY header.

use std::time::{Duration, Instant};

#[cfg(feature = "unix")]
use crate::support::Folder;
use crate::support::{Client, Server, error, frame};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";

/// A header of version 2 from 192.0.2.8:51235, with an extension of 200 bytes.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((12u16 + 203).to_be_bytes());
    header.extend([192, 0, 2, 8, 198, 51, 100, 1, 0xc8, 0x23, 1, 187]);
    header.extend([4, 0, 200]);
    header.extend([0; 200]);
    header
}

fn server(args: &[&str]) -> Server {
    Server::start(&[&["-l", "command://127.0.0.1:0?proxy=127.0.0.1"], args].concat())
}

/// A client behind the proxy.
fn behind(server: &Server, header: &[u8]) -> Client {
    let mut client = server.connect();
    client.send(header);
    client
}

#[test]
fn header_names_the_client() {
    let server = server(&[]);
    for (header, peer) in [(V1, "192.0.2.7:51234"), (&v2(), "192.0.2.8:51235")] {
        let mut client = behind(&server, header);
        client.expect_alive();
        drop(client);
        server.wait_for_line(&format!("{peer} connected to command://127.0.0.1:"));
        server.wait_for_line(&format!("{peer} disconnected: closed by peer"));
    }
    assert_eq!(server.count_lines("127.0.0.1:0 connected"), 0);
}

#[test]
fn header_may_be_cut_anywhere() {
    let server = server(&[]);
    for header in [V1, &v2()] {
        for at in (1..header.len()).step_by(if header == V1 { 1 } else { 7 }) {
            let mut client = server.connect();
            client.send(&header[..at]);
            client.send(&header[at..]);
            client.expect_alive();
        }
        let mut client = server.connect();
        header.iter().for_each(|byte| client.send(&[*byte]));
        client.expect_alive();
    }
}

#[test]
fn bytes_behind_a_header_are_the_clients() {
    let server = server(&[]);
    let request = frame(1, b"right behind it");
    let mut client = behind(&server, &[V1, &request[..]].concat());
    client.expect(&request);
    client.half_close();
    client.expect_eof();
}

#[test]
fn header_without_a_client_keeps_the_peer() {
    let server = server(&["-v"]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&b"PROXY UNKNOWN ffff:f 1 2 3\r\n"[..], local] {
        let mut client = behind(&server, header);
        client.expect_alive();
        server.wait_for_line(&format!(" 127.0.0.1:{} connected", client.local_port()));
    }
}

#[test]
fn bad_header_closes_with_a_warning() {
    let long = [b"PROXY TCP4 ", &[b'1'; 107][..]].concat();
    let family = b"PROXY TCP4 2001:db8::1 198.51.100.1 51234 443\r\n";
    for (header, why) in [
        (&b"\x01\0\0\0\x05alive"[..], "it does not begin with one"),
        (&long, "it is too long"),
        (family, "its line is malformed"),
        (b"\r\n\r\n\0\r\nQUIT\n\x31", "its version is neither 1 nor 2"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04aaaa", "its length does not hold its addresses"),
    ] {
        let server = server(&[]);
        let mut client = behind(&server, header);
        assert_eq!(client.read_until_cut(), b"");
        let line = server.wait_for_line("has no valid PROXY header");
        assert!(line.contains("WARN") && line.ends_with(why), "{line}");
        server.connect_to(0);
    }
}

#[test]
fn header_cut_short_by_the_end_is_refused() {
    let server = server(&[]);
    let mut client = behind(&server, &V1[..20]);
    client.half_close();
    assert_eq!(client.read_until_cut(), b"");
    let line = server.wait_for_line("has no valid PROXY header");
    assert!(line.ends_with("it is cut short"), "{line}");
}

#[test]
fn health_check_that_says_nothing_is_no_warning() {
    let server = server(&[]);
    let port = server.connect().local_port();
    server.wait_for_line(&format!("127.0.0.1:{port} disconnected: closed by peer"));
    assert_eq!(server.count_lines("WARN"), 0);
}

#[test]
fn header_has_three_seconds() {
    let server = server(&[]);
    let began_at = Instant::now();
    let (mut silent, mut slow) = (server.connect(), behind(&server, &V1[..10]));
    assert_eq!(silent.read_until_cut(), b"");
    assert_eq!(slow.read_until_cut(), b"");
    let took = began_at.elapsed();
    assert!(took >= Duration::from_millis(2_900), "{took:?}");
    let line = server.wait_for_line("has no valid PROXY header");
    assert!(line.ends_with("it did not come within 3 s"), "{line}");
}

#[test]
fn second_header_is_the_clients_bytes() {
    let server = server(&[]);
    let mut client = behind(&server, &[V1, V1].concat());
    // 'P', and a length of "ROXY".
    client.expect(&error("frame of 1380931673 bytes exceeds the limit of 1048576"));
}

#[test]
fn untrusted_peer_is_served_as_ever() {
    let server = Server::start(&["-l", "command://127.0.0.1:0?proxy=10.0.0.0/8,127.0.2.0/24"]);
    let mut client = server.connect();
    client.expect_alive();
    let mut liar = behind(&server, V1);
    liar.expect(&error("frame of 1380931673 bytes exceeds the limit of 1048576"));
    let mut trusted = Client::connect_from([127, 0, 2, 1], server.addr(0));
    trusted.send(V1);
    trusted.expect_alive();
}

#[test]
fn limits_count_the_clients_of_a_proxy() {
    let server = server(&["--max-per-ip", "1"]);
    let mut first = behind(&server, V1);
    first.expect_alive();
    let mut second = behind(&server, V1);
    second.expect(&error("too many connections from 192.0.2.7"));
    second.expect_eof();
    behind(&server, &v2()).expect_alive();
    let line = server.wait_for_line("too many connections from one address");
    assert!(line.ends_with("the last from 192.0.2.7"), "{line}");
}

#[test]
fn ipv6_clients_are_counted_by_their_64() {
    let server = server(&["--max-per-ip", "1"]);
    let header = |address: &str| format!("PROXY TCP6 {address} 2001:db8::1 51234 443\r\n");
    let mut first = behind(&server, header("2001:db8:0:1::1").as_bytes());
    first.expect_alive();
    let mut neighbour = behind(&server, header("2001:db8:0:1:ffff::2").as_bytes());
    neighbour.expect(&error("too many connections from 2001:db8:0:1:ffff::2"));
    behind(&server, header("2001:db8:0:2::1").as_bytes()).expect_alive();
    let mut mapped = behind(&server, header("::ffff:192.0.2.7").as_bytes());
    mapped.expect_alive();
    behind(&server, V1).expect(&error("too many connections from 192.0.2.7"));
}

#[test]
fn headerless_connections_are_bounded() {
    let server = server(&[]);
    let mut waiting: Vec<Client> = (0..1_024).map(|_| server.connect()).collect();
    let mut last = behind(&server, V1);
    last.expect_alive();
    let mut one_more = server.connect();
    assert_eq!(waiting[0].read_until_cut(), b"", "the oldest makes way");
    let line = server.wait_for_line("has no valid PROXY header");
    assert!(line.ends_with("too many wait for theirs"), "{line}");
    one_more.send(V1);
    one_more.expect_alive();
    waiting[1].send(V1);
    waiting[1].expect_alive();
}

#[test]
fn chat_behind_a_proxy_greets_nobody_early() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0?proxy=127.0.0.1"]);
    let (mut anna, mut boris) = (behind(&server, V1), behind(&server, &v2()));
    anna.send(b"anna\n");
    anna.expect(b"[INFO] Welcome, anna!\n");
    let mut headerless = server.connect();
    boris.send(b"boris\nhello\n");
    anna.expect(b"[SERVER] boris joined\n[boris]: hello\n");
    headerless.send(&[V1, b"carla\n"].concat());
    headerless.expect(b"[INFO] Welcome, carla!\n");
    server.wait_for_line("192.0.2.7:51234 connected");
}

#[test]
fn stop_does_not_wait_for_headers() {
    let mut server = server(&[]);
    let mut headerless = server.connect();
    let mut client = behind(&server, V1);
    client.expect_alive();
    assert_eq!(server.stop(), Some(0));
    client.expect_eof();
    assert_eq!(headerless.read_until_cut(), b"");
}

#[cfg(feature = "unix")]
#[test]
fn unix_sockets_peers_may_be_proxies() {
    let folder = Folder::new();
    let server = Server::unix("command", &folder, &["--max-per-ip", "1"]);
    let mut liar = Client::unix(&folder.path("s"));
    liar.send(V1);
    liar.expect(&error("frame of 1380931673 bytes exceeds the limit of 1048576"));
    drop(server);
    let url = format!("command+unix://{}?proxy=unix", folder.path("s"));
    let server = Server::start(&["-l", &url, "--max-per-ip", "1"]);
    let connect = || {
        let mut client = Client::unix(&folder.path("s"));
        client.send(V1);
        client
    };
    let mut first = connect();
    first.expect_alive();
    connect().expect(&error("too many connections from 192.0.2.7"));
    server.wait_for_line("192.0.2.7:51234 connected to command+unix:");
}
