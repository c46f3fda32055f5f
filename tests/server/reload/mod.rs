//! SIGHUP: the configuration file read anew, all of it or nothing, while clients stay.

#[cfg(feature = "accounts")]
mod accounts;
mod in_place;
#[cfg(feature = "tls")]
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::thread;

use nix::sys::signal::Signal;

use crate::support::{Client, Folder, KernelSocket, Server, frame, mynah, wait_until};

/// A server whose configuration file a test changes.
struct Reloading {
    folder: Folder,
    server: Server,
}

impl Reloading {
    /// A server with this file, in which `DIR` stands for the folder of the test.
    fn start(file: &str, args: &[&str]) -> Reloading {
        let folder = Folder::new();
        let path = folder.file("mynah.conf", &file.replace("DIR", &folder.path("")));
        let listeners = file.matches("port").count() + file.matches("path").count();
        let args = [&["-c", &path], args].concat();
        let server = Server::start_as(mynah().args(args), listeners);
        Reloading { folder, server }
    }

    /// Writes another file, has it read, and returns the lines that say what that did.
    #[track_caller]
    fn reload(&self, file: &str) -> Vec<String> {
        let before = self.server.log().len();
        self.folder.file("mynah.conf", &file.replace("DIR", &self.folder.path("")));
        self.server.signal(Signal::SIGHUP);
        let mut lines = Vec::new();
        wait_until("it is reloaded", || {
            lines = self.server.log().split_off(before);
            lines.iter().any(|line| line.ends_with("] reloaded") || line.contains("reload failed"))
        });
        let text = |line: &String| line.split_once("[mynah] ").unwrap().1.to_owned();
        let is_own = |line: &String| {
            let others = ["opened anew", "in the last second", "is drained"];
            !line.starts_with('#') && !others.iter().any(|text| line.contains(text))
        };
        lines.iter().map(text).filter(is_own).collect()
    }

    /// The address of the last listener that was announced with this protocol.
    #[track_caller]
    fn addr(&self, protocol: &str) -> SocketAddr {
        let start = format!(" listening on {protocol}://");
        let lines = self.server.log();
        let found = lines.iter().rev().find_map(|line| line.split_once(&start));
        found.unwrap().1.parse().unwrap()
    }

    fn connect(&self, protocol: &str) -> Client {
        Client::connect(self.addr(protocol))
    }

    /// How many sockets listen.
    fn listening(&self) -> usize {
        KernelSocket::all_listening(&self.server).len()
    }
}

#[test]
fn file_that_is_the_same_changes_nothing() {
    let file = "[server]\nmax_clients = 7\n[command]\nport = 0\nidle = 9\n";
    let server = Reloading::start(file, &[]);
    let mut client = server.connect("command");
    client.expect_alive();
    assert_eq!(server.reload(file), ["SIGHUP: reloading", "nothing changed", "reloaded"]);
    client.expect_alive();
}

#[test]
fn every_difference_of_settings_is_a_line() {
    let server = Reloading::start("[server]\nmax_clients = 1\n[command]\nport = 0\n", &[]);
    let mut first = server.connect("command");
    first.expect_alive();
    let mut refused = server.connect("command");
    refused.expect_frame(255, "server is full: 1 clients");
    let file =
        "[server]\nmax_clients = 5\nmax_frame = 100\nlog_level = debug\n[command]\nport = 0\n";
    assert_eq!(
        server.reload(file),
        [
            "SIGHUP: reloading",
            "max-clients 1 -> 5",
            "max-frame default -> 100",
            "log-level default -> debug",
            "reloaded",
        ]
    );
    first.expect_alive();
    server.server.wait_for_line("ECHO: ");
    let mut second = server.connect("command");
    second.send(&frame(1, &[b'x'; 101]));
    second.expect_frame(255, "frame of 101 bytes exceeds the limit of 100");
    let lines = server.reload("[server]\nlog_level = warn\n[command]\nport = 0\n");
    assert!(lines.contains(&"log-level debug -> warn".to_owned()), "{lines:?}");
    let quiet = server.server.log().len();
    server.connect("command").expect_alive();
    assert_eq!(server.server.log().len(), quiet, "connects are not logged any more");
}

#[test]
fn listener_is_changed_in_place() {
    let server = Reloading::start("[raw]\nport = 0\n[command]\nport = 0\n", &[]);
    let addr = server.addr("raw");
    let (mut raw, mut command) = (server.connect("raw"), server.connect("command"));
    raw.send(b"a");
    raw.expect(b"Echo: a");
    command.expect_alive();
    let file = "[raw]\nport = 0\nprefix = %3E\nidle = 3\n[command]\nport = 0\nmax_frame = 10\n";
    let (raw_url, command_url) =
        (format!("raw://{addr}"), format!("command://{}", server.addr("command")));
    assert_eq!(
        server.reload(file),
        [
            "SIGHUP: reloading".to_owned(),
            format!("idle-timeout of {raw_url} 0 -> 3"),
            format!("prefix of {raw_url} default -> %3E"),
            format!("max_frame of {command_url} default -> 10"),
            "reloaded".to_owned(),
        ]
    );
    raw.send(b"a");
    raw.expect(b">a");
    // It is idle from now on, and was accepted without a timeout.
    raw.expect_eof();
    command.send(&frame(1, &[0; 11]));
    command.expect_frame(255, "frame of 11 bytes exceeds the limit of 10");
}

#[test]
fn chat_keeps_its_members_in_another_language() {
    let server = Reloading::start("[chat]\nport = 0\n", &[]);
    let (mut ann, mut bob) = (server.connect("chat"), server.connect("chat"));
    for (client, nick) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        client.send(format!("{nick}\n").as_bytes());
        assert_eq!(client.read_line(), format!("[INFO] Welcome, {nick}!"));
    }
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    server.reload("[chat]\nport = 0\nlang = ru\n");
    ann.send(b"/who\n");
    assert_eq!(ann.read_line(), "В сети: ann, bob");
    bob.send(b"hi\n");
    assert_eq!(ann.read_line(), "[bob]: hi");
}

#[test]
fn listeners_come_and_go() {
    let server = Reloading::start("[command]\nport = 0\n[chat]\nport = 0\n", &[]);
    let mut command = server.connect("command");
    let mut chat = server.connect("chat");
    chat.send(b"ann\n");
    assert_eq!(chat.read_line(), "[INFO] Welcome, ann!");
    let chat_addr = server.addr("chat");
    let lines = server.reload("[command]\nport = 0\n[prefixed]\nport = 0\n");
    let expected = [
        "SIGHUP: reloading".to_owned(),
        format!("listening on prefixed://{}", server.addr("prefixed")),
        format!("stopped listening on chat://{chat_addr}: 1 connection drained"),
        "reloaded".to_owned(),
    ];
    assert_eq!(lines[..4], expected);
    assert_eq!(chat.read_line(), "[INFO] The server has shut down");
    chat.expect_eof();
    server.server.wait_for_line("disconnected: listener removed");
    std::net::TcpStream::connect(chat_addr).unwrap_err();
    command.expect_alive();
    let mut prefixed = server.connect("prefixed");
    prefixed.send(b"\x02ab");
    prefixed.expect(b"\x02ba");
}

#[test]
fn port_that_speaks_another_protocol_refuses_nobody() {
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    let addr = server.addr("command");
    let mut old = server.connect("command");
    old.send(&frame(1, b"hi"));
    let (host, port) = ("127.0.0.1", addr.port());
    let lines = server.reload(&format!("[prefixed]\nhost = {host}\nport = {port}\n"));
    assert!(lines.contains(&format!("listening on prefixed://{addr}")), "{lines:?}");
    let mut new = Client::connect(addr);
    new.send(b"\x02ab");
    new.expect(b"\x02ba");
    old.expect(&frame(1, b"hi"));
    old.expect_eof();
    assert_eq!(server.listening(), 1);
}

#[test]
fn one_bad_line_changes_nothing() {
    let good = "[command]\nport = 0\n";
    let server = Reloading::start(good, &[]);
    let mut client = server.connect("command");
    client.expect_alive();
    let lines = server.reload("[server]\nmax_clients = 1\n[command]\nprot = 0\n[raw]\nport = 0\n");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].ends_with("line 4: [command] prot: no such key, did you mean port?"));
    assert_eq!(lines[2], "reload failed: nothing was changed");
    client.expect_alive();
    server.connect("command").expect_alive();
    assert_eq!(server.listening(), 1);
    assert_eq!(server.reload(good)[1], "nothing changed");
}

#[test]
fn listener_that_cannot_be_bound_leaves_none_open() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    let mut client = server.connect("command");
    client.expect_alive();
    let (files, sockets) = (server.server.open_files(), server.listening());
    let file = format!(
        "[server]\nlog_file = DIR/new.log\nmax_clients = 1\n[raw]\nport = 0\n[raw b]\nport = {port}\n"
    );
    let lines = server.reload(&file);
    let reason = format!("cannot listen on raw://127.0.0.1:{port}: address already in use");
    assert_eq!(lines[1..], [reason, "reload failed: nothing was changed".to_owned()]);
    wait_until("nothing is left open", || server.server.open_files() == files);
    assert_eq!(server.listening(), sockets);
    fs::metadata(server.folder.path("new.log")).unwrap_err();
    server.connect("command").expect_alive();
    client.expect_alive();
}

#[test]
fn removed_listener_under_load_loses_no_reply() {
    const CLIENTS: usize = 20;
    let server = Reloading::start("[command]\nport = 0\n[raw]\nport = 0\n", &[]);
    let request = frame(1, &[7; 500]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect("command")).collect();
    let mut other = server.connect("raw");
    for client in &mut clients {
        client.expect_alive();
        client.send(&request.repeat(100));
    }
    let going_on: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, request) = (server.connect("command"), request.clone());
            client.expect_alive();
            thread::spawn(move || {
                let (mut sender, mut sent) = (client.twin(), 0);
                let sending = thread::spawn(move || {
                    for _ in 0..20_000 {
                        sender.try_send(&request);
                        sent += 1;
                    }
                    sent
                });
                let replies = client.read_to_end();
                (replies, sending.join().unwrap())
            })
        })
        .collect();
    server.folder.file("mynah.conf", "[raw]\nport = 0\n");
    server.server.signal(Signal::SIGHUP);
    for client in &mut clients {
        client.expect(&request.repeat(100));
        client.expect_eof();
    }
    for client in going_on {
        let (replies, _) = client.join().unwrap();
        let mut rest = &replies[..];
        while !rest.is_empty() {
            assert_eq!(rest[..request.len()], request, "whole replies, in order");
            rest = &rest[request.len()..];
        }
    }
    other.send(b"x");
    other.expect(b"Echo: x");
}

/// `MYNAH_LONG=1` makes it a hundred reloads, one a second.
#[test]
fn reloads_that_add_and_remove_leak_nothing() {
    let times = if std::env::var_os("MYNAH_LONG").is_some() { 100 } else { 6 };
    let without = "[command]\nport = 0\n";
    let with = "[command]\nport = 0\n[raw]\nport = 0\n[chat]\nport = 0\n";
    let server = Reloading::start(without, &[]);
    let mut client = server.connect("command");
    client.expect_alive();
    let files = server.server.open_files();
    for number in 0..times {
        server.reload(with);
        let mut raw = server.connect("raw");
        raw.send(b"x");
        raw.expect(b"Echo: x");
        server.reload(without);
        raw.expect_eof();
        drop(raw);
        assert_eq!(server.listening(), 1, "after {number} rounds");
        client.expect_alive();
    }
    wait_until("all descriptors are closed", || server.server.open_files() == files);
}

#[test]
fn log_goes_to_another_file_and_to_none() {
    let server = Reloading::start("[server]\nlog_file = DIR/a.log\n[command]\nport = 0\n", &[]);
    let text = |name: &str| fs::read_to_string(server.folder.path(name)).unwrap_or_default();
    server.reload("[server]\nlog_file = DIR/sub/b.log\n[command]\nport = 0\n");
    server.connect("command").expect_alive();
    wait_until("it is logged there", || text("sub/b.log").contains("closed by peer"));
    let files = server.server.open_files();
    server.reload("[command]\nport = 0\n");
    wait_until("the file is closed", || server.server.open_files() < files);
    server.connect("command").expect_alive();
    wait_until("it is logged", || server.server.count_lines("closed by peer") == 2);
    assert_eq!(text("sub/b.log").matches("closed by peer").count(), 1);
    assert!(!text("a.log").contains("closed by peer"));
}

#[test]
fn options_beat_the_file_at_a_reload_too() {
    let server = Reloading::start(
        "[server]\nmax_clients = 5\n",
        &["-m", "7", "-l", "command://127.0.0.1:0"],
    );
    wait_until("it listens", || server.listening() == 1);
    let lines = server.reload("[server]\nmax_clients = 6\nframe_timeout = 9\n[raw]\nport = 0\n");
    assert_eq!(lines[1..], ["frame-timeout default -> 9", "reloaded"]);
    assert_eq!(server.listening(), 1);
}

#[cfg(feature = "unix")]
#[test]
fn unix_listener_comes_and_goes_with_its_file() {
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    server.reload("[command]\nport = 0\n[raw+unix]\npath = DIR/s\n");
    let mut client = Client::unix(&server.folder.path("s"));
    client.send(b"x");
    client.expect(b"Echo: x");
    server.reload("[command]\nport = 0\n");
    client.expect_eof();
    fs::symlink_metadata(server.folder.path("s")).unwrap_err();
}

#[cfg(feature = "plugins")]
#[test]
fn plugins_come_and_go() {
    let server = Reloading::start("[command]\nport = 0\n", &["--no-plugins"]);
    drop(server);
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    let mut client = server.connect("command");
    let unknown = (255, b"unknown command 128".to_vec());
    assert_eq!(client.ask(128, b"x"), unknown);
    let code = "return { process_client_pkg = function(data) return data .. '!' end }";
    server.folder.file("shout.lua", code);
    let file = "[server]\nplugin_dir = DIR\n[command]\nport = 0\n";
    let lines = server.reload(file);
    assert!(lines.contains(&"plugins: shout".to_owned()), "{lines:?}");
    assert_eq!(client.ask(128, b"x"), (128, b"x!".to_vec()));
    server.reload("[command]\nport = 0\n");
    assert_eq!(client.ask(128, b"x"), unknown);
}

#[cfg(feature = "admission")]
#[test]
fn rates_and_limits_by_address_change() {
    let server = Reloading::start("[command]\nport = 0\n", &[]);
    let mut client = server.connect("command");
    client.expect_alive();
    let lines =
        server.reload("[server]\nconnect_rate = 1\nmessage_rate = 1\n[command]\nport = 0\n");
    assert_eq!(lines[1..], ["connect-rate default -> 1", "message-rate default -> 1", "reloaded"]);
    server.connect("command").expect_alive();
    server.connect("command").expect_frame(255, "too many connections from 127.0.0.1");
    client.send(&frame(1, b"x").repeat(4));
    client.expect(&frame(1, b"x").repeat(2));
    server.reload("[command]\nport = 0\n");
    client.expect(&frame(1, b"x").repeat(2));
}
