//! Text of a plugin's as one line of a log.

use std::fmt;

use crate::protocol::Shown;

/// Displays the beginning of a text on one line: line breaks become spaces, and what could move a
/// terminal's cursor, or is no UTF-8, becomes U+FFFD.
pub(super) struct OneLine<'a> {
    pub(super) text: &'a [u8],
    /// Bytes of the text that are shown.
    pub(super) bytes_max: usize,
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.text[..self.text.len().min(self.bytes_max)];
        let text = String::from_utf8_lossy(shown);
        for (number, line) in text.lines().enumerate() {
            write!(f, "{}{}", if number > 0 { " " } else { "" }, Shown(line))?;
        }
        match self.text.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_of_bounded_length() {
        let show = |text| OneLine { text, bytes_max: 8 }.to_string();
        assert_eq!(show(b"a\nb\r\nc"), "a b c");
        assert_eq!(show(b"a\x1b[2J\xff"), "a\u{fffd}[2J\u{fffd}");
        assert_eq!(show("\u{2028}é".as_bytes()), "\u{fffd}é");
        assert_eq!(show(b"123456789"), "12345678 and 1 more bytes");
    }
}
