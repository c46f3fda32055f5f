//! Errors repeat what was given, and what was given may hold line breaks and escape sequences.

use std::fmt::{self, Write};

/// Writes text with control characters escaped, so that an error is one line and drives nobody's
/// terminal.
pub(crate) struct OneLine<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let control = piece.chars().next_back().filter(|last| last.is_control());
            self.0.write_str(&piece[..piece.len() - control.map_or(0, char::len_utf8)])?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
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
            OneLine(f).write_str(self.0)
        }
    }

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        for (text, shown) in [
            ("", ""),
            ("плохой 'x\\y\"z'", "плохой 'x\\y\"z'"),
            ("\n", r"\n"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{1b}[2J\u{9b}0m\u{7f}", r"\u{1b}[2J\u{9b}0m\u{7f}"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
    }
}
