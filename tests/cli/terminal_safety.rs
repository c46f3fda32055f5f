//! The terminal of the user: its mode is restored, and no server drives it.

use std::io::Write;
use std::net::SocketAddr;

use nix::sys::signal::{Signal, kill};

use super::chat_server::chat_server;
use super::mock_server::{MockServer, expect, read_to_eof};
use super::program::CLIENT;
use super::support::{Folder, Server, error, frame};
use super::terminal::{Terminal, terminal};

/// Runs the client with `args` in a shell that then prints its status, and `same` if the terminal's
/// mode is that of before.
fn run_comparing(addr: SocketAddr, args: &str) -> Option<Terminal> {
    let folder = Folder::new();
    let (home, port) = (folder.path(""), addr.port());
    let script = format!(
        "cd {home} && export HOME={home} TERM=xterm-256color; stty -a >before; \
         sh -c 'echo $$ >pid; exec \"$@\"' sh {CLIENT} -p {port} {args}; echo \"status $?\"; \
         stty -a >after; cmp before after && echo same; read _"
    );
    Terminal::run(folder, &["sh", "-c", &script])
}

#[test]
fn terminal_mode_is_restored_at_shutdown() {
    let mut server = chat_server("en");
    let Some(shell) = run_comparing(server.addr(0), "chat ann") else { return };
    shell.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    shell.enter("half");
    shell.expect(&["[YOU]: half"]);
    server.stop();
    shell.expect(&["[INFO] The server has shut down", "status 0", "same"]);
}

#[test]
fn terminal_mode_is_restored_by_sigterm_and_sighup() {
    let chat = chat_server("en");
    let command = Server::command(&[]);
    for (signal, status) in [(Signal::SIGTERM, "status 143"), (Signal::SIGHUP, "status 129")] {
        for (addr, args, line) in [
            (chat.addr(0), "chat ann", "[YOU]: half"),
            (chat.addr(0), "chat", "Nickname: half"),
            (command.addr(0), "", "mynah> half"),
        ] {
            let Some(shell) = run_comparing(addr, args) else { return };
            let prompt = line.strip_suffix(" half").unwrap();
            shell.expect(&[prompt]);
            shell.enter("half");
            shell.expect(&[line]);
            kill(shell.pid(), signal).unwrap();
            shell.expect(&["same"]);
            let screen = shell.screen();
            assert!(screen.contains(&line.to_owned()), "{screen:?}");
            assert!(screen.contains(&status.to_owned()), "{screen:?}");
        }
    }
}

#[test]
fn control_characters_of_the_server_are_replaced() {
    // Control characters and bidirectional overrides.
    let evil = "\x1b[2J\x1b]0;owned\x07a\rb\u{9b}2J\x08\x7f\0c\u{202e}d\u{2066}";
    let sanitized = "�[2J�]0;owned�a�b�2J���c�d�";
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(format!("[INFO] Welcome{evil}\n[bob]: {evil}\n").as_bytes()).unwrap();
        read_to_eof(&mut stream);
    });
    let ann = terminal!(mock.addr, &["chat", "ann"]);
    ann.expect(&[&format!("[INFO] Welcome{sanitized}"), &format!("[bob]: {sanitized}"), "[YOU]:"]);
    drop(ann);

    let mock = MockServer::replying(&frame(2, b"x"), &frame(1, format!("{evil}\nline").as_bytes()));
    let rev = terminal!(mock.addr, &["rev", "x"]);
    rev.expect(&[sanitized, "line"]);
    assert_eq!(rev.wait(), "0");

    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"x");
        stream.write_all(format!("{evil}\nline\n").as_bytes()).unwrap();
    });
    let raw = terminal!(mock.addr, &["--protocol", "raw", "send", "x"]);
    raw.expect(&[sanitized, "line"]);
    assert_eq!(raw.wait(), "0");

    let mock = MockServer::new(move |mut stream| {
        stream.write_all(&frame(4, b"\x1b[2Jnews")).unwrap();
        stream.write_all(&error("\x1b[2Jgone\u{202e}")).unwrap();
    });
    let listen = terminal!(mock.addr, &["listen"]);
    listen.expect(&["�[2Jnews", r"mynah-cli: \u{1b}[2Jgone\u{202e}"]);
    assert_eq!(listen.wait(), "1");
}
