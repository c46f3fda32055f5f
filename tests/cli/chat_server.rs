//! A chat server and its other members.

use super::support::{Client, Server};

/// A server with a chat in the language `lang`.
pub(crate) fn chat_server(lang: &str) -> Server {
    Server::start(&["-l", &format!("chat://127.0.0.1:0?lang={lang}")])
}

/// Joins the chat as `nick`.
#[track_caller]
pub(crate) fn join_chat(server: &Server, nick: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("{nick}\n").as_bytes());
    let welcome = client.read_line();
    assert!(welcome.starts_with("[INFO] ") && welcome.contains(nick), "{welcome}");
    client
}
