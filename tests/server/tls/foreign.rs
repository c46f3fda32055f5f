//! Clients that are not rustls: OpenSSL's `s_client` and Python's `ssl`, where they are installed.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::tls::{Authority, Identity};
use crate::support::{PATIENCE, Server, wait_until};

/// Whether a program is there; if not, what is left out is told past the test's captured output.
fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        let _ = writeln!(io::stderr(), "skipped: TLS with {program}, which is not installed");
    }
    found
}

/// `openssl s_client` against the first listener.
struct SClient {
    child: Child,
}

impl SClient {
    fn start(server: &Server, args: &[&str]) -> SClient {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &server.addr(0).to_string(), "-servername", "localhost"])
            .args(["-CAfile", &server.identity().ca, "-verify_return_error"])
            .args(args);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        SClient { child: command.spawn().unwrap() }
    }

    fn send(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for `text` on its standard output.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let mut got = Vec::new();
        let began_at = Instant::now();
        let stdout = self.child.stdout.as_mut().unwrap();
        while !String::from_utf8_lossy(&got).contains(text) {
            let mut byte = [0];
            let n = stdout.read(&mut byte).unwrap();
            assert!(n == 1, "the end came after {}", String::from_utf8_lossy(&got));
            got.push(byte[0]);
            assert!(began_at.elapsed() < PATIENCE);
        }
        String::from_utf8_lossy(&got).into_owned()
    }

    /// Closes its input and waits for its end.
    fn finish(mut self) -> Output {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// Waits for its end; its input stays open.
    fn wait(mut self) -> Output {
        let _stdin = self.child.stdin.take();
        let child = std::mem::replace(&mut self.child, Command::new("true").spawn().unwrap());
        child.wait_with_output().unwrap()
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn openssl_verifies_and_speaks_both_versions() {
    if !has("openssl", "version") {
        return;
    }
    let server = Server::tls("raw", &[]);
    for (version, cipher) in
        [("-tls1_3", "TLS_AES_128_GCM_SHA256"), ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256")]
    {
        let mut client = SClient::start(&server, &[version]);
        let text = client.expect("Verify return code: 0 (ok)");
        assert!(text.contains(cipher), "{text}");
        client.send(b"hello\n");
        client.expect("Echo: hello\n");
        let output = client.finish();
        assert!(output.status.success(), "{output:?}");
    }
    wait_until("both have said good-bye", || {
        server.count_lines("disconnected: closed by peer") == 2
    });
}

#[test]
fn openssl_is_refused_renegotiation() {
    if !has("openssl", "version") {
        return;
    }
    let server = Server::tls("raw", &[]);
    let mut client = SClient::start(&server, &["-tls1_2"]);
    client.expect("Verify return code: 0 (ok)");
    client.send(b"hello\n");
    client.expect("Echo: hello\n");
    client.send(b"R\n");
    let output = client.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    server.wait_for_line("disconnected");
    Server::connect(&server).send(b"others go on");
}

#[test]
fn openssl_is_answered_key_updates() {
    if !has("openssl", "version") {
        return;
    }
    let server = Server::tls("raw", &[]);
    let mut client = SClient::start(&server, &["-tls1_3"]);
    client.expect("Verify return code: 0 (ok)");
    for command in [b"K\n", b"k\n", b"K\n"] {
        client.send(command);
        // To s_client, a command is a line that it reads alone; it says nothing of having read it.
        thread::sleep(Duration::from_millis(100));
        client.send(b"hello\n");
        client.expect("Echo: hello\n");
    }
    let output = client.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("KEYUPDATE"), "{text}");
}

#[test]
fn openssl_resumes_with_a_ticket() {
    if !has("openssl", "version") {
        return;
    }
    let server = Server::tls("raw", &[]);
    for version in ["-tls1_3", "-tls1_2"] {
        let session = server.identity().folder.path("session.pem");
        let mut first = SClient::start(&server, &[version, "-sess_out", &session]);
        first.send(b"hello\n");
        first.expect("Echo: hello\n");
        first.finish();
        let mut second = SClient::start(&server, &[version, "-sess_in", &session]);
        second.expect("Reused, TLS");
        second.send(b"hello\n");
        second.expect("Echo: hello\n");
        second.finish();
    }
}

#[test]
fn openssl_is_refused_what_is_old() {
    if !has("openssl", "version") {
        return;
    }
    let server = Server::tls("raw", &[]);
    for args in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-SHA"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
        &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
    ] {
        let before = server.count_lines("TLS handshake failed: ");
        let output = SClient::start(&server, args).finish();
        assert!(!output.status.success(), "{args:?}: {output:?}");
        wait_until("it is logged", || server.count_lines("TLS handshake failed: ") > before);
    }
}

#[test]
fn openssl_shows_its_certificate() {
    if !has("openssl", "version") {
        return;
    }
    let (identity, clients) = (Identity::new(), Authority::new("clients"));
    let ca = identity.folder.file("clients.pem", &clients.pem);
    let (cert, key) = clients.issue("client");
    let (cert, key) =
        (identity.folder.file("c.pem", &cert), identity.folder.file("c_key.pem", &key));
    let url = "raw+tls://127.0.0.1:0";
    let args = [&["-l", url], &identity.options()[..], &["--tls-client-ca", &ca]].concat();
    let server = Server::start(&args).with_identity(identity);
    let mut client = SClient::start(&server, &["-cert", &cert, "-key", &key]);
    client.send(b"hello\n");
    client.expect("Echo: hello\n");
    client.finish();
    // It reads on as long as its input is open.
    let without = SClient::start(&server, &[]).wait();
    let text = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(text.contains("certificate required"), "{text}");
}

const PYTHON: &str = r#"
import socket, ssl, sys
port, ca, version = int(sys.argv[1]), sys.argv[2], getattr(ssl.TLSVersion, sys.argv[3])
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = version
def connect():
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")
def frame(code, payload):
    return bytes([code]) + len(payload).to_bytes(4, "big") + payload
def read(client, n):
    got = b""
    while len(got) < n:
        more = client.recv(n - len(got))
        assert more, "the end came after %d bytes" % len(got)
        got += more
    return got
with connect() as client:
    for size in (0, 1, 16383, 16384, 16385, 100000):
        request = frame(1, b"x" * size)
        client.sendall(request)
        assert read(client, len(request)) == request
    client.sendall(frame(1, b"last"))
    # A close_notify of ours, then the reply, then one of the server's.
    assert read(client, 9) == frame(1, b"last")
    client.unwrap()
with connect() as client:
    client.sendall(frame(3, b""))
    assert client.recv(1) == b"", "QUIT ends with a close_notify"
print("good", context.maximum_version.name)
"#;

#[test]
fn python_speaks_both_versions_to_the_end() {
    if !has("python3", "--version") {
        return;
    }
    let server = Server::tls("command", &[]);
    for version in ["TLSv1_3", "TLSv1_2"] {
        let output = Command::new("python3")
            .args(["-c", PYTHON, &server.addr(0).port().to_string()])
            .args([&server.identity().ca, version])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.starts_with("good"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.count_lines("truncated"), 0);
}
