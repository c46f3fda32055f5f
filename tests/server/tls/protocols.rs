//! Each protocol over TLS as it is without, to the byte, up to the end of the connection.

use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::tls::Identity;
use crate::support::{Folder, Server, error, frame, random_bytes, wait_until};

#[test]
fn command_is_spoken_over_tls() {
    let server = Server::tls("command", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.expect_alive();
    other.expect_alive();
    assert_eq!(client.ask(2, "Hé!".as_bytes()), (1, "!éH".as_bytes().to_vec()));
    assert_eq!(client.ask(4, b"to all"), (1, b"1".to_vec()));
    other.expect_frame(4, "to all");
    assert_eq!(client.ask(9, b""), (255, b"unknown command 9".to_vec()));
    assert_eq!(client.status().get("connections"), 2);
    client.send(b"\x03\0\0\0\0");
    client.expect_eof();
    other.expect_alive();
}

#[test]
fn prefixed_is_spoken_over_tls() {
    let server = Server::tls("prefixed", &[]);
    let mut client = server.connect();
    client.send(b"\x0cHello, world\x00");
    client.expect(b"\x0cdlrow ,olleH\x00");
}

#[test]
fn raw_is_spoken_over_tls() {
    let identity = Identity::new();
    let url = "raw+tls://127.0.0.1:0?prefix=";
    let server = Server::start(&[&["-l", url], identity.options().as_slice()].concat())
        .with_identity(identity);
    let bytes = random_bytes(300_000);
    let mut client = server.connect();
    let mut got = Vec::new();
    for chunk in bytes.chunks(50_000) {
        client.send(chunk);
        got.extend(client.read_exactly(chunk.len()));
    }
    assert!(got == bytes);
}

#[test]
fn chat_is_spoken_over_tls() {
    let server = Server::tls("chat", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.send(b"Ann\n");
    assert_eq!(ann.read_line(), "[INFO] Welcome, Ann!");
    bob.send(b"Bob\n");
    assert_eq!(bob.read_line(), "[INFO] Welcome, Bob!");
    assert_eq!(ann.read_line(), "[SERVER] Bob joined");
    ann.send(b"hello\n");
    assert_eq!(bob.read_line(), "[Ann]: hello");
    bob.half_close();
    bob.expect_eof();
    assert_eq!(ann.read_line(), "[SERVER] Bob left");
}

#[cfg(feature = "plugins")]
#[test]
fn plugin_is_spoken_over_tls() {
    let folder = Folder::new();
    let plugin = "return { name = 'shout', process_client_pkg = string.upper }";
    folder.file("shout.lua", plugin);
    let server = Server::tls("plugin", &["--plugin-dir", &folder.path("")]);
    let mut client = server.connect();
    client.send(b"hello");
    client.expect(b"HELLO");
}

#[test]
fn both_versions_are_spoken() {
    let server = Server::tls("command", &[]);
    for (version, number) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut client = server.connect_with(server.identity().client_of(version));
        client.expect_alive();
        assert_eq!(client.tls_mut().protocol_version(), Some(number));
        client.half_close();
        client.expect_eof();
    }
}

/// The client prefers others; the server's order counts.
#[test]
fn sha256_suites_are_preferred() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let mut config = server.identity().client_of(version);
        let mut provider = (**config.crypto_provider()).clone();
        let is_sha384 = |suite: &rustls::SupportedCipherSuite| {
            format!("{:?}", suite.suite()).ends_with("SHA384")
        };
        assert!(is_sha384(&provider.cipher_suites[0]), "the client has another order");
        provider.cipher_suites.retain(|suite| {
            is_sha384(suite) || format!("{:?}", suite.suite()).contains("AES_128_GCM_SHA256")
        });
        config = rebuilt(&server, provider, version);
        let mut client = server.connect_with(config);
        client.expect_alive();
        let suite = client.tls_mut().negotiated_cipher_suite().unwrap();
        assert!(!is_sha384(&suite), "{suite:?}");
    }
}

fn rebuilt(
    server: &Server,
    provider: rustls::crypto::CryptoProvider,
    version: &'static rustls::SupportedProtocolVersion,
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.identity().authority.certificate.clone()).unwrap();
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// It sends, says that it will send no more, and reads late.
#[test]
fn half_closed_client_gets_every_reply_and_an_end() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let requests = frame(1, &random_bytes(100_000)).repeat(20);
        let mut client = server.connect_with(server.identity().client_of(version));
        client.send(&requests);
        client.half_close();
        assert!(client.read_to_end() == requests);
    }
}

/// RFC 8446, 6.1: what comes behind a close_notify is ignored. If the server closed with it unread,
/// the reset would destroy the replies.
#[test]
fn replies_survive_what_comes_behind_a_close_notify() {
    let server = Server::tls("command", &[]);
    for _ in 0..5 {
        let mut client = server.connect();
        let request = frame(1, &random_bytes(15_000));
        let mut wire = client.seal(&request.repeat(4));
        client.tls_mut().send_close_notify();
        wire.extend(crate::support::tls::written(client.tls_mut()));
        wire.extend(random_bytes(3_000_000));
        std::io::Write::write_all(client.stream(), &wire).unwrap();
        client.expect(&request.repeat(4));
        client.expect_eof();
    }
}

#[test]
fn error_over_tls_survives_a_close_with_unread_input() {
    let server = Server::tls("command", &["--max-frame", "100"]);
    let mut client = server.connect();
    client.send(b"\x01\0\0\0\x06before");
    client.send(b"\x01\0\0\0\x65");
    client.try_send(&random_bytes(1_000_000));
    client.expect(b"\x01\0\0\0\x06before");
    client.expect(&error("frame of 101 bytes exceeds the limit of 100"));
    client.expect_eof();
}

#[test]
fn server_that_stops_ends_each_connection() {
    let mut server = Server::tls("chat", &[]);
    let mut ann = server.connect();
    ann.send(b"Ann\n");
    ann.read_line();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(ann.read_line(), "[INFO] The server has shut down");
    ann.expect_eof();
}

#[test]
fn requests_that_arrived_are_answered_in_a_stop() {
    let mut server = Server::tls("command", &[]);
    let mut client = server.connect();
    client.expect_alive();
    server.freeze();
    client.send(&frame(1, b"last").repeat(100));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.thaw();
    client.expect(&frame(1, b"last").repeat(100));
    client.expect_eof();
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn idle_client_is_ended_with_a_close_notify() {
    let server = Server::tls("command", &["--idle-timeout", "1"]);
    let mut client = server.connect();
    client.expect_alive();
    client.expect_eof();
    server.wait_for_line("disconnected: idle timeout");
}

#[test]
fn full_server_closes_without_a_word() {
    let server = Server::tls("command", &["-m", "1"]);
    let mut first = server.connect();
    first.expect_alive();
    let mut second = server.connect_tcp();
    assert_eq!(second.read_until_cut(), b"");
    let line = server.wait_for_line("refused by command+tls://");
    assert!(line.ends_with("server is full: 1 clients"), "{line}");
    let status = first.status();
    assert_eq!((status.get("connections"), status.get("refused_total")), (1, 1));
    drop(first);
    wait_until("the place is free", || {
        server.connect_tcp().try_tls(server.identity().client()).is_ok()
    });
}

/// An unfinished frame is late over TLS as it is without, whole records or not.
#[test]
fn unfinished_frame_is_late() {
    let server = Server::tls("command", &["--frame-timeout", "1"]);
    let mut client = server.connect();
    client.send(b"\x01\0\0\0\x09hal");
    client.expect_frame(255, "frame incomplete after 1 s");
    client.expect_eof();
}

#[test]
fn client_that_never_reads_is_not_read_from() {
    const QUEUE: u64 = 1 << 20;
    let server = Server::tls("command", &["--send-queue", &QUEUE.to_string()]);
    let mut client = server.connect_with_small_buffer();
    client.expect_alive();
    let before = server.memory("RssAnon");
    let sent = client.send_until_blocked(&frame(1, &random_bytes(10_000)).repeat(10_000));
    let grown = server.memory("RssAnon").saturating_sub(before);
    println!("{sent} bytes taken, {grown} held");
    assert!(sent < 30_000_000, "all is taken");
    assert!(grown < 2 * QUEUE, "{grown} bytes held");
    let mut other = server.connect();
    other.expect_alive();
    assert!(other.is_quiet_for(Duration::from_millis(10)));
}
