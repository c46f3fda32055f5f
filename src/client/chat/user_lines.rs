//! Lines of the user in a chat: sending them, and telling whether one leaves.

use std::io::{self, Write};
use std::net::TcpStream;

/// Sends a line and its `\n`.
pub(super) fn send_line(mut stream: &TcpStream, line: &[u8]) -> io::Result<()> {
    stream.write_all(&[line, b"\n"].concat())
}

/// True if `line` leaves the chat, so that the server closes when it has read it.
pub(super) fn is_exit(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"exit" | b"/exit" | b"/quit")
}

/// True if a line typed in the window leaves the chat.
///
/// `quit` does, although it is a message to the server, as do all four in upper case: it leaves the
/// prompt of the same program, and who types it wants to go and not to tell everyone. In a pipe it is
/// a message, as with any other client.
pub(super) fn is_exit_in_window(line: &str) -> bool {
    ["exit", "quit", "/exit", "/quit"].iter().any(|exit| line.trim().eq_ignore_ascii_case(exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_may_have_blanks_around_it() {
        for (line, leaves, leaves_window) in [
            ("exit", true, true),
            (" /exit ", true, true),
            ("/quit", true, true),
            ("quit", false, true),
            ("/QUIT", false, true),
            ("exits", false, false),
            ("quit now", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_exit(line.as_bytes()), leaves, "{line}");
            assert_eq!(is_exit_in_window(line), leaves_window, "{line}");
        }
    }
}
