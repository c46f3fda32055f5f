//! Logging in: `--user`, `login` and `register` at the prompt, and both in the chat.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::mock_server::{Handler, MockServer, expect, read_to_eof};
use super::program::{CLIENT, ExitResult, RunningClient, client_command, run, run_args};
use super::support::{Folder, Server, error, frame};
use super::terminal::{Terminal, terminal};

const LOGIN: &[u8] = b"ann\0ann's secret";

/// Runs a client as ann, with the password of the environment.
#[track_caller]
fn run_as_ann(addr: SocketAddr, args: &[&str], stdin: &[u8]) -> ExitResult {
    let mut running = RunningClient::spawn(&mut ann(addr, args));
    running.write_input(stdin);
    running.close_input();
    running.wait()
}

fn ann(addr: SocketAddr, args: &[&str]) -> Command {
    let mut command = client_command(addr, &[&["--user", "ann"], args].concat());
    command.env("MYNAH_PASSWORD", "ann's secret");
    command
}

/// Expects a login and answers it.
fn let_in(stream: &mut TcpStream) {
    expect(stream, &frame(5, LOGIN));
    stream.write_all(&frame(1, b"welcome ann")).unwrap();
}

/// A connection that logs in and sends one request, whose reply is the text.
fn one_request(request: Vec<u8>, text: &'static [u8]) -> Handler {
    Box::new(move |mut stream| {
        let_in(&mut stream);
        expect(&mut stream, &request);
        stream.write_all(&frame(1, text)).unwrap();
        read_to_eof(&mut stream);
    })
}

#[test]
fn user_logs_in_before_the_command() {
    let mock = MockServer::with_handlers(vec![
        one_request(frame(1, b"x"), b"x"),
        one_request(frame(7, b""), b"{}"),
        one_request(frame(4, b"-"), b"3"),
        Box::new(|mut stream| {
            // Others may send before the reply.
            expect(&mut stream, &frame(5, LOGIN));
            stream.write_all(&[frame(4, b"early"), frame(1, b"welcome ann")].concat()).unwrap();
            stream.write_all(&frame(4, b"late")).unwrap();
        }),
    ]);
    run_as_ann(mock.addr, &["echo", "x"], b"").assert_reply("x\n");
    run_as_ann(mock.addr, &["status"], b"").assert_reply("{}\n");
    run_as_ann(mock.addr, &[], b"broadcast -\n").assert_reply("3\n");
    let result = run_as_ann(mock.addr, &["listen"], b"");
    assert_eq!(String::from_utf8_lossy(&result.stdout), "early\nlate\n");
    assert_eq!(result.stderr, "mynah-cli: the server closed the connection\n");
    mock.join();
}

#[test]
fn refused_login_is_an_error() {
    for (reply, reason) in [
        (&b"login failed"[..], "login failed"),
        (b"too many attempts, try again in 8 s", "too many attempts, try again in 8 s"),
        (b"unknown command 5", "the server has no accounts: unknown command 5"),
    ] {
        let mock = MockServer::replying(&frame(5, LOGIN), &error(&String::from_utf8_lossy(reply)));
        run_as_ann(mock.addr, &["echo", "x"], b"").assert_error(reason);
        mock.join();
    }
    // The lines of a pipe do not try it again and again.
    let mock = MockServer::replying(&frame(5, LOGIN), &error("login failed"));
    run_as_ann(mock.addr, &[], b"echo x\necho y\n").assert_error("line 1: login failed");
    mock.join();
}

#[test]
fn busy_server_is_asked_again() {
    let mock = MockServer::new(|mut stream| {
        for _ in 0..3 {
            expect(&mut stream, &frame(5, LOGIN));
            stream.write_all(&error("busy, try again")).unwrap();
        }
        one_request(frame(1, b"x"), b"x")(stream);
    });
    run_as_ann(mock.addr, &["echo", "x"], b"").assert_reply("x\n");
    mock.join();
    // No longer than --timeout.
    let mock = MockServer::new(|mut stream| {
        let mut request = frame(5, LOGIN);
        while stream.read_exact(&mut request).is_ok() {
            stream.write_all(&error("busy, try again")).unwrap();
        }
    });
    let started_at = Instant::now();
    run_as_ann(mock.addr, &["--timeout", "0.5", "echo", "x"], b"").assert_error("busy, try again");
    assert!(started_at.elapsed() < Duration::from_secs(3));
    mock.join();
}

#[test]
fn error_does_not_show_the_password() {
    let reply = [&b"Echo: "[..], &frame(5, LOGIN)].concat();
    let mock = MockServer::replying(&frame(5, LOGIN), &reply);
    let result = run_as_ann(mock.addr, &["echo", "x"], b"");
    mock.join();
    assert!(!result.stderr.contains("secret"), "{}", result.stderr);
    assert!(result.stderr.contains("the server seems to speak raw"), "{}", result.stderr);
    let mock =
        MockServer::replying(b"/login ann ann's secret\n", b"Echo: /login ann ann's secret\n");
    let result = run_as_ann(mock.addr, &["chat"], b"");
    mock.join();
    assert_eq!(result.code, Some(1));
    assert!(!result.stderr.contains("secret"), "{}", result.stderr);
}

#[test]
fn password_is_checked_before_anything_is_sent() {
    let addr = super::program::closed_addr();
    let run_with = |password: &str, args: &[&str]| {
        RunningClient::spawn(ann(addr, args).env("MYNAH_PASSWORD", password)).wait()
    };
    run_with("1234567", &["status"]).assert_error("MYNAH_PASSWORD: a password has 8 to 128 bytes");
    let long = "x".repeat(129);
    run_with(&long, &["status"]).assert_error("MYNAH_PASSWORD: a password has 8 to 128 bytes");
    run_with("", &["status"]).assert_error("MYNAH_PASSWORD: a password has 8 to 128 bytes");
    let mock = MockServer::new(|mut stream| {
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).unwrap();
        assert_eq!(sent, b"");
    });
    let mut command = ann(mock.addr, &["chat"]);
    RunningClient::spawn(command.env("MYNAH_PASSWORD", "password\n/exit"))
        .wait()
        .assert_error("over chat a password is UTF-8 and one line without blanks around it");
    mock.join();
    let result = run_args(&["--user", "an", "status"]);
    assert_eq!(result.code, Some(2));
    assert!(result.stderr.contains("--user: a name has 3 to 16 characters"), "{}", result.stderr);
}

#[test]
fn password_without_variable_needs_a_terminal() {
    let mut command = Command::new("setsid");
    command.args(["--wait", CLIENT, "--user", "ann", "status"]).env_remove("MYNAH_PASSWORD");
    let found = Command::new("setsid").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return;
    }
    RunningClient::spawn(&mut command)
        .wait()
        .assert_error("no terminal to ask for a password, and MYNAH_PASSWORD is not set");
}

#[test]
fn login_lines_of_a_pipe_log_in() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(6, LOGIN));
        stream.write_all(&error("ann is taken")).unwrap();
        let_in(&mut stream);
        read_to_eof(&mut stream);
    });
    let lines = b"register ann ann's secret\nlogin ann ann's secret\nlogin ann short\n";
    let mut running = RunningClient::spawn(&mut client_command(mock.addr, &[]));
    running.write_input(lines);
    running.close_input();
    let result = running.wait();
    assert_eq!(String::from_utf8_lossy(&result.stdout), "welcome ann\n");
    let reasons =
        ["mynah-cli: line 1: ann is taken", "mynah-cli: line 3: a password has 8 to 128 bytes"];
    assert_eq!(result.stderr.lines().collect::<Vec<_>>(), reasons);
    mock.join();
}

#[test]
fn prompt_asks_for_the_password_without_echo() {
    let mock = MockServer::with_handlers(vec![
        Box::new(|mut stream| {
            let_in(&mut stream);
            expect(&mut stream, &frame(1, b"x"));
            stream.write_all(&frame(1, b"x")).unwrap();
            // Ends the connection.
            expect(&mut stream, &frame(1, b"y"));
        }),
        one_request(frame(1, b"z"), b"z"),
    ]);
    let prompt = terminal!(mock.addr, &[]);
    prompt.expect(&["mynah>"]);
    prompt.press(&["l", "o", "Tab"]);
    prompt.expect(&["mynah> login"]);
    prompt.enter_line("ann");
    prompt.expect(&["mynah> login ann", "Password for ann:"]);
    prompt.enter("half of it");
    prompt.press(&["C-c"]);
    prompt.expect(&["mynah> login ann", "Password for ann:", "mynah>"]);
    prompt.enter_line("login ann");
    prompt.expect(&["Password for ann:"]);
    prompt.enter_line("ann's secret");
    prompt.expect(&["mynah> login ann", "Password for ann:", "welcome ann", "mynah>"]);
    prompt.enter_line("echo x");
    prompt.expect(&["x", "mynah>"]);
    // A new connection logs in by itself.
    prompt.enter_line("echo y");
    let offer = format!("Reconnect to command://{}? [Y/n]", mock.addr);
    prompt.expect(&[&offer]);
    prompt.press(&["Enter"]);
    prompt.expect(&[&format!("Connected to command://{} as ann.", mock.addr), "mynah>"]);
    prompt.enter_line("echo z");
    prompt.expect(&["z", "mynah>"]);
    assert!(!prompt.screen().concat().contains("secret"), "{:#?}", prompt.screen());
    prompt.press(&["C-d"]);
    assert_eq!(prompt.wait(), "0");
    mock.join();
}

#[test]
fn typed_password_is_in_no_history_and_not_shown() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.write_all(&frame(1, b"x")).unwrap();
        expect(&mut stream, &frame(6, LOGIN));
        stream.write_all(&frame(1, b"welcome ann")).unwrap();
        read_to_eof(&mut stream);
    });
    let prompt = terminal!(mock.addr, &[]);
    prompt.expect(&["mynah>"]);
    prompt.enter_line("echo x");
    prompt.expect(&["x", "mynah>"]);
    prompt.enter("register ann ann's sxcret");
    prompt.expect(&["mynah> register ann ************"]);
    // Moving and editing draws the line in other ways.
    prompt.press(&["Left", "Left", "Left", "Left", "BSpace", "e", "Home", "End"]);
    prompt.expect(&["mynah> register ann ************"]);
    prompt.press(&["Enter"]);
    prompt.expect(&["mynah> register ann ************", "welcome ann", "mynah>"]);
    prompt.press(&["Up"]);
    prompt.expect(&["mynah> echo x"]);
    prompt.press(&["C-c"]);
    prompt.expect(&["mynah> echo x", "mynah>"]);
    prompt.press(&["C-d"]);
    assert_eq!(prompt.wait(), "0");
    let history = fs::read_to_string(prompt.folder.path(".mynah_history")).unwrap();
    assert!(history.contains("echo x") && !history.contains("ann"), "{history}");
    assert!(!prompt.screen().concat().contains("cret"), "{:#?}", prompt.screen());
    mock.join();
}

#[test]
fn user_of_a_chat_logs_in_for_the_nickname() {
    let mock = MockServer::new(|mut stream| {
        for reply in ["[ERROR] busy, try again\n", "[INFO] Welcome, ann!\n"] {
            expect(&mut stream, b"/login ann ann's secret\n");
            stream.write_all(reply.as_bytes()).unwrap();
        }
        expect(&mut stream, b"hello\n");
        read_to_eof(&mut stream);
    });
    let result = run_as_ann(mock.addr, &["chat", "ann"], b"hello\n");
    result.assert_reply("[INFO] Welcome, ann!\n");
    mock.join();
    for (reply, reason) in [
        ("[ERROR] login failed\n", "[ERROR] login failed"),
        (
            "[ERROR] choose a nickname first\n",
            "the server has no accounts: [ERROR] choose a nickname first",
        ),
    ] {
        let mock = MockServer::replying(b"/login ann ann's secret\n", reply.as_bytes());
        run_as_ann(mock.addr, &["chat"], b"hello\n").assert_error(reason);
        mock.join();
    }
}

#[test]
fn chat_window_hides_and_asks_for_passwords() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"/login ann ann's secret\n");
        stream.write_all(b"[ERROR] login failed\n").unwrap();
        expect(&mut stream, b"/login ann ann's secret\n");
        stream.write_all(b"[INFO] Welcome, ann!\n").unwrap();
        expect(&mut stream, b"hi\n/register another one\n/register another one\n");
        stream.write_all(b"[INFO] ann is registered\n").unwrap();
        read_to_eof(&mut stream);
    });
    let chat = terminal!(mock.addr, &["chat"]);
    chat.expect(&["Nickname:"]);
    chat.enter_line("/login ann ann's secret");
    chat.expect(&["Nickname: /login ann ************", "[ERROR] login failed", "Nickname:"]);
    chat.enter_line("/login ann");
    chat.expect(&["Nickname: /login ann", "Password for ann:"]);
    chat.enter_line("ann's secret");
    chat.expect(&["Password for ann:", "[INFO] Welcome, ann!", "[YOU]:"]);
    chat.enter_line("hi");
    chat.expect(&["[YOU]: hi", "[YOU]:"]);
    chat.enter_line("/register another one");
    chat.expect(&["[YOU]: /register ***********", "[YOU]:"]);
    chat.enter_line("/register");
    chat.expect(&["New password:"]);
    chat.enter_line("another one");
    chat.expect(&["New password:", "Once more:"]);
    chat.enter_line("another one");
    chat.expect(&["Once more:", "[INFO] ann is registered", "[YOU]:"]);
    chat.press(&["Up"]);
    chat.expect(&["[YOU]: hi"]);
    let screen = chat.screen().concat();
    assert!(!screen.contains("secret") && !screen.contains("another"), "{screen}");
    chat.press(&["C-c"]);
    assert_eq!(chat.wait(), "0");
    mock.join();
}

#[test]
fn user_of_a_terminal_is_asked_first() {
    let mock = MockServer::with_handlers(vec![one_request(frame(1, b"x"), b"x")]);
    let prompt = terminal!(mock.addr, &["--user", "ann", "echo", "x"]);
    prompt.expect(&["Password for ann:"]);
    prompt.enter_line("ann's secret");
    prompt.expect(&["Password for ann:", "x"]);
    assert_eq!(prompt.wait(), "0");
    mock.join();
    let prompt = terminal!(super::program::closed_addr(), &["--user", "ann", "echo", "x"]);
    prompt.expect(&["Password for ann:"]);
    prompt.press(&["C-c"]);
    assert_eq!(prompt.wait(), "130");
}

/// A server with ann's account: `command`, the same for those logged in only, and a chat.
fn server_with_ann() -> (Server, Folder) {
    let folder = Folder::new();
    let file = folder.path("accounts");
    let mut passwd = RunningClient::spawn(Command::new(CLIENT).args(["passwd", &file, "ann", "-"]));
    passwd.write_input(b"ann's secret\n");
    passwd.close_input();
    passwd.wait().assert_reply("ann added\n");
    let required = "command://127.0.0.1:0?auth=required";
    let listeners = ["-l", "command://127.0.0.1:0", "-l", required, "-l", "chat://127.0.0.1:0"];
    let options = ["--accounts", &file, "--allow-register"];
    (Server::start(&[&options[..], &listeners].concat()), folder)
}

#[test]
fn server_lets_a_user_in() {
    let (server, _folder) = server_with_ann();
    run(server.addr(1), &["echo", "x"]).assert_error("login required");
    run_as_ann(server.addr(1), &["echo", "x"], b"").assert_reply("x\n");
    let again = run_as_ann(server.addr(1), &[], b"echo x\nlogin ann ann's secret\n");
    assert_eq!(again.stderr, "mynah-cli: line 2: already logged in as ann\n");
    let chat = run_as_ann(server.addr(2), &["chat", "ann"], b"/who\n");
    chat.assert_reply("[INFO] Welcome, ann!\nOnline: ann\n");
    run(server.addr(2), &["chat", "ann"])
        .assert_error("[ERROR] ann is registered: /login ann PASSWORD");
    let refused = |addr, action| {
        RunningClient::spawn(ann(addr, &[action]).env("MYNAH_PASSWORD", "another one")).wait()
    };
    refused(server.addr(0), "status").assert_error("login failed");
    refused(server.addr(2), "chat").assert_error("[ERROR] login failed");
}

#[test]
fn register_at_the_prompt_adds_an_account() {
    let (server, folder) = server_with_ann();
    let prompt = terminal!(server.addr(1), &[]);
    prompt.expect(&["mynah>"]);
    prompt.enter_line("register bob");
    prompt.expect(&["New password for bob:"]);
    prompt.enter_line("bob's secret");
    prompt.expect(&["Once more:"]);
    prompt.enter_line("bob's secret");
    prompt.expect(&["New password for bob:", "Once more:", "welcome bob", "mynah>"]);
    prompt.enter_line("echo x");
    prompt.expect(&["x", "mynah>"]);
    prompt.enter_line("login ann ann's secret");
    prompt.expect(&["mynah-cli: already logged in as bob", "mynah>"]);
    let accounts = fs::read_to_string(folder.path("accounts")).unwrap();
    assert!(accounts.contains("\nbob:$argon2id$"), "{accounts}");
}
