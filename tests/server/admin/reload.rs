//! `POST /reload`: what SIGHUP does, answered with what it did.

use serde_json::{Value, json};

use super::{Http, TOKEN};
use crate::support::{Client, Folder, Server, mynah};

const FILE: &str = "[server]\nadmin_token = DIR/token\n[admin]\nport = 0\n[command]\nport = 0\n";

/// A server whose configuration a test changes, and an operator on its admin listener.
fn start() -> (Folder, Server, Http) {
    let folder = Folder::new();
    folder.file("token", TOKEN);
    write(&folder, FILE);
    let path = folder.path("mynah.conf");
    let server = Server::start_as(mynah().args(["-c", &path]), 2);
    let operator = operator(server.connect(), TOKEN);
    (folder, server, operator)
}

fn operator(client: Client, token: &str) -> Http {
    Http::new(client, &format!("Authorization: Bearer {token}\r\n"))
}

fn write(folder: &Folder, file: &str) {
    folder.file("mynah.conf", &file.replace("DIR", &folder.path("")));
}

#[test]
fn reload_is_answered_with_what_changed() {
    let (folder, server, mut operator) = start();
    let response = operator.ask("POST", "/reload");
    assert_eq!(response.status, 200, "{}", response.text());
    let nothing = json!({ "reloaded": true, "changes": ["nothing changed"] });
    assert_eq!(response.json(), nothing);
    write(&folder, &FILE.replace("[admin]", "max_clients = 77\n[admin]"));
    let response = operator.ask("POST", "/reload");
    let changes = json!({ "reloaded": true, "changes": ["max-clients default -> 77"] });
    assert_eq!(response.json(), changes);
    server.wait_for_line("POST /reload: reloading");
}

#[test]
fn reload_that_fails_is_answered_with_the_reasons() {
    let (folder, _server, mut operator) = start();
    write(&folder, &FILE.replace("[command]", "[comand]"));
    let response = operator.ask("POST", "/reload");
    assert_eq!(response.status, 422);
    let json: Value = serde_json::from_str(response.text()).unwrap();
    assert_eq!(json["reloaded"], json!(false));
    let error = json["errors"][0].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("[comand]") && error.contains("command"), "{error}");
    assert_eq!(operator.ask("GET", "/status").status, 200, "it goes on as it was");
}

#[test]
fn token_is_read_anew() {
    let (folder, server, mut old) = start();
    folder.file("token", "another-token\n");
    assert_eq!(old.ask("POST", "/reload").status, 200);
    assert_eq!(old.ask("GET", "/status").status, 401, "the old one is refused from now on");
    let mut new = operator(server.connect(), "another-token");
    folder.file("token", "two\nlines\n");
    let response = new.ask("POST", "/reload");
    assert_eq!((response.status, new.ask("GET", "/status").status), (422, 200));
}
