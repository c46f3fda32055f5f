//! Lines of standard input, for the prompt and the chat where it is not a terminal.

use std::io::{self, BufRead};

use super::error::ClientError;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads standard input line by line. A UTF-8 byte order mark at its start is dropped: editors put it
/// there, and it is part of no command or nickname.
#[derive(Debug, Default)]
pub(super) struct InputLines {
    has_begun: bool,
}

impl InputLines {
    /// Reads a line and returns it without its `\n`; `None` at the end of input.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        self.next_of(&mut io::stdin().lock()).map_err(|error| ClientError::input(&error))
    }

    fn next_of(&mut self, input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        if !std::mem::replace(&mut self.has_begun, true) && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_is_dropped_at_the_start_only() {
        let mut input = &b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n\nend"[..];
        let mut lines = InputLines::default();
        let mut found = Vec::new();
        while let Some(line) = lines.next_of(&mut input).unwrap() {
            found.push(line);
        }
        assert_eq!(found, [&b"one"[..], b"\xef\xbb\xbftwo", b"", b"end"]);
    }
}
