//! The chat: a window with a line to type on, or lines in and out of a pipe.
//!
//! `hall` is the way to the room, which both go: what the server says, line by line, and what of it
//! means that we are in, that we are not, and that it is over.

mod hall;
mod pipe;
mod window;

use std::io::{self, IsTerminal};

use super::editor::Editor;
use super::failure::Failure;
use super::options::Server;

/// Joins the chat, and stays until the user or the server leaves it.
pub(super) fn run(server: &Server, nick: Option<String>) -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        // What is said must not be kept for others to read.
        let mut editor = Editor::new(None)?;
        if let Some(above) = editor.above() {
            return window::run(server, nick, editor, above);
        }
    }
    pipe::run(server, nick)
}
