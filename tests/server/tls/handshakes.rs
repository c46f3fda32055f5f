//! Handshakes: how they fail and what the log says of it, how long they may take, how many there
//! may be, and that they do not stop others.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use mynah::internal::limits::Limits;
use mynah::internal::net::{EventLoop, SocketOptions, TcpAcceptor};
use mynah::internal::protocol::CommandProtocol;
use mynah::internal::server::ListenerConfig;
use mynah::internal::tls::{ServerFiles, ServerTls};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use crate::support::tls::{Identity, new_connection, written};
use crate::support::{Client, PATIENCE, Server, crowd, wait_until};

/// A fatal alert in a record of its own.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

const DECODE_ERROR: u8 = 50;
const UNEXPECTED_MESSAGE: u8 = 10;
const PROTOCOL_VERSION: u8 = 70;

/// The client is told, and the log says who it was and why.
fn expect_failure(server: &Server, client: &Client, reason: &str) {
    let peer = format!("127.0.0.1:{} TLS handshake failed: ", client.local_port());
    let line = server.wait_for_line(&peer);
    assert!(line.contains(reason), "{line}");
}

#[test]
fn client_without_tls_gets_an_alert_and_a_log_line() {
    let server = Server::tls("command", &[]);
    for (sent, description) in [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(), DECODE_ERROR),
        (b"\x01\0\0\0\x05hello", DECODE_ERROR),
        (b"hello, world\n", DECODE_ERROR),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", DECODE_ERROR),
        // SSL 2.0.
        (b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", DECODE_ERROR),
    ] {
        let mut client = server.connect_tcp();
        client.send(sent);
        client.expect(&alert(description));
        client.expect_eof();
        expect_failure(&server, &client, "TLS handshake failed: the client speaks no TLS");
    }
    let line = server.wait_for_line("TLS handshake failed");
    let (_, line) = line.split_once('#').unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert!(words[0].parse::<u64>().is_ok() && words[1].starts_with("127.0.0.1:"), "{line}");
    server.connect().expect_alive();
    assert_eq!(server.count_lines("disconnected: handshake failed"), 0, "a second line");
}

/// Data before the handshake, an alert, a second ClientHello: TLS, but not in that order.
#[test]
fn records_out_of_order_end_the_handshake() {
    let server = Server::tls("command", &[]);
    for (sent, description) in [
        (b"\x17\x03\x03\0\x05hello".as_slice(), UNEXPECTED_MESSAGE),
        (b"\x14\x03\x03\0\x01\x01", UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\0\x04\x14\0\0\0", UNEXPECTED_MESSAGE),
    ] {
        let mut client = server.connect_tcp();
        client.send(sent);
        client.expect(&alert(description));
        client.expect_eof();
        expect_failure(&server, &client, "");
    }
}

/// Two messages in one record, of which the first ends the handshake: the second is not waited for,
/// and not lost track of.
#[test]
fn messages_behind_a_bad_one_are_dropped() {
    let server = Server::tls("command", &[]);
    let mut other = server.connect();
    for messages in [&[20, 0, 0, 0, 1, 0, 0, 0][..], &[20, 0, 0, 0, 1, 0, 0], &[20, 0, 0, 0, 1]] {
        let len = u8::try_from(messages.len()).unwrap();
        let mut client = server.connect_tcp();
        client.send(&[&[22, 3, 1, 0, len], messages].concat());
        client.expect(&alert(UNEXPECTED_MESSAGE));
        client.expect_eof();
        expect_failure(&server, &client, "");
    }
    other.expect_alive();
}

#[test]
fn alert_of_the_client_is_the_reason_in_the_log() {
    let server = Server::tls("command", &[]);
    let stranger = Identity::new();
    let client = server.connect_tcp();
    let port = client.local_port();
    let error = client.try_tls(stranger.client()).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let line = server.wait_for_line(&format!("127.0.0.1:{port} TLS handshake failed: "));
    assert!(line.contains("received fatal alert: "), "{line}");
}

#[test]
fn client_that_goes_inside_its_handshake_is_logged() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    let hello = written(&mut new_connection(server.identity().client()));
    client.send(&hello[..hello.len() / 2]);
    client.shut_tcp();
    client.expect_eof();
    expect_failure(&server, &client, "the client closed the connection");
}

/// A port scan, or the probe of a load balancer.
#[test]
fn client_that_goes_without_a_byte_has_not_failed() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    client.shut_tcp();
    client.expect_eof();
    server.wait_for_line("disconnected: closed by peer");
    assert_eq!(server.count_lines("handshake failed"), 0);
}

#[test]
fn silent_client_is_closed_after_the_handshake_timeout() {
    let server = Server::tls("command", &["--handshake-timeout", "1"]);
    let mut open = server.connect();
    let mut client = server.connect_tcp();
    let began_at = Instant::now();
    assert_eq!(client.read_until_cut(), b"");
    let took = began_at.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    expect_failure(&server, &client, "nothing came within 1 s");
    open.expect_alive();
}

/// Every byte is progress, which counts for nothing: the time is for the whole handshake.
#[test]
fn dribbled_handshake_is_closed_after_the_timeout() {
    let server = Server::tls("command", &["--handshake-timeout", "1"]);
    let hello = written(&mut new_connection(server.identity().client()));
    let mut client = server.connect_tcp();
    let began_at = Instant::now();
    client.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = hello.iter();
    loop {
        client.try_send(&[*bytes.next().unwrap()]);
        match client.stream().read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break,
        }
        assert!(began_at.elapsed() < PATIENCE);
    }
    let took = began_at.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    expect_failure(&server, &client, "not finished within 1 s");
}

/// Each of the client's flights, each byte a write of its own.
#[test]
fn handshake_in_single_bytes_succeeds() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let mut client = server.connect_tcp();
        let mut tls = new_connection(server.identity().client_of(version));
        while tls.is_handshaking() || tls.wants_write() {
            for byte in written(&mut tls) {
                client.send(&[byte]);
            }
            if tls.is_handshaking() {
                tls.read_tls(client.stream()).unwrap();
                tls.process_new_packets().unwrap();
            }
        }
        client.tls = Some(Box::new(tls));
        client.expect_alive();
    }
}

/// A ClientHello in records of one byte is as good as another (RFC 8446, 5.1).
#[test]
fn hello_in_records_of_one_byte_succeeds() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    let mut tls = new_connection(server.identity().client());
    let hello = written(&mut tls);
    let split: Vec<u8> = hello[5..].iter().flat_map(|&byte| [22, 3, 1, 0, 1, byte]).collect();
    client.send(&split);
    tls.complete_io(client.stream()).unwrap();
    client.tls = Some(Box::new(tls));
    client.expect_alive();
}

/// It announces more than any message has, and sends it.
#[test]
fn endless_hello_is_cut() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    client.send(&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]);
    for _ in 0..40 {
        client.try_send(&[&[22, 3, 1, 0x10, 0][..], &[0; 4096]].concat());
    }
    client.read_until_cut();
    expect_failure(&server, &client, "its handshake messages are too long");
}

/// Everything in one write: the requests come with the end of the handshake.
#[test]
fn requests_behind_the_handshake_are_answered() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    let mut tls = new_connection(server.identity().client());
    client.send(&written(&mut tls));
    while tls.is_handshaking() {
        tls.read_tls(client.stream()).unwrap();
        tls.process_new_packets().unwrap();
    }
    tls.writer().write_all(&b"\x01\0\0\0\x02hi".repeat(3)).unwrap();
    tls.send_close_notify();
    client.send(&written(&mut tls));
    client.tls = Some(Box::new(tls));
    client.expect(&b"\x01\0\0\0\x02hi".repeat(3));
    client.expect_eof();
}

/// A flight in two: the server has half of what ends the handshake, and waits.
#[test]
fn close_notify_inside_the_handshake_ends_it() {
    let server = Server::tls("command", &[]);
    let mut client = server.connect_tcp();
    let mut tls = new_connection(server.identity().client());
    client.send(&written(&mut tls));
    // Nobody has keys yet.
    client.send(&[21, 3, 3, 0, 2, 1, 0]);
    client.read_until_cut();
    expect_failure(&server, &client, "");
}

/// Which name was asked for is worth a line at debug, and its bytes are the client's.
#[test]
fn asked_name_is_logged_at_debug() {
    let server = Server::tls("command", &["-v"]);
    server.connect().expect_alive();
    let line = server.wait_for_line("asks for server");
    assert!(line.contains("DEBUG") && line.ends_with("asks for server \"localhost\""), "{line}");
}

/// A client that waits for its turn is in nobody's way: neither its own room's nor a broadcast's.
#[test]
fn unfinished_handshake_is_no_member() {
    let server = Server::tls("command", &[]);
    let mut sender = server.connect();
    let mut waiting = server.connect_tcp();
    let mut receiver = server.connect();
    wait_until("all have come", || sender.status().get("connections") == 3);
    assert_eq!(sender.ask(4, b"news"), (1, b"1".to_vec()));
    receiver.expect_frame(4, "news");
    waiting.expect_silence(Duration::from_millis(50));
    let mut waiting = waiting.with_tls(server.identity().client());
    waiting.expect_alive();
}

/// 300 handshakes arrive at once. Their time is not that of the established.
#[test]
fn handshake_storm_does_not_stop_an_echo() {
    const STORM: usize = 300;
    let _guard = crowd(STORM);
    let server = Server::tls("command", &[]);
    let mut echo = server.connect();
    echo.expect_alive();
    let config: std::sync::Arc<ClientConfig> = server.identity().client().into();
    let mut storm: Vec<_> =
        (0..STORM).map(|_| (server.connect_tcp(), new_connection(config.clone()))).collect();
    // All of them are in the server's queues before it runs again.
    server.freeze();
    for (client, tls) in &mut storm {
        client.send(&written(tls));
    }
    server.thaw();
    let mut worst = Duration::ZERO;
    thread::scope(|scope| {
        let rest = scope.spawn(|| {
            for (mut client, mut tls) in storm.drain(..) {
                tls.complete_io(client.stream()).unwrap();
                client.tls = Some(Box::new(tls));
                client.expect_alive();
            }
        });
        while !rest.is_finished() {
            let began_at = Instant::now();
            echo.expect_alive();
            worst = worst.max(began_at.elapsed());
        }
        rest.join().unwrap();
    });
    println!("worst echo beside {STORM} handshakes: {worst:?}");
    assert!(worst < Duration::from_millis(500), "{worst:?}");
}

/// A server on a thread that ends with the process, with room for `max` unfinished handshakes: more
/// than the program's bound is more than a test has descriptors for.
fn with_handshakes_max(max: usize, identity: &Identity) -> std::net::SocketAddr {
    let files =
        ServerFiles { cert: (&identity.cert).into(), key: (&identity.key).into(), client_ca: None };
    let (send, addr) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let options = SocketOptions::default();
        let acceptor = TcpAcceptor::bind(([127, 0, 0, 1], 0).into(), options).unwrap();
        send.send(acceptor.local_addr().unwrap()).unwrap();
        let limits = Limits { handshakes_max: max, ..Limits::default() };
        let mut event_loop = EventLoop::new(limits).unwrap();
        let protocol = CommandProtocol { payload_len_max: 1 << 20 }.into();
        let config = ListenerConfig { name: "bounded".to_owned(), protocol, idle_ms: 0 };
        event_loop.add_listener(acceptor, config).unwrap();
        event_loop.server_mut().set_layer(0, ServerTls::load(&files).unwrap());
        event_loop.run().unwrap();
    });
    addr.recv_timeout(PATIENCE).unwrap()
}

/// The oldest of the address that has most makes way, and one that is alone at its address does not.
#[test]
fn unfinished_handshakes_are_bounded() {
    const MAX: usize = 8;
    let identity = Identity::new();
    let addr = with_handshakes_max(MAX, &identity);
    let mut open = Client::connect(addr).with_tls(identity.client());
    open.expect_alive();
    let alone = Client::connect_from([127, 0, 0, 9], addr);
    let mut crowd: Vec<Client> = (0..MAX + 3)
        .map(|number| {
            let client = Client::connect(addr);
            let expected = (number + 3).min(MAX + 1) as u64;
            wait_until("it is accepted", || open.status().get("connections") == expected);
            client
        })
        .collect();
    let kept = crowd.split_off(4);
    for mut cut in crowd {
        assert_eq!(cut.read_until_cut(), b"");
    }
    for mut client in kept {
        assert!(client.is_quiet_for(Duration::from_millis(1)));
        client.with_tls(identity.client()).expect_alive();
    }
    alone.with_tls(identity.client()).expect_alive();
    open.expect_alive();
}

#[test]
fn old_versions_are_refused() {
    let server = Server::tls("command", &[]);
    // A ClientHello of TLS 1.1 with one suite of its time, as OpenSSL sends it.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, ECDHE-RSA-AES128-SHA, no compression, P-256.
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0, 0, 20]);
    hello.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]);
    let len = u8::try_from(hello.len()).unwrap();
    let message = [&[1, 0, 0, len][..], &hello].concat();
    let record = [&[22, 3, 1, 0, len + 4][..], &message].concat();
    let mut client = server.connect_tcp();
    client.send(&record);
    client.expect(&alert(PROTOCOL_VERSION));
    client.expect_eof();
    expect_failure(&server, &client, "");
}
