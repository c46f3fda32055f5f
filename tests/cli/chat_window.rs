//! The chat window: keys go in by way of a terminal, screens come out.

use std::io::Write;
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};

use super::chat_server::{chat_server, join_chat};
use super::mock_server::{MockServer, expect, read_to_eof};
use super::support::{Folder, PATIENCE, Server, wait_until};
use super::terminal::{Terminal, terminal};

#[test]
fn messages_appear_above_the_line_being_typed() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    bob.expect(b"[SERVER] ann joined\n");

    ann.enter("half a sentence");
    ann.expect(&["[YOU]: half a sentence"]);
    // The cursor keeps its place in the middle of the line.
    ann.press(&["C-a", "C-f", "C-f"]);
    bob.send("hi ann\n".as_bytes());
    ann.expect(&["[bob]: hi ann", "[YOU]: half a sentence"]);
    let long = "a message that is a good deal longer than the sixty columns there are, и не только";
    bob.send(format!("{long}\n").as_bytes());
    ann.expect(&["[bob]: hi ann", &format!("[bob]: {long}"), "[YOU]: half a sentence"]);
    ann.enter("ppy ha");
    ann.expect(&["[YOU]: happy half a sentence"]);

    ann.press(&["Enter"]);
    bob.expect(b"[ann]: happy half a sentence\n");
    ann.expect(&["[YOU]: happy half a sentence", "[YOU]:"]);
    ann.enter_line("/who");
    ann.expect(&["[YOU]: /who", "Online: ann, bob", "[YOU]:"]);
    ann.press(&["Up", "Up"]);
    ann.expect(&["[YOU]: happy half a sentence"]);
}

#[test]
fn messages_appear_above_a_line_that_wraps() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    bob.expect(b"[SERVER] ann joined\n");
    let long = "слово ".repeat(25);
    let long = long.trim_end();
    ann.enter(long);
    for number in 0..3 {
        bob.send(format!("{number}\n").as_bytes());
        ann.expect(&[&format!("[bob]: {number}"), &format!("[YOU]: {long}")]);
    }
    ann.press(&["Enter"]);
    bob.expect(format!("[ann]: {long}\n").as_bytes());
}

#[test]
fn nickname_is_asked_for_until_one_is_accepted() {
    let server = chat_server("en");
    let _bob = join_chat(&server, "bob");
    for args in [&["chat"][..], &["--protocol", "chat"], &["chat", "bob"]] {
        let ann = terminal!(server.addr(0), args);
        let taken = "[ERROR] bob is taken, choose another";
        if args.contains(&"bob") {
            ann.expect(&[taken, "Nickname:"]);
        } else {
            ann.expect(&["Nickname:"]);
            ann.press(&["Enter"]);
            ann.enter_line(" bob ");
            ann.expect(&["Nickname:  bob", taken, "Nickname:"]);
        }
        ann.enter_line("x");
        let length = "[ERROR] a nickname has 3 to 16 characters";
        ann.expect(&["Nickname: x", length, "Nickname:"]);
        ann.enter_line("ann");
        ann.expect(&["Nickname: ann", "[INFO] Welcome, ann!", "[YOU]:"]);
        // Nicknames are not in the history.
        ann.press(&["Up"]);
        ann.enter_line("exit");
        assert_eq!(ann.wait(), "0");
    }
}

#[test]
fn question_is_russian_once_the_server_was() {
    let server = chat_server("ru");
    let ann = terminal!(server.addr(0), &["chat"]);
    let connected = format!("Connected to chat://{}. ", server.addr(0));
    let connected = connected + "/help lists the commands, /quit leaves.";
    ann.expect(&[&connected, "Nickname:"]);
    ann.enter_line("x");
    ann.expect(&["[ERROR] в нике должно быть от 3 до 16 символов", "Ник:"]);
    ann.enter_line("ann");
    ann.expect(&["[INFO] Добро пожаловать, ann!", "[YOU]:"]);
    ann.press(&["/", "w", "Tab", "Enter"]);
    ann.expect(&["[YOU]: /who", "В сети: ann", "[YOU]:"]);
}

#[test]
fn exit_ctrl_d_ctrl_c_and_sigint_leave() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    type Leave = fn(&Terminal);
    let ways: [(&str, Leave); 8] = [
        ("exit", |ann| ann.enter_line("exit")),
        ("quit", |ann| ann.enter_line("quit")),
        ("EXIT", |ann| ann.enter_line("EXIT")),
        ("/exit", |ann| ann.enter_line(" /exit ")),
        ("Ctrl-D", |ann| ann.press(&["C-d"])),
        ("Ctrl-C", |ann| ann.press(&["C-c"])),
        ("Ctrl-C amid a line", |ann| ann.press(&["h", "a", "C-c"])),
        ("SIGINT", |ann| kill(ann.pid(), Signal::SIGINT).unwrap()),
    ];
    for (how, leave) in ways {
        let ann = terminal!(server.addr(0), &["chat", "ann"]);
        ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
        ann.enter_line("bye");
        // rustyline drops a SIGINT that arrives while a line ends.
        ann.expect(&["[YOU]: bye", "[YOU]:"]);
        leave(&ann);
        assert_eq!(ann.wait(), "0", "{how}");
        bob.expect(b"[SERVER] ann joined\n[ann]: bye\n[SERVER] ann left\n");

        let guest = terminal!(server.addr(0), &["chat"]);
        guest.expect(&["Nickname:"]);
        leave(&guest);
        assert_eq!(guest.wait(), "0", "{how}");
    }
}

#[test]
fn shutdown_line_ends_the_chat_amid_a_line() {
    for (lang, last) in
        [("en", "[INFO] The server has shut down"), ("ru", "[INFO] Сервер отключился")]
    {
        let mut server = chat_server(lang);
        let mut bob = join_chat(&server, "bob");
        let ann = terminal!(server.addr(0), &["chat", "ann"]);
        ann.expect(&["[YOU]:"]);
        ann.enter("half a sen");
        ann.expect(&["[YOU]: half a sen"]);
        // Messages that arrive before the end are shown.
        bob.send(b"one\ntwo\nthree\n");
        server.wait_for_line("ann joined");
        server.stop();
        ann.expect(&["[bob]: one", "[bob]: two", "[bob]: three", "[YOU]: half a sen", last]);
        assert_eq!(ann.wait(), "0");

        let mut server = chat_server(lang);
        let guest = terminal!(server.addr(0), &["chat"]);
        guest.expect(&["Nickname:"]);
        server.stop();
        guest.expect(&["Nickname:", last]);
        assert_eq!(guest.wait(), "0");
    }
}

#[test]
fn close_without_a_shutdown_line_is_an_error() {
    let (sender, release) = mpsc::channel::<()>();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        let _ = release.recv_timeout(PATIENCE);
    });
    let ann = terminal!(mock.addr, &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    drop(sender);
    ann.expect(&["[YOU]:", "mynah-cli: the server closed the connection"]);
    assert_eq!(ann.wait(), "1");
    mock.join();
}

#[test]
fn server_that_is_not_a_chat_is_an_error() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"-ERR\r\n").unwrap();
    });
    let ann = terminal!(mock.addr, &["chat", "ann"]);
    assert_eq!(ann.wait(), "1");
    let reason = concat!(
        "the server does not answer as it should: '-ERR' is not a chat welcome; ",
        "the server seems to be Redis"
    );
    ann.expect(&[&format!("mynah-cli: {reason}")]);
}

#[test]
fn full_server_is_an_error() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "-m", "1"]);
    let _bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    assert_eq!(ann.wait(), "1");
    // The editor may leave an empty prompt between the two.
    let (refusal, error) =
        ("[ERROR] server is full: 1 clients", "mynah-cli: the server closed the connection");
    ann.wait_for_screen("the refusal and the error", |screen| {
        screen.iter().any(|line| line == refusal) && screen.last().is_some_and(|last| last == error)
    });
}

#[test]
fn nickname_reply_times_out_and_ctrl_c_leaves() {
    let (mock, release) = MockServer::silent();
    let ann = terminal!(mock.addr, &["--timeout", "0.3", "chat", "ann"]);
    ann.expect(&["mynah-cli: no answer within 0.3 s"]);
    assert_eq!(ann.wait(), "1");
    drop(release);

    let (mock, release) = MockServer::silent();
    let ann = terminal!(mock.addr, &["chat"]);
    ann.expect(&["Nickname:"]);
    ann.enter_line("ann");
    // Until the cursor is on the next row, Ctrl-C is a key of the line being typed.
    // The first line takes two rows.
    wait_until("the line ends", || ann.cursor_row() == 3);
    ann.press(&["C-c"]);
    assert_eq!(ann.wait(), "0");
    drop(release);
}

#[test]
fn lines_keep_their_order_at_any_speed() {
    const LINES: usize = 400;
    const TYPED: usize = 40;
    let (started, start) = mpsc::channel();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        let mut read_side = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            for number in 0..TYPED {
                expect(&mut read_side, format!("line {number}\n").as_bytes());
                if number == 0 {
                    started.send(()).unwrap();
                }
            }
        });
        start.recv_timeout(PATIENCE).unwrap();
        for number in 0..LINES {
            stream.write_all(format!("[bob]: {number}\n").as_bytes()).unwrap();
        }
        reader.join().unwrap();
        stream.write_all(b"[INFO] The server has shut down\n").unwrap();
        read_to_eof(&mut stream);
    });
    let ann = terminal!(mock.addr, &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    for number in 0..TYPED {
        ann.enter_line(&format!("line {number}"));
    }
    assert_eq!(ann.wait(), "0");
    mock.join();
    ann.expect(&["[INFO] The server has shut down"]);
    let screen = ann.screen();
    let received: Vec<&str> =
        screen.iter().filter_map(|line| line.strip_prefix("[bob]: ")).collect();
    let expected: Vec<String> = (0..LINES).map(|number| number.to_string()).collect();
    assert_eq!(received, expected);
    // The terminal echoes keys that are pressed between two lines after the first of them, so only the
    // beginnings are compared.
    let typed: Vec<&String> = screen.iter().filter(|line| line.starts_with("[YOU]: l")).collect();
    assert_eq!(typed.len(), TYPED);
    for (number, line) in typed.iter().enumerate() {
        assert!(line.starts_with(&format!("[YOU]: line {number}")), "{number}: {line}");
    }
}

#[test]
fn lines_typed_ahead_or_pasted_are_all_sent() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    ann.press(&["o", "n", "e", "Enter", "t", "w", "o", "Enter", "3", "3", "3", "Enter"]);
    bob.expect(b"[SERVER] ann joined\n[ann]: one\n[ann]: two\n[ann]: 333\n");
    ann.expect(&["[YOU]: 333", "[YOU]:"]);
    ann.tmux(&["set-buffer", "--", "pasted\n\nlines"]);
    ann.tmux(&["paste-buffer", "-p"]);
    ann.press(&["Enter"]);
    bob.expect(b"[ann]: pasted\n[ann]: lines\n");
}

#[test]
fn dumb_terminal_still_chats() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let folder = Folder::new();
    let Some(ann) = Terminal::client_with(folder, "dumb", server.addr(0), &["chat"]) else {
        return;
    };
    ann.expect(&["Nickname:"]);
    ann.enter_line("bob");
    ann.expect(&["mynah-cli: [ERROR] bob is taken, choose another", "Nickname:"]);
    ann.enter_line("ann");
    ann.expect(&["[INFO] Welcome, ann!"]);
    bob.send(b"hi\n");
    ann.expect(&["[bob]: hi"]);
    ann.enter_line("quit");
    assert_eq!(ann.wait(), "0");
    bob.expect(b"[SERVER] ann joined\n[SERVER] ann left\n");

    let Some(guest) = Terminal::client_with(Folder::new(), "dumb", server.addr(0), &["chat"])
    else {
        return;
    };
    guest.expect(&["Nickname:"]);
    guest.press(&["C-d"]);
    assert_eq!(guest.wait(), "0");
}
