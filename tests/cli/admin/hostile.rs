//! Servers that are no admin listener, or would harm the client.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::mock_server::{Handler, MockServer, read_to_eof};
use super::super::support::Folder;
use super::super::terminal::Terminal;
use super::admin;

/// Reads the head of a request, which has no body.
pub(super) fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

/// A response with a body.
pub(super) fn response(status: u16, content_type: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

/// A server that answers one request with `reply`, then waits for the client to close, or closes.
fn mock(reply: &str, closes: bool) -> (MockServer, String) {
    let reply = reply.to_owned();
    let mock = MockServer::new(move |mut stream| {
        read_request(&mut stream);
        stream.write_all(reply.as_bytes()).unwrap();
        if !closes {
            read_to_eof(&mut stream);
        }
    });
    let url = format!("admin://{}", mock.addr);
    (mock, url)
}

#[test]
fn answer_that_cannot_be_read_is_an_error_at_once() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (reply, reason) in [
        (format!("{head}Content-Length: 1073741824\r\n\r\n{{"), "its answer is over 4 MiB"),
        (
            format!("{head}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"),
            "its answer has two lengths",
        ),
        (format!("{head}Content-Length: -1\r\n\r\n"), "the length of its answer is not a number"),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            "its answer comes in chunks, without a length",
        ),
        (format!("{head}\r\n"), "its answer has no length"),
        (format!("{head}{}\r\n", "A: b\r\n".repeat(65)), "its header has over 64 fields"),
        ("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n".to_owned(), "its header is not one of HTTP"),
        (response(404, "text/html", "<h1>Not Found</h1>"), "it answers with HTTP status 404"),
        (
            "SSH-2.0-OpenSSH\r\n".to_owned(),
            "it answers 'SSH-2.0-OpenSSH\\r\\n'; the server seems to be an SSH server",
        ),
    ] {
        let (mock, url) = mock(&reply, false);
        admin(&url, &["status"]).assert_error(&format!("{url} is not an admin listener: {reason}"));
        mock.join();
    }
}

#[test]
fn endless_header_is_given_up() {
    let mock = MockServer::new(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nA: ");
        while stream.write_all(&[b'x'; 1000]).is_ok() {}
    });
    let url = format!("admin://{}", mock.addr);
    let reason = format!("{url} is not an admin listener: its header is over 16 KiB");
    admin(&url, &["status"]).assert_error(&reason);
    mock.join();
}

#[test]
fn wrong_length_is_told_from_the_body() {
    let (short, url) = mock("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a\":1}", false);
    let result = admin(&url, &["status"]);
    assert_eq!((result.code, result.stdout.len()), (Some(1), 0));
    assert!(result.stderr.contains("'{\"a' is not what was asked for"), "{result:?}");
    short.join();
    let (long, url) = mock("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"a\":1}", true);
    admin(&url, &["status"])
        .assert_error("the server closed the connection in the middle of its answer");
    long.join();
}

#[test]
fn answer_is_waited_for_until_the_timeout() {
    let (silent, release) = MockServer::silent();
    let url = format!("admin://{}", silent.addr);
    admin(&url, &["--timeout", "0.2", "status"]).assert_error("no answer within 0.2 s");
    drop(release);
    let (half, url) = mock("HTTP/1.1 200 OK\r\n", false);
    admin(&url, &["--timeout", "0.2", "status"])
        .assert_error("the answer did not end within 0.2 s");
    half.join();
}

#[test]
fn reasons_and_names_do_not_drive_the_terminal() {
    let evil = "\x1b[2J\x1b]0;owned\x07\u{9b}2J\u{202e}";
    let (refusing, url) = mock(&response(403, "text/plain", &format!("no{evil}\nmore")), false);
    let reason = r"no\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\nmore";
    admin(&url, &["drain"]).assert_error(reason);
    refusing.join();

    let name = r"\u001b[2J\u001b]0;owned\u0007\u009b2J\u202e\n";
    let body = format!(
        r#"{{"total":1,"connections":[{{"id":1,"listener":"{name}","address":"{name}","name":null,"connected_secs":1,"idle_secs":1,"queue_bytes":0,"tls":false}}],"next":null}}"#
    );
    for args in [&["clients"][..], &["clients", "--json"]] {
        let (_mock, url) = mock(&response(200, "application/json", &body), false);
        let args = [&["--admin", &url], args].concat();
        let Some(terminal) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else {
            return;
        };
        assert_eq!(terminal.wait(), "0");
        terminal.wait_for_screen("the name", |screen| {
            // JSON escapes what the table replaces.
            let text = screen.concat();
            text.contains("\u{fffd}[2J\u{fffd}]0;owned")
                || text.contains(r"\u001b[2J\u001b]0;owned")
        });
    }
}

#[test]
fn connection_closed_between_pages_is_replaced() {
    let page = |id: u32, next: &str| {
        let row = format!(
            r#"{{"id":{id},"listener":"x","address":null,"name":null,"connected_secs":null,"idle_secs":0,"queue_bytes":0,"tls":true}}"#
        );
        let body = format!(r#"{{"total":2,"connections":[{row}],"next":{next}}}"#);
        response(200, "application/json", &body)
    };
    let answer = |target: &'static str, reply: String| -> Handler {
        Box::new(move |mut stream| {
            let request = read_request(&mut stream);
            assert!(request.starts_with(&format!("GET /connections?{target} ")), "{request}");
            stream.write_all(reply.as_bytes()).unwrap();
        })
    };
    let mock = MockServer::with_handlers(vec![
        answer("&limit=1000", page(1, r#""a&b""#)),
        answer("&limit=1000&after=a%26b", page(2, "null")),
    ]);
    let result = admin(&format!("admin://{}", mock.addr), &["clients"]);
    let lines = str::from_utf8(&result.stdout).unwrap().lines().count();
    assert_eq!((result.code, lines), (Some(0), 2), "{result:?}");
    mock.join();
}

#[test]
fn cursor_that_does_not_advance_ends_the_list() {
    let body = r#"{"total":9,"connections":[],"next":"x"}"#;
    let mock = MockServer::new(move |mut stream| {
        for _ in 0..2 {
            read_request(&mut stream);
            stream.write_all(response(200, "application/json", body).as_bytes()).unwrap();
        }
        read_to_eof(&mut stream);
    });
    admin(&format!("admin://{}", mock.addr), &["clients"]).assert_reply("");
    mock.join();
}
