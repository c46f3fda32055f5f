//! The stream of requests: whole, cut, pipelined, and all that is none.

use std::time::SystemTime;

use crate::support::{Client, PATIENCE};

use super::{Http, Site, read_response, without_token};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub(super) const HEALTHY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
                       Content-Length: 3\r\nCache-Control: no-store\r\n\
                       X-Content-Type-Options: nosniff\r\n\r\nok\n";

/// Bytes of a `Date` field.
pub(super) const DATE_LEN: usize = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// Reads a response, which is `expected` with the time behind its first line.
#[track_caller]
fn expect_dated(client: &mut Client, expected: &str) {
    let response = String::from_utf8(client.read_exactly(expected.len() + DATE_LEN)).unwrap();
    let (status, rest) = response.split_once("\r\n").unwrap();
    let (date, rest) = rest.split_at(DATE_LEN);
    assert_eq!(format!("{status}\r\n{rest}"), expected);
    let date = date.strip_prefix("Date: ").unwrap().trim_end();
    let age = SystemTime::now().duration_since(httpdate::parse_http_date(date).unwrap());
    assert!(age.unwrap() < PATIENCE, "{date}");
}

#[track_caller]
fn expect_healthy(client: &mut Client) {
    expect_dated(client, HEALTHY);
}

#[test]
fn response_is_exact_to_the_byte() {
    let server = without_token(&[]);
    let mut client = server.connect();
    client.send(HEALTH.as_bytes());
    expect_healthy(&mut client);
    client.send(b"GET /nowhere HTTP/1.1\r\nHost: [::1]:6580\r\nConnection: close\r\n\r\n");
    let body = "not found; there are /, /metrics, /status, /connections, /healthz, /readyz, and \
                POST /reload, /drain, /undrain\n";
    let head = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    expect_dated(&mut client, &(head + body));
    client.expect_eof();
}

#[test]
fn head_is_answered_without_a_body() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    for target in ["/", "/healthz", "/readyz", "/status", "/metrics", "/connections", "/nowhere"] {
        let (head, get) = (http.ask("HEAD", target), http.get(target));
        assert_eq!((head.status, get.status), (get.status, head.status), "{target}");
        assert_eq!(head.field("Content-Type"), get.field("Content-Type"), "{target}");
        assert!(!get.body.is_empty(), "{target}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::command(&[]);
    let mut http = site.operator();
    let requests = [
        ("GET", "/status", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/drain", 200),
        ("GET", "/readyz", 503),
        ("GET", "/connections", 200),
        ("POST", "/undrain", 200),
        ("DELETE", "/connections/4000000000", 404),
        ("GET", "/readyz", 200),
    ];
    let bytes: String = requests.iter().map(|(m, target, _)| http.request(m, target)).collect();
    http.client.send(bytes.repeat(50).as_bytes());
    for _ in 0..50 {
        for (method, target, status) in requests {
            let response = read_response(&mut http.client, false);
            assert_eq!(response.status, status, "{method} {target}: {}", response.text());
        }
    }
}

#[test]
fn body_is_no_request() {
    let site = Site::command(&[]);
    let mut http = site.operator();
    let trap = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
    http.fields += &format!("Content-Length: {}\r\n", trap.len());
    let request = http.request("POST", "/undrain") + trap + HEALTH;
    http.client.send(request.as_bytes());
    assert_eq!(read_response(&mut http.client, false).text(), "{\"draining\":false}\n");
    expect_healthy(&mut http.client);
}

#[test]
fn requests_may_be_cut_anywhere() {
    let server = without_token(&[]);
    let mut client = server.connect();
    let requests = format!(
        "\r\n{HEALTH}POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab\
         GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    let bytes = requests.as_bytes();
    let mut expect = |pieces: &[&[u8]]| {
        pieces.iter().for_each(|piece| client.send(piece));
        expect_healthy(&mut client);
        assert_eq!(read_response(&mut client, false).status, 403);
        expect_healthy(&mut client);
    };
    (0..bytes.len()).for_each(|at| expect(&[&bytes[..at], &bytes[at..]]));
    expect(&bytes.chunks(1).collect::<Vec<_>>());
}

#[test]
fn what_is_no_request_is_refused_and_closed() {
    let server = without_token(&[]);
    let long = "x".repeat(17 << 10);
    let many = "X: y\r\n".repeat(100);
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    for (request, status) in [
        (get(&format!("X: {long}\r\n")), 431),
        (get(&many), 431),
        (format!("GET /{long}"), 431),
        (get("Content-Length: 16384\r\n"), 413),
        (get("Content-Length: 99999999999999999999999\r\n"), 413),
        (get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 411),
        (get("Transfer-Encoding: identity\r\n"), 411),
        (get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
        (get("Content-Length: 1\r\nContent-Length: 1\r\n") + "a", 400),
        (get("Content-Length: 1\r\nContent-Length: 2\r\n") + "ab", 400),
        (get("Content-Length: -1\r\n"), 400),
        (get("Content-Length: 0x1\r\n"), 400),
        (get("Content-Length : 1\r\n"), 400),
        (get("Host: localhost\r\n"), 400),
        (get("X: a\r\n b\r\n"), 400),
        (get("X: \0\r\n"), 400),
        (get("X\u{e9}: a\r\n"), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("GET * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".to_owned(), 505),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), 400),
        ("\u{1}\0\0\0\u{5}alive".to_owned(), 400),
    ] {
        let mut client = server.connect();
        // The rest of what is refused may find the connection closed.
        client.try_send(format!("{request}{HEALTH}").as_bytes());
        let response = read_response(&mut client, false);
        let shown = request.escape_debug().to_string();
        assert_eq!(response.status, status, "{}", &shown[..shown.len().min(100)]);
        assert_eq!(response.field("Connection"), Some("close"), "{shown:.100}");
        client.expect_eof();
    }
    Http::plain(&server).get("/healthz").expect(200, "ok\n");
}

#[test]
fn tls_on_a_plain_listener_is_refused() {
    let server = without_token(&[]);
    let mut client = server.connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert_eq!(read_response(&mut client, false).status, 400);
    client.expect_eof();
}

#[test]
fn unknown_paths_and_methods_are_named() {
    let site = Site::command(&[]);
    let mut http = site.operator();
    for (method, target, status, allow) in [
        ("GET", "/nowhere", 404, None),
        ("GET", "//status", 404, None),
        ("GET", "/status/", 404, None),
        ("GET", "/%73tatus", 404, None),
        ("GET", "/status#x", 404, None),
        ("GET", "/../status", 404, None),
        ("GET", "/connections/abc", 404, None),
        ("DELETE", "/connections/-1", 404, None),
        ("DELETE", "/connections/99999999999", 404, None),
        ("POST", "/status", 405, Some("GET, HEAD")),
        ("PUT", "/", 405, Some("GET, HEAD")),
        ("OPTIONS", "/metrics", 405, Some("GET, HEAD")),
        ("get", "/healthz", 405, Some("GET, HEAD")),
        ("GET", "/drain", 405, Some("POST")),
        ("HEAD", "/reload", 405, Some("POST")),
        ("GET", "/connections/1", 405, Some("DELETE")),
        ("POST", "/connections", 405, Some("GET, HEAD, DELETE")),
        ("BREW", "/connections", 405, Some("GET, HEAD, DELETE")),
    ] {
        let response = http.ask(method, target);
        assert_eq!(response.status, status, "{method} {target}: {}", response.text());
        assert_eq!(response.field("Allow"), allow, "{method} {target}");
    }
}

#[test]
fn connection_stays_as_long_as_its_client_wishes() {
    let server = without_token(&[]);
    for (line, stays) in [
        ("1.1\r\n", true),
        ("1.1\r\nConnection: close\r\n", false),
        ("1.0\r\n", false),
        ("1.0\r\nConnection: keep-alive\r\n", true),
    ] {
        for target in ["/healthz", "/status"] {
            let mut client = server.connect();
            let request = format!("GET {target} HTTP/{line}Host: localhost\r\n\r\n");
            client.send(request.as_bytes());
            let response = read_response(&mut client, false);
            assert_eq!(response.status, 200, "{line}");
            assert_eq!(response.field("Connection"), (!stays).then_some("close"), "{line}");
            if stays {
                client.send(HEALTH.as_bytes());
                expect_healthy(&mut client);
            } else {
                client.expect_eof();
            }
        }
    }
}

#[test]
fn half_closed_client_has_its_answers() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    let requests = http.request("GET", "/status") + &http.request("GET", "/metrics") + HEALTH;
    http.client.send(requests.as_bytes());
    http.client.half_close();
    assert!(read_response(&mut http.client, false).text().starts_with("{\"version\":"));
    assert!(read_response(&mut http.client, false).text().starts_with("# HELP "));
    expect_healthy(&mut http.client);
    http.client.expect_eof();
}

#[test]
fn unfinished_request_has_its_time() {
    let server = without_token(&["--frame-timeout", "1"]);
    let mut client = server.connect();
    client.send(b"GET /healthz HTTP/1.1\r\nHost:");
    let response = read_response(&mut client, false);
    response.expect(408, "the request did not come in time\n");
    assert_eq!(response.field("Connection"), Some("close"));
    client.expect_eof();
}

#[test]
fn absolute_target_is_one_of_its_host() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    http.get("http://localhost:6580/healthz").expect(200, "ok\n");
    assert_eq!(http.get("http://evil.example/status").status, 403);
    assert_eq!(http.get("HTTP://localhost/healthz").status, 400);
    http.client.expect_eof();
}
