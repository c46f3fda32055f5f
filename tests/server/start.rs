//! Command lines that people bring from other servers, addresses in all their forms, and files with
//! names of any bytes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::support::{Client, Ended, Folder, Server, mynah, run, wait_until};

/// Expects status 2 and `lines` on standard error.
#[track_caller]
fn refused(args: &[&str], lines: &[&str]) {
    let ended = run(args);
    assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
    let lines: Vec<String> = lines.iter().map(|line| format!("mynah: {line}")).collect();
    let help = "Try 'mynah --help'.";
    assert_eq!(ended.stderr, [&lines[..], &[help.to_owned()]].concat().join("\n"), "{args:?}");
}

#[test]
fn port_alone_is_answered_with_its_url() {
    let raw = "did you mean --listen raw://127.0.0.1:9999?";
    refused(&["9999"], &[&format!("unexpected argument '9999', {raw}")]);
    refused(&["-p", "9999"], &[&format!("unknown option '-p', {raw}")]);
    refused(&["--port=9999"], &[&format!("unknown option '--port', {raw}")]);
    for (given, meant) in [("20432", "127.0.0.1:20432"), ("127.0.0.1:20432", "127.0.0.1:20432")] {
        let form = "not of the form PROTOCOL://HOST:PORT";
        let why = format!("--listen {given}: {form}, did you mean command://{meant}?");
        refused(&["-l", given], &[&why]);
    }
}

#[test]
fn port_and_threads_are_answered_with_the_url() {
    refused(
        &["8080", "3"],
        &[
            "unexpected argument '8080', did you mean --listen prefixed://127.0.0.1:8080?",
            "unexpected argument '3': there is no number of threads, mynah runs on one",
        ],
    );
}

#[test]
fn host_and_port_options_are_answered_with_one_url() {
    let chat = "did you mean --listen chat://0.0.0.0:5000?";
    refused(
        &["-H", "0.0.0.0", "-p", "5000"],
        &[&format!("unknown option '-H', {chat}"), &format!("unknown option '-p', {chat}")],
    );
}

#[test]
fn empty_host_is_all_addresses() {
    let server = Server::start(&["-l", "command://:0"]);
    let port = server.addr(0).port();
    server.wait_for(" listening on ", |line| line.ends_with(&format!("command://:{port}")));
    let mut ipv4 = Client::connect((Ipv4Addr::LOCALHOST, port).into());
    ipv4.expect_alive();
    let shown = format!(" 127.0.0.1:{} connected to command://:{port}", ipv4.local_port());
    server.wait_for_line(&shown);
    if TcpListener::bind("[::1]:0").is_ok() {
        Client::connect((Ipv6Addr::LOCALHOST, port).into()).expect_alive();
    }
}

/// The first link-local address of this machine and the index of its interface, if it has one.
fn link_local() -> Option<(SocketAddrV6, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    let line = table.lines().find(|line| line.starts_with("fe80"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ip = Ipv6Addr::from(u128::from_str_radix(words[0], 16).ok()?);
    let index = u32::from_str_radix(words[1], 16).ok()?;
    Some((SocketAddrV6::new(ip, 0, 0, index), words[5].to_owned()))
}

#[test]
fn link_local_address_is_bound_on_its_interface() {
    // Not every machine has one.
    let Some((mut addr, interface)) = link_local() else { return };
    let mut server = Server::spawn(
        mynah().args(["-l", &format!("command://[{}%{interface}]:0", addr.ip())]),
        Stdio::null(),
    );
    let line = server.wait_for_line(" listening on ");
    let (url, port) = line.rsplit_once(':').unwrap();
    assert!(url.ends_with(&format!("command://[{}%{interface}]", addr.ip())), "{line}");
    addr.set_port(port.parse().unwrap());
    Client::connect(SocketAddr::V6(addr)).expect_alive();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn ipv6_address_that_lacks_something_has_a_hint() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    for (url, hint) in [
        (
            "raw://[fe80::1]:0",
            "invalid argument (a link-local address needs its interface, as in [fe80::1%eth0])",
        ),
        ("raw://[::ffff:127.0.0.1]:0", "invalid argument (write it as 127.0.0.1)"),
    ] {
        let ended = run(&["-l", url]);
        assert_eq!(ended.code, Some(1));
        let why = format!("cannot listen on {url}: {hint}");
        assert!(ended.stderr.ends_with(&why), "{}", ended.stderr);
    }
}

/// A path in `folder` whose name is not UTF-8, and cannot be shown in a file name without loss.
fn strange(folder: &Folder, name: &[u8]) -> PathBuf {
    Path::new(&folder.path("")).join(OsStr::from_bytes(name))
}

#[test]
fn file_names_need_not_be_utf_8() {
    let folder = Folder::new();
    let config = strange(&folder, b"conf\xff.ini");
    fs::write(&config, "[raw]\nport = 0\n").unwrap();
    let log = strange(&folder, b"logs\xfe/log\xff.txt");
    let server = Server::start_as(mynah().arg("-c").arg(config).arg("--log-file").arg(&log), 1);
    wait_until("the log file", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on raw://"))
    });
    drop(server);

    let mut equals = OsString::from("--config=");
    equals.push(strange(&folder, b"none\xff"));
    let mut server = Server::spawn(mynah().arg(equals), Stdio::null());
    assert_eq!(server.wait_exit().code(), Some(2));
    let log = server.log();
    assert!(log[0].ends_with(r"/none\xff: cannot be read: no such file or directory"), "{log:?}");
}

#[test]
fn log_file_of_a_file_need_not_be_utf_8() {
    let folder = Folder::new();
    let log = strange(&folder, b"log\xff\xc3.txt");
    let mut text = b"[raw]\nport = 0\n[server]\nlog_file = ".to_vec();
    text.extend_from_slice(log.as_os_str().as_bytes());
    fs::write(folder.path("mynah.ini"), text).unwrap();
    let _server = Server::start_as(mynah().args(["-c", &folder.path("mynah.ini")]), 1);
    wait_until("the log file", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on raw://"))
    });
}

#[cfg(feature = "plugins")]
#[test]
fn plugin_folder_need_not_be_utf_8() {
    let folder = Folder::new();
    let dir = strange(&folder, b"plug\xffins");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("hello.lua"), "return {}").unwrap();
    let command = &mut mynah();
    let server = Server::start_as(command.args(["-l", "raw://:0", "--plugin-dir"]).arg(dir), 1);
    server.wait_for_line("plugins: hello");
}

#[cfg(feature = "plugins")]
#[test]
fn no_plugins_leaves_the_default_folder_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("plugins")).unwrap();
    folder.file("plugins/hello.lua", "return {}");
    let file = folder.file("mynah.ini", "[server]\nno_plugins = yes\n[raw]\nport = 0\n");
    let loaded = |args: &[&str]| {
        let server = Server::start_as(mynah().args(args).current_dir(folder.path("")), 1);
        server.count_lines("plugins: hello") == 1
    };
    assert!(loaded(&["-l", "raw://:0"]));
    assert!(!loaded(&["-l", "raw://:0", "--no-plugins"]));
    assert!(!loaded(&["-c", &file]));
    assert!(loaded(&["-c", &file, "--plugin-dir", "plugins"]));
    refused(&["--no-plugins", "--plugin-dir", "x"], &["only one of --plugin-dir and --no-plugins"]);
}

#[test]
fn server_host_and_port_open_a_chat_and_say_so() {
    let folder = Folder::new();
    let file = folder.file("config.ini", "[server]\nhost = localhost # IP\nport = 0\n");
    let server = Server::start_as(mynah().args(["-c", &file]), 1);
    let notice = format!("{file}: host and port in [server] open a chat, chat://localhost:0");
    assert!(server.wait_for_line(&notice).contains(" INFO "));
    let mut client = server.connect();
    client.send(b"exitus\n");
    client.expect(b"[INFO] Welcome, exitus!\n");

    let other = Server::start(&["-c", &file, "-l", "raw://127.0.0.1:0"]);
    assert_eq!(other.count_lines("[server]"), 0);
}

#[test]
fn file_error_has_no_pointer_to_the_help() {
    let folder = Folder::new();
    let file = folder.file("bad.ini", "[server]\nmax-clients = 1\n");
    let Ended { code, stderr, .. } = run(&["-c", &file]);
    let why = "line 2: [server] max-clients: no such key, did you mean max_clients?";
    assert_eq!((code, stderr), (Some(2), format!("mynah: {file}: {why}")));
}

/// `docs/examples/config.ini`, with a free port in place of 5000.
#[test]
fn ancestor_chat_example_is_russian_and_logs_to_its_file() {
    let folder = Folder::new();
    let text = include_str!("../../docs/examples/config.ini").replace("port = 5000", "port = 0");
    folder.file("config.ini", &text);
    let server =
        Server::start_as(mynah().args(["-c", "config.ini"]).current_dir(folder.path("")), 1);
    server.wait_for_line("listening on chat://0.0.0.0:");
    let mut client = server.connect();
    client.send("ann\n".as_bytes());
    client.expect("[INFO] Добро пожаловать, ann!\n".as_bytes());
    wait_until("logs/server_log.txt", || {
        fs::read_to_string(folder.path("logs/server_log.txt"))
            .is_ok_and(|text| text.contains("[INFO] listening on chat://0.0.0.0:"))
    });
}

#[test]
fn raw_messages_are_logged_as_received() {
    let server = Server::start(&["-l", "raw://127.0.0.1:0"]);
    let mut client = server.connect();
    client.send(b"Hello, Server!\x1b");
    client.expect(b"Echo: Hello, Server!\x1b");
    let line = server.wait_for_line("Received: ");
    assert!(line.ends_with(r#" INFO  [mynah] #1 Received: "Hello, Server!\x1b""#), "{line}");
    for _ in 0..250 {
        client.send(b"x");
        client.expect(b"Echo: x");
    }
    server.wait_for_line(" more messages received");
    assert!(server.count_lines("Received: ") <= 200);
}
