//! Lines of the user in a chat: sending them, and telling whether one leaves.

use std::io::{self, Write};

use crate::client::stream::Stream;

/// Sends a line and its `\n`.
pub(super) fn send_line(mut stream: &Stream, line: &[u8]) -> io::Result<()> {
    stream.write_all(&[line, b"\n"].concat())
}

/// True if `line` leaves the chat, so that the server closes when it has read it.
pub(super) fn is_exit(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"exit" | b"/exit" | b"/quit")
}

/// The line to send for one that was typed at a terminal and leaves the chat.
///
/// `quit` does, although it is a message to the server, as do all four in upper case: it leaves the
/// prompt of the same program, and who types it wants to go and not to tell everyone. In a pipe it is
/// a message, as with any other client. `exit` is what every chat server knows.
pub(super) fn typed_exit(line: &[u8]) -> Option<&[u8]> {
    let word = line.trim_ascii();
    let exits = [&b"exit"[..], b"quit", b"/exit", b"/quit"];
    let leaves = exits.iter().any(|exit| word.eq_ignore_ascii_case(exit));
    leaves.then_some(if is_exit(line) { line } else { b"exit" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_may_have_blanks_around_it() {
        for (line, leaves, typed) in [
            ("exit", true, Some("exit")),
            (" /exit ", true, Some(" /exit ")),
            ("/quit", true, Some("/quit")),
            ("quit", false, Some("exit")),
            ("/QUIT ", false, Some("exit")),
            ("exits", false, None),
            ("quit now", false, None),
            ("", false, None),
        ] {
            assert_eq!(is_exit(line.as_bytes()), leaves, "{line}");
            assert_eq!(typed_exit(line.as_bytes()), typed.map(str::as_bytes), "{line}");
        }
    }
}
