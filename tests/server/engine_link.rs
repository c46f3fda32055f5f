//! `--cluster`: the connections to the engine, real and of a kind that no engine should be. Clients
//! are served whatever they do.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::redis::{Redis, Value};
use crate::support::{Ended, Folder, PATIENCE, Server, mynah, run, wait_until};

const CONNECTED: &str = "cluster: connected to the engine";

/// A server with an engine at `url`, and the options `args`.
#[track_caller]
fn node(url: &str, args: &[&str]) -> Server {
    let own = ["-l", "raw://127.0.0.1:0", "--no-plugins", "--cluster", url];
    Server::start(&[&own, args].concat())
}

/// A client of the server gets its answer, at once.
#[track_caller]
fn expect_served(server: &Server) {
    let mut client = server.connect();
    client.send(b"x");
    client.expect(b"Echo: x");
}

/// The lines of CLIENT LIST about connections of `node`.
fn connections(redis: &Redis, node: &str) -> Vec<String> {
    let Value::BulkString(list) = redis.ask(&["CLIENT", "LIST"]) else { return Vec::new() };
    let (list, name) = (String::from_utf8(list).unwrap(), format!("name=mynah:{node} "));
    list.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
}

/// Waits until the node has both its connections, one of which hears a channel.
#[track_caller]
fn wait_until_joined(redis: &Redis, node: &str) {
    wait_until("both connections are there", || {
        let lines = connections(redis, node);
        lines.len() == 2 && lines.iter().any(|line| !line.contains(" sub=0 "))
    });
}

/// An address at which nobody listens.
fn refusing_addr() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn node_joins_its_engine_over_tcp() {
    let Some(redis) = Redis::start_tcp(&["--requirepass", "s3cret:/@"]) else { return };
    let url = format!("redis://:s3cret%3A%2F%40@localhost:{}/3?node=n1", redis.port());
    let server = node(&url, &["--log-level", "trace"]);
    server.wait_for_line(CONNECTED);
    let mut client = redis.connect();
    client.ask(&["AUTH", "s3cret:/@"]);
    let Value::BulkString(list) = client.ask(&["CLIENT", "LIST"]) else { panic!("no list") };
    let list = String::from_utf8(list).unwrap();
    let own: Vec<&str> = list.lines().filter(|line| line.contains("name=mynah:n1 ")).collect();
    assert!(own.len() == 2 && own.iter().all(|line| line.contains(" db=3 ")), "{list}");
    server.wait_for_line("--cluster: everybody on this machine can see the password");
    assert_eq!(server.count_lines("s3cret"), 0);
    expect_served(&server);
}

#[test]
fn node_joins_its_engine_over_a_unix_socket() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "mynah", "on", ">s3cret", "~*", "&*", "+@all"]);
    let password = redis.folder().file("password", "s3cret\n");
    let url =
        format!("redis+unix://mynah@{}?db=2&node=n2&password_file={password}", redis.socket());
    let server = node(&url, &[]);
    server.wait_for_line(CONNECTED);
    wait_until_joined(&redis, "n2");
    assert!(connections(&redis, "n2").iter().all(|line| line.contains(" user=mynah ")));
    expect_served(&server);
}

#[test]
fn node_has_the_name_of_its_host_without_another() {
    let Some(redis) = Redis::start(&[]) else { return };
    let server = node(&format!("redis+unix://{}", redis.socket()), &[]);
    server.wait_for_line(CONNECTED);
    let host = nix::sys::utsname::uname().unwrap().nodename().to_str().unwrap().to_owned();
    wait_until_joined(&redis, &host);
}

#[test]
fn engine_that_comes_back_is_joined_again() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let server = node(&format!("redis+unix://{}?node=n", redis.socket()), &[]);
    server.wait_for_line(CONNECTED);
    redis.kill();
    server.wait_for_line("; trying again");
    expect_served(&server);
    redis.restart();
    wait_until("it is joined again", || server.count_lines(CONNECTED) == 2);
    wait_until_joined(&redis, "n");
}

#[test]
fn refused_connection_is_in_the_log_once() {
    let addr = refusing_addr();
    let server = node(&format!("redis://{addr}"), &[]);
    let line = format!("cluster: cannot reach redis://{addr}: connection refused; trying again");
    server.wait_for_line(&line);
    expect_served(&server);
    // It is tried again after 0.1 s and 0.2 s or so: an engine there is found.
    let listener = TcpListener::bind(&addr).unwrap();
    listener.accept().unwrap();
    assert_eq!(server.count_lines("cluster:"), 1, "{:?}", server.log());
}

#[test]
fn name_that_does_not_resolve_is_in_the_log() {
    let server = node("redis://no-such-engine.invalid:7000", &[]);
    let start =
        "cluster: cannot reach redis://no-such-engine.invalid:7000: failed to lookup address";
    let line = server.wait_for_line(start);
    assert!(line.ends_with("; trying again") && !line.contains("os error"), "{line}");
    expect_served(&server);
}

#[test]
fn missing_socket_is_in_the_log() {
    let folder = Folder::new();
    let url = format!("redis+unix://{}", folder.path("redis.sock"));
    let server = node(&url, &[]);
    server.wait_for_line(&format!("cannot reach {url}: no such file or directory; trying again"));
}

#[test]
fn silent_engine_is_left_after_5_s() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = node(&format!("redis://{addr}"), &[]);
    let mut streams = [0, 1].map(|_| listener.accept().unwrap().0);
    expect_served(&server);
    server.wait_for_line(&format!("cannot reach redis://{addr}: no answer; trying again"));
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said);
        assert!(end.is_ok_and(|_| said.starts_with(b"*")), "it was closed");
    }
}

#[test]
fn engine_of_few_words_is_left_after_5_s() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = node(&format!("redis://{addr}"), &[]);
    let mut stream = listener.accept().unwrap().0;
    // A word that never ends, a byte now and then.
    let writer = thread::spawn(move || {
        let error = loop {
            match stream.write_all(b"+") {
                Ok(()) => thread::sleep(Duration::from_millis(20)),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    });
    expect_served(&server);
    server.wait_for_line("no answer; trying again");
    writer.join().unwrap();
}

#[test]
fn engine_that_talks_nonsense_is_left_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = node(&format!("redis://{addr}"), &[]);
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "*1000000000\r\n", "$-7\r\n"] {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
        expect_served(&server);
    }
    server.wait_for_line(&format!("cluster: redis://{addr} sent "));
}

#[test]
fn idle_node_does_not_spin() {
    let Some(redis) = Redis::start(&[]) else { return };
    let server = node(&format!("redis+unix://{}?node=n", redis.socket()), &[]);
    server.wait_for_line(CONNECTED);
    let before = server.processor_time();
    thread::sleep(Duration::from_millis(1_000));
    let used = server.processor_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?}");
}

#[test]
fn password_file_is_read_anew_at_a_reload() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "mynah", "on", ">second", "~*", "&*", "+@all"]);
    let folder = Folder::new();
    let password = folder.file("password", "first");
    let url = format!("redis+unix://mynah@{}?password_file={password}", redis.socket());
    let text = |url: &str| format!("[server]\ncluster = {url}\n[raw]\nport = 0\n");
    let file = folder.file("mynah.conf", &text(&url));
    let server = Server::start_as(mynah().args(["-c", &file, "--no-plugins"]), 1);
    server.wait_for_line("WRONGPASS");
    fs::write(&password, "second\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("the engine's password has changed");
    server.wait_for_line(CONNECTED);
    // All else of the URL needs a restart.
    fs::write(&file, text(&format!("{url}&prefix=x"))).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_line("needs a restart");
    assert!(line.contains(&format!("cluster {url}", url = url.replace('?', "?prefix=mynah&"))));
    fs::write(&file, text("redis://:third@h?node=x")).unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_line(" -> redis://:***@h:6379?prefix=mynah&node=x needs a restart");
    assert!(!line.contains("third"));
    fs::remove_file(&password).unwrap();
    fs::write(&file, text(&url)).unwrap();
    server.signal(Signal::SIGHUP);
    let why = format!("cannot read the password {password}: no such file or directory");
    server.wait_for_line(&why);
    server.wait_for_line("reload failed: nothing was changed");
    for secret in ["first", "second", "third"] {
        assert_eq!(server.count_lines(secret), 0, "{secret}");
    }
}

#[test]
fn check_reads_what_a_start_would() {
    let folder = Folder::new();
    let check = |url: &str| {
        let Ended { code, stdout, stderr } =
            run(&["--check", "-l", "raw://127.0.0.1:0", "--no-plugins", "--cluster", url]);
        assert!(!format!("{stdout}{stderr}").contains("s3cret"), "{stdout}{stderr}");
        (code, stderr)
    };
    let file = folder.file("password", "s3cret\n");
    // The engine itself need not be there.
    let url = format!("redis://{}?password_file={file}", refusing_addr());
    assert_eq!(check(&url), (Some(0), String::new()));
    let (code, stderr) = check("redis://:s3cret@h");
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("mynah: warning: --cluster: everybody on this machine"), "{stderr}");
    let missing = folder.path("no");
    let why = format!("mynah: cannot read the password {missing}: no such file or directory");
    assert_eq!(check(&format!("redis://h?password_file={missing}")), (Some(2), why));
    folder.file("empty", "\n");
    let (code, stderr) = check(&format!("redis://h?password_file={}", folder.path("empty")));
    assert_eq!((code, stderr.ends_with("empty: it is empty")), (Some(2), true), "{stderr}");
    let (code, stderr) = check("redis://u:s3cret@h:port");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--cluster: bad port, it is 1 to 65535"), "{stderr}");
    #[cfg(feature = "tls")]
    {
        let (code, stderr) = check(&format!("rediss://h?ca={missing}"));
        assert_eq!((code, stderr.contains(&missing)), (Some(2), true), "{stderr}");
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use crate::support::tls::{Authority, Identity};

    /// An engine with TLS on the port that is returned.
    fn start(identity: &Identity) -> Option<(Redis, u16)> {
        let Identity { cert, key, ca, .. } = identity;
        // The port may be taken before redis-server has it.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (files, number) =
                (["--tls-cert-file", cert, "--tls-key-file", key], port.to_string());
            let others = ["--tls-ca-cert-file", ca, "--tls-auth-clients", "no"];
            let redis = Redis::start(&[&["--tls-port", &number][..], &files, &others].concat())?;
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some((redis, port));
            }
        }
        panic!("redis-server found no free port");
    }

    #[test]
    fn node_joins_its_engine_over_tls() {
        let identity = Identity::new();
        let Some((redis, port)) = start(&identity) else { return };
        let server = node(&format!("rediss://localhost:{port}?node=n&ca={}", identity.ca), &[]);
        server.wait_for_line(CONNECTED);
        wait_until_joined(&redis, "n");
        expect_served(&server);
    }

    #[test]
    fn certificate_of_the_engine_is_checked() {
        let identity = Identity::new();
        let Some((_redis, port)) = start(&identity) else { return };
        let url = format!("rediss://127.0.0.1:{port}");
        let server = node(&format!("{url}?ca={}", identity.ca), &[]);
        server.wait_for_line(&format!(
            "cannot reach {url}: its certificate is for localhost, not for 127.0.0.1; trying again"
        ));
        let other = identity.folder.file("other.pem", &Authority::new("another").pem);
        let server = node(&format!("rediss://localhost:{port}?ca={other}"), &[]);
        server.wait_for_line(
            "nobody trusted here has issued its certificate: name its CA with ca=FILE",
        );
        expect_served(&server);
        assert_eq!(server.count_lines(CONNECTED), 0);
    }

    #[test]
    fn engine_without_tls_is_in_the_log() {
        let Some(redis) = Redis::start_tcp(&[]) else { return };
        let identity = Identity::new();
        let url = format!("rediss://localhost:{}", redis.port());
        let server = node(&format!("{url}?ca={}", identity.ca), &[]);
        // It waits for the end of what it takes for a line.
        let why = "no TLS handshake in time, redis:// is without; trying again";
        server.wait_for_line(&format!("cannot reach {url}: {why}"));
        expect_served(&server);
    }
}
