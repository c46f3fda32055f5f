//! `--check`: what a start would trip over, and nothing opened.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use socket2::{Domain, Socket, Type};

use super::support::{Ended, Folder, Server, mynah_under, run};

/// Expects `code`, and `lines` on standard error.
#[track_caller]
fn check(args: &[&str], code: i32, lines: &[&str]) -> String {
    let Ended { code: ended, stdout, stderr } = run(&[&["--check"], args].concat());
    let lines: Vec<String> = lines.iter().map(|line| format!("mynah: {line}")).collect();
    assert_eq!((ended, stderr), (Some(code), lines.join("\n")), "{args:?}");
    stdout
}

/// A port that can be listened on while the socket lives, and that the system gives to nobody else:
/// the socket is bound and does not listen.
fn hold_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

#[test]
fn check_prints_what_would_open() {
    let folder = Folder::new();
    let log = folder.path("some/where/mynah.log");
    let args = ["-l", "raw://localhost:0?idle=5", "-l", "chat://:0", "--log-file", &log];
    let stdout = check(&args, 0, &[]);
    let lines = [
        "would listen on raw://localhost:0",
        "would listen on chat://:0",
        &format!("would log to {log}"),
        "mynah: options and configuration are good\n",
    ];
    assert_eq!(stdout, lines.join("\n"));
    assert!(fs::metadata(folder.path("some")).is_err(), "nothing is created");
}

#[test]
fn address_in_use_is_found_and_keeps_its_owner() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let url = format!("command://127.0.0.1:{port}");
    let why = format!("cannot listen on {url}: address already in use");
    assert_eq!(check(&["-l", &url], 1, &[&why]), "");
    let all = format!("raw://0.0.0.0:{port}");
    let why = format!("cannot listen on {all}: address already in use");
    let args = ["-l", "raw://127.0.0.1:0", "-l", &all];
    assert_eq!(check(&args, 1, &[&why]), "would listen on raw://127.0.0.1:0\n");
}

#[test]
fn two_listeners_at_one_address_are_found() {
    let (_held, port) = hold_port();
    let (raw, chat) = (format!("raw://127.0.0.1:{port}"), format!("chat://:{port}"));
    let why = format!("{raw} and {chat} are at one address");
    check(&["-l", &raw, "-l", &chat], 2, &[&why]);
}

#[test]
fn host_that_is_not_there_is_found() {
    let Ended { code, stderr, .. } = run(&["--check", "-l", "raw://nobody.invalid:7"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("mynah: cannot listen on raw://nobody.invalid:7: "), "{stderr}");
    let why = "cannot listen on raw://192.0.2.1:0: cannot assign requested address";
    check(&["-l", "raw://192.0.2.1:0"], 1, &[why]);
}

#[test]
fn log_file_that_cannot_be_written_is_found() {
    let folder = Folder::new();
    let file = folder.file("file", "");
    for (log, why) in [
        (format!("{file}/mynah.log"), "not a directory"),
        (format!("{file}/deeper/mynah.log"), "not a directory"),
        (folder.path(""), "is a directory"),
    ] {
        let ended = run(&["--check", "-l", "raw://127.0.0.1:0", "--log-file", &log]);
        assert_eq!(ended.code, Some(1), "{log}");
        assert_eq!(ended.stderr, format!("mynah: cannot log to {log}: {why}"));
    }
    check(&["-l", "raw://127.0.0.1:0", "--log-file", &file], 0, &[]);
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn log_folder_without_permission_is_found() {
    let folder = Folder::new();
    let (dir, file) = (folder.path("dir"), folder.file("file", ""));
    fs::create_dir(&dir).unwrap();
    for (path, mode) in [(&dir, 0o555), (&file, 0o444)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Root may write anywhere.
    if fs::OpenOptions::new().append(true).open(&file).is_ok() {
        return;
    }
    for log in [format!("{dir}/some/where.log"), file] {
        let why = format!("cannot log to {log}: permission denied");
        check(&["-l", "raw://127.0.0.1:0", "--log-file", &log], 1, &[&why]);
    }
}

#[test]
fn max_clients_over_the_file_limit_is_a_warning() {
    let args = ["--check", "-l", "raw://127.0.0.1:0", "-m", "1000"];
    let mut server = Server::spawn(mynah_under("ulimit -n 64").args(args), Stdio::null());
    assert_eq!(server.wait_exit().code(), Some(0));
    let why = "--max-clients 1000 does not fit the limit of 64 files, lowered to 32";
    assert_eq!(server.log(), [format!("mynah: warning: {why}")]);
}

#[test]
fn configuration_outweighs_the_machine() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("raw://{}", taken.local_addr().unwrap());
    let (_held, port) = hold_port();
    let both = [format!("raw://127.0.0.1:{port}"), format!("chat://127.0.0.1:{port}")];
    let lines = [
        format!("{} and {} are at one address", both[0], both[1]),
        format!("cannot listen on {url}: address already in use"),
    ];
    let args = ["-l", &url, "-l", &both[0], "-l", &both[1]];
    check(&args, 2, &[&lines[0], &lines[1]]);
}

#[test]
fn check_says_that_the_server_section_opens_a_chat() {
    let folder = Folder::new();
    let file = folder.file("config.ini", "[server]\nport = 0\n");
    let stdout = check(&["-c", &file], 0, &[]);
    let notice = format!("{file}: host and port in [server] open a chat, chat://127.0.0.1:0");
    assert!(stdout.contains(&notice), "{stdout}");
}
