//! The chat in a pipe: lines in, lines out.

use std::fs;
use std::io::Write;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::chat_server::{chat_server, join_chat};
use super::mock_server::{MockServer, expect, read_to_eof};
use super::program::{CLIENT, RunningClient, client_command, run, run_with_input};
use super::support::{Folder, Server};

#[test]
fn lines_are_sent_and_printed() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let mut ann = RunningClient::spawn(&mut client_command(server.addr(0), &["chat", "ann"]));
    ann.expect("[INFO] Welcome, ann!\n");
    bob.expect(b"[SERVER] ann joined\n");
    bob.send(b"hi ann\n");
    ann.expect("[bob]: hi ann\n");
    ann.write_input("hello\nпривет\n".as_bytes());
    bob.expect("[ann]: hello\n[ann]: привет\n".as_bytes());
    ann.write_input(b"/who\n/msg bob psst\n");
    ann.expect("Online: ann, bob\n[PM to bob]: psst\n");
    ann.close_input();
    let out = "[INFO] Welcome, ann!\n[bob]: hi ann\nOnline: ann, bob\n[PM to bob]: psst\n";
    ann.wait().assert_reply(out);
    bob.expect(b"[PM] ann: psst\n[SERVER] ann left\n");
}

#[test]
fn requests_are_answered_after_end_of_input() {
    let server = chat_server("en");
    run_with_input(server.addr(0), &["chat", "ann"], b"/who\n/help\n").assert_reply(concat!(
        "[INFO] Welcome, ann!\nOnline: ann\n",
        "/who - who is here\n/msg USER TEXT - say something to USER alone\n",
        "/help - this list\n/exit, /quit - leave\n",
    ));
}

#[test]
fn exit_leaves_and_later_lines_are_not_sent() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    for exit in ["exit", "/exit", " exit "] {
        let lines = format!("hello\n{exit}\nlater\n");
        let mut ann = RunningClient::spawn(&mut client_command(server.addr(0), &["chat", "ann"]));
        ann.write_input(lines.as_bytes());
        // Its input stays open.
        ann.wait().assert_reply("[INFO] Welcome, ann!\n");
        bob.expect(b"[SERVER] ann joined\n[ann]: hello\n[SERVER] ann left\n");
    }
}

#[test]
fn first_lines_are_nicknames_until_one_is_accepted() {
    let server = chat_server("en");
    let _bob = join_chat(&server, "bob");
    let result = run_with_input(server.addr(0), &["--protocol", "chat"], b"\nx\nBOB\nann\n/who\n");
    assert_eq!(result.code, Some(0));
    let out = "[INFO] Welcome, ann!\nOnline: ann, bob\n";
    assert_eq!(String::from_utf8_lossy(&result.stdout), out);
    let refusals = [
        "mynah-cli: [ERROR] a nickname has 3 to 16 characters",
        "mynah-cli: [ERROR] BOB is taken, choose another",
    ];
    assert_eq!(result.stderr.lines().collect::<Vec<_>>(), refusals);
    run_with_input(server.addr(0), &["chat"], b"exit\nann\n").assert_reply("");
    run_with_input(server.addr(0), &["chat"], b"\n").assert_error("no nickname was accepted");
}

#[test]
fn refused_nickname_of_the_command_line_is_an_error() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let result = run_with_input(server.addr(0), &["chat", "bob"], b"this is not a nickname\nann\n");
    result.assert_error("[ERROR] bob is taken, choose another");
    let _ann = join_chat(&server, "ann");
    bob.expect(b"[SERVER] ann joined\n");
}

#[test]
fn shutdown_line_ends_the_chat_in_both_languages() {
    for (lang, welcome, last) in [
        ("en", "[INFO] Welcome, ann!\n", "[INFO] The server has shut down\n"),
        ("ru", "[INFO] Добро пожаловать, ann!\n", "[INFO] Сервер отключился\n"),
    ] {
        let mut server = chat_server(lang);
        let ann = RunningClient::spawn(&mut client_command(server.addr(0), &["chat", "ann"]));
        ann.expect(welcome);
        server.stop();
        ann.wait().assert_reply(format!("{welcome}{last}"));
    }
}

#[test]
fn shutdown_before_the_welcome_is_status_0() {
    let mock = MockServer::new(|mut stream| {
        stream.write_all(b"[INFO] The server has shut down\n").unwrap();
    });
    run(mock.addr, &["chat", "ann"]).assert_reply("[INFO] The server has shut down\n");
    mock.join();
}

#[test]
fn shutdown_line_of_a_member_is_a_message() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let mut ann = RunningClient::spawn(&mut client_command(server.addr(0), &["chat", "ann"]));
    ann.expect("Welcome");
    bob.send(b"[INFO] The server has shut down\n");
    ann.expect("[bob]: [INFO] The server has shut down\n");
    ann.write_input(b"/who\n");
    ann.expect("Online: ann, bob\n");
}

#[test]
fn close_without_a_shutdown_line_is_an_error() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
    });
    // Its input stays open.
    let result = RunningClient::spawn(&mut client_command(mock.addr, &["chat", "ann"])).wait();
    assert_eq!((result.code, &*result.stdout), (Some(1), &b"[INFO] Welcome, ann!\n"[..]));
    assert_eq!(result.stderr, "mynah-cli: the server closed the connection\n");
    mock.join();

    let mock = MockServer::new(|mut stream| expect(&mut stream, b"ann\n"));
    run(mock.addr, &["chat", "ann"]).assert_error("the server closed the connection");
    mock.join();
}

#[test]
fn full_server_is_an_error() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "-m", "1"]);
    let _bob = join_chat(&server, "bob");
    run(server.addr(0), &["chat", "ann"]).assert_error("[ERROR] server is full: 1 clients");
}

#[test]
fn nickname_reply_has_a_timeout() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        read_to_eof(&mut stream);
    });
    run(mock.addr, &["--timeout", "0.2", "chat", "ann"]).assert_error("no answer within 0.2 s");
    mock.join();
}

#[test]
fn pipe_gets_the_bytes_of_the_server() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\r\n[bob]: \x1b[2J\xff\nno end").unwrap();
        expect(&mut stream, b"exit\n");
    });
    run_with_input(mock.addr, &["chat", "ann"], b"exit\n")
        .assert_reply(b"[INFO] Welcome, ann!\n[bob]: \x1b[2J\xff\nno end\n");
    mock.join();
}

#[test]
fn who_lists_600_members_on_one_line() {
    let server = chat_server("en");
    let names: Vec<String> = (0..600).map(|n| format!("member-{n:04}")).collect();
    let _members: Vec<_> = names.iter().map(|name| join_chat(&server, name)).collect();
    let online = format!("Online: ann, {}\n", names.join(", "));
    assert!(online.len() > 4096);
    run_with_input(server.addr(0), &["chat", "ann"], b"/who\n")
        .assert_reply(format!("[INFO] Welcome, ann!\n{online}"));
}

#[test]
fn sigint_ends_a_pipe_by_its_default_action() {
    if inherits_ignored_sigint() {
        eprintln!("skipped: SIGINT is ignored");
        return;
    }
    let server = chat_server("en");
    let ann = RunningClient::spawn(&mut client_command(server.addr(0), &["chat", "ann"]));
    ann.expect("Welcome");
    kill(Pid::from_raw(i32::try_from(ann.pid()).unwrap()), Signal::SIGINT).unwrap();
    let result = ann.wait();
    assert_eq!((result.code, &*result.stderr), (None, ""));
    server.wait_for_line("ann left");
}

/// True if child processes ignore SIGINT, as those of a shell's background job do.
fn inherits_ignored_sigint() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    mask & (1 << (Signal::SIGINT as u32 - 1)) != 0
}

#[test]
fn config_ini_of_the_folder_names_the_server() {
    let server = chat_server("en");
    let folder = Folder::new();
    let port = server.addr(0).port();
    folder.file("config.ini", &format!("[server]\nhost = 0.0.0.0 # IP\nport = {port}\n"));
    let chat = |args: &[&str]| {
        let mut command = Command::new(CLIENT);
        command.args(args).current_dir(folder.path("")).env_remove("HOME");
        let mut ann = RunningClient::spawn(&mut command);
        ann.write_input(b"exit\n");
        ann.wait()
    };
    let note = format!("mynah-cli: the server is that of config.ini: chat://0.0.0.0:{port}\n");
    for args in [&["chat", "ann"][..], &["--protocol", "chat", "chat", "ann"]] {
        let result = chat(args);
        assert_eq!((result.code, &*result.stderr), (Some(0), &*note));
        assert_eq!(result.stdout, b"[INFO] Welcome, ann!\n");
    }
    // Another address is not mixed with the file's.
    let result = chat(&["-p", "1", "chat", "ann"]);
    assert!(result.stderr.contains("connect to chat://127.0.0.1:1:"), "{result:?}");
    folder.file("config.ini", "[server]\nprot = 1\n");
    let result = chat(&["--timeout", "5", "chat", "ann"]);
    let note =
        "mynah-cli: not used: config.ini: line 2: [server] prot: no such key, did you mean port?\n";
    assert!(result.stderr.starts_with(note), "{result:?}");
}

#[test]
fn byte_order_mark_of_the_input_is_dropped() {
    let server = chat_server("en");
    let input = b"\xef\xbb\xbfann\nexit\n";
    run_with_input(server.addr(0), &["chat"], input).assert_reply("[INFO] Welcome, ann!\n");
    let mut bob = join_chat(&server, "bob");
    run_with_input(server.addr(0), &["chat", "ann"], b"\xef\xbb\xbfhi\n");
    bob.expect(b"[SERVER] ann joined\n[ann]: hi\n");
}

#[test]
fn quit_is_a_message_in_a_pipe() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    run_with_input(server.addr(0), &["chat", "ann"], b"quit\n")
        .assert_reply("[INFO] Welcome, ann!\n");
    bob.expect(b"[SERVER] ann joined\n[ann]: quit\n[SERVER] ann left\n");
}

#[test]
fn server_that_is_not_a_chat_is_an_error() {
    for (reply, reason) in [
        (
            &b"-ERR unknown command 'ann'\r\n"[..],
            concat!(
                "'-ERR unknown command 'ann'' is not a chat welcome; ",
                "the server seems to be Redis"
            ),
        ),
        (
            &[b'x'; 100][..],
            concat!(
                "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' ",
                "is not a chat welcome"
            ),
        ),
    ] {
        let mock = MockServer::new(move |mut stream| {
            expect(&mut stream, b"ann\n");
            stream.write_all(reply).unwrap();
        });
        let reason = format!("the server does not answer as it should: {reason}");
        run(mock.addr, &["chat", "ann"]).assert_error(&reason);
        mock.join();
    }
}
