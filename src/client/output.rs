//! Standard output: as it is in a pipe, harmless on a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use super::failure::Failure;
use crate::cli::is_explicit_bidi;
use crate::protocol::Shown;

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    is_terminal: bool,
}

/// An answer that is printed as it comes.
#[derive(Debug)]
pub(super) struct Answer {
    is_terminal: bool,
    /// The end of the last piece, where it depends on the next what becomes of it on a terminal: an
    /// unfinished character, or a carriage return.
    held: Vec<u8>,
    has_begun: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Output { is_terminal: io::stdout().is_terminal() }
    }

    /// Prints an answer and the end of its line, and waits until it is out.
    pub(super) fn answer(self, bytes: &[u8]) -> Result<(), Failure> {
        self.begin().end(bytes)
    }

    /// An answer of which nothing is there yet.
    pub(super) fn begin(self) -> Answer {
        Answer { is_terminal: self.is_terminal, held: Vec::new(), has_begun: false }
    }
}

impl Answer {
    /// Prints what there is of it, and waits until that is out.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.has_begun = true;
        let text = self.prepare(bytes, settled_len);
        let mut stdout = io::stdout().lock();
        let printed = stdout.write_all(&text).and_then(|()| stdout.flush());
        printed.map_err(|error| Failure::output(&error))
    }

    /// Prints the rest of it and the end of its line, and waits until all is out.
    pub(super) fn end(mut self, rest: &[u8]) -> Result<(), Failure> {
        let text = self.prepare(rest, <[u8]>::len);
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&text)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// There will be no more of it. On a terminal the reason has a line of its own; in a pipe there is
    /// nothing that did not come.
    pub(super) fn break_off(self) {
        if self.is_terminal && self.has_begun {
            let _ = self.end(b"");
        }
    }

    /// What is to be printed when `bytes` have come, of which the first `settled` can be.
    fn prepare<'a>(&mut self, bytes: &'a [u8], settled: fn(&[u8]) -> usize) -> Cow<'a, [u8]> {
        if !self.is_terminal {
            return bytes.into();
        }
        self.held.extend(bytes);
        let rest = self.held.split_off(settled(&self.held));
        harmless(&std::mem::replace(&mut self.held, rest)).into()
    }
}

/// The length of `bytes` without what the next may change: the beginning of a character, or a
/// carriage return at the end.
fn settled_len(bytes: &[u8]) -> usize {
    if let Some(rest) = bytes.strip_suffix(b"\r") {
        return rest.len();
    }
    // A character has four bytes at most.
    let last = (bytes.len().saturating_sub(3)..bytes.len()).rev();
    let unfinished = |&start: &usize| {
        let tail = str::from_utf8(&bytes[start..]);
        tail.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    last.into_iter().find(unfinished).unwrap_or(bytes.len())
}

/// What a terminal may be given of bytes from the wire: lines of text. What is no UTF-8, would move
/// the cursor or turn a text around becomes U+FFFD; the ends of lines and tabs stay.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.split('\n').map(harmless_line).collect();
    lines.join("\n").into_bytes()
}

/// The same for what must stay on one line.
pub(super) fn harmless_line(text: &str) -> String {
    let line = Shown(text.strip_suffix('\r').unwrap_or(text)).to_string();
    // The server lets these through: a line in a room may need them, and a pipe gets what was said.
    line.replace(is_explicit_bidi, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: [(&[u8], &str); 9] = [
        (b"plain, \xd1\x8f\ttab", "plain, я\ttab"),
        (b"two\nlines\n", "two\nlines\n"),
        (b"two\r\nlines\r\n", "two\nlines\n"),
        (b"back\rto", "back\u{fffd}to"),
        (b"\x1b]0;title\x07\x1b[2J", "\u{fffd}]0;title\u{fffd}\u{fffd}[2J"),
        (b"\xc2\x9b2J", "\u{fffd}2J"),
        (b"\x9b\xff\0\x08\x7f", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        // The override and the isolates of Trojan Source, and a mark that is a part of the text.
        (
            b"a\xe2\x80\xaeb\xe2\x81\xa6c\xe2\x81\xa9 \xd7\xa9\xe2\x80\x8f!",
            "a\u{fffd}b\u{fffd}c\u{fffd} ש\u{200f}!",
        ),
        (b"\xf0\x9f\x90\xa6\xf0\x9f", "🐦\u{fffd}"),
    ];

    #[test]
    fn a_terminal_is_given_text_and_nothing_that_moves_it() {
        for (bytes, shown) in SHOWN {
            assert_eq!(String::from_utf8(harmless(bytes)).unwrap(), shown, "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_in_pieces_is_what_it_is_in_one() {
        for (bytes, shown) in SHOWN {
            for len in 1..=bytes.len() {
                let mut answer = Output { is_terminal: true }.begin();
                let mut text = Vec::new();
                for piece in bytes.chunks(len) {
                    text.extend(answer.prepare(piece, settled_len).iter());
                    assert!(answer.held.len() < 4);
                }
                text.extend(answer.prepare(b"", <[u8]>::len).iter());
                assert_eq!(String::from_utf8(text).unwrap(), shown, "{bytes:?} by {len}");
            }
        }
    }
}
