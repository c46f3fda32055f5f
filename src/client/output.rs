//! Standard output: as it is in a pipe, harmless on a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use super::failure::Failure;
use crate::handler::Shown;

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    is_terminal: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Output { is_terminal: io::stdout().is_terminal() }
    }

    /// Prints an answer and the end of its line, and waits until it is out.
    pub(super) fn answer(self, bytes: &[u8]) -> Result<(), Failure> {
        let bytes = if self.is_terminal { Cow::Owned(harmless(bytes)) } else { bytes.into() };
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&bytes)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }
}

/// What a terminal may be given of bytes from the wire: lines of text. What is no UTF-8 or would
/// move the cursor becomes U+FFFD; the ends of lines and tabs stay.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.split('\n').map(harmless_line).collect();
    lines.join("\n").into_bytes()
}

/// The same for what must stay on one line.
pub(super) fn harmless_line(text: &str) -> String {
    Shown(text.strip_suffix('\r').unwrap_or(text)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_text_and_nothing_that_moves_it() {
        for (bytes, shown) in [
            (&b"plain, \xd1\x8f\ttab"[..], "plain, я\ttab"),
            (b"two\nlines\n", "two\nlines\n"),
            (b"two\r\nlines\r\n", "two\nlines\n"),
            (b"back\rto", "back\u{fffd}to"),
            (b"\x1b]0;title\x07\x1b[2J", "\u{fffd}]0;title\u{fffd}\u{fffd}[2J"),
            (b"\xc2\x9b2J", "\u{fffd}2J"),
            (b"\x9b\xff\0\x08\x7f", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(String::from_utf8(harmless(bytes)).unwrap(), shown, "{bytes:?}");
        }
    }
}
