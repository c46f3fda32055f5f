//! Rights: the token, pages of other origins, hosts, and what a start refuses.

use super::{Http, Site, TOKEN, without_token};
use crate::support::{Folder, Server, run};

const NEEDED: &str = "a token is needed: Authorization: Bearer TOKEN\n";

#[test]
fn token_is_needed_for_all_but_page_and_health() {
    let site = Site::command(&[]);
    let mut http = Http::plain(&site.server);
    for target in ["/", "/healthz", "/readyz"] {
        assert_eq!(http.get(target).status, 200, "{target}");
    }
    for (method, target) in [
        ("GET", "/status"),
        ("HEAD", "/metrics"),
        ("GET", "/connections"),
        ("GET", "/connections?limit=x"),
        ("DELETE", "/connections/1"),
        ("DELETE", "/connections"),
        ("DELETE", "/connections?ip=127.0.0.1"),
        ("POST", "/reload"),
        ("POST", "/drain"),
        ("POST", "/undrain"),
    ] {
        let response = http.ask(method, target);
        assert_eq!(response.status, 401, "{method} {target}");
        assert_eq!(response.field("WWW-Authenticate"), Some("Bearer realm=\"mynah\""));
    }
    site.get("/readyz").expect(200, "ok\n");
}

#[test]
fn wrong_tokens_are_refused() {
    let site = Site::command(&[]);
    let without_last = &TOKEN[..TOKEN.len() - 1];
    for value in [
        "Bearer wrong",
        &format!("Bearer {without_last}"),
        &format!("Bearer {TOKEN}x"),
        &format!("Bearer {}", TOKEN.to_uppercase()),
        &format!("Bearer {TOKEN} {TOKEN}"),
        &format!("Bearer {TOKEN}, Bearer x"),
        &format!("Basic {TOKEN}"),
        &format!("Bearer{TOKEN}"),
        TOKEN,
        "Bearer ",
        "Bearer",
        "",
    ] {
        let mut http = Http::new(site.server.connect(), &format!("Authorization: {value}\r\n"));
        http.ask("POST", "/drain").expect(401, NEEDED);
    }
    site.get("/readyz").expect(200, "ok\n");
    let line = site.server.wait_for_line("sent a wrong token");
    assert!(line.contains(" 127.0.0.1:") && !line.contains("wrong-"), "{line}");
    assert_eq!(site.server.count_lines(without_last), 0, "no token is in the log");
}

#[test]
fn token_with_a_newline_is_two_fields() {
    let site = Site::command(&[]);
    for (fields, status) in [
        (format!("Authorization: Bearer {TOKEN}\nX: y\r\n"), 200),
        (format!("Authorization: Bearer {}\n{}\r\n", &TOKEN[..3], &TOKEN[3..]), 400),
        (format!("Authorization: Bearer {}\r\n {}\r\n", &TOKEN[..3], &TOKEN[3..]), 400),
        (format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"), 400),
        (format!("Authorization: Bearer {TOKEN}\rx\r\n"), 400),
    ] {
        let mut http = Http::new(site.server.connect(), &fields);
        assert_eq!(http.get("/status").status, status, "{}", fields.escape_debug());
    }
}

#[test]
fn changes_without_a_token_change_nothing() {
    let server = without_token(&[]);
    let mut client = server.connect_to(1);
    client.expect_alive();
    let mut http = Http::plain(&server);
    for (method, target) in [
        ("POST", "/drain"),
        ("POST", "/reload"),
        ("DELETE", "/connections?ip=127.0.0.1"),
        #[cfg(feature = "admission")]
        ("DELETE", "/connections?ip=127.0.0.1&ban=60"),
        ("DELETE", "/connections?listener=command"),
        ("DELETE", "/connections/1"),
        ("DELETE", "/connections/2"),
    ] {
        http.ask(method, target)
            .expect(403, "changes need --admin-token, or a Unix socket (admin+unix:///PATH)\n");
    }
    // A token that nobody asked for opens nothing.
    http.fields = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(http.ask("POST", "/drain").status, 403);
    client.expect_alive();
    server.connect_to(1).expect_alive();
    assert_eq!(http.get("/status").json()["draining"], false);
    assert_eq!(server.count_lines("reload"), 0);
}

#[test]
fn pages_of_other_origins_may_not_ask() {
    let site = Site::command(&[]);
    let mut victim = site.server.connect_to(1);
    for origin in [
        "http://evil.example",
        "null",
        "",
        "http://127.0.0.1:1",
        "http://127.0.0.1.evil.example",
        "file://",
        "http://127.0.0.1 ",
        "127.0.0.1",
    ] {
        let own = origin.trim_end() == "http://127.0.0.1";
        let mut http = site.operator();
        http.fields += &format!("Origin: {origin}\r\n");
        for (method, target) in
            [("GET", "/status"), ("DELETE", "/connections?min_idle=0&ip=1.1.1.1")]
        {
            let status = http.ask(method, target).status;
            assert_eq!(status, if own { 200 } else { 403 }, "{method} from '{origin}'");
        }
        if !own {
            http.ask("DELETE", "/connections?listener=command")
                .expect(403, "pages of other origins may not ask\n");
        }
    }
    victim.expect_alive();
    let mut own = site.operator();
    own.fields += "Origin: http://127.0.0.1\r\n";
    own.get("/status").json();
    own.ask("DELETE", "/connections?listener=command").expect(200, "{\"kicked\":1}\n");
}

#[test]
fn names_that_resolve_here_are_no_hosts() {
    let folder = Folder::new();
    let token = folder.file("token", TOKEN);
    let url = "admin://127.0.0.1:0?host=status.example,other";
    let server = Server::start(&["-l", url, "--admin-token", &token]);
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("status.example.evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1@evil.example", 403),
        ("localhost:http", 403),
        ("", 403),
        ("127.0.0.1", 200),
        ("127.0.0.1:6580", 200),
        ("10.1.2.3", 200),
        ("[::1]", 200),
        ("[2001:db8::1]:6580", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("Status.Example", 200),
        ("other:80", 200),
    ] {
        let mut client = server.connect();
        for target in ["/", "/status", "/healthz"] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            );
            client.send(request.as_bytes());
            let response = super::read_response(&mut client, false);
            assert_eq!(response.status, status, "{target} of '{host}'");
        }
    }
}

#[test]
fn page_may_be_opened_by_any_tool() {
    // HTTP/1.0 names no host; curl and health checks send no origin.
    let server = without_token(&[]);
    let mut client = server.connect();
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    super::read_response(&mut client, false).expect(200, "ok\n");
    client.expect_eof();
}

#[test]
fn bad_token_files_are_named_at_start() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    for (file, why) in [
        (folder.file("empty", ""), "it is empty"),
        (folder.file("blank", "\n"), "it is empty"),
        (folder.file("two", "one\ntwo\n"), "it has more than one line"),
        (folder.file("words", "one two\n"), "it has a character other than visible ASCII"),
        (folder.file("nul", "a\0b\n"), "it has a character other than visible ASCII"),
        (folder.file("long", &"x".repeat(1_025)), "it is longer than 1024 bytes"),
        (folder.path(""), "is a directory"),
        ("/dev/zero".to_owned(), "it is longer than 1024 bytes"),
        (missing, "no such file or directory"),
    ] {
        for check in [&[][..], &["--check"]] {
            let args = [&["-l", "admin://127.0.0.1:0", "--admin-token", &file], check].concat();
            let ended = run(&args);
            assert_eq!(ended.code, Some(2), "{file}: {}", ended.stderr);
            let line = format!("cannot read the admin token {file}: {why}");
            assert!(ended.stderr.to_lowercase().contains(&line.to_lowercase()), "{}", ended.stderr);
        }
    }
    let ended = run(&["-l", "admin://127.0.0.1:0", "--admin-token", ""]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn other_machines_need_a_token() {
    let folder = Folder::new();
    let token = folder.file("token", TOKEN);
    for url in ["admin://0.0.0.0:0", "admin://:0", "admin://[::]:0", "admin://192.0.2.1:0"] {
        for check in [&[][..], &["--check"]] {
            let ended = run(&[&["-l", url], check].concat());
            assert_eq!(ended.code, Some(2), "{url}: {}", ended.stderr);
            let line = "is not on loopback and needs a token: --admin-token FILE";
            assert!(ended.stderr.contains(line), "{}", ended.stderr);
        }
    }
    let server = Server::start(&["-l", "admin://0.0.0.0:0", "--admin-token", &token]);
    Http::plain(&server).get("/healthz").expect(200, "ok\n");
    for url in ["admin://127.0.0.1:0", "admin://localhost:0", "admin://127.9.9.9:0"] {
        assert_eq!(run(&["-l", url, "--check"]).code, Some(0), "{url}");
    }
}

#[test]
fn bad_hosts_are_refused_at_start() {
    for value in ["", "a,,b", "a b", "http://a", "a:80", "*", "[::1]"] {
        let ended = run(&["-l", &format!("admin://127.0.0.1:0?host={value}"), "--check"]);
        assert_eq!(ended.code, Some(2), "'{value}': {}", ended.stderr);
    }
    let ended = run(&["-l", "command://127.0.0.1:0?host=a", "--check"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
