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

/// Where the password begins in a line that logs in or registers.
pub(super) fn password_at(line: &str) -> Option<usize> {
    let start = line.trim_start();
    let rest = start.strip_prefix("/register").or_else(|| {
        let words = start.strip_prefix("/login")?;
        let name = words.strip_prefix(char::is_whitespace)?.trim_start();
        name.find(char::is_whitespace).map(|end| &name[end..])
    })?;
    let password = rest.strip_prefix(char::is_whitespace)?.trim_start();
    (!password.is_empty()).then(|| line.len() - password.len())
}

/// True if a line is one of `/login` or `/register`, which the history does not keep.
pub(super) fn is_private(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("/login" | "/register"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_in_a_line_is_found() {
        for (line, at) in [
            ("/login bob secret", Some(11)),
            (" /login  bob  secret words", Some(14)),
            ("/register secret", Some(10)),
            ("/register ", None),
            ("/registers secret", None),
            ("/login bob ", None),
            ("/login bob", None),
            ("/logins bob secret", None),
            ("say /login bob secret", None),
        ] {
            assert_eq!(password_at(line), at, "{line}");
        }
        assert!(is_private("/login bob") && is_private(" /register x"));
        assert!(!is_private("/who") && !is_private("login bob x"));
    }

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
