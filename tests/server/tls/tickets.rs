//! Resumption: tickets spare a handshake its signature and its certificates, and are good for the
//! listener that gave them.

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use crate::support::tls::{Authority, Identity};
use crate::support::{Server, wait_until};

fn remembering(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// Connects to listener `index`; whether an earlier connection was resumed.
fn is_resumed(server: &Server, index: usize, config: &Arc<ClientConfig>) -> bool {
    let client = crate::support::Client::connect(server.addr(index));
    let mut client = client.with_tls(Arc::clone(config));
    // The ticket comes with the first answer at the latest.
    client.expect_alive();
    client.tls_mut().handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn clients_that_come_back_resume() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let config = remembering(server.identity().client_of(version));
        assert!(!is_resumed(&server, 0, &config));
        for _ in 0..3 {
            assert!(is_resumed(&server, 0, &config), "{version:?}");
        }
    }
}

/// Listeners with one certificate share their tickets, plain ones of others do not.
#[test]
fn tickets_are_for_listeners_with_the_same_files() {
    let other = Identity::new();
    let own = format!("command+tls://127.0.0.1:0?cert={}&key={}", other.cert, other.key);
    let server = Server::tls("command", &["-l", "command+tls://127.0.0.1:0", "-l", &own]);
    for version in [&TLS12, &TLS13] {
        let mut config = server.identity().client_of(version);
        let mut roots = rustls::RootCertStore::empty();
        for authority in [&server.identity().authority, &other.authority] {
            roots.add(authority.certificate.clone()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(config.crypto_provider().clone());
        config = builder
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = remembering(config);
        assert!(!is_resumed(&server, 0, &config));
        assert!(is_resumed(&server, 1, &config), "it has the same files");
        assert!(!is_resumed(&server, 2, &config), "it has others");
    }
}

/// A client that once had no certificate, or one of an authority that is trusted no more, does not
/// get in with a ticket.
#[test]
fn ticket_does_not_survive_a_change_of_the_client_ca() {
    let identity = Identity::new();
    let clients = Authority::new("clients");
    let ca = identity.folder.file("clients.pem", &clients.pem);
    let url = "command+tls://127.0.0.1:0";
    let args = [&["-l", url], &identity.options()[..], &["--tls-client-ca", &ca]].concat();
    let server = Server::start(&args).with_identity(identity);
    let config = remembering(server.identity().client_with(&clients.issue("client")));
    assert!(!is_resumed(&server, 0, &config));
    assert!(is_resumed(&server, 0, &config));
    fs::write(&ca, Authority::new("clients").pem).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("certificates reloaded");
    let client = server.connect_tcp().try_tls(config);
    let refused = client.and_then(|mut client| std::io::Read::read_exact(&mut client, &mut [0]));
    refused.unwrap_err();
    wait_until("it is logged", || server.count_lines("TLS handshake failed: ") == 1);
}

/// After a reload of other files, a ticket costs a full handshake; after one of the same, nothing.
#[test]
fn clients_come_back_after_a_reload() {
    let server = Server::tls("command", &[]);
    for version in [&TLS12, &TLS13] {
        let config = remembering(server.identity().client_of(version));
        is_resumed(&server, 0, &config);
        let reloads = |text: &str| server.count_lines(text);
        let unchanged = reloads("nothing changed");
        server.signal(Signal::SIGHUP);
        wait_until("it is reloaded", || reloads("nothing changed") > unchanged);
        assert!(is_resumed(&server, 0, &config));
        let changed = reloads("certificates reloaded");
        server.identity().renew();
        server.signal(Signal::SIGHUP);
        wait_until("it is reloaded", || reloads("certificates reloaded") > changed);
        assert!(!is_resumed(&server, 0, &config));
        assert!(is_resumed(&server, 0, &config));
    }
}
