//! Standard output and standard error: replies, the client's own lines, error messages. On a terminal
//! the bytes of a server are sanitized, in a pipe they are passed on as they are.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::error::ClientError;
use crate::cli;
use crate::escape::Sanitized;

/// Prints a line of the client's own on standard output.
pub(super) fn print_line(text: &str) -> Result<(), ClientError> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(|error| ClientError::output(&error))
}

/// Prints an error or a warning on standard error. A failure to do so is ignored: there is no other
/// place to report it.
pub(super) fn print_error(message: impl fmt::Display) {
    cli::print_error(format_args!("mynah-cli: {message}"));
}

/// True if the terminal cannot move its cursor, judged by `TERM` as rustyline does.
pub(super) fn is_dumb_terminal() -> bool {
    env::var("TERM").is_ok_and(|term| {
        ["dumb", "cons25", "emacs"].iter().any(|dumb| term.eq_ignore_ascii_case(dumb))
    })
}

/// Columns and rows of the terminal that standard output is; `None` if they are not known.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Prints replies on standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    is_terminal: bool,
}

/// Prints one reply chunk by chunk. Each call returns when its bytes are written.
#[derive(Debug)]
pub(super) struct ReplyWriter {
    is_terminal: bool,
    /// The end of the last chunk if the next chunk decides how a terminal gets it: an incomplete
    /// character or a carriage return. Less than 4 bytes, and empty where output is not a terminal.
    pending: Vec<u8>,
    has_begun: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Output { is_terminal: io::stdout().is_terminal() }
    }

    pub(super) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Prints lines in place of the last `shown` ones; below them where the terminal cannot move its
    /// cursor.
    pub(super) fn reprint_lines(self, lines: &str, shown: usize) -> Result<(), ClientError> {
        if shown == 0 || is_dumb_terminal() {
            return print_line(lines);
        }
        // Cursor up, then each line and an erasure of what is left of the old one (ECMA-48: CUU, EL).
        let lines: String = lines.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        let mut stdout = io::stdout().lock();
        write!(stdout, "\x1b[{shown}A\r{lines}")
            .and_then(|()| stdout.flush())
            .map_err(|error| ClientError::output(&error))
    }

    /// Prints a whole reply and a newline.
    pub(super) fn print_reply(self, bytes: &[u8]) -> Result<(), ClientError> {
        self.start_reply().finish(bytes)
    }

    /// Starts a reply; prints nothing yet.
    pub(super) fn start_reply(self) -> ReplyWriter {
        ReplyWriter { is_terminal: self.is_terminal, pending: Vec::new(), has_begun: false }
    }
}

impl ReplyWriter {
    /// Prints the next bytes.
    pub(super) fn write_chunk(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.has_begun = true;
        let text = self.prepare(bytes, stable_len);
        let mut stdout = io::stdout().lock();
        let printed = stdout.write_all(&text).and_then(|()| stdout.flush());
        printed.map_err(|error| ClientError::output(&error))
    }

    /// Prints the last bytes and a newline.
    pub(super) fn finish(mut self, rest: &[u8]) -> Result<(), ClientError> {
        let text = self.prepare(rest, <[u8]>::len);
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&text)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
            .map_err(|error| ClientError::output(&error))
    }

    /// Ends a reply that will not be completed. On a terminal a newline follows, so that the error has
    /// a line of its own; a pipe gets only what the server sent.
    pub(super) fn abort(self) {
        if self.is_terminal && self.has_begun {
            let _ = self.finish(b"");
        }
    }

    /// Returns the bytes to print once `bytes` have arrived; `printable_len` tells how many of the
    /// pending ones may be printed.
    fn prepare<'a>(&mut self, bytes: &'a [u8], printable_len: fn(&[u8]) -> usize) -> Cow<'a, [u8]> {
        if !self.is_terminal {
            return bytes.into();
        }
        self.pending.extend(bytes);
        let rest = self.pending.split_off(printable_len(&self.pending));
        sanitize(&std::mem::replace(&mut self.pending, rest)).into()
    }
}

/// The length of `bytes` without an end that the next byte may change: an incomplete character or a
/// carriage return.
fn stable_len(bytes: &[u8]) -> usize {
    if let Some(rest) = bytes.strip_suffix(b"\r") {
        return rest.len();
    }
    // A character has at most four bytes.
    let starts = (bytes.len().saturating_sub(3)..bytes.len()).rev();
    let is_incomplete = |&start: &usize| {
        let character = str::from_utf8(&bytes[start..]);
        character.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    starts.into_iter().find(is_incomplete).unwrap_or(bytes.len())
}

/// Makes bytes of a server safe for a terminal. Invalid UTF-8, control characters and bidirectional
/// overrides become U+FFFD; line ends and tabs stay.
fn sanitize(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.split('\n').map(sanitize_line).collect();
    lines.join("\n").into_bytes()
}

/// Makes one line of a server safe for a terminal, as [`sanitize`] does; a line end inside it
/// becomes U+FFFD as well.
pub(super) fn sanitize_line(text: &str) -> String {
    Sanitized(text.strip_suffix('\r').unwrap_or(text)).to_string()
}

/// As [`sanitize_line`], for a line that may not be UTF-8.
pub(super) fn sanitize_line_bytes(line: &[u8]) -> String {
    sanitize_line(&String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&[u8], &str); 9] = [
        (b"plain, \xd1\x8f\ttab", "plain, я\ttab"),
        (b"two\nlines\n", "two\nlines\n"),
        (b"two\r\nlines\r\n", "two\nlines\n"),
        (b"back\rto", "back\u{fffd}to"),
        (b"\x1b]0;title\x07\x1b[2J", "\u{fffd}]0;title\u{fffd}\u{fffd}[2J"),
        (b"\xc2\x9b2J", "\u{fffd}2J"),
        (b"\x9b\xff\0\x08\x7f", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        // The override and the isolates of Trojan Source (CVE-2021-42574) are replaced; a mark that
        // belongs to the text stays.
        (
            b"a\xe2\x80\xaeb\xe2\x81\xa6c\xe2\x81\xa9 \xd7\xa9\xe2\x80\x8f!",
            "a\u{fffd}b\u{fffd}c\u{fffd} ש\u{200f}!",
        ),
        (b"\xf0\x9f\x90\xa6\xf0\x9f", "🐦\u{fffd}"),
    ];

    #[test]
    fn terminal_output_has_no_control_characters() {
        for (bytes, shown) in CASES {
            assert_eq!(String::from_utf8(sanitize(bytes)).unwrap(), shown, "{bytes:?}");
        }
    }

    #[test]
    fn chunked_reply_prints_as_a_whole_one() {
        for (bytes, shown) in CASES {
            for len in 1..=bytes.len() {
                let mut reply = Output { is_terminal: true }.start_reply();
                let mut text = Vec::new();
                for chunk in bytes.chunks(len) {
                    text.extend(reply.prepare(chunk, stable_len).iter());
                    assert!(reply.pending.len() < 4);
                }
                text.extend(reply.prepare(b"", <[u8]>::len).iter());
                assert_eq!(String::from_utf8(text).unwrap(), shown, "{bytes:?} by {len}");
            }
        }
    }
}
