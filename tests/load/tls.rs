//! Targets of TLS: every mode, what is counted, and how handshakes fail.

use std::io::{Read, Write};

use rustls::HandshakeKind::Resumed;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use super::tester::{RunWithReport, TcpTarget, run_with_report, server};
use super::tls_server::{Authority, TlsServer, config, linger};
use crate::support::{Ended, Server};

/// Runs a mode against `url` with its `options`.
#[track_caller]
fn run(mode: &str, url: &str, options: &str) -> (Ended, Value) {
    run_with_report(&format!("{mode} --target {url} {options}"))
}

/// A server of `protocol` without TLS, and one of TLS before it.
fn target(authority: &Authority, protocol: &str, is_trickling: bool) -> (Server, TlsServer) {
    let server = server(protocol);
    let tls = TlsServer::before(server.addr(0), authority.config(), is_trickling);
    (server, tls)
}

#[test]
fn modes_run_over_tls() {
    let authority = Authority::new();
    let trust = format!("--cacert {}", authority.ca());
    for (mode, protocol, options) in [
        ("echo", "command", "--connections 5 --depth 3 --size 70000 --duration 1"),
        ("echo", "prefixed", "--connections 5 --depth 2 --size 9 --duration 1"),
        ("echo", "raw", "--connections 5 --depth 2 --size 9 --duration 1 --rate 200"),
        ("idle", "command", "--connections 9 --hold 1 --probe 20"),
        ("fanout", "command", "--subscribers 5 --batch 3 --size 5000 --duration 1"),
        ("fanout", "chat", "--subscribers 5 --batch 3 --size 9 --duration 1"),
    ] {
        let (_server, tls) = target(&authority, protocol, false);
        let (ended, json) = run(mode, &tls.url(protocol), &format!("{options} {trust}"));
        assert_eq!(ended.code, Some(0), "{mode} {protocol}: {ended:?}");
        assert_eq!(json["connections"]["failed"], 0);
        assert_eq!(json["tls"]["handshakes"], json["connections"]["wanted"]);
        assert_eq!(json["tls"]["version"], "TLS 1.3");
        assert_eq!(json["tls"]["cipher_suite"], "TLS13_AES_128_GCM_SHA256");
        assert!(ended.stdout.contains("\n  TLS          "), "{}", ended.stdout);
        let resumed = tls.handshakes().iter().filter(|kind| **kind == Resumed).count();
        assert_eq!(json["tls"]["resumed"], resumed);
    }
}

#[test]
fn records_cut_anywhere_are_put_together() {
    let authority = Authority::new();
    let trust = format!("--cacert {}", authority.ca());
    let (_server, tls) = target(&authority, "command", true);
    let options = format!("--connections 3 --depth 2 --size 300 --duration 1 {trust}");
    let (ended, json) = run("echo", &tls.url("command"), &options);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(json["requests"]["answered"].as_u64() > Some(10), "{json}");
}

#[test]
fn later_connections_resume_the_session() {
    let authority = Authority::new();
    let trust = format!("--cacert {}", authority.ca());
    let (_server, tls) = target(&authority, "command", false);
    let options = format!("--connections 20 --rate 20 --hold 0 {trust}");
    let (ended, json) = run("idle", &tls.url("command"), &options);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // A full handshake brings tickets for the next ones.
    assert!(json["tls"]["resumed"].as_u64() >= Some(10), "{}", json["tls"]);
    let resumed = tls.handshakes().iter().filter(|kind| **kind == Resumed).count();
    assert_eq!(json["tls"]["resumed"], resumed);
}

#[test]
fn plain_target_has_no_tls_in_its_report() {
    let target = TcpTarget::listen();
    let idle = format!("idle --target {} --connections 2 --hold 0", target.url("tcp"));
    let (ended, json) = run_with_report(&idle);
    assert_eq!((ended.code, &json["tls"]), (Some(0), &Value::Null));
    assert!(!ended.stdout.contains("TLS"), "{}", ended.stdout);
}

#[test]
fn handshake_failures_are_counted_by_name() {
    let authority = Authority::new();
    let (trust, untrusted) = (authority.ca(), Authority::new());
    let tls = TlsServer::new(authority.config(), |peer| linger(&peer.sock));
    let plain = TcpTarget::serve(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        linger(&stream);
    });
    let closing = TcpTarget::serve(|stream| linger(&stream));
    for (url, options, name, reason) in [
        (
            tls.url("tcp"),
            format!("--cacert {}", untrusted.ca()),
            "TLS:UnknownIssuer",
            "with --cacert FILE",
        ),
        (
            tls.url("tcp"),
            format!("--cacert {trust} --server-name h"),
            "TLS:NotValidForName",
            "--server-name 127.0.0.1",
        ),
        (
            format!("tcp+tls://{plain}"),
            format!("--cacert {trust}"),
            "TLS:NotTls",
            "the server does not speak TLS: use tcp://",
        ),
        (
            format!("tcp+tls://{closing}"),
            format!("--cacert {trust}"),
            "TLS:EndedInHandshake",
            "ended the connection in the TLS handshake",
        ),
    ] {
        let (ended, json) = run("idle", &url, &format!("--connections 4 --hold 0 {options}"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(json["errors"], json!({name: 4}));
        assert_eq!(json["connections"]["failed"], 4);
        assert_eq!(json["tls"]["handshakes"], 0);
        assert!(ended.stdout.contains(reason), "{}", ended.stdout);
    }
}

#[test]
fn silent_target_times_out_in_the_handshake() {
    let authority = Authority::new();
    let target = TcpTarget::listen();
    let options = format!("--connections 2 --hold 0 --cacert {}", authority.ca());
    let (ended, json) = run("idle", &target.url("command+tls"), &options);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], json!({"TLS:TimedOut": 2}));
    assert_eq!(json["connections"]["failed"], 2);
}

#[test]
fn end_without_close_notify_is_told_from_one_with() {
    let authority = Authority::new();
    let trust = format!("--cacert {}", authority.ca());
    for (is_told, name) in [(true, "EOF"), (false, "TLS:Cut")] {
        let tls = TlsServer::new(authority.config(), move |mut peer| {
            if is_told {
                peer.conn.send_close_notify();
                peer.flush().unwrap();
            }
            linger(&peer.sock);
        });
        let options = format!("--connections 3 --hold 300 {trust}");
        let (ended, json) = run("idle", &tls.url("tcp"), &options);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(json["errors"], json!({name: 3}));
        assert_eq!(json["connections"]["dropped"], 3);
    }
}

#[test]
fn client_certificate_is_shown_where_it_is_demanded() {
    let authority = Authority::new();
    let (ca, client) = (authority.ca(), authority.issue(&["a client"]));
    for version in [&TLS13, &TLS12] {
        let config = config(&authority.issue(&["127.0.0.1"]), Some(&ca), &[version]);
        let server = server("command");
        let tls = TlsServer::before(server.addr(0), config, false);
        let echo = format!("--connections 3 --depth 1 --size 5 --duration 1 --cacert {ca}");
        let (cert, key) = (&client.cert, &client.key);
        let with = format!("{echo} --cert {cert} --key {key}");
        let (ended, _) = run("echo", &tls.url("command"), &with);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (ended, json) = run("echo", &tls.url("command"), &echo);
        assert_eq!(json["errors"], json!({"TLS:CertificateDemanded": 3}), "{ended:?}");
        let reason = "the server demands a client certificate: --cert FILE --key FILE";
        assert!(ended.stdout.contains(reason), "{}", ended.stdout);
    }
}

#[test]
fn insecure_warns_once() {
    let authority = Authority::new();
    let (_server, tls) = target(&authority, "command", false);
    let (ended, _) = run("idle", &tls.url("command"), "--connections 5 --hold 0 --insecure");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = "warning: --insecure: the server's certificate is not checked";
    assert_eq!(ended.stderr.matches(warning).count(), 1, "{}", ended.stderr);
}

#[test]
fn page_has_the_version_behind_tls() {
    let authority = Authority::new();
    let (_server, tls) = target(&authority, "command", false);
    let folder = crate::support::Folder::new();
    let page = folder.path("page.html").to_string();
    let options = format!("--connections 2 --hold 0 --cacert {} --report {page}", authority.ca());
    let (ended, _) = run("idle", &tls.url("command"), &options);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("mynah 0.1.0</dd>"), "{page}");
    assert!(page.contains("<dt>TLS</dt><dd>2 handshakes"), "{page}");
}

#[test]
fn plain_run_against_tls_says_so() {
    let authority = Authority::new();
    let tls = TlsServer::new(authority.config(), |peer| linger(&peer.sock));
    let url = format!("command://{}", tls.addr);
    let (ended, json) = run("echo", &url, "--connections 2 --depth 1 --size 5 --duration 1");
    assert_eq!(json["errors"], json!({"EBADMSG": 2}), "{ended:?}");
    assert!(ended.stdout.contains("the target seems to speak TLS: add +tls"), "{}", ended.stdout);
}

#[test]
fn broken_handshake_fails_in_bounds() {
    let authority = Authority::new();
    let flood = [22, 3, 3, 0, 1, 2];
    let mut fragments = vec![flood, [22, 3, 3, 0, 1, 0], [22, 3, 3, 0, 1, 250]];
    fragments.resize(100_000, flood);
    let fragments: &'static [u8] = fragments.concat().leak();
    let tls = super::tls_server::listen(move |mut socket| {
        let mut hello = [0; 9];
        if socket.read_exact(&mut hello).is_ok() && socket.write_all(fragments).is_ok() {
            linger(&socket);
        }
    });
    let options = format!("--connections 4 --hold 0 --cacert {}", authority.ca());
    let run = RunWithReport::start(&format!("idle --target tcp+tls://{tls} {options}"));
    let (ended, json) = run.end();
    assert_eq!(json["errors"], json!({"TLS:TooLong": 4}), "{ended:?}");
}
