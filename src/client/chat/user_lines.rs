//! Lines of the user in a chat: sending them, and telling whether one leaves.

use std::io::{self, Write};
use std::net::TcpStream;

/// Sends a line and its `\n`.
pub(super) fn send_line(mut stream: &TcpStream, line: &[u8]) -> io::Result<()> {
    stream.write_all(&[line, b"\n"].concat())
}

/// True if `line` leaves the chat.
pub(super) fn is_exit(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"exit" | b"/exit" | b"/quit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_may_have_blanks_around_it() {
        for (line, leaves) in
            [("exit", true), (" /exit ", true), ("/quit", true), ("exits", false), ("", false)]
        {
            assert_eq!(is_exit(line.as_bytes()), leaves, "{line}");
        }
    }
}
