//! The chat in a pipe: lines in, lines out.

use std::fs;
use std::io::Write;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::{Fake, Running, client, expect, run, run_with, wait_for_end};
use super::room::{member, room};
use super::support::Server;

#[test]
fn lines_go_in_and_lines_come_out() {
    let server = room("en");
    let mut bob = member(&server, "bob");
    let mut ann = Running::spawn(&mut client(server.addr(0), &["chat", "ann"]));
    ann.expect("[INFO] Welcome, ann!\n");
    bob.expect(b"[SERVER] ann joined\n");
    bob.send(b"hi ann\n");
    ann.expect("[bob]: hi ann\n");
    ann.feed("hello\nпривет\n".as_bytes());
    bob.expect("[ann]: hello\n[ann]: привет\n".as_bytes());
    ann.feed(b"/who\n/msg bob psst\n");
    ann.expect("Online: ann, bob\n[PM to bob]: psst\n");
    ann.end_input();
    let out = "[INFO] Welcome, ann!\n[bob]: hi ann\nOnline: ann, bob\n[PM to bob]: psst\n";
    ann.wait().answered(out);
    bob.expect(b"[PM] ann: psst\n[SERVER] ann left\n");
}

#[test]
fn what_was_asked_is_answered_behind_the_end_of_input() {
    let server = room("en");
    run_with(server.addr(0), &["chat", "ann"], b"/who\n/help\n").answered(concat!(
        "[INFO] Welcome, ann!\nOnline: ann\n",
        "/who - who is here\n/msg USER TEXT - say something to USER alone\n",
        "/help - this list\n/exit, /quit - leave\n",
    ));
}

#[test]
fn exit_leaves_and_nothing_behind_it_is_said() {
    let server = room("en");
    let mut bob = member(&server, "bob");
    for farewell in ["exit", "/exit", " exit "] {
        let lines = format!("hello\n{farewell}\nbehind\n");
        let mut ann = Running::spawn(&mut client(server.addr(0), &["chat", "ann"]));
        ann.feed(lines.as_bytes());
        // The input stays open; it ends all the same.
        ann.wait().answered("[INFO] Welcome, ann!\n");
        bob.expect(b"[SERVER] ann joined\n[ann]: hello\n[SERVER] ann left\n");
    }
}

#[test]
fn without_a_nickname_the_first_lines_are_tried_until_one_is_accepted() {
    let server = room("en");
    let _bob = member(&server, "bob");
    let ended = run_with(server.addr(0), &["--protocol", "chat"], b"\nx\nBOB\nann\n/who\n");
    assert_eq!(ended.code, Some(0));
    let out = "[INFO] Welcome, ann!\nOnline: ann, bob\n";
    assert_eq!(String::from_utf8_lossy(&ended.stdout), out);
    let refusals = [
        "mynah-cli: [ERROR] a nickname has 3 to 16 characters",
        "mynah-cli: [ERROR] BOB is taken, choose another",
    ];
    assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), refusals);
    run_with(server.addr(0), &["chat"], b"exit\nann\n").answered("");
    run_with(server.addr(0), &["chat"], b"\n").failed("no nickname was accepted");
}

#[test]
fn a_nickname_that_was_given_and_is_refused_ends_it() {
    let server = room("en");
    let mut bob = member(&server, "bob");
    let ended = run_with(server.addr(0), &["chat", "bob"], b"this is not a nickname\nann\n");
    ended.failed("[ERROR] bob is taken, choose another");
    let _ann = member(&server, "ann");
    bob.expect(b"[SERVER] ann joined\n");
}

#[test]
fn the_servers_last_words_end_it_in_both_languages() {
    for (lang, welcome, last) in [
        ("en", "[INFO] Welcome, ann!\n", "[INFO] The server has shut down\n"),
        ("ru", "[INFO] Добро пожаловать, ann!\n", "[INFO] Сервер отключился\n"),
    ] {
        let mut server = room(lang);
        let ann = Running::spawn(&mut client(server.addr(0), &["chat", "ann"]));
        ann.expect(welcome);
        server.stop();
        ann.wait().answered(format!("{welcome}{last}"));
    }
}

#[test]
fn a_server_that_stops_before_the_nickname_is_no_failure() {
    let fake = Fake::new(|mut stream| {
        stream.write_all("[INFO] The server has shut down\n".as_bytes()).unwrap();
    });
    run(fake.addr, &["chat", "ann"]).answered("[INFO] The server has shut down\n");
    fake.finish();
}

#[test]
fn last_words_that_a_member_says_end_nothing() {
    let server = room("en");
    let mut bob = member(&server, "bob");
    let mut ann = Running::spawn(&mut client(server.addr(0), &["chat", "ann"]));
    ann.expect("Welcome");
    bob.send(b"[INFO] The server has shut down\n");
    ann.expect("[bob]: [INFO] The server has shut down\n");
    ann.feed(b"/who\n");
    ann.expect("Online: ann, bob\n");
}

#[test]
fn a_server_that_goes_without_a_word_is_a_failure() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
    });
    let mut ann = Running::spawn(&mut client(fake.addr, &["chat", "ann"]));
    let ended = {
        ann.expect("Welcome");
        ann.feed(b"");
        ann.wait()
    };
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "mynah-cli: the server closed the connection\n");
    fake.finish();

    let fake = Fake::new(|mut stream| expect(&mut stream, b"ann\n"));
    run(fake.addr, &["chat", "ann"]).failed("the server closed the connection");
    fake.finish();
}

#[test]
fn a_full_room_is_a_reason() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "-m", "1"]);
    let _bob = member(&server, "bob");
    run(server.addr(0), &["chat", "ann"]).failed("[ERROR] server is full: 1 clients");
}

#[test]
fn an_answer_to_the_nickname_has_its_time() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        wait_for_end(&mut stream);
    });
    run(fake.addr, &["--timeout", "0.2", "chat", "ann"]).failed("no answer within 0.2 s");
    fake.finish();
}

#[test]
fn a_pipe_is_given_what_the_server_said() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\r\n[bob]: \x1b[2J\xff\nno end").unwrap();
        expect(&mut stream, b"exit\n");
    });
    run_with(fake.addr, &["chat", "ann"], b"exit\n")
        .answered(b"[INFO] Welcome, ann!\n[bob]: \x1b[2J\xff\nno end\n");
    fake.finish();
}

#[test]
fn everyone_in_a_crowded_room_is_listed() {
    let server = room("en");
    let crowd: Vec<_> = (0..600).map(|n| member(&server, &format!("member-{n:04}"))).collect();
    let names: Vec<String> = (0..600).map(|n| format!("member-{n:04}")).collect();
    let online = format!("Online: ann, {}\n", names.join(", "));
    assert!(online.len() > 4096);
    run_with(server.addr(0), &["chat", "ann"], b"/who\n")
        .answered(format!("[INFO] Welcome, ann!\n{online}"));
    drop(crowd);
}

#[test]
fn ctrl_c_leaves_a_pipe_as_it_leaves_any_program() {
    // What a shell starts in the background ignores SIGINT, and so does what that starts.
    let ignored = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << (Signal::SIGINT as u32 - 1)) != 0 {
        eprintln!("skipped: SIGINT is ignored here");
        return;
    }
    let server = room("en");
    let ann = Running::spawn(&mut client(server.addr(0), &["chat", "ann"]));
    ann.expect("Welcome");
    kill(Pid::from_raw(i32::try_from(ann.pid()).unwrap()), Signal::SIGINT).unwrap();
    let ended = ann.wait();
    assert_eq!((ended.code, &*ended.stderr), (None, ""));
    server.wait_for_line("ann left");
}

#[test]
fn a_server_that_is_no_chat_is_a_failure() {
    for (reply, why) in [
        (
            &b"-ERR unknown command 'ann'\r\n"[..],
            "'-ERR unknown command 'ann'' is not a chat welcome",
        ),
        (
            &[b'x'; 100][..],
            concat!(
                "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' ",
                "is not a chat welcome"
            ),
        ),
    ] {
        let fake = Fake::new(move |mut stream| {
            expect(&mut stream, b"ann\n");
            stream.write_all(reply).unwrap();
        });
        let why = format!("the server does not answer as it should: {why}");
        run(fake.addr, &["chat", "ann"]).failed(&why);
        fake.finish();
    }
}
