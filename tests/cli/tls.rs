//! The client over TLS: what it does with a server of TLS, and what it says where that fails.

use std::io::{Read, Write};
use std::process::Command;

use rustls::ContentType;
use rustls::HandshakeKind::{Full, Resumed};
use rustls::version::{TLS12, TLS13};

use super::mock_server::MockServer;
use super::program::{CLIENT, ExitResult, RunningClient};
use super::support::{PATIENCE, Server, error, frame, random_bytes};
use super::tls_server::{
    Authority, Forger, TlsPeer, TlsServer, config, forger_config, linger, listen,
};

/// The client, on a system that trusts nobody.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(CLIENT);
    command.args(args).env_remove("HOME").env_remove("SSL_CERT_DIR");
    command.env("SSL_CERT_FILE", "/dev/null");
    command
}

#[track_caller]
fn run(args: &[&str]) -> ExitResult {
    run_with_input(args, b"")
}

#[track_caller]
fn run_with_input(args: &[&str], input: &[u8]) -> ExitResult {
    let mut running = RunningClient::spawn(&mut command(args));
    running.write_input(input);
    running.close_input();
    running.wait()
}

/// Reads the ECHO of `text`.
fn expect_echo(peer: &mut TlsPeer, text: &[u8]) {
    let expected = frame(1, text);
    let mut got = vec![0; expected.len()];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

/// A server that answers one `echo x`, and waits for the end.
fn serve_echo(mut peer: TlsPeer) {
    let mut request = [0; 6];
    // A client that refuses the server sends none.
    if peer.read_exact(&mut request).is_ok() {
        peer.write_all(&frame(1, &request[5..])).unwrap();
        let _ = peer.read_to_end(&mut Vec::new());
    }
}

fn echo_server(authority: &Authority) -> TlsServer {
    TlsServer::new(authority.config(), serve_echo)
}

#[track_caller]
fn assert_cannot_connect(result: &ExitResult, server: &str, reason: &str) {
    result.assert_error(&format!("cannot connect to {server}: {reason}"));
}

#[test]
fn commands_work_over_tls() {
    let authority = Authority::new();
    let urls = ["command", "prefixed", "raw"].map(|protocol| format!("{protocol}://127.0.0.1:0"));
    let server = Server::start(&["-l", &urls[0], "-l", &urls[1], "-l", &urls[2]]);
    let ca = authority.ca();
    let config = authority.config();
    for is_trickling in [false, true] {
        let tls = |index| TlsServer::before(server.addr(index), config.clone(), is_trickling);
        let [command, prefixed, raw] = [tls(0), tls(1), tls(2)];
        let url = command.url("command");
        run(&["--cacert", &ca, &url, "echo", "Hello"]).assert_reply("Hello\n");
        run(&["--cacert", &ca, &url, "rev", "Hé!"]).assert_reply("!éH\n");
        run(&["--cacert", &ca, &url, "call", "3", ""]).assert_reply("\n");
        let url = prefixed.url("prefixed");
        run(&["--cacert", &ca, &url, "send", "abc"]).assert_reply("cba\n");
        // The end of the message is close_notify.
        let url = raw.url("raw");
        run(&["--cacert", &ca, &url, "send", "abc"]).assert_reply("Echo: abc\n");
        let lines = b"echo one\nrev two\necho three\n";
        let url = command.url("command");
        let prompt = run_with_input(&["--cacert", &ca, &url], lines);
        prompt.assert_reply("one\nowt\nthree\n");
    }
}

#[test]
fn long_texts_go_both_ways_at_once() {
    let authority = Authority::new();
    let server = Server::start(&["-l", "command://127.0.0.1:0"]);
    let tls = TlsServer::before(server.addr(0), authority.config(), false);
    let bytes = random_bytes(1 << 20);
    let args = ["--cacert", &authority.ca(), &tls.url("command"), "echo", "-"];
    run_with_input(&args, &bytes).assert_reply([&bytes[..], b"\n"].concat());
}

#[test]
fn chat_in_a_pipe_works_over_tls() {
    let authority = Authority::new();
    let server = Server::start(&["-l", "chat://127.0.0.1:0"]);
    let tls = TlsServer::before(server.addr(0), authority.config(), false);
    let args = ["--cacert", &authority.ca(), &tls.url("chat"), "chat", "ann"];
    let chat = run_with_input(&args, b"/who\n");
    chat.assert_reply("[INFO] Welcome, ann!\nOnline: ann\n");
}

#[test]
fn unknown_issuer_names_cacert() {
    let authority = Authority::new();
    let server = echo_server(&authority);
    let url = server.url("command");
    let reason = "nobody trusted here has issued the server's certificate: name its CA, or the \
                  certificate itself, with --cacert FILE";
    let other = Authority::new();
    let other = &other.ca();
    assert_cannot_connect(&run(&["--cacert", other, &url, "echo", "x"]), &url, reason);
    run(&["--cacert", &authority.ca(), &url, "echo", "x"]).assert_reply("x\n");
    let [old, new] = [Authority::named("one"), Authority::named("one")];
    let server = echo_server(&new);
    let result = run(&["--cacert", &old.ca(), &server.url("command"), "echo", "x"]);
    let reason = "(a CA of that name is, with another key): name its CA";
    assert!(result.stderr.contains(reason), "{}", result.stderr);
}

#[test]
fn roots_are_the_systems_without_cacert() {
    let authority = Authority::new();
    let server = echo_server(&authority);
    let url = server.url("command");
    let with_system = |file: &str| {
        RunningClient::spawn(command(&[&url, "echo", "x"]).env("SSL_CERT_FILE", file)).wait()
    };
    with_system(&authority.ca()).assert_reply("x\n");
    let none = with_system("/dev/null");
    assert_eq!(none.code, Some(2));
    let reason = "this system has no certificates of CAs: name that of the server's with --cacert";
    assert!(none.stderr.contains(reason), "{}", none.stderr);
    // --cacert replaces them.
    let other = Authority::new();
    let other = &other.ca();
    let args = ["--cacert", other, &url, "echo", "x"];
    let replaced = RunningClient::spawn(command(&args).env("SSL_CERT_FILE", authority.ca())).wait();
    assert_eq!(replaced.code, Some(1), "{replaced:?}");
}

#[test]
fn other_name_is_told_and_can_be_given() {
    let authority = Authority::new();
    let issued = authority.issue(&["chat.example", "*.example.org"]);
    let server = TlsServer::new(config(&issued, None, rustls::ALL_VERSIONS), serve_echo);
    let (ca, url) = (authority.ca(), server.url("command"));
    let reason = "the server's certificate is for chat.example, *.example.org, not for 127.0.0.1: \
                  if it is the right server, --server-name chat.example";
    assert_cannot_connect(&run(&["--cacert", &ca, &url, "echo", "x"]), &url, reason);
    for name in ["chat.example", "a.example.org"] {
        let named = run(&["--cacert", &ca, "--server-name", name, &url, "echo", "x"]);
        named.assert_reply("x\n");
    }
    let by_name = url.replace("127.0.0.1", "localhost");
    let result = run(&["--cacert", &ca, &by_name, "echo", "x"]);
    assert!(result.stderr.contains("not for localhost"), "{}", result.stderr);
}

#[test]
fn certificate_out_of_date_is_refused() {
    let authority = Authority::new();
    for (years, reason) in [
        ((2001, 2002), "the server's certificate expired on 2002-01-01 at 00:00 UTC"),
        (
            (3001, 3002),
            "the server's certificate is valid from 3001-01-01 at 00:00 UTC only: check this \
             machine's clock",
        ),
    ] {
        let names = &["127.0.0.1"];
        for issued in [authority.issue_for(names, years), authority.self_signed(names, years)] {
            let server = TlsServer::new(config(&issued, None, rustls::ALL_VERSIONS), serve_echo);
            let url = server.url("command");
            // The self-signed one is trusted for itself.
            let file = [&authority.ca(), &issued.cert].map(|file| std::fs::read(file).unwrap());
            let both = format!("{}.both", issued.cert);
            std::fs::write(&both, file.concat()).unwrap();
            assert_cannot_connect(&run(&["--cacert", &both, &url, "echo", "x"]), &url, reason);
        }
    }
}

#[test]
fn self_signed_certificate_is_its_own_ca() {
    let authority = Authority::new();
    let issued = authority.self_signed(&["127.0.0.1"], super::tls_server::NOW);
    let server = TlsServer::new(config(&issued, None, rustls::ALL_VERSIONS), serve_echo);
    let url = server.url("command");
    run(&["--cacert", &issued.cert, &url, "echo", "x"]).assert_reply("x\n");
    let named = run(&["--cacert", &issued.cert, "--server-name", "h", &url, "echo", "x"]);
    assert!(named.stderr.contains("is for 127.0.0.1, not for h"), "{}", named.stderr);
    let unknown = run(&["--cacert", &authority.ca(), &url, "echo", "x"]);
    let reason = "nobody trusted here has issued the server's certificate (it is a CA's own): name \
                  its CA, or the certificate itself, with --cacert FILE";
    assert_cannot_connect(&unknown, &url, reason);
}

#[test]
fn insecure_warns_and_checks_nothing() {
    let authority = Authority::new();
    let issued = authority.issue_for(&["elsewhere.example"], (2001, 2002));
    let server = TlsServer::new(config(&issued, None, rustls::ALL_VERSIONS), serve_echo);
    let result = run(&["--insecure", &server.url("command"), "echo", "x"]);
    assert_eq!((result.code, &*result.stdout), (Some(0), &b"x\n"[..]));
    let warning = "mynah-cli: warning: --insecure: the server's certificate is not checked\n";
    assert_eq!(result.stderr, warning);
}

#[test]
fn client_certificate_is_shown_where_it_is_demanded() {
    let authority = Authority::new();
    let (ca, client) = (authority.ca(), authority.issue(&["a client"]));
    let untrusted = Authority::new();
    let other = untrusted.issue(&["another client"]);
    for version in [&TLS13, &TLS12] {
        let config = config(&authority.issue(&["127.0.0.1"]), Some(&ca), &[version]);
        let server = TlsServer::new(config, serve_echo);
        let url = server.url("command");
        let with =
            |identity: &[&str]| run(&[&["--cacert", &ca], identity, &[&url, "echo", "x"]].concat());
        with(&["--cert", &client.cert, "--key", &client.key]).assert_reply("x\n");
        for (identity, reason) in [
            (&[][..], "the server demands a client certificate: --cert FILE --key FILE"),
            (
                &["--cert", &other.cert, "--key", &other.key],
                "the server does not accept the certificate of --cert (",
            ),
        ] {
            let refused = with(identity);
            assert_eq!((refused.code, refused.stdout.len()), (Some(1), 0));
            assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        }
    }
    let mismatch =
        run(&["--cacert", &ca, "--cert", &client.cert, "--key", &other.key, "raw+tls://h:1"]);
    assert_eq!(mismatch.code, Some(2));
    let reason = format!("{} is not the key of the certificate in {}", other.key, client.cert);
    assert!(mismatch.stderr.contains(&reason), "{}", mismatch.stderr);
}

#[test]
fn server_without_tls_is_told_from_one_that_fails() {
    let authority = Authority::new();
    let ca = authority.ca();
    let urls = ["command", "raw", "chat"].map(|protocol| format!("{protocol}://127.0.0.1:0"));
    let empty = "raw://127.0.0.1:0?prefix=";
    let server = Server::start(&["-l", &urls[0], "-l", &urls[1], "-l", &urls[2], "-l", empty]);
    for (index, protocol) in ["command", "raw", "chat", "raw"].into_iter().enumerate() {
        let addr = server.addr(index);
        let url = format!("{protocol}+tls://{addr}");
        let result = run_with_input(&["--cacert", &ca, &url], b"echo x\n");
        let reason =
            format!("the server does not speak TLS: use {protocol}://{addr}, without +tls");
        assert_eq!(result.code, Some(1));
        assert!(result.stderr.contains(&reason), "{url}: {}", result.stderr);
    }
}

#[test]
fn plain_client_is_told_that_the_server_speaks_tls() {
    let authority = Authority::new();
    let server = echo_server(&authority);
    for (protocol, args) in [
        ("command", &["echo", "x"][..]),
        ("command", &["status"]),
        ("prefixed", &["send", "x"]),
        ("raw", &["send", "some bytes"]),
        ("chat", &["chat", "ann"]),
    ] {
        let url = format!("{protocol}://{}", server.addr);
        let args = [&["--timeout", "1", &*url], args].concat();
        let result = run_with_input(&args, b"more\n");
        let reason = format!("the server seems to speak TLS: try {}\n", server.url(protocol));
        assert_eq!(result.code, Some(1));
        assert!(result.stderr.ends_with(&reason), "{protocol}: {}", result.stderr);
    }
}

#[test]
fn silent_server_is_given_up_after_the_timeout() {
    let authority = Authority::new();
    let ca = authority.ca();
    let (server, _release) = MockServer::silent();
    let url = format!("command+tls://{}", server.addr);
    let result = run(&["--timeout", "0.3", "--cacert", &ca, &url, "echo", "x"]);
    let plain = format!("command://{}", server.addr);
    let reason = format!(
        "no TLS handshake within 0.3 s; if the server does not speak TLS: use {plain}, without +tls"
    );
    assert_cannot_connect(&result, &url, &reason);
}

#[test]
fn server_that_trickles_a_handshake_is_given_up() {
    let authority = Authority::new();
    let ca = authority.ca();
    // A record's worth of bytes, one now and then: each read succeeds.
    let addr = listen(|mut socket| {
        let bytes = [&[22, 3, 3, 0x40, 0, 2, 0, 0x40, 0][..], &[0; 1 << 14]].concat();
        for byte in bytes {
            if socket.write_all(&[byte]).is_err() {
                return;
            }
            // Its pace, at which the handshake would take minutes.
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let result =
        run(&["--timeout", "0.5", "--cacert", &ca, &format!("raw+tls://{addr}"), "send", "x"]);
    assert!(result.stderr.contains("no TLS handshake within 0.5 s"), "{}", result.stderr);
}

#[test]
fn broken_handshake_ends_with_a_reason() {
    let authority = Authority::new();
    let ca = authority.ca();
    let fragment = |len: usize| [&[22, 3, 3, 0, 1][..], &vec![2; len]].concat();
    let endless_message =
        [&[22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff][..], &[0; (1 << 14) - 4]].concat();
    // A message of 64,000 bytes in records of one byte each.
    let mut fragments = vec![[22, 3, 3, 0, 1, 2], [22, 3, 3, 0, 1, 0], [22, 3, 3, 0, 1, 250]];
    fragments.resize(64_000, fragment(1).try_into().unwrap());
    for (sent, reason) in [
        (endless_message, "HandshakePayloadTooLarge"),
        (fragments.concat(), "the server's TLS handshake is over 131072 bytes"),
        ([22, 3, 3, 0, 0].repeat(100_000), "InvalidEmptyPayload"),
        (vec![22, 3, 3, 0xff, 0xff], "MessageTooLarge"),
        (vec![21, 3, 3, 0, 2, 2, 40], "the server ended TLS with the alert 'handshake failure'"),
        (vec![21, 3, 3, 0, 2, 2, 70], "no TLS version in common"),
        (vec![21, 3, 3, 0, 2, 2, 112], "give its own with --server-name NAME"),
        ([21, 3, 3, 0, 2, 1, 90].repeat(100), "TLS"),
        (vec![20, 3, 3, 0, 1, 1], "the server does not speak TLS"),
        (Vec::new(), "the server ended the connection in the TLS handshake"),
    ] {
        let name = format!("{:?}", &sent[..sent.len().min(9)]);
        let addr = listen(move |mut socket| {
            let mut hello = [0; 9];
            if socket.read_exact(&mut hello).is_ok() && socket.write_all(&sent).is_ok() {
                linger(&socket);
            }
        });
        let result = run(&["--cacert", &ca, &format!("raw+tls://{addr}"), "send", "x"]);
        assert_eq!(result.code, Some(1), "{name}: {result:?}");
        assert!(result.stderr.contains(reason), "{name}: {}", result.stderr);
    }
}

#[test]
fn end_without_close_notify_is_an_error() {
    let authority = Authority::new();
    let ca = authority.ca();
    let cut = "the connection was cut: it ended without the close_notify of TLS";
    for (protocol, args, sent) in [
        ("command", &["echo", "x"][..], &b"\x01\0\0"[..]),
        ("command", &["echo", "x"], b""),
        ("command", &["listen"], b""),
        ("prefixed", &["send", "x"], b"\x01"),
        ("raw", &["send", "x"], b""),
    ] {
        let server = TlsServer::new(authority.config(), move |mut peer| {
            peer.write_all(sent).unwrap();
            peer.flush().unwrap();
            linger(&peer.sock);
        });
        let result = run(&[&["--cacert", &ca, &server.url(protocol)], args].concat());
        result.assert_error(cut);
    }
    // What came of a raw reply is printed: it may be all that there is.
    let server = TlsServer::new(authority.config(), |mut peer| {
        peer.write_all(b"half").unwrap();
        linger(&peer.sock);
    });
    let result = run(&["--cacert", &ca, &server.url("raw"), "send", "x"]);
    assert_eq!((result.code, &*result.stdout), (Some(1), &b"half"[..]));
    assert_eq!(result.stderr, format!("mynah-cli: {cut}\n"));
}

#[test]
fn chat_that_is_cut_is_an_error() {
    let authority = Authority::new();
    let server = TlsServer::new(authority.config(), |mut peer| {
        let mut nick = [0; 4];
        peer.read_exact(&mut nick).unwrap();
        peer.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        // The client has left, and waits for what is still to come.
        let _ = peer.read_to_end(&mut Vec::new());
        linger(&peer.sock);
    });
    let args = ["--cacert", &authority.ca(), &server.url("chat"), "chat", "ann"];
    let result = run_with_input(&args, b"");
    assert_eq!(result.code, Some(1));
    assert!(result.stderr.contains("the connection was cut"), "{}", result.stderr);
}

#[test]
fn quit_may_be_answered_by_the_end_alone() {
    let authority = Authority::new();
    let server = TlsServer::new(authority.config(), |mut peer| {
        let mut quit = [0; 5];
        peer.read_exact(&mut quit).unwrap();
        linger(&peer.sock);
    });
    let args = ["--cacert", &authority.ca(), &server.url("command"), "call", "3"];
    run(&args).assert_reply("\n");
}

#[test]
fn later_connections_resume_the_session() {
    let authority = Authority::new();
    let server = TlsServer::new(authority.config(), |mut peer| {
        let mut text = Vec::new();
        peer.read_to_end(&mut text).unwrap();
        peer.write_all(&text).unwrap();
        peer.conn.send_close_notify();
        peer.flush().unwrap();
    });
    // Each line of raw is a connection of its own.
    let args = ["--cacert", &authority.ca(), &server.url("raw")];
    run_with_input(&args, b"one\ntwo\nthree\n").assert_reply("one\ntwo\nthree\n");
    assert_eq!(server.handshakes(), [Full, Resumed, Resumed]);
}

#[test]
fn client_tells_the_server_its_end() {
    let authority = Authority::new();
    let (sender, ends) = std::sync::mpsc::channel();
    let server = TlsServer::new(authority.config(), move |mut peer| {
        expect_echo(&mut peer, b"x");
        peer.write_all(&frame(1, b"x")).unwrap();
        // An end without close_notify is an error.
        sender.send(peer.read_to_end(&mut Vec::new()).is_ok()).unwrap();
    });
    run(&["--cacert", &authority.ca(), &server.url("command"), "echo", "x"]).assert_reply("x\n");
    assert_eq!(ends.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn key_updates_do_not_disturb_a_reply() {
    let authority = Authority::new();
    let config = config(&authority.issue(&["127.0.0.1"]), None, &[&TLS13]);
    let server = TlsServer::new(config, |mut peer| {
        expect_echo(&mut peer, b"x");
        let reply = frame(1, b"x");
        for (number, byte) in reply.chunks(1).cycle().take(6 * 500).enumerate() {
            peer.conn.refresh_traffic_keys().unwrap();
            if number < reply.len() {
                peer.write_all(byte).unwrap();
            }
            peer.flush().unwrap();
        }
        let _ = peer.read_to_end(&mut Vec::new());
    });
    run(&["--cacert", &authority.ca(), &server.url("command"), "echo", "x"]).assert_reply("x\n");
}

#[test]
fn refusal_arrives_over_tls() {
    let authority = Authority::new();
    let server = TlsServer::new(authority.config(), |mut peer| {
        peer.write_all(&error("server is full: 1 clients")).unwrap();
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        linger(&peer.sock);
    });
    let args = ["--cacert", &authority.ca(), &server.url("command"), "echo", "x"];
    run(&args).assert_error("server is full: 1 clients");
}

#[test]
fn record_that_no_server_sends_ends_the_connection() {
    const DATA: ContentType = ContentType::ApplicationData;
    const HANDSHAKE: ContentType = ContentType::Handshake;
    let authority = Authority::new();
    let ticket = [&[4, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 6][..], b"ticket\0\0"].concat();
    assert_eq!(ticket.len(), 24);
    for (typ, payload, times, reason) in [
        (DATA, Vec::new(), 1000, "TooManyEmptyFragments"),
        (HANDSHAKE, Vec::new(), 1000, "TooManyEmptyFragments"),
        // A message that is begun and goes on in records of a byte.
        (HANDSHAKE, vec![4], 100_000, "HandshakePayloadTooLarge"),
        (HANDSHAKE, vec![1, 0, 0, 0], 1, "the connection failed in TLS: "),
        (HANDSHAKE, vec![24, 0, 0, 1, 9], 1, "InvalidKeyUpdate"),
        // A key update with something behind it.
        (HANDSHAKE, vec![24, 0, 0, 1, 1, 24, 0, 0, 1, 1], 1, "KeyEpochWithPendingFragment"),
        (ContentType::ChangeCipherSpec, vec![1], 1, "ChangeCipherSpec"),
        (ContentType::Alert, vec![1, 0, 1, 0], 1, "Alert"),
        // What is begun and cut off by data.
        (HANDSHAKE, vec![4, 0, 0, 9], 2, "the connection was cut"),
        // Tickets without end are read, and the last ones kept.
        (HANDSHAKE, ticket, 20_000, "the connection was cut"),
    ] {
        let name = format!("{typ:?} {payload:?}");
        let server = TlsServer::new(forger_config(&authority), move |peer| {
            let mut forger = Forger::new(peer);
            if (0..times).all(|_| forger.send(&[(typ, &payload)])) {
                forger.linger();
            }
        });
        let result = run(&["--cacert", &authority.ca(), &server.url("command"), "echo", "x"]);
        assert_eq!((result.code, result.stdout.len()), (Some(1), 0), "{name}: {result:?}");
        assert!(result.stderr.contains(reason), "{name}: {}", result.stderr);
    }
}

#[test]
fn half_a_handshake_message_does_not_stop_a_request() {
    let authority = Authority::new();
    let server = TlsServer::new(forger_config(&authority), |peer| {
        let mut forger = Forger::new(peer);
        let ticket =
            [&[4, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 6][..], b"ticket\0\0"].concat();
        let (data, handshake) = (ContentType::ApplicationData, ContentType::Handshake);
        forger.wait();
        // The client has the fragment when it seals its next request.
        forger.send(&[(data, &frame(1, b"x")), (handshake, &ticket[..7])]);
        forger.wait();
        forger.send(&[(handshake, &ticket[7..]), (data, &frame(1, b"y"))]);
        forger.linger();
    });
    let args = ["--cacert", &authority.ca(), &server.url("command")];
    run_with_input(&args, b"echo x\necho y\n").assert_reply("x\ny\n");
}
