//! Commands from a pipe, one a line.

use std::io::Write;

use super::mock_server::{MockServer, expect, read_to_eof};
use super::program::{RunningClient, client_command, closed_addr, run_with_input};
use super::support::{Server, frame};

#[test]
fn each_line_is_a_command_and_output_is_replies() {
    let server = Server::command(&[]);
    let lines = "echo Hello, World!\n\n  rev custom protocols are fun\r\necho \nbroadcast x\n";
    let replies = "Hello, World!\nnuf era slocotorp motsuc\n\n0\n";
    run_with_input(server.addr(0), &[], lines.as_bytes()).assert_reply(replies);
    run_with_input(server.addr(0), &[], b"echo no end of line").assert_reply("no end of line\n");
    run_with_input(server.addr(0), &[], b"echo \xff\0\n").assert_reply(b"\xff\0\n");
    run_with_input(server.addr(0), &[], b"").assert_reply("");
    // One connection for all lines of a pipe, and none for an empty one.
    assert_eq!(server.count_lines(" connected to "), 3);
}

#[test]
fn failed_line_is_reported_and_the_rest_is_run() {
    let server = Server::command(&["--max-frame", "10"]);
    let lines = b"echo one\nping\nrev \xff\necho\nsend x\necho far too long\necho two\n";
    let result = run_with_input(server.addr(0), &[], lines);
    assert_eq!(String::from_utf8_lossy(&result.stdout), "one\ntwo\n");
    let reasons = [
        "mynah-cli: line 2: there is no command 'ping', did you mean echo?",
        "mynah-cli: line 3: REVERSE needs UTF-8: invalid byte at offset 0",
        "mynah-cli: line 4: echo needs a TEXT",
        "mynah-cli: line 5: send needs --protocol prefixed, raw or plugin; over command use echo",
        "mynah-cli: line 6: frame of 12 bytes exceeds the limit of 10",
    ];
    assert_eq!(result.stderr.lines().collect::<Vec<_>>(), reasons);
    assert_eq!(result.code, Some(1));
}

#[test]
fn quit_is_sent_and_ends_the_lines() {
    let server = Server::command(&[]);
    run_with_input(server.addr(0), &[], b"echo a\nquit\necho b\n").assert_reply("a\n");
    server.wait_for_line("disconnected: quit");
    run_with_input(server.addr(0), &[], b"quit\n").assert_reply("");
}

#[test]
fn help_needs_no_server() {
    let result = run_with_input(closed_addr(), &[], b"help\n");
    let text = String::from_utf8(result.stdout).unwrap();
    for word in ["echo TEXT", "rev TEXT", "broadcast TEXT", "status", "quit", "help"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(result.code, Some(0));
}

#[test]
fn lines_over_prefixed_and_raw_are_sent() {
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    let prefixed = ["--protocol", "prefixed"];
    run_with_input(server.addr(0), &prefixed, b"send abc\nsend \nsend d\n")
        .assert_reply("cba\n\nd\n");
    run_with_input(server.addr(1), &["--protocol", "raw"], b"send abc\nsend d\n")
        .assert_reply("Echo: abc\nEcho: d\n");
    let long = format!("send {}\n", "x".repeat(256));
    let result = run_with_input(server.addr(0), &prefixed, long.as_bytes());
    assert_eq!((result.code, result.stdout.len()), (Some(0), 256));
    assert!(result.stderr.contains("warning: the text has 256 bytes, only 255 are sent"));
}

#[test]
fn line_over_prefixed_or_raw_is_a_message() {
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    run_with_input(server.addr(0), &["--protocol", "prefixed"], b"abc\n\necho x\n")
        .assert_reply("cba\nx ohce\n");
    run_with_input(server.addr(1), &["--protocol", "raw"], b"abc\nsend quit\nquit\nlater\n")
        .assert_reply("Echo: abc\nEcho: quit\n");
}

#[test]
fn byte_order_mark_of_the_input_is_dropped() {
    let server = Server::start(&["-l", "command://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    run_with_input(server.addr(0), &[], b"\xef\xbb\xbfecho x\n").assert_reply("x\n");
    run_with_input(server.addr(1), &["--protocol", "raw"], b"\xef\xbb\xbfx\n")
        .assert_reply("Echo: x\n");
    // A text is standard input to the byte.
    run_with_input(server.addr(0), &["echo", "-"], b"\xef\xbb\xbfx").assert_reply("\u{feff}x\n");
}

#[test]
fn replies_are_printed_while_the_pipe_is_open() {
    let server = Server::command(&[]);
    let mut client = RunningClient::spawn(&mut client_command(server.addr(0), &[]));
    for number in 0..3 {
        client.write_input(format!("echo number {number}\n").as_bytes());
        client.expect(&format!("number {number}\n"));
    }
    client.close_input();
    client.wait().assert_reply("number 0\nnumber 1\nnumber 2\n");
}

#[test]
fn closed_connection_is_opened_again() {
    let mock = MockServer::with_handlers(vec![
        Box::new(|mut stream| {
            expect(&mut stream, &frame(1, b"a"));
            stream.write_all(&frame(1, b"a")).unwrap();
            // Closed during the request, which is not sent again.
            expect(&mut stream, &frame(1, b"b"));
        }),
        Box::new(|mut stream| {
            expect(&mut stream, &frame(1, b"c"));
            stream.write_all(&frame(1, b"c")).unwrap();
            read_to_eof(&mut stream);
        }),
    ]);
    let result = run_with_input(mock.addr, &[], b"echo a\necho b\necho c\n");
    assert_eq!(String::from_utf8_lossy(&result.stdout), "a\nc\n");
    let reason = "mynah-cli: line 2: the server closed the connection without an answer\n";
    assert_eq!((result.code, &*result.stderr), (Some(1), reason));
    mock.join();
}

#[test]
fn connect_error_ends_the_lines() {
    let addr = closed_addr();
    run_with_input(addr, &[], b"echo a\necho b\n")
        .assert_error(&format!("line 1: cannot connect to command://{addr}: connection refused"));
    run_with_input(addr, &[], b"\n").assert_reply("");
}

#[test]
fn broadcast_between_replies_is_not_printed() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(1, b"a"));
        stream.write_all(&[frame(4, b"news"), frame(1, b"a"), frame(4, b"more")].concat()).unwrap();
        expect(&mut stream, &frame(1, b"b"));
        stream.write_all(&frame(1, b"b")).unwrap();
        read_to_eof(&mut stream);
    });
    run_with_input(mock.addr, &[], b"echo a\necho b\n").assert_reply("a\nb\n");
    mock.join();
}
