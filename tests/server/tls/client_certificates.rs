//! Certificates of clients, where they are mandatory.

use std::time::SystemTime;

use rustls::version::{TLS12, TLS13};

use crate::support::tls::{Authority, DAY, Identity};
use crate::support::{Client, Server};

/// A server that demands certificates of the authority.
fn start(clients: &Authority) -> Server {
    let identity = Identity::new();
    let ca = identity.folder.file("clients.pem", &clients.pem);
    let url = "command+tls://127.0.0.1:0";
    let args = [&["-l", url], &identity.options()[..], &["--tls-client-ca", &ca]].concat();
    Server::start(&args).with_identity(identity)
}

/// In TLS 1.3 the client is done before the server has judged its certificate: it hears of it with
/// the first read.
#[track_caller]
fn expect_refused(server: &Server, config: rustls::ClientConfig, alert: &str, reason: &str) {
    let client = server.connect_tcp();
    let port = client.local_port();
    let error = client
        .try_tls(config)
        .and_then(|mut client: Client| std::io::Read::read_exact(&mut client, &mut [0]));
    let error = error.unwrap_err().to_string();
    assert!(error.contains(alert), "{error}");
    let line = server.wait_for_line(&format!("127.0.0.1:{port} TLS handshake failed: "));
    assert!(line.contains(reason), "{line}");
}

#[test]
fn client_with_a_certificate_is_let_in() {
    let clients = Authority::new("clients");
    let server = start(&clients);
    let certified = clients.issue("client");
    for version in [&TLS12, &TLS13] {
        let config = server.identity().client_of_with(version, &certified);
        server.connect_with(config).expect_alive();
    }
}

#[test]
fn client_without_a_certificate_is_refused() {
    let server = start(&Authority::new("clients"));
    for version in [&TLS12, &TLS13] {
        let config = server.identity().client_of(version);
        expect_refused(&server, config, "received fatal alert", "the client sent no certificate");
    }
}

#[test]
fn client_of_another_authority_is_refused() {
    let server = start(&Authority::new("clients"));
    let untrusted = Authority::new("clients").issue("client");
    let config = server.identity().client_with(&untrusted);
    expect_refused(&server, config, "received fatal alert", "invalid peer certificate");
}

#[test]
fn client_whose_certificate_has_expired_is_refused() {
    let clients = Authority::new("clients");
    let server = start(&clients);
    let expired = clients.issue_until("client", SystemTime::now() - DAY);
    let config = server.identity().client_with(&expired);
    expect_refused(&server, config, "CertificateExpired", "certificate expired");
}

/// Chains that a verifier would try are as long as their sender likes.
#[test]
fn chain_of_a_client_is_bounded() {
    let clients = Authority::new("clients");
    let server = start(&clients);
    for (others, is_let_in) in [(8, true), (9, false), (60, false)] {
        let (mut chain, key) = clients.issue("client");
        for _ in 0..others {
            chain += &clients.issue("other").0;
        }
        let config = server.identity().client_with(&(chain, key));
        if is_let_in {
            server.connect_with(config).expect_alive();
        } else {
            let reason = format!("the client's chain has {} certificates, too many", others + 1);
            expect_refused(&server, config, "received fatal alert", &reason);
        }
    }
}
