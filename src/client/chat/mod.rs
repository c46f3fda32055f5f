//! The chat: a window at a terminal, or lines in and out of a pipe. Both read the server through
//! `server_lines`.

mod ending;
mod login;
mod pipe;
mod server_lines;
mod user_lines;
mod window;

use std::io::{self, IsTerminal};

use super::editor::Editor;
use super::endpoint::Endpoint;
use super::error::ClientError;
use user_lines::password_at;

/// The commands of a chat server, for completion.
const COMMANDS: [&str; 7] = ["/exit", "/help", "/login ", "/msg ", "/quit", "/register ", "/who"];

/// Joins the chat and stays until the user or the server ends it.
pub(super) fn run(endpoint: &Endpoint, nick: Option<String>) -> Result<(), ClientError> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        // Messages are private: they are not kept in a history file.
        let mut editor = Editor::new(None, &COMMANDS, password_at)?;
        if let Some(printer) = editor.line_printer() {
            return window::run(endpoint, nick, editor, printer);
        }
    }
    pipe::run(endpoint, nick)
}

/// The first line at a terminal. A chat server says nothing before it has a nickname.
fn connected_line(endpoint: &Endpoint) -> String {
    format!("Connected to {endpoint}. /help lists the commands, /quit leaves.")
}
