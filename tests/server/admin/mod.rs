//! The admin listener of a real server, asked as operators, browsers and attackers ask.

mod access;
mod bans;
mod connections;
mod draining;
mod http;
mod lists;
mod metrics;
mod reload;
mod resources;
mod slow_readers;
mod transports;

use serde_json::Value;

use crate::support::{Client, Folder, Server};

/// A server whose first listener is admin, and whose operators have a token.
struct Site {
    server: Server,
    _folder: Folder,
}

const TOKEN: &str = "a-token-of-a-test";

impl Site {
    /// `args` beside `-l admin://127.0.0.1:0`.
    #[track_caller]
    fn start(args: &[&str]) -> Site {
        let folder = Folder::new();
        let token = folder.file("token", &format!("{TOKEN}\n"));
        let own = ["-l", "admin://127.0.0.1:0", "--admin-token", &token];
        Site { server: Server::start(&[&own, args].concat()), _folder: folder }
    }

    /// With a `command` listener as the second.
    #[track_caller]
    fn command(args: &[&str]) -> Site {
        Site::start(&[&["-l", "command://127.0.0.1:0"], args].concat())
    }

    /// A connection that shows the token.
    #[track_caller]
    fn operator(&self) -> Http {
        Http::new(self.server.connect(), &format!("Authorization: Bearer {TOKEN}\r\n"))
    }

    /// Asks on a connection of its own.
    #[track_caller]
    fn ask(&self, method: &str, target: &str) -> Response {
        self.operator().ask(method, target)
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        self.ask("GET", target)
    }
}

/// A server with an admin listener and a `command` listener, and no token.
#[track_caller]
fn without_token(args: &[&str]) -> Server {
    let own = ["-l", "admin://127.0.0.1:0", "-l", "command://127.0.0.1:0"];
    Server::start(&[&own, args].concat())
}

/// A client that speaks HTTP and stays connected.
struct Http {
    client: Client,
    /// Fields that it sends with each request.
    fields: String,
}

impl Http {
    fn new(client: Client, fields: &str) -> Http {
        Http { client, fields: fields.to_owned() }
    }

    /// One without a token.
    #[track_caller]
    fn plain(server: &Server) -> Http {
        Http::new(server.connect(), "")
    }

    fn request(&self, method: &str, target: &str) -> String {
        format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", self.fields)
    }

    #[track_caller]
    fn ask(&mut self, method: &str, target: &str) -> Response {
        let request = self.request(method, target);
        self.client.send(request.as_bytes());
        read_response(&mut self.client, method == "HEAD")
    }

    #[track_caller]
    fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target)
    }
}

#[derive(Debug)]
struct Response {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    #[track_caller]
    fn field(&self, name: &str) -> Option<&str> {
        let is_it = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        assert!(self.fields.iter().filter(is_it).count() <= 1, "{name} comes twice: {self:?}");
        self.fields.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.field("Content-Type"), Some("application/json"));
        serde_json::from_str(self.text()).unwrap()
    }

    /// Status and body.
    #[track_caller]
    fn expect(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body));
    }
}

/// The next response. One to HEAD has no body.
#[track_caller]
fn read_response(client: &mut Client, is_head: bool) -> Response {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(head.len() < 4_096, "a head without an end: {}", head.escape_ascii());
        head.extend(client.read_exactly(1));
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    assert!(parsed.parse(&head).unwrap().is_complete());
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let fields = parsed.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
    let mut response =
        Response { status: parsed.code.unwrap(), fields: fields.collect(), body: Vec::new() };
    let len = response.field("Content-Length").unwrap().parse().unwrap();
    if !is_head {
        response.body = client.read_exactly(len);
    }
    response
}
