//! Listeners with TLS that a reload adds, or that it gives other files.

use super::Reloading;
use crate::support::Client;
use crate::support::tls::Identity;

/// A `command+tls` listener with these files.
fn file(cert: &str, key: &str) -> String {
    format!("[command+tls]\nport = 0\ncert = {cert}\nkey = {key}\n")
}

#[test]
fn certificate_of_another_file_is_for_new_clients() {
    let (old, new) = (Identity::new(), Identity::new());
    let server = Reloading::start(&file(&old.cert, &old.key), &[]);
    let addr = server.addr("command+tls");
    let mut before = Client::connect(addr).with_tls(old.client());
    before.expect_alive();
    let lines = server.reload(&file(&new.cert, &new.key));
    let expected = [
        format!("cert of command+tls://{addr} {} -> {}", old.cert, new.cert),
        format!("key of command+tls://{addr} {} -> {}", old.key, new.key),
        format!("certificates reloaded: {}", new.cert),
        "reloaded".to_owned(),
    ];
    assert!(lines.ends_with(&expected), "{lines:?}");
    before.expect_alive();
    Client::connect(addr).with_tls(new.client()).expect_alive();
    Client::connect(addr).try_tls(old.client()).unwrap_err();
    before.half_close();
    before.expect_eof();
}

#[test]
fn key_of_another_certificate_changes_nothing() {
    let (old, other) = (Identity::new(), Identity::new());
    let server = Reloading::start(&file(&old.cert, &old.key), &[]);
    let lines = server.reload(&file(&old.cert, &other.key));
    assert!(lines[1].contains(&other.key), "{lines:?}");
    assert_eq!(lines[2..], ["reload failed: nothing was changed"]);
    server.connect("command+tls").with_tls(old.client()).expect_alive();
}

#[test]
fn tls_listener_comes_and_goes() {
    let identity = Identity::new();
    let without = "[command]\nport = 0\n";
    let server = Reloading::start(without, &[]);
    let mut plain = server.connect("command");
    plain.expect_alive();
    let lines = server.reload(&format!("{without}[prefixed+tls]\nport = 0\n"));
    assert_eq!(lines.len(), 3, "it has no certificate: {lines:?}");
    assert_eq!(lines[2], "reload failed: nothing was changed");
    let options = format!("[server]\ntls_cert = {}\ntls_key = {}\n", identity.cert, identity.key);
    let lines = server.reload(&format!("{options}{without}[prefixed+tls]\nport = 0\n"));
    let addr = server.addr("prefixed+tls");
    assert!(lines.contains(&format!("listening on prefixed+tls://{addr}")), "{lines:?}");
    let mut client = Client::connect(addr).with_tls(identity.client());
    client.send(b"\x02ab");
    client.expect(b"\x02ba");
    // One that has not begun its handshake goes, too.
    let mut unopened = Client::connect(addr);
    server.server.wait_for_line("prefixed+tls://");
    server.reload(without);
    client.expect_eof();
    unopened.read_until_cut();
    std::net::TcpStream::connect(addr).unwrap_err();
    plain.expect_alive();
}

#[test]
fn port_that_turns_to_tls_refuses_nobody() {
    let identity = Identity::new();
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    let addr = server.addr("command");
    let mut old = server.connect("command");
    old.expect_alive();
    let (host, port) = ("127.0.0.1", addr.port());
    let (cert, key) = (&identity.cert, &identity.key);
    let lines = server.reload(&format!(
        "[command+tls]\nhost = {host}\nport = {port}\ncert = {cert}\nkey = {key}\n"
    ));
    let stopped = format!("stopped listening on command://{addr}: 1 connection drained");
    assert!(lines.contains(&stopped), "{lines:?}");
    old.expect_eof();
    Client::connect(addr).with_tls(identity.client()).expect_alive();
    assert_eq!(server.listening(), 1);
    server.reload(&format!("[command]\nhost = {host}\nport = {port}\n"));
    Client::connect(addr).expect_alive();
}
