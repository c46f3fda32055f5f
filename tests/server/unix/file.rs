//! The file of a listening Unix socket: what is replaced, what is left alone, who may connect, and
//! when it is removed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{Client, Ended, Folder, Server, mynah, mynah_under, run, wait_until};

fn exists(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn url(path: &str) -> String {
    format!("command+unix://{path}")
}

/// A start with `args` fails with `status`, for `reason`.
#[track_caller]
fn assert_fails(args: &[&str], status: i32, reason: &str) {
    let Ended { code, stderr, .. } = run(args);
    assert!(code == Some(status) && stderr.contains(reason), "{code:?} {stderr}");
}

#[test]
fn stop_removes_the_file() {
    for signals in [&[Signal::SIGTERM][..], &[Signal::SIGINT, Signal::SIGINT]] {
        let folder = Folder::new();
        let mut server = Server::unix("command", &folder, &[]);
        let _client = Client::unix(&folder.path("s"));
        signals.iter().for_each(|signal| server.signal(*signal));
        server.wait_exit();
        assert!(!exists(&folder.path("s")));
    }
}

#[test]
fn killed_servers_file_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("s");
    let mut server = Server::unix("command", &folder, &[]);
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    let left = fs::metadata(&path).unwrap();
    assert!(left.file_type().is_socket());
    let mut server = Server::unix("command", &folder, &[]);
    Client::unix(&path).expect_alive();
    assert_eq!(server.stop(), Some(0));
    assert!(!exists(&path));
}

#[test]
fn live_socket_is_left_to_its_owner() {
    let folder = Folder::new();
    let path = folder.path("s");
    let owner = UnixListener::bind(&path).unwrap();
    owner.set_nonblocking(true).unwrap();
    let reason = format!("cannot listen on {}: address already in use", url(&path));
    assert_fails(&["-l", &url(&path)], 1, &reason);
    assert_fails(&["--check", "-l", &url(&path)], 1, &reason);
    assert!(owner.accept().is_err(), "nobody has connected to it");
    let _stream = UnixStream::connect(&path).unwrap();
    owner.accept().unwrap();
}

#[test]
fn one_of_two_servers_gets_a_stale_path() {
    for _ in 0..10 {
        let folder = Folder::new();
        let path = folder.stale_socket("s");
        let mut servers: Vec<Server> = (0..2)
            .map(|_| Server::spawn(mynah().args(["-l", &url(&path)]), Stdio::null()))
            .collect();
        let mut listening = 0;
        for server in &servers {
            let line = server.wait_for("a result", |line| {
                line.contains(" listening on ") || line.contains("address already in use")
            });
            listening += usize::from(line.contains(" listening on "));
        }
        assert_eq!(listening, 1);
        Client::unix(&path).expect_alive();
        servers.iter_mut().for_each(|server| server.signal(Signal::SIGTERM));
    }
}

#[test]
fn file_that_is_not_a_socket_is_left_alone() {
    let folder = Folder::new();
    let file = folder.file("file", "text");
    let (link, dir, fifo) = (folder.path("link"), folder.path("dir"), folder.path("fifo"));
    symlink(&file, &link).unwrap();
    fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, kind) in [
        (&file, "a regular file"),
        (&link, "a symbolic link"),
        (&dir, "a folder"),
        (&fifo, "a FIFO"),
    ] {
        let reason =
            format!("cannot listen on {}: {kind} is in the way, and is not removed", url(path));
        assert_fails(&["-l", &url(path)], 1, &reason);
        assert_fails(&["--check", "-l", &url(path)], 1, &reason);
        assert!(exists(path));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn missing_folder_and_long_path_are_errors() {
    let folder = Folder::new();
    let path = folder.path("no/s");
    let missing = folder.path("no");
    let reason = format!("no such file or directory (the folder {missing} does not exist)");
    assert_fails(&["-l", &url(&path)], 1, &reason);
    assert_fails(&["--check", "-l", &url(&path)], 1, &reason);
    let long = format!("/{}", "x".repeat(107));
    let reason = "the path has 108 bytes, a Unix socket's at most 107";
    assert_fails(&["-l", &url(&long)], 2, reason);
    let mut server = Server::start(&["-l", &url(&longest(&folder))]);
    Client::unix(&longest(&folder)).expect_alive();
    assert_eq!(server.stop(), Some(0));
}

/// A path of 107 bytes.
fn longest(folder: &Folder) -> String {
    let start = folder.path("");
    format!("{start}{}", "x".repeat(107 - start.len()))
}

#[test]
fn failed_start_leaves_no_file() {
    let folder = Folder::new();
    let (first, second) = (folder.path("a"), folder.file("b", ""));
    assert_fails(&["-l", &url(&first), "-l", &url(&second)], 1, "a regular file is in the way");
    assert!(!exists(&first));
    let twice = ["-l", &url(&first), "-l", &url(&first)];
    assert_fails(&twice, 1, "address already in use");
    assert!(!exists(&first));
}

#[test]
fn replaced_file_is_not_removed_at_exit() {
    let folder = Folder::new();
    let path = folder.path("s");
    let mut server = Server::unix("command", &folder, &[]);
    fs::remove_file(&path).unwrap();
    let mut other = Server::unix("command", &folder, &[]);
    assert_eq!(server.stop(), Some(0));
    Client::unix(&path).expect_alive();
    assert_eq!(other.stop(), Some(0));
    assert!(!exists(&path));
}

#[test]
fn mode_is_that_of_the_key_or_the_umask() {
    let folder = Folder::new();
    for (umask, key, mode) in [
        ("077", "?mode=0666", 0o666),
        ("000", "?mode=600", 0o600),
        ("022", "", 0o755),
        ("077", "", 0o700),
    ] {
        let url = format!("{}{key}", url(&folder.path("s")));
        let mut command = mynah_under(&format!("umask {umask}"));
        let mut server = Server::start_as(command.args(["-l", &url]), 1);
        assert_eq!(fs::metadata(folder.path("s")).unwrap().mode() & 0o7777, mode);
        server.stop();
    }
}

#[test]
fn check_finds_two_listeners_on_one_path() {
    let folder = Folder::new();
    let path = folder.path("s");
    let link = folder.path("link");
    symlink(folder.path("."), &link).unwrap();
    let (one, other) = (url(&path), url(&format!("{link}/s")));
    let Ended { code, stdout, stderr } =
        run(&["--check", "-l", &one, "-l", &other, "-l", "raw://127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert_eq!(stderr, format!("mynah: {one} and {other} are at one address"));
    assert_eq!(stdout, format!("would listen on {one}\nwould listen on raw://127.0.0.1:0\n"));
    assert!(!exists(&path), "nothing is opened");
}

#[test]
fn check_leaves_a_stale_file() {
    let folder = Folder::new();
    let path = folder.stale_socket("s");
    let id = fs::metadata(&path).unwrap().ino();
    let Ended { code, stdout, .. } = run(&["--check", "-l", &url(&path)]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with(&format!("would listen on {}\n", url(&path))), "{stdout}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), id);
}

#[test]
fn section_of_a_file_opens_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.path("a b.sock");
    let text = format!("[chat+unix lobby]\npath = {path}\nmode = 0600\n");
    let file = folder.file("mynah.conf", &text);
    let server = Server::start_as(mynah().args(["-c", &file]), 1);
    let encoded = path.replace(' ', "%20");
    server.wait_for_line(&format!("listening on chat+unix://{encoded}"));
    let mut client = Client::unix(&path);
    client.send(b"Ann\n");
    assert_eq!(client.read_line(), "[INFO] Welcome, Ann!");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn full_backlog_is_served_after_a_freeze() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = Server::unix("raw", &folder, &["--max-clients", "10"]);
    server.freeze();
    let mut waiting: Vec<UnixStream> =
        (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    server.thaw();
    let mut rest = waiting.split_off(10);
    for stream in &mut rest {
        // Those over the limit are closed.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    drop((waiting, rest));
    wait_until("there is room again", || {
        let mut stream = UnixStream::connect(&path).unwrap();
        std::io::Write::write_all(&mut stream, b"x").is_ok()
            && stream.read(&mut [0; 7]).is_ok_and(|n| n == 7)
    });
}
