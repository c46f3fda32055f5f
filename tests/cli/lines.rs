//! Commands from a pipe, one a line.

use std::io::Write;

use super::program::{Fake, Running, client, expect, nobody, run_with, wait_for_end};
use super::support::{Server, frame};

#[test]
fn every_line_is_a_command_and_nothing_but_answers_comes_out() {
    let server = Server::command(&[]);
    let lines = "echo Hello, World!\n\n  rev custom protocols are fun\r\necho \nbroadcast x\n";
    let answers = "Hello, World!\nnuf era slocotorp motsuc\n\n0\n";
    run_with(server.addr(0), &[], lines.as_bytes()).answered(answers);
    run_with(server.addr(0), &[], b"echo no end of line").answered("no end of line\n");
    run_with(server.addr(0), &[], b"echo \xff\0\n").answered(b"\xff\0\n");
    run_with(server.addr(0), &[], b"").answered("");
    // One connection for all of them.
    assert_eq!(server.count_lines(" connected to "), 3);
}

#[test]
fn a_line_that_fails_is_reported_and_the_rest_is_done() {
    let server = Server::command(&["--max-frame", "10"]);
    let lines = b"echo one\nping\nrev \xff\necho\nsend x\necho far too long\necho two\n";
    let ended = run_with(server.addr(0), &[], lines);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "one\ntwo\n");
    let reasons = [
        "mynah-cli: line 2: there is no command 'ping', try help",
        "mynah-cli: line 3: REVERSE needs UTF-8: invalid byte at offset 0",
        "mynah-cli: line 4: echo needs a TEXT",
        "mynah-cli: line 5: send needs --protocol prefixed or raw",
        "mynah-cli: line 6: frame of 12 bytes exceeds the limit of 10",
    ];
    assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), reasons);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn quit_is_said_to_the_server_and_ends_the_lines() {
    let server = Server::command(&[]);
    run_with(server.addr(0), &[], b"echo a\nquit\necho b\n").answered("a\n");
    server.wait_for_line("disconnected: quit");
    run_with(server.addr(0), &[], b"quit\n").answered("");
}

#[test]
fn help_lists_the_commands() {
    let server = Server::start(&["-l", "raw://127.0.0.1:0"]);
    let ended = run_with(server.addr(0), &[], b"help\n");
    let text = String::from_utf8(ended.stdout).unwrap();
    for word in ["echo TEXT", "rev TEXT", "broadcast TEXT", "status", "quit", "help"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(ended.code, Some(0));
}

#[test]
fn over_prefixed_and_raw_lines_are_sent() {
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    let prefixed = ["--protocol", "prefixed"];
    run_with(server.addr(0), &prefixed, b"send abc\nsend \nsend d\n").answered("cba\n\nd\n");
    run_with(server.addr(1), &["--protocol", "raw"], b"send abc\nsend d\n")
        .answered("Echo: abc\nEcho: d\n");
    let long = format!("send {}\n", "x".repeat(256));
    let ended = run_with(server.addr(0), &prefixed, long.as_bytes());
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 256));
    assert!(ended.stderr.contains("warning: the text has 256 bytes, only 255 are sent"));
}

#[test]
fn answers_come_while_the_pipe_is_open() {
    let server = Server::command(&[]);
    let mut lines = Running::spawn(&mut client(server.addr(0), &[]));
    for number in 0..3 {
        lines.feed(format!("echo number {number}\n").as_bytes());
        lines.expect(&format!("number {number}\n"));
    }
    lines.end_input();
    lines.wait().answered("number 0\nnumber 1\nnumber 2\n");
}

#[test]
fn a_server_that_went_is_asked_again() {
    let fake = Fake::with_scenes(vec![
        Box::new(|mut stream| {
            expect(&mut stream, &frame(1, b"a"));
            stream.write_all(&frame(1, b"a")).unwrap();
            // What comes now is lost with the connection.
            expect(&mut stream, &frame(1, b"b"));
        }),
        Box::new(|mut stream| {
            expect(&mut stream, &frame(1, b"c"));
            stream.write_all(&frame(1, b"c")).unwrap();
            wait_for_end(&mut stream);
        }),
    ]);
    let ended = run_with(fake.addr, &[], b"echo a\necho b\necho c\n");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "a\nc\n");
    let why = "mynah-cli: line 2: the server closed the connection without an answer\n";
    assert_eq!((ended.code, &*ended.stderr), (Some(1), why));
    fake.finish();
}

#[test]
fn a_server_that_cannot_be_reached_ends_the_lines() {
    let addr = nobody();
    run_with(addr, &[], b"echo a\necho b\n")
        .failed(&format!("line 1: cannot connect to command://{addr}: connection refused"));
    run_with(addr, &[], b"\n").answered("");
}

#[test]
fn a_broadcast_between_answers_does_not_come_out() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, &frame(1, b"a"));
        stream.write_all(&[frame(4, b"news"), frame(1, b"a"), frame(4, b"more")].concat()).unwrap();
        expect(&mut stream, &frame(1, b"b"));
        stream.write_all(&frame(1, b"b")).unwrap();
        wait_for_end(&mut stream);
    });
    run_with(fake.addr, &[], b"echo a\necho b\n").answered("a\nb\n");
    fake.finish();
}
