//! Certificates and keys: the files that are taken, what is said of the others, and their reload.

use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::time::SystemTime;

use nix::sys::signal::Signal;

use crate::support::tls::{Authority, DAY, Identity, NAME};
use crate::support::{Ended, Folder, Server, run, wait_until};

const URL: &str = "command+tls://127.0.0.1:0";

/// A start with these files, and a check of them, end alike: status 2 and one line.
#[track_caller]
fn expect_error(args: &[&str], line: &str) {
    for first in [&["--check"][..], &[]] {
        let Ended { code, stderr, .. } = run(&[first, args].concat());
        assert_eq!((code, stderr), (Some(2), format!("mynah: {line}")));
    }
}

#[track_caller]
fn expect_file_error(cert: &str, key: &str, line: &str) {
    expect_error(&["-l", URL, "--tls-cert", cert, "--tls-key", key], line);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let identity = Identity::new();
    let Identity { folder, cert, key, .. } = &identity;
    let (other, other_key) = identity.authority.issue(NAME);
    let missing = folder.path("missing.pem");
    let why = format!("cannot read {missing}: no such file or directory");
    expect_file_error(&missing, key, &why);
    expect_file_error(cert, &missing, &why);
    let dir = folder.path("");
    let why = format!("cannot read {dir}: is a directory");
    expect_file_error(&dir, key, &why);
    expect_file_error(cert, &dir, &why);
    let empty = folder.file("empty.pem", "");
    expect_file_error(&empty, key, &format!("{empty} holds no certificate"));
    expect_file_error(cert, &empty, &format!("{empty} holds no private key"));
    let text = folder.file("text.pem", "this is no certificate\n");
    expect_file_error(&text, key, &format!("{text} holds no certificate"));
    expect_file_error(cert, &text, &format!("{text} holds no private key"));
    expect_file_error(key, key, &format!("{key} holds no certificate"));
    let other_key = folder.file("other.pem", &other_key);
    let why = format!("{other_key} is not the key of the certificate in {cert}");
    expect_file_error(cert, &other_key, &why);
    // The certificate is whole, one of its lines is not.
    let cut: Vec<&str> = other.lines().collect();
    let cut = folder.file("cut.pem", &cut[..cut.len() - 1].join("\n"));
    expect_file_error(&cut, key, &format!("{cut} is not valid PEM: a BEGIN line has no END line"));
    let garbled = other.replacen("MII", "!II", 1);
    let garbled = folder.file("garbled.pem", &garbled);
    expect_file_error(&garbled, key, &format!("{garbled} is not valid PEM: a line is not base64"));
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_der = folder.file("not_der.pem", not_der);
    expect_file_error(&not_der, key, &format!("{not_der}: bad certificate: it cannot be parsed"));
    let key_not_der = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let key_not_der = folder.file("key_not_der.pem", key_not_der);
    let why = format!(
        "{key_not_der}: unsupported private key: RSA (2048 to 4096 bits), ECDSA (P-256, P-384) and \
         Ed25519 are supported"
    );
    expect_file_error(cert, &key_not_der, &why);
    // DER, as browsers export it.
    let der = folder.path("cert.der");
    fs::write(&der, &identity.authority.certificate).unwrap();
    expect_file_error(&der, key, &format!("{der} holds no certificate"));
    let huge = folder.path("huge.pem");
    fs::File::create(&huge).unwrap().set_len(17 << 20).unwrap();
    expect_file_error(&huge, key, &format!("{huge} is too large for a PEM file"));
    let ca = [&["-l", URL], &identity.options()[..], &["--tls-client-ca", &empty]].concat();
    expect_error(&ca, &format!("{empty} holds no certificate"));
}

#[test]
fn every_bad_file_is_named_at_once() {
    let identity = Identity::new();
    let [a, b] = ["a.pem", "b.pem"].map(|name| identity.folder.path(name));
    let (first, second) = (format!("{URL}?cert={a}"), format!("{URL}?cert={b}"));
    let Ended { code, stderr, .. } = run(&["--check", "-l", &first, "-l", &second, "-l", &second]);
    let lines =
        [&a, &b].map(|path| format!("mynah: cannot read {path}: no such file or directory"));
    assert_eq!((code, stderr), (Some(2), lines.join("\n")));
}

#[test]
fn certificate_and_key_come_together() {
    let identity = Identity::new();
    let (cert, key) = (&*identity.cert, &*identity.key);
    let why = format!("{URL} needs a certificate and its key: --tls-cert FILE --tls-key FILE");
    for args in [&["-l", URL][..], &["-l", URL, "--tls-key", key]] {
        let Ended { code, stderr, .. } = run(&[&["--check"], args].concat());
        assert_eq!(code, Some(2));
        assert!(stderr.starts_with(&format!("mynah: {why}")), "{stderr}");
    }
    // Without a key, it is looked for beside the certificate.
    let why = format!("{cert} holds no private key; where it is in another file, name that too");
    expect_error(&["-l", URL, "--tls-cert", cert], &why);
    expect_file_error(cert, cert, &why);
    let both = fs::read_to_string(cert).unwrap() + &fs::read_to_string(key).unwrap();
    let both = identity.folder.file("both.pem", &both);
    let server = Server::start(&["-l", URL, "--tls-cert", &both]).with_identity(identity);
    server.connect().expect_alive();
}

#[test]
fn certificate_without_a_tls_listener_is_noticed() {
    let identity = Identity::new();
    let args = [&["-l", "command://127.0.0.1:0"], &identity.options()[..]].concat();
    let server = Server::start(&args);
    server.wait_for_line("--tls-cert is not used: no listener has +tls");
}

#[test]
fn keys_of_a_listener_beat_the_options() {
    let identity = Identity::new();
    let missing = identity.folder.path("missing.pem");
    let url = format!("{URL}?cert={}&key={}", identity.cert, identity.key);
    let args = ["-l", &url, "--tls-cert", &missing, "--tls-key", &missing];
    let server = Server::start(&args).with_identity(identity);
    server.connect().expect_alive();
}

#[test]
fn keys_of_tls_are_for_tls_listeners() {
    let url = "command://127.0.0.1:0?cert=a.pem";
    let Ended { code, stderr, .. } = run(&["--check", "-l", url]);
    assert_eq!(code, Some(2));
    let why = format!("mynah: --listen {url}: 'cert' is for command+tls");
    assert!(stderr.starts_with(&why), "{stderr}");
}

#[test]
fn ini_file_opens_tls_listeners() {
    let identity = Identity::new();
    let (cert, key) = (&identity.cert, &identity.key);
    let own = format!(
        "[server]\ntls_cert = /nowhere.pem\n\
         [command+tls]\nhost = 127.0.0.1\nport = 0\ncert = {cert} ; its chain\nkey = {key}\n"
    );
    let shared = format!(
        "[server]\ntls_cert = {cert}\ntls_key = {key}\nhandshake_timeout = 5\n\
         [command+tls]\nhost = 127.0.0.1\nport = 0\n[command]\nhost = 127.0.0.1\nport = 0\n"
    );
    let files = [own, shared].map(|text| (text.matches("port").count(), text));
    for (number, (listeners, text)) in files.into_iter().enumerate() {
        let file = identity.folder.file(&format!("{number}.ini"), &text);
        let mut server = Server::start_as(crate::support::mynah().args(["-c", &file]), listeners);
        let tls = server.count_lines("listening on command+tls://127.0.0.1:");
        assert_eq!(tls, 1);
        let config = identity.client();
        server.connect_with(config).expect_alive();
        assert_eq!(server.stop(), Some(0));
    }
    let file = identity.folder.file("bad.ini", "[command]\nport = 0\ncert = a.pem\n");
    let Ended { code, stderr, .. } = run(&["--check", "-c", &file]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("line 3") && stderr.contains("cert"), "{stderr}");
}

/// Serves one client with files made by `make`, which may need OpenSSL.
fn serve_with(identity: &Identity, cert: &str, key: &str) {
    let folder = &identity.folder;
    let (cert, key) = (folder.file("kind.pem", cert), folder.file("kind_key.pem", key));
    let args = ["-l", URL, "--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(&args);
    let mut client = server.connect_with(identity.client());
    client.expect_alive();
}

#[test]
fn elliptic_keys_are_served() {
    let identity = Identity::new();
    for kind in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
    {
        let end = SystemTime::now() + 30 * DAY;
        let (cert, key) = identity.authority.issue_with(NAME, end, kind);
        serve_with(&identity, &cert, &key);
    }
}

/// Files that OpenSSL makes: `kind` is what `-newkey` takes.
fn openssl_key(folder: &Folder, kind: &[&str]) -> Option<(String, String)> {
    let (cert, key) = (folder.path("openssl.pem"), folder.path("openssl_key.pem"));
    let status = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-newkey"])
        .args(kind)
        .args(["-keyout", &key, "-out", &cert])
        .output();
    match status {
        Err(_) => {
            let _ = writeln!(io::stderr(), "skipped: keys of OpenSSL, which is not installed");
            None
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
            Some((cert, key))
        }
    }
}

#[test]
fn rsa_keys_are_served_in_each_encoding() {
    let mut identity = Identity::new();
    for bits in ["rsa:2048", "rsa:4096"] {
        let Some((cert, key)) = openssl_key(&identity.folder, &[bits]) else { return };
        let text = fs::read_to_string(&cert).unwrap();
        // A self-signed certificate is its own root.
        let roots = rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes()).unwrap();
        identity.authority.certificate = roots;
        serve_with(&identity, &text, &fs::read_to_string(&key).unwrap());
        let pkcs1 = identity.folder.path("pkcs1.pem");
        let made = Command::new("openssl")
            .args(["rsa", "-traditional", "-in", &key, "-out", &pkcs1])
            .output()
            .unwrap();
        assert!(made.status.success());
        let pkcs1 = fs::read_to_string(pkcs1).unwrap();
        assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
        serve_with(&identity, &text, &pkcs1);
    }
}

#[test]
fn keys_of_other_kinds_say_which_are_taken() {
    let folder = Folder::new();
    let kinds = "RSA (2048 to 4096 bits), ECDSA (P-256, P-384) and Ed25519";
    for kind in [&["ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"][..], &["rsa:1024"], &["ed448"]]
    {
        let Some((cert, key)) = openssl_key(&folder, kind) else { return };
        let why = format!("{key}: unsupported private key: {kinds} are supported");
        expect_file_error(&cert, &key, &why);
    }
}

#[test]
fn encrypted_keys_say_how_to_decrypt_them() {
    let identity = Identity::new();
    let folder = &identity.folder;
    let headings = [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
         AAAA\n-----END RSA PRIVATE KEY-----\n",
    ];
    for text in headings {
        let key = folder.file("encrypted.pem", text);
        let why = format!(
            "{key} holds an encrypted private key; decrypt it with \
             `openssl pkey -in {key} -out NEW.pem`"
        );
        expect_file_error(&identity.cert, &key, &why);
    }
}

/// A client of the server's and the certificate it is shown.
fn shown(server: &Server) -> Vec<u8> {
    let mut client = server.connect();
    client.expect_alive();
    client.tls_mut().peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn sighup_shows_new_clients_the_new_certificate() {
    let server = Server::tls("command", &[]);
    let old = shown(&server);
    let mut before = server.connect();
    before.expect_alive();
    let new = server.identity().renew();
    assert_eq!(shown(&server), old, "it was not asked for yet");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("SIGHUP: reloading");
    server.wait_for_line("certificates reloaded");
    assert_eq!(shown(&server), new.to_vec());
    before.expect_alive();
    before.half_close();
    before.expect_eof();
}

/// One of two listeners' files is bad: both keep what they have.
#[test]
fn bad_file_at_a_reload_changes_nothing() {
    let second = Identity::new();
    let url = format!("{URL}?cert={}&key={}", second.cert, second.key);
    let server = Server::tls("command", &["-l", &url]);
    let old = shown(&server);
    let new = server.identity().renew();
    fs::write(&second.key, "").unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_line(&format!("{} holds no private key", second.key));
    assert!(line.contains("ERROR"), "{line}");
    server.wait_for_line("reload failed: nothing was changed");
    assert_eq!(shown(&server), old);
    assert_eq!(server.count_lines("certificates reloaded"), 0);
    second.renew();
    wait_until("the reload is done", || {
        server.signal(Signal::SIGHUP);
        server.count_lines("certificates reloaded") > 0
    });
    assert_eq!(shown(&server), new.to_vec());
}

#[test]
fn certificate_that_expires_soon_is_warned_of() {
    let identity = Identity::new();
    let now = SystemTime::now();
    for (end, warning) in [
        (now + 15 * DAY, None),
        (now + 13 * DAY + DAY / 2, Some("expires in 13 days")),
        (now + DAY / 3, Some("expires in 7 hours")),
        (now - 2 * DAY - DAY / 2, Some("expired 2 days ago")),
    ] {
        let (cert, key) = identity.authority.issue_until(NAME, end);
        fs::write(&identity.cert, cert).unwrap();
        fs::write(&identity.key, key).unwrap();
        let args = [&["-l", URL], &identity.options()[..]].concat();
        let Ended { code, stderr, .. } = run(&[&["--check"], &args[..]].concat());
        let server = Server::start(&args);
        let text = warning.map(|text| format!("the certificate in {} {text}", identity.cert));
        assert_eq!(code, Some(0));
        match text {
            Some(text) => {
                assert_eq!(stderr, format!("mynah: warning: {text}"));
                let line = server.wait_for_line(&text);
                assert!(line.contains("WARN"), "{line}");
            }
            None => {
                assert_eq!(stderr, "");
                assert_eq!(server.count_lines("the certificate in"), 0);
            }
        }
    }
}

#[test]
fn expired_certificate_at_a_reload_is_warned_of() {
    let server = Server::tls("command", &[]);
    let identity = server.identity();
    let (cert, key) = identity.authority.issue_until(NAME, SystemTime::now() - 3 * DAY);
    fs::write(&identity.cert, cert).unwrap();
    fs::write(&identity.key, key).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("expired 3 days ago");
    server.wait_for_line("certificates reloaded");
}

/// The whole chain is sent, so that a client that knows the root alone trusts it.
#[test]
fn chain_of_the_file_is_sent() {
    let identity = Identity::new();
    let other = Authority::new("another");
    let chain = fs::read_to_string(&identity.cert).unwrap() + &other.pem;
    fs::write(&identity.cert, chain).unwrap();
    let args = [&["-l", URL], &identity.options()[..]].concat();
    let server = Server::start(&args).with_identity(identity);
    let mut client = server.connect();
    client.expect_alive();
    let shown = client.tls_mut().peer_certificates().unwrap();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[1], other.certificate);
}
