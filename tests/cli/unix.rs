//! Servers on Unix sockets, and paths where there is none.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
#[cfg(feature = "unix")]
use std::process::Command;

use socket2::{Domain, SockAddr, Socket, Type};

use super::program::run_args;
#[cfg(feature = "unix")]
use super::program::{CLIENT, ExitResult, RunningClient};
use super::support::Folder;
#[cfg(feature = "unix")]
use super::support::Server;

#[cfg(feature = "unix")]
fn run_with_input(args: &[&str], stdin: &[u8]) -> ExitResult {
    let mut running = RunningClient::spawn(Command::new(CLIENT).args(args).env_remove("HOME"));
    running.write_input(stdin);
    running.close_input();
    running.wait()
}

#[cfg(feature = "unix")]
#[test]
fn commands_work_over_unix() {
    let folder = Folder::new();
    let path = folder.path("a b?");
    std::fs::create_dir(&path).unwrap();
    let url = format!("command+unix://{}/s", path.replace(' ', "%20").replace('?', "%3F"));
    let _server = Server::start(&["-l", &format!("{url}?mode=0600")]);
    run_args(&[&url, "echo", "hello"]).assert_reply("hello\n");
    // The listener's own URL, as it stands in a configuration.
    run_args(&[&format!("{url}?mode=0600&max_frame=9"), "rev", "abc"]).assert_reply("cba\n");
    let text = vec![b'x'; 1_000_000];
    let reply = run_with_input(&[&url, "echo", "-"], &text);
    assert!(reply.code == Some(0) && reply.stdout.len() == text.len() + 1);
    run_with_input(&[&url], b"echo a\nrev bc\n").assert_reply("a\ncb\n");
    let status = run_args(&[&url, "status"]);
    assert!(status.stdout.starts_with(b"{\"version\""), "{status:?}");
}

#[cfg(feature = "unix")]
#[test]
fn send_and_chat_work_over_unix() {
    let folder = Folder::new();
    let (_raw, _chat) = (Server::unix("raw", &folder, &[]), {
        let url = format!("chat+unix://{}", folder.path("c"));
        Server::start(&["-l", &url])
    });
    let raw = format!("raw+unix://{}", folder.path("s"));
    run_args(&[&raw, "send", "x"]).assert_reply("Echo: x\n");
    let chat = format!("chat+unix://{}", folder.path("c"));
    let said = run_with_input(&[&chat, "chat", "ann"], b"/who\n");
    assert_eq!(said.code, Some(0), "{said:?}");
    let stdout = String::from_utf8(said.stdout).unwrap();
    assert!(stdout.contains("Welcome, ann!") && stdout.contains("Online: ann"), "{stdout}");
}

#[cfg(all(feature = "unix", feature = "tls"))]
#[test]
fn tls_works_over_unix() {
    let authority = super::tls_server::Authority::new();
    let issued = authority.issue(&["example.org", "localhost"]);
    let folder = Folder::new();
    let files = ["--tls-cert", &issued.cert, "--tls-key", &issued.key];
    let _server = Server::unix("command+tls", &folder, &files);
    let url = format!("command+tls+unix://{}", folder.path("s"));
    let ca = authority.ca();
    for name in [&[][..], &["--server-name", "example.org"]] {
        let args = [&["--cacert", &ca], name, &[&url, "echo", "hi"]].concat();
        run_args(&args).assert_reply("hi\n");
    }
    let other = run_args(&["--cacert", &ca, "--server-name", "example.net", &url, "echo", "hi"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    let plain = format!("command+unix://{}", folder.path("s"));
    let hint = run_args(&["--timeout", "2", &plain, "echo", "hi"]);
    assert!(hint.stderr.contains(&format!("try {url}")), "{hint:?}");
}

#[test]
fn missing_stale_and_other_files_are_told_apart() {
    let folder = Folder::new();
    let url = |name: &str| format!("command+unix://{}", folder.path(name));
    let assert_fails = |name: &str, reason: &str| {
        let reason = format!("cannot connect to {}: {reason}", url(name));
        run_args(&[&url(name), "echo", "x"]).assert_error(&reason);
    };
    assert_fails(
        "none",
        "no such file or directory; is the server running, and does it listen at this path?",
    );
    folder.stale_socket("stale");
    let stale = "connection refused; the server that made this socket is gone, start it again";
    assert_fails("stale", stale);
    symlink(folder.path("stale"), folder.path("link")).unwrap();
    assert_fails("link", stale);
    folder.file("file", "text");
    assert_fails("file", "there is a file that is not a socket");
    let _datagrams = UnixDatagram::bind(folder.path("dgram")).unwrap();
    assert_fails("dgram", "the socket there is not a stream socket");
}

#[test]
fn full_backlog_is_waited_for_until_the_timeout() {
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&SockAddr::unix(&path).unwrap()) {
            Ok(()) => waiting.push(socket),
            Err(_) => break,
        }
    }
    let url = format!("command+unix://{path}");
    let result = run_args(&["--timeout", "0.3", &url, "echo", "x"]);
    result.assert_error(&format!("cannot connect to {url}: no answer within 0.3 s"));
}

#[test]
fn wrong_url_is_bad_usage() {
    let example = "as in chat+unix:///run/chat.sock";
    for (url, reason) in [
        ("chat+unix://", format!("the path of the socket is missing, {example}")),
        ("chat+unix://run/x", format!("the path 'run/x' does not begin with /, {example}")),
        (
            "chat+unix://h:1",
            format!("'h:1' is a host and port, a Unix socket has a path, {example}"),
        ),
    ] {
        let result = run_args(&[url, "chat"]);
        assert_eq!(result.code, Some(2));
        assert!(result.stderr.contains(&format!("{url}: {reason}")), "{result:?}");
    }
}
