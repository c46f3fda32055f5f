//! Escaping of control characters in error messages, which repeat untrusted text.

use std::fmt::{self, Write};

/// True for the embeddings, overrides and isolates of the bidirectional algorithm (UAX #9), which
/// can make a text look like another (CVE-2021-42574, "Trojan Source"). The marks U+200E, U+200F
/// and U+061C are left out, as in rustc's lint: text in Hebrew or Arabic needs them, and they
/// reorder no more than a letter does.
pub(crate) fn is_explicit_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes text with invisible characters escaped: control characters, line separators and explicit
/// bidirectional controls. So an error is one line and cannot drive a terminal.
pub(crate) struct EscapeControl<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for EscapeControl<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_invisible =
            |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_explicit_bidi(c);
        for piece in text.split_inclusive(is_invisible) {
            let last = piece.chars().next_back().filter(|last| is_invisible(*last));
            self.0.write_str(&piece[..piece.len() - last.map_or(0, char::len_utf8)])?;
            if let Some(last) = last {
                write!(self.0, "{}", last.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(&'static str);

    impl fmt::Display for Text {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            EscapeControl(f).write_str(self.0)
        }
    }

    #[test]
    fn only_invisible_characters_are_escaped() {
        for (text, shown) in [
            ("", ""),
            ("плохой 'x\\y\"z'", "плохой 'x\\y\"z'"),
            ("\n", r"\n"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{1b}[2J\u{9b}0m\u{7f}", r"\u{1b}[2J\u{9b}0m\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{2029}", r"a\u{202e}b\u{2066}c\u{2029}"),
            ("שלום\u{200f}!", "שלום\u{200f}!"),
        ] {
            assert_eq!(Text(text).to_string(), shown);
        }
    }
}
