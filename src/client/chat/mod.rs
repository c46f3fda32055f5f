//! The chat: a window with a line to type on, or lines in and out of a pipe.
//!
//! `server_lines` is the way to the room, which both go: what the server says, line by line, and what of it
//! means that we are in, that we are not, and that it is over.

mod pipe;
mod server_lines;
mod window;

use std::io::{self, IsTerminal};

use super::editor::Editor;
use super::error::ClientError;
use super::options::Endpoint;

/// Joins the chat, and stays until the user or the server leaves it.
pub(super) fn run(endpoint: &Endpoint, nick: Option<String>) -> Result<(), ClientError> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        // What is said must not be kept for others to read.
        let mut editor = Editor::new(None)?;
        if let Some(printer) = editor.line_printer() {
            return window::run(endpoint, nick, editor, printer);
        }
    }
    pipe::run(endpoint, nick)
}
