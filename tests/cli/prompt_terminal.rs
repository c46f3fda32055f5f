//! The prompt at a terminal: keys go in, screens come out.

use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::mock_server::{Handler, MockServer, expect};
use super::program::{CLIENT, closed_addr};
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
        ("PING", "mynah-cli: there is no command 'PING', did you mean echo?"),
        ("ECHO x", "x"),
        ("exit now", "mynah-cli: exit takes no argument, so 'now' cannot follow it"),
        ("echo", "mynah-cli: echo needs a TEXT"),
        ("echo -", "-"),
    ] {
        prompt.enter_line(line);
        prompt.expect(&[&format!("mynah> {line}"), reply, "mynah>"]);
    }
    prompt.enter_line("help");
    prompt.expect(&["  quit, exit      leave", "  help            this list", "mynah>"]);
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

#[test]
fn tab_completes_commands() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &[]);
    prompt.expect(&["mynah>"]);
    prompt.press(&["b", "Tab", "x", "Enter"]);
    prompt.expect(&["mynah> broadcast x", "0", "mynah>"]);
    // Two begin with it: Tab lists them.
    prompt.press(&["e", "Tab", "Tab"]);
    prompt.wait_for_screen("the list", |screen| {
        screen.iter().any(|line| line.split_whitespace().eq(["echo", "exit"]))
    });
    prompt.press(&["c", "Tab"]);
    prompt.enter_line("y");
    prompt.expect(&["mynah> echo y", "y", "mynah>"]);

    let server = Server::start(&["-l", "raw://127.0.0.1:0"]);
    let prompt = terminal!(server.addr(0), &["--protocol", "raw"]);
    let connected = format!("Connected to raw://{}.", server.addr(0));
    prompt.expect(&[&(connected + " A line is a message; help lists the rest."), "mynah>"]);
    prompt.press(&["s", "Tab", "x", "Enter"]);
    prompt.expect(&["mynah> send x", "Echo: x", "mynah>"]);
}

#[test]
fn no_history_keeps_no_file() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &["--no-history"]);
    prompt.expect(&["mynah>"]);
    prompt.enter_line("echo secret");
    prompt.expect(&["mynah> echo secret", "secret", "mynah>"]);
    // The lines of the session are there all the same.
    prompt.press(&["Up"]);
    prompt.expect(&["mynah> echo secret"]);
    prompt.press(&["C-c"]);
    // Between two lines Ctrl-D is the terminal's.
    prompt.expect(&["mynah> echo secret", "mynah>"]);
    prompt.press(&["C-d"]);
    assert_eq!(prompt.wait(), "0");
    assert!(fs::metadata(prompt.folder.path(".mynah_history")).is_err());
}

#[test]
fn dumb_terminal_ends_its_line_at_ctrl_d() {
    let server = Server::command(&[]);
    let folder = Folder::new();
    let Some(prompt) = Terminal::client_with(folder, "dumb", server.addr(0), &[]) else { return };
    prompt.expect(&["mynah>"]);
    let row = prompt.cursor_row();
    prompt.press(&["C-d"]);
    assert_eq!(prompt.wait(), "0");
    assert_eq!(prompt.cursor_row(), row + 1);
}

/// A terminal that breaks lines anew while the prompt draws has both on its screen, with any program:
/// nobody tells it when that is over. So of three prompts one has to leave one copy at all widths.
#[test]
fn resize_leaves_one_copy_of_the_line() {
    let server = Server::command(&[]);
    let mut screens = Vec::new();
    for _ in 0..3 {
        let prompt = terminal!(server.addr(0), &[]);
        match resize_with_a_line(&prompt) {
            Ok(()) => return,
            Err(screen) => screens.push(screen),
        }
    }
    panic!("{screens:#?}");
}

/// Types a line and resizes the terminal. Returns the screen where the line is not there once.
fn resize_with_a_line(prompt: &Terminal) -> Result<(), Vec<String>> {
    prompt.enter_line("echo before");
    prompt.expect(&["before", "mynah>"]);
    let line = format!("mynah> echo {}", "0123456789".repeat(10));
    prompt.enter(line.strip_prefix("mynah> ").unwrap());
    // The rows of the line are one or several lines to tmux.
    let shows_line_once = |screen: &[String]| {
        let before = screen.iter().position(|line| line == "before");
        before.is_some_and(|before| screen[before + 1..].concat() == line)
    };
    let patience = Duration::from_secs(5);
    prompt.wait_for_screen("the line", shows_line_once);
    for columns in ["40", "25", "33", "80", "50"] {
        prompt.tmux(&["resize-window", "-x", columns, "-y", "16"]);
        prompt.screen_within(patience, shows_line_once)?;
        prompt.press(&["x"]);
        prompt.screen_within(patience, |screen| screen.concat().ends_with("9x"))?;
        prompt.press(&["BSpace"]);
        prompt.screen_within(patience, shows_line_once)?;
    }
    prompt.press(&["C-u"]);
    prompt.enter_line("echo after");
    prompt.expect(&["after", "mynah>"]);
    Ok(())
}

#[test]
fn stopped_prompt_continues_in_raw_mode() {
    if !Command::new("bash").arg("-c").arg(":").status().is_ok_and(|status| status.success()) {
        let _ = writeln!(io::stderr(), "skipped: job control needs bash");
        return;
    }
    let server = Server::command(&[]);
    let folder = Folder::new();
    let home = folder.path("");
    let bash = ["env", &format!("HOME={home}"), "TERM=xterm-256color", "PS1=$ ", "bash"];
    let Some(shell) =
        Terminal::run(folder, &[&bash[..], &["--norc", "--noprofile", "-i"]].concat())
    else {
        return;
    };
    shell.expect(&["$"]);
    let port = server.addr(0).port();
    let client =
        shell.folder.file("client", &format!("echo $$ >{home}/pid; exec {CLIENT} -p {port}\n"));
    shell.enter_line(&format!("sh {client}"));
    shell.expect(&["mynah>"]);
    shell.enter("echo half");
    shell.expect(&["mynah> echo half"]);
    for signal in [Signal::SIGSTOP, Signal::SIGTSTP] {
        kill(shell.pid(), signal).unwrap();
        shell.expect(&["$"]);
        shell.enter_line("fg");
        shell.expect(&["mynah> echo half"]);
    }
    // A key at a time: in raw mode, where Ctrl-A is a key too.
    shell.press(&["!", "C-a", "C-e", "?", "Enter"]);
    shell.expect(&["mynah> echo half!?", "half!?", "mynah>"]);
}

#[test]
fn status_is_a_table_on_a_terminal() {
    let server = Server::command(&[]);
    let terminal = terminal!(server.addr(0), &["status"]);
    assert_eq!(terminal.wait(), "0");
    terminal.expect(&["broadcasts      0", "slow consumers  0"]);
    let json = terminal!(server.addr(0), &["status", "--json"]);
    json.wait_for_screen("JSON", |screen| screen.iter().any(|line| line.starts_with("{\"version")));

    let prompt = terminal!(server.addr(0), &[]);
    prompt.enter_line("status");
    prompt.expect(&["slow consumers  0", "mynah>"]);

    let watch = terminal!(server.addr(0), &["status", "--watch"]);
    for frames in ["frames in       4", "frames in       5"] {
        watch.wait_for_screen(frames, |screen| screen.iter().any(|line| line == frames));
        let versions = watch.screen().iter().filter(|line| line.starts_with("version")).count();
        assert_eq!(versions, 1);
    }
}
