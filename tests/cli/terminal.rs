//! The prompt and the chat window in a real terminal, by way of tmux: keys go in, screens come out.
//!
//! Where tmux is not installed each of these tests says so and does nothing.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::chat_server::{chat_server, join_chat};
use super::program::{Handler, MockServer, closed_addr, expect, read_to_eof};
use super::support::{Folder, PATIENCE, Server, error, frame, wait_until};

/// A terminal of 60 columns and 16 rows that a program has to itself.
struct Terminal {
    socket: PathBuf,
    /// Its home and tmux's configuration.
    folder: Folder,
}

impl Terminal {
    /// Runs the client with `args` in a terminal; `None` where there is no tmux.
    fn client(addr: SocketAddr, args: &[&str]) -> Option<Terminal> {
        Terminal::client_with(Folder::new(), "xterm-256color", addr, args)
    }

    fn client_with(
        folder: Folder,
        term: &str,
        addr: SocketAddr,
        args: &[&str],
    ) -> Option<Terminal> {
        let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
        let (home, term) = (format!("HOME={}", folder.path("")), format!("TERM={term}"));
        let bin = env!("CARGO_BIN_EXE_mynah-cli");
        // tmux sometimes forgets how a program ended, and what it said last. So a shell asks, and
        // stays.
        let script = format!("trap : INT; \"$@\"; echo $? >{}; read _", folder.path("status"));
        let shell = ["env", &home, &term, "sh", "-c", &script, "sh"];
        let client = [bin, "-H", &ip, "-p", &port];
        Terminal::run(folder, &[&shell[..], &client, args].concat())
    }

    /// Runs `command`, of at least two words, in a terminal.
    fn run(folder: Folder, command: &[&str]) -> Option<Terminal> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let found = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            // Not by way of `eprintln!`, which nobody would see in a test that passes.
            let _ =
                writeln!(io::stderr(), "skipped: a terminal test needs tmux, which is not here");
            return None;
        }
        // The path of a socket must be short, and that of the build folder may be long.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mynah-cli-{}-{number}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let config = folder.file("tmux.conf", "set -g status off\n");
        let terminal = Terminal { socket, folder };
        let new = ["-u", "-f", &config, "new-session", "-d", "-x", "60", "-y", "16", "--"];
        terminal.tmux(&[&new, command].concat());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let output = tmux.arg("-S").arg(&self.socket).args(args).env_remove("TMUX").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Types a text.
    fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by their names.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    fn enter_line(&self, text: &str) {
        self.enter(text);
        self.press(&["Enter"]);
    }

    /// What is on the screen, and what has left it at the top; lines that were wrapped in one.
    fn screen(&self) -> Vec<String> {
        let text = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the last lines of the screen are `lines`.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        let mut screen = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("the screen", || {
                screen = self.screen();
                screen.ends_with(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
            });
        }));
        assert!(found.is_ok(), "waited for {lines:#?}, and the screen is {screen:#?}");
    }

    /// Waits for the client to end, and returns its status.
    #[track_caller]
    fn wait(&self) -> String {
        let file = self.folder.path("status");
        let mut status = String::new();
        wait_until("the client ends", || {
            status = fs::read_to_string(&file).unwrap_or_default();
            status.ends_with('\n')
        });
        status.trim_end().to_owned()
    }

    /// The client, whose parent is the only program the terminal knows.
    #[track_caller]
    fn pid(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let _ = fs::remove_file(&self.socket);
    }
}

/// Runs the client in a terminal, or ends the test.
macro_rules! terminal {
    ($($argument:expr),+) => {
        match Terminal::client($($argument),+) {
            Some(terminal) => terminal,
            None => return,
        }
    };
}

#[test]
fn messages_appear_above_the_line_being_typed() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    ann.expect(&["[INFO] Welcome, ann!", "[YOU]:"]);
    bob.expect(b"[SERVER] ann joined\n");

    ann.enter("half a sentence");
    ann.expect(&["[YOU]: half a sentence"]);
    // The cursor stands in the middle of the line, and stays there.
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
        // A nickname is no message to have again.
        ann.press(&["Up"]);
        ann.enter_line("exit");
        assert_eq!(ann.wait(), "0");
    }
}

#[test]
fn exit_ctrl_d_ctrl_c_and_sigint_leave() {
    let server = chat_server("en");
    let mut bob = join_chat(&server, "bob");
    type Leave = fn(&Terminal);
    let ways: [(&str, Leave); 6] = [
        ("exit", |ann| ann.enter_line("exit")),
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
        // A SIGINT in the moment in which a line ends is lost on rustyline.
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
        // What is said last is seen, too.
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

/// A shell that compares the terminal before and behind `args` of the client, and shows its status.
fn comparing(addr: SocketAddr, args: &str) -> Option<Terminal> {
    let folder = Folder::new();
    let (home, bin, port) = (folder.path(""), env!("CARGO_BIN_EXE_mynah-cli"), addr.port());
    let script = format!(
        "cd {home} && export HOME={home} TERM=xterm-256color; stty -a >before; \
         {bin} -p {port} {args}; echo \"status $?\"; \
         stty -a >after; cmp before after && echo same; read _"
    );
    Terminal::run(folder, &["sh", "-c", &script])
}

#[test]
fn terminal_mode_is_restored_at_shutdown() {
    let mut server = chat_server("en");
    let Some(shell) = comparing(server.addr(0), "chat ann") else { return };
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
            let Some(shell) = comparing(addr, args) else { return };
            let prompt = line.strip_suffix(" half").unwrap();
            wait_until("the prompt", || shell.screen().last().is_some_and(|last| last == prompt));
            shell.enter("half");
            wait_until("the line", || shell.screen().last().is_some_and(|last| last == line));
            kill(shell.pid(), signal).unwrap();
            wait_until("the end", || shell.screen().last().is_some_and(|last| last == "same"));
            let screen = shell.screen();
            assert!(screen.contains(&line.to_owned()), "{screen:?}");
            assert!(screen.contains(&status.to_owned()), "{screen:?}");
        }
    }
}

#[test]
fn close_without_a_shutdown_line_is_an_error() {
    let (sender, release) = mpsc::channel::<()>();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        let _ = release.recv();
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
    let reason = "the server does not answer as it should: '-ERR' is not a chat welcome";
    ann.expect(&[&format!("mynah-cli: {reason}")]);
}

#[test]
fn full_server_is_an_error() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0", "-m", "1"]);
    let _bob = join_chat(&server, "bob");
    let ann = terminal!(server.addr(0), &["chat", "ann"]);
    assert_eq!(ann.wait(), "1");
    let reason = "[ERROR] server is full: 1 clients";
    wait_until("the reason", || {
        let screen = ann.screen();
        let last = screen.last().map(String::as_str);
        screen.iter().any(|line| line == reason)
            && last == Some("mynah-cli: the server closed the connection")
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
    // Before the cursor is on the next line Ctrl-C is a key, and kept for it.
    wait_until("the line ends", || ann.tmux(&["display-message", "-p", "#{cursor_y}"]) == "1\n");
    ann.press(&["C-c"]);
    assert_eq!(ann.wait(), "0");
    drop(release);
}

#[test]
fn control_characters_of_the_server_are_replaced() {
    // Control characters, and those that turn a text around.
    let evil = "\x1b[2J\x1b]0;owned\x07a\rb\u{9b}2J\x08\x7f\0c\u{202e}d\u{2066}";
    let harmless = "�[2J�]0;owned�a�b�2J���c�d�";
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(format!("[INFO] Welcome{evil}\n[bob]: {evil}\n").as_bytes()).unwrap();
        read_to_eof(&mut stream);
    });
    let ann = terminal!(mock.addr, &["chat", "ann"]);
    ann.expect(&[&format!("[INFO] Welcome{harmless}"), &format!("[bob]: {harmless}"), "[YOU]:"]);
    drop(ann);

    let mock = MockServer::replying(&frame(1, b"x"), &frame(1, format!("{evil}\nline").as_bytes()));
    let echo = terminal!(mock.addr, &["echo", "x"]);
    echo.expect(&[harmless, "line"]);
    assert_eq!(echo.wait(), "0");

    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"x");
        stream.write_all(format!("{evil}\nline\n").as_bytes()).unwrap();
    });
    let raw = terminal!(mock.addr, &["--protocol", "raw", "send", "x"]);
    raw.expect(&[harmless, "line"]);
    assert_eq!(raw.wait(), "0");

    let mock = MockServer::new(move |mut stream| {
        stream.write_all(&frame(4, b"\x1b[2Jnews")).unwrap();
        stream.write_all(&error("\x1b[2Jgone\u{202e}")).unwrap();
    });
    let listen = terminal!(mock.addr, &["listen"]);
    listen.expect(&["�[2Jnews", r"mynah-cli: \u{1b}[2Jgone\u{202e}"]);
    assert_eq!(listen.wait(), "1");
}

#[test]
fn lines_keep_their_order_at_any_speed() {
    const LINES: usize = 400;
    const TYPED: usize = 40;
    let (started, start) = mpsc::channel();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"ann\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        let mut said = stream.try_clone().unwrap();
        let listener = std::thread::spawn(move || {
            for number in 0..TYPED {
                expect(&mut said, format!("line {number}\n").as_bytes());
                if number == 0 {
                    started.send(()).unwrap();
                }
            }
        });
        start.recv().unwrap();
        for number in 0..LINES {
            stream.write_all(format!("[bob]: {number}\n").as_bytes()).unwrap();
        }
        listener.join().unwrap();
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
    let heard: Vec<&str> = screen.iter().filter_map(|line| line.strip_prefix("[bob]: ")).collect();
    let expected: Vec<String> = (0..LINES).map(|number| number.to_string()).collect();
    assert_eq!(heard, expected);
    // Keys pressed between two lines are echoed by the terminal behind the first, so the beginnings
    // are all there is to compare.
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
    ann.enter_line("exit");
    assert_eq!(ann.wait(), "0");
}

#[test]
fn prompt_runs_commands_and_survives_errors() {
    let server = Server::command(&[]);
    let prompt = terminal!(server.addr(0), &[]);
    let connected = format!("Connected to command://{}. Try help.", server.addr(0));
    prompt.expect(&[&connected, "mynah>"]);
    for (line, answer) in [
        ("echo Hello, World!", "Hello, World!"),
        ("rev custom protocols are fun", "nuf era slocotorp motsuc"),
        ("broadcast x", "0"),
        ("ping", "mynah-cli: there is no command 'ping', try help"),
        ("echo", "mynah-cli: echo needs a TEXT"),
        ("send x", "mynah-cli: send needs --protocol prefixed or raw"),
        ("echo -", "-"),
    ] {
        prompt.enter_line(line);
        prompt.expect(&[&format!("mynah> {line}"), answer, "mynah>"]);
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
    let folder = Folder::new();
    let home = folder.path("");
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

    // And in the next session, in the same home.
    let history = fs::read_to_string(prompt.folder.path(".mynah_history")).unwrap();
    fs::write(format!("{home}/.mynah_history"), history).unwrap();
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
    let dies: Handler = Box::new(|mut stream| expect(&mut stream, &frame(1, b"b")));
    let mock = MockServer::with_handlers(vec![echo(b"a"), dies, echo(b"c"), echo(b"d")]);
    let (server, offer) = (mock.addr, format!("Reconnect to command://{}? [Y/n]", mock.addr));
    let connected = format!("Connected to command://{server}.");
    let prompt = terminal!(server, &[]);
    prompt.enter_line("echo a");
    prompt.expect(&["a", "mynah>"]);
    closed.recv_timeout(PATIENCE).unwrap();
    // It closed while nobody asked; what is typed now is asked of the new connection.
    prompt.enter_line("echo b");
    prompt.expect(&["mynah-cli: the server has closed the connection", &offer]);
    prompt.press(&["Enter"]);
    // And that one dies in the middle: it is not asked again.
    let died = "mynah-cli: the server closed the connection without an answer";
    prompt.expect(&[&format!("{offer} "), &connected, died, &offer].map(str::trim_end));
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
    for (index, protocol, answers) in
        [(0, "prefixed", ["cba", "fed"]), (1, "raw", ["Echo: abc", "Echo: def"])]
    {
        let prompt = terminal!(server.addr(index), &["--protocol", protocol]);
        prompt.expect(&["mynah>"]);
        for (text, answer) in ["abc", "def"].into_iter().zip(answers) {
            prompt.enter_line(&format!("send {text}"));
            prompt.expect(&[&format!("mynah> send {text}"), answer, "mynah>"]);
        }
        prompt.press(&["C-d"]);
        assert_eq!(prompt.wait(), "0");
    }
}
