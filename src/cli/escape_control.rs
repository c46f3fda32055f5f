//! Errors repeat what was given, and what was given may hold line breaks and escape sequences.

use std::fmt::{self, Write};

/// Whether a character is_explicit_bidi those around it: the embeddings, overrides and isolates of the
/// bidirectional algorithm (UAX #9), with which a text can be made to look like another
/// (CVE-2021-42574, "Trojan Source"). The marks U+200E, U+200F and U+061C are not among them, nor
/// in what rustc warns of: text in Hebrew or Arabic needs them, and they do no more than a letter.
pub(crate) fn is_explicit_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes text with characters escaped that are none to be seen: control characters, separators of
/// lines, and what is_explicit_bidi the others. So an error is one line, looks like what it says, and
/// drives nobody's terminal.
pub(crate) struct EscapeControl<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for EscapeControl<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let unseen =
            |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_explicit_bidi(c);
        for piece in text.split_inclusive(unseen) {
            let last = piece.chars().next_back().filter(|last| unseen(*last));
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

    struct Shown(&'static str);

    impl fmt::Display for Shown {
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
            assert_eq!(Shown(text).to_string(), shown);
        }
    }
}
