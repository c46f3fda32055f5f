//! Output of the commands, and what they do to the server.

use std::io::Write;

use serde_json::Value;

use super::super::mock_server::MockServer;
use super::super::support::{Folder, Server, crowd, wait_until};
use super::super::terminal::Terminal;
use super::hostile::{read_request, response};
use super::{admin, output, start};

/// The rows of `clients`, a JSON object a line.
#[track_caller]
fn rows(url: &str, args: &[&str]) -> Vec<Value> {
    let text = output(url, &[&["clients"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn status_is_json_in_a_pipe_and_a_table_elsewhere() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let _client = server.connect();
    let status: Value = serde_json::from_str(&output(&url, &["status"])).unwrap();
    assert_eq!(status["listeners"][0]["name"], "api");
    assert_eq!(status["draining"], false);
    let args = ["--admin", &url, "status"];
    let Some(terminal) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else {
        return;
    };
    assert_eq!(terminal.wait(), "0");
    terminal.wait_for_screen("the tables", |screen| {
        let has = |words: &[&str]| {
            screen.iter().any(|l| l.split_whitespace().take(words.len()).eq(words.iter().copied()))
        };
        has(&["draining", "no"])
            && has(&["LISTENER", "PROTOCOL", "CONNECTIONS", "ACCEPTED", "URL"])
            && has(&["api", "command", "1", "1"])
    });
}

#[test]
fn status_watch_repeats() {
    let folder = Folder::new();
    let (_server, url) = start(&folder, &[]);
    let mut command = std::process::Command::new(super::super::program::CLIENT);
    command.args(["--admin", &url, "status", "--watch"]);
    let watch = super::super::program::RunningClient::spawn(&mut command);
    watch.expect("}\n{\"version\"");
}

#[test]
fn clients_are_chosen_by_filters() {
    let folder = Folder::new();
    let chat = ["-l", "chat://127.0.0.1:0"];
    let (server, url) = start(&folder, &chat);
    let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let mut bob = server.connect_to(1);
    bob.send("bób\n".as_bytes());
    wait_until("the nickname is known", || rows(&url, &["name=bób"]).len() == 1);
    wait_until("all are accepted", || rows(&url, &["listener=api"]).len() == 3);
    assert_eq!(rows(&url, &["listener=api", "limit=2", "sort=idle"]).len(), 2);
    assert_eq!(rows(&url, &["--json", "ip=127.0.0.1"]).len(), 4);
    assert_eq!(rows(&url, &["listener=api", "min_idle=3600"]).len(), 0);
    assert_eq!(rows(&url, &["name=bób"])[0]["listener"], "chat");
    admin(&url, &["clients", "listener=web"]).assert_error("no listener 'web'");

    let args = ["--admin", &url, "clients", "listener=api"];
    let Some(terminal) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else {
        return;
    };
    terminal.wait_for_screen("the table", |screen| {
        let is_narrow = screen.iter().all(|line| line.chars().count() <= 60);
        is_narrow && screen.len() == 5 && screen[0].contains("LISTENER") && screen[4] == "3 in all"
    });
    drop(clients);
}

#[test]
fn clients_are_followed_to_the_last_page() {
    let _one_at_a_time = crowd(2400);
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let clients: Vec<_> = (0..1100).map(|_| server.connect()).collect();
    wait_until("all are accepted", || rows(&url, &["listener=api"]).len() == clients.len());
    let mut ids: Vec<u64> =
        rows(&url, &["listener=api"]).iter().map(|row| row["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), clients.len());
    assert_eq!(rows(&url, &["listener=api", "limit=1050"]).len(), 1050);
    assert_eq!(rows(&url, &["listener=api", "sort=queue"]).len(), 1000);
}

#[test]
fn kick_closes_one_or_those_that_match() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    wait_until("all are accepted", || rows(&url, &["listener=api"]).len() == 3);
    let id = rows(&url, &["listener=api", "limit=1"])[0]["id"].to_string();
    assert_eq!(output(&url, &["kick", &format!("#{id}")]), "1 kicked\n");
    admin(&url, &["kick", &id]).assert_error("no such connection");
    wait_until("two are left", || rows(&url, &["listener=api"]).len() == 2);
    assert_eq!(output(&url, &["kick", "listener=api", "ip=127.0.0.1"]), "2 kicked\n");
    for client in &mut clients {
        client.expect_eof();
    }
    wait_until("the log says so", || server.count_lines("disconnected: kicked") == 3);
}

#[cfg(feature = "admission")]
#[test]
fn kick_with_a_ban_refuses_the_address() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let mut client = server.connect();
    client.expect_alive();
    assert_eq!(output(&url, &["kick", "ip=127.0.0.1", "ban=600"]), "1 kicked\n");
    client.expect_eof();
    server.connect().discard_to_end();
    assert_eq!(rows(&url, &["listener=api"]).len(), 0);
}

#[test]
fn kick_asks_on_a_terminal() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let _clients = (server.connect(), server.connect());
    wait_until("both are accepted", || rows(&url, &["listener=api"]).len() == 2);
    let question = "2 connections match; kick them? [y/N]";
    for (answer, line, status) in
        [("", "mynah-cli: nothing was kicked", "1"), ("y", "2 kicked", "0")]
    {
        let args = ["--admin", &url, "kick", "listener=api"];
        let Some(terminal) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else {
            return;
        };
        terminal.expect(&[question]);
        terminal.enter_line(answer);
        assert_eq!(terminal.wait(), status);
        terminal.expect(&[format!("{question} {answer}").trim_end(), line]);
    }
    let _client = server.connect();
    wait_until("one more is accepted", || rows(&url, &["listener=api"]).len() == 1);
    let args = ["--admin", &url, "kick", "-y", "listener=api"];
    let Some(terminal) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else {
        return;
    };
    terminal.expect(&["1 kicked"]);
}

#[test]
fn drain_is_undone_by_undrain() {
    let folder = Folder::new();
    let (_server, url) = start(&folder, &[]);
    let is_draining = || output(&url, &["status"]).contains("\"draining\":true");
    assert_eq!(output(&url, &["drain"]), "draining: new clients are not accepted\n");
    assert!(is_draining());
    assert_eq!(output(&url, &["UNDRAIN"]), "new clients are accepted\n");
    assert!(!is_draining());
}

#[test]
fn reload_prints_what_changed_or_why_not() {
    for (status, body, code, stdout, stderr) in [
        (
            200,
            r#"{"reloaded":true,"changes":["log_level: info -> warn"]}"#,
            0,
            "log_level: info -> warn\n",
            "",
        ),
        (200, r#"{"reloaded":true,"changes":[]}"#, 0, "reloaded, nothing has changed\n", ""),
        (
            422,
            r#"{"reloaded":false,"errors":["a.ini: line 3: \u001b[2J"]}"#,
            1,
            "",
            "mynah-cli: not reloaded, all is as it was:\nmynah-cli: a.ini: line 3: \u{fffd}[2J\n",
        ),
    ] {
        let mock = MockServer::new(move |mut stream| {
            let request = read_request(&mut stream);
            assert!(request.starts_with("POST /reload HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("\r\nContent-Length: 0\r\n"), "{request}");
            stream.write_all(response(status, "application/json", body).as_bytes()).unwrap();
        });
        let result = admin(&format!("admin://{}", mock.addr), &["reload"]);
        let shown = (result.code, str::from_utf8(&result.stdout).unwrap(), &*result.stderr);
        assert_eq!(shown, (Some(code), stdout, stderr));
        mock.join();
    }
}

#[test]
fn token_of_a_file_lets_changes_through() {
    let folder = Folder::new();
    let token = folder.file("token", "secret\n");
    let wrong = folder.file("wrong", "guess");
    let listeners = ["-l", "command://127.0.0.1:0", "-l", "admin://127.0.0.1:0"];
    let server = Server::start(&[&listeners[..], &["--admin-token", &token]].concat());
    let port = server.addr(1).port();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("admin://{host}:{port}");
        admin(&url, &["status"]).assert_error("the server wants a token: --token FILE");
        admin(&url, &["--token", &wrong, "drain"])
            .assert_error("the server does not take the token of --token");
        assert!(output(&url, &["--token", &token, "status"]).starts_with("{\"version\""));
        assert!(output(&url, &["--token", &token, "undrain"]).starts_with("new clients"));
    }
}

#[test]
fn refusal_is_said_with_the_servers_reason() {
    let server = Server::start(&["-l", "admin://127.0.0.1:0"]);
    let url = format!("admin://{}", server.addr(0));
    admin(&url, &["drain"])
        .assert_error("changes need --admin-token, or a Unix socket (admin+unix:///PATH)");
}

#[cfg(feature = "tls")]
#[test]
fn admin_is_asked_over_tls() {
    let authority = super::super::tls_server::Authority::new();
    let issued = authority.issue(&["localhost"]);
    let files = ["--tls-cert", &issued.cert, "--tls-key", &issued.key];
    let server = Server::start(&[&["-l", "admin+tls://127.0.0.1:0"], &files[..]].concat());
    let port = server.addr(0).port();
    let url = format!("admin+tls://localhost:{port}");
    let ca = authority.ca();
    assert!(output(&url, &["--cacert", &ca, "status"]).starts_with("{\"version\""));
    let plain = admin(&format!("admin://localhost:{port}"), &["--timeout", "5", "status"]);
    assert!(plain.stderr.contains(&format!("try {url}")), "{plain:?}");
}
