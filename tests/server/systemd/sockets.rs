//! Sockets that the service manager passes, in place of listeners of the same names.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::{Manager, activated, spawn};
use crate::support::{Client, wait_until};

fn tcp() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A start with the variables and `sockets` fails with status 1, for `reason`; so does `--check`.
#[track_caller]
fn refused(fds: &str, names: Option<&str>, sockets: &[OwnedFd], reason: &str) {
    for check in [&[][..], &["--check"]] {
        let args = ["-l", "chat://127.0.0.1:0", "-l", "raw://127.0.0.1:0?name=echo"];
        let mut command = activated(&[&args, check].concat());
        command.env("LISTEN_FDS", fds);
        if let Some(names) = names {
            command.env("LISTEN_FDNAMES", names);
        }
        let copies = sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let mut server = spawn(&mut command, copies);
        assert_eq!(server.wait_exit().code(), Some(1), "{reason}");
        let last = server.log().pop().unwrap();
        assert!(last.ends_with(reason), "{last}\n{reason}");
    }
}

#[test]
fn passed_sockets_replace_listeners_by_name() {
    let manager = Manager::new();
    let path = manager.folder.path("s");
    let (chat, echo) = (tcp(), UnixListener::bind(&path).unwrap());
    let addr = chat.local_addr().unwrap();
    let args = [
        "-l",
        "command://127.0.0.1:0",
        // Neither of their addresses is used.
        "-l",
        "raw://192.0.2.1:7?name=echo&idle=5",
        "-l",
        "chat+unix:///no/such/folder",
    ];
    let mut server = manager.start(&args, vec![("chat", chat.into()), ("echo", echo.into())]);
    manager.wait_for("READY=1");
    server.wait_for_line("passed sockets: echo, chat");
    server.wait_for_line(&format!("listening on raw+unix://{path}"));
    server.wait_for_line(&format!("listening on chat://{addr}"));
    let line = server.wait_for_line("listening on command://127.0.0.1:");
    let (_, command) = line.rsplit_once("://").unwrap();
    Client::connect(command.parse().unwrap()).expect_alive();
    let mut client = Client::unix(&path);
    client.send(b"x");
    client.expect(b"Echo: x");
    let mut client = Client::connect(addr);
    client.send(b"ann\n");
    client.expect(b"[INFO] Welcome, ann!\n");
    assert_eq!(server.stop(), Some(0));
    assert!(fs::symlink_metadata(path).is_ok(), "its file is the manager's");
}

#[cfg(feature = "cluster")]
#[test]
fn passed_socket_is_not_made_to_share_its_port() {
    let manager = Manager::new();
    let raw = tcp();
    let args = ["-l", "raw://127.0.0.1:7?reuse_port=yes"];
    let server = manager.start(&args, vec![("raw", raw.into())]);
    server.wait_for_line(
        "reuse_port of raw://127.0.0.1:7 has no effect on a passed socket: its unit says so with \
         ReusePort=yes",
    );
}

#[test]
fn second_of_a_protocol_has_a_number() {
    let manager = Manager::new();
    let second = tcp();
    let addr = second.local_addr().unwrap();
    let args = ["-l", "raw://127.0.0.1:0", "-l", "raw://127.0.0.1:0"];
    let server = manager.start(&args, vec![("raw-2", second.into())]);
    server.wait_for_line(&format!("listening on raw://{addr}"));
    manager.wait_for("READY=1");
}

#[test]
fn ipv6_socket_is_shown_with_brackets() {
    let Ok(socket) = TcpListener::bind("[::1]:0") else { return };
    let addr = socket.local_addr().unwrap();
    let manager = Manager::new();
    let server = manager.start(&["-l", "raw://:0"], vec![("raw", socket.into())]);
    server.wait_for_line(&format!("listening on raw://{addr}"));
}

#[test]
fn wrong_variables_are_errors() {
    for fds in ["", "x", "-1", "1.5", "99999999999999999999"] {
        refused(fds, None, &[], &format!("LISTEN_FDS='{fds}' is not a number"));
    }
    refused("3", Some("a:b:c"), &[], "too many sockets were passed: 3, for listeners: 2");
    let max = u64::MAX.to_string();
    refused(&max, None, &[], &format!("too many sockets were passed: {max}, for listeners: 2"));
    let sockets = [tcp().into(), tcp().into()];
    let unnamed = "a socket was passed without a name: FileDescriptorName= in its unit names the \
                   listener that it is for";
    refused("1", None, &sockets, unnamed);
    refused("1", Some(""), &sockets, unnamed);
    refused("2", Some("chat:"), &sockets, unnamed);
    refused("2", Some("chat"), &sockets, "LISTEN_FDNAMES has 1 names for LISTEN_FDS=2 sockets");
    refused("1", Some("a:b"), &sockets, "LISTEN_FDNAMES has 2 names for LISTEN_FDS=1 sockets");
    refused("2", Some("echo:echo"), &sockets, "two sockets were passed for 'echo'");
    let unknown = "a socket was passed for 'ehco', there are chat, echo, did you mean echo?";
    refused("1", Some("ehco"), &sockets, unknown);
    let unit = "a socket was passed for 'mynah.socket', there are chat, echo";
    refused("1", Some("mynah.socket"), &sockets, unit);
}

#[test]
fn what_is_no_listening_socket_is_an_error() {
    let listener = tcp();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let not_listening = "it is not a listening stream socket";
    for (descriptor, why) in [
        (OwnedFd::from(File::open("/dev/null").unwrap()), "it is not a socket"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), not_listening),
        (connected.into(), not_listening),
    ] {
        let why = format!("the socket passed for 'echo' cannot be used: {why}");
        refused("1", Some("echo"), &[descriptor], &why);
    }
}

#[test]
fn socket_that_was_not_passed_is_an_error() {
    let script = r#"export LISTEN_PID=$$; exec "$0" "$@" 3<&-"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mynah"), "-l", "raw://127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "raw");
    let mut server = spawn(&mut command, Vec::new());
    assert_eq!(server.wait_exit().code(), Some(1));
    let why = "LISTEN_FDS=1 sockets were not passed: bad file descriptor";
    assert!(server.log().pop().unwrap().ends_with(why));
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let mut command = crate::support::mynah();
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "9").args(["-l", "raw://127.0.0.1:0"]);
    let mut server = spawn(&mut command, Vec::new());
    server.wait_for_line("listening on raw://127.0.0.1:");
    assert_eq!(server.stop(), Some(0));
    let mut command = crate::support::mynah();
    command.env("LISTEN_PID", "me").env("LISTEN_FDS", "1").args(["-l", "raw://127.0.0.1:0"]);
    let mut server = spawn(&mut command, Vec::new());
    assert_eq!(server.wait_exit().code(), Some(1));
    assert!(server.log().pop().unwrap().ends_with("LISTEN_PID='me' is not a number"));
}

#[test]
fn check_shows_passed_sockets() {
    let socket = tcp();
    let addr = socket.local_addr().unwrap();
    let script = r#"export LISTEN_PID=$$; exec "$0" "$@" 3<&0 </dev/null"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mynah"), "--check"]);
    command.args(["-l", "chat://192.0.2.1:7", "-l", "raw://127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "chat").stdin(OwnedFd::from(socket));
    let output = command.output().unwrap();
    let expected = format!(
        "would listen on chat://{addr}, a passed socket\nwould listen on raw://127.0.0.1:0\n\
         mynah: options and configuration are good\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn backlog_at_a_stop_is_the_successors() {
    let manager = Manager::new();
    let socket = tcp();
    let addr = socket.local_addr().unwrap();
    let start = || {
        let copy = socket.try_clone().unwrap();
        let server = manager.start(&["-l", "command://:0"], vec![("command", copy.into())]);
        manager.wait_for("READY=1");
        server
    };
    let mut old = start();
    old.freeze();
    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(addr)).collect();
    clients.iter_mut().for_each(|client| client.send(b"\x01\0\0\0\x05alive"));
    old.signal(nix::sys::signal::Signal::SIGTERM);
    old.thaw();
    assert_eq!(old.wait_exit().code(), Some(0));
    assert_eq!(old.count_lines(" connected to "), 0);
    let _new = start();
    clients.iter_mut().for_each(|client| client.expect(b"\x01\0\0\0\x05alive"));
}

/// A closed descriptor stays in epoll while the manager has a copy.
#[test]
fn stopping_server_does_not_watch_the_socket() {
    let manager = Manager::new();
    let socket = tcp();
    let addr = socket.local_addr().unwrap();
    let copy = socket.try_clone().unwrap();
    let args = ["-l", "command://:0", "--drain-timeout", "60"];
    let mut server = manager.start(&args, vec![("command", copy.into())]);
    manager.wait_for("READY=1");
    // It is sent more than its kernel takes, and holds the stop up.
    let mut slow = Client::connect(addr);
    slow.send(&crate::support::frame(1, &vec![7; 1 << 20]).repeat(8));
    server.wait_for_line(" connected to ");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    server.wait_for_line("stopping, ");
    wait_until("the loop waits", || {
        let before = server.processor_time();
        // Processor time is measured over it: a loop that waits is no event.
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.processor_time() == before
    });
    let before = server.processor_time();
    let _waiting: Vec<Client> = (0..50).map(|_| Client::connect(addr)).collect();
    assert_eq!(server.processor_time(), before, "it was woken");
    slow.discard_to_end();
    assert_eq!(server.wait_exit().code(), Some(0));
}
