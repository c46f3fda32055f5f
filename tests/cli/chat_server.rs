//! A chat server, and who else is in its room.

use super::support::{Client, Server};

/// A chat in the language `lang`.
pub(crate) fn chat_server(lang: &str) -> Server {
    Server::start(&["-l", &format!("chat://127.0.0.1:0?lang={lang}")])
}

/// Somebody else in the room, whom it welcomes in its language.
#[track_caller]
pub(crate) fn join_chat(server: &Server, nick: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("{nick}\n").as_bytes());
    let welcome = client.read_line();
    assert!(welcome.starts_with("[INFO] ") && welcome.contains(nick), "{welcome}");
    client
}
