//! The prompt at a terminal: keys go in, screens come out.

use std::fs;
use std::io::Write;
use std::sync::mpsc;

use super::mock_server::{Handler, MockServer, expect};
use super::program::closed_addr;
use super::support::{Folder, PATIENCE, Server, frame};
use super::terminal::{Terminal, terminal};

#[test]
fn prompt_runs_commands_and_survives_errors() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &[]);
    let connected = format!("Connected to command://{}. Try help.", server.addr(0));
    prompt.expect(&[&connected, "mynah>"]);
    for (line, reply) in [
        ("echo Hello, World!", "Hello, World!"),
        ("rev custom protocols are fun", "nuf era slocotorp motsuc"),
        ("broadcast x", "0"),
        ("ping", "mynah-cli: there is no command 'ping', try help"),
        ("echo", "mynah-cli: echo needs a TEXT"),
        ("send x", "mynah-cli: send needs --protocol prefixed or raw"),
        ("echo -", "-"),
    ] {
        prompt.enter_line(line);
        prompt.expect(&[&format!("mynah> {line}"), reply, "mynah>"]);
    }
    prompt.enter_line("help");
    prompt.expect(&["  quit            leave", "  help            this list", "mynah>"]);
    prompt.enter_line("");
    prompt.expect(&["mynah>", "mynah>"]);
    prompt.press(&["x", "C-c"]);
    prompt.expect(&["mynah>", "mynah> x", "mynah>"]);
    prompt.enter_line("quit");
    assert_eq!(prompt.wait(), "0");
    server.wait_for_line("disconnected: quit");
}

#[test]
fn prompt_edits_lines_and_keeps_a_history() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &[]);
    prompt.expect(&["mynah>"]);
    prompt.enter("cho wrld");
    prompt.press(&["C-a", "e", "End", "Left", "Left", "Left", "o", "Enter"]);
    prompt.expect(&["mynah> echo world", "world", "mynah>"]);
    prompt.press(&["Up"]);
    prompt.expect(&["mynah> echo world"]);
    prompt.press(&["BSpace", "Enter"]);
    prompt.expect(&["mynah> echo worl", "worl", "mynah>"]);
    prompt.press(&["C-d"]);
    assert_eq!(prompt.wait(), "0");

    // The next session with the same history file.
    let history = fs::read_to_string(prompt.folder.path(".mynah_history")).unwrap();
    let folder = Folder::new();
    folder.file(".mynah_history", &history);
    let again = Terminal::client_with(folder, "xterm-256color", server.addr(0), &[]).unwrap();
    again.expect(&["mynah>"]);
    again.press(&["Up", "Up"]);
    again.expect(&["mynah> echo world"]);
}

#[test]
fn prompt_shows_broadcasts_before_the_reply() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &[]);
    prompt.expect(&["mynah>"]);
    let (code, receivers) = server.connect().ask(4, b"news\x1b[2J");
    assert_eq!((code, &*receivers), (1, &b"1"[..]));
    prompt.enter_line("echo x");
    prompt.expect(&["mynah> echo x", "[BROADCAST] news�[2J", "x", "mynah>"]);
}

#[test]
fn prompt_offers_to_reconnect() {
    let (sender, closed) = mpsc::channel();
    let echo = |text: &'static [u8]| -> Handler {
        let sender = sender.clone();
        Box::new(move |mut stream| {
            expect(&mut stream, &frame(1, text));
            stream.write_all(&frame(1, text)).unwrap();
            drop(stream);
            sender.send(()).unwrap();
        })
    };
    let closes: Handler = Box::new(|mut stream| expect(&mut stream, &frame(1, b"b")));
    let mock = MockServer::with_handlers(vec![echo(b"a"), closes, echo(b"c"), echo(b"d")]);
    let (server, offer) = (mock.addr, format!("Reconnect to command://{}? [Y/n]", mock.addr));
    let connected = format!("Connected to command://{server}.");
    let prompt = terminal!(server, &[]);
    prompt.enter_line("echo a");
    prompt.expect(&["a", "mynah>"]);
    closed.recv_timeout(PATIENCE).unwrap();
    // The connection was closed between two requests: the next one goes over a new connection.
    prompt.enter_line("echo b");
    prompt.expect(&["mynah-cli: the server has closed the connection", &offer]);
    prompt.press(&["Enter"]);
    // That connection is closed during the request, which is not sent again.
    let closed_midway = "mynah-cli: the server closed the connection without an answer";
    prompt.expect(&[&format!("{offer} "), &connected, closed_midway, &offer].map(str::trim_end));
    prompt.enter_line("y");
    prompt.expect(&[&connected, "mynah>"]);
    prompt.enter_line("echo c");
    prompt.expect(&["c", "mynah>"]);
    closed.recv_timeout(PATIENCE).unwrap();
    prompt.enter_line("echo d");
    prompt.expect(&[&offer]);
    prompt.enter_line("n");
    assert_eq!(prompt.wait(), "1");
}

#[test]
fn prompt_that_cannot_connect_prints_the_error() {
    let prompt = terminal!(closed_addr(), &[]);
    let reason = format!("cannot connect to command://{}: connection refused", closed_addr());
    prompt.expect(&[&format!("mynah-cli: {reason}")]);
    assert_eq!(prompt.wait(), "1");
}

#[test]
fn prompt_over_prefixed_or_raw_sends() {
    let server = Server::start(&["-l", "prefixed://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    for (index, protocol, replies) in
        [(0, "prefixed", ["cba", "fed"]), (1, "raw", ["Echo: abc", "Echo: def"])]
    {
        let prompt = terminal!(server.addr(index), &["--protocol", protocol]);
        prompt.expect(&["mynah>"]);
        for (text, reply) in ["abc", "def"].into_iter().zip(replies) {
            prompt.enter_line(&format!("send {text}"));
            prompt.expect(&[&format!("mynah> send {text}"), reply, "mynah>"]);
        }
        prompt.press(&["C-d"]);
        assert_eq!(prompt.wait(), "0");
    }
}
