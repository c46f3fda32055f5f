//! How what peers sent appears in a log or on another's terminal, where it must not do anything.

use std::fmt::{self, Write};

use crate::limits::PAYLOAD_LOG_BYTES;

/// Displays the first [`PAYLOAD_LOG_BYTES`] of a payload, escaped, and its length if that is not
/// all. What is UTF-8 and printable is shown as it is.
///
/// ```
/// use mynah::protocol::Excerpt;
///
/// assert_eq!(Excerpt("aé\n\u{202e}".as_bytes()).to_string(), r#""aé\n\u{202e}""#);
/// assert_eq!(Excerpt(b"a\xff").to_string(), r#""a\xff""#);
/// assert!(Excerpt(&[b'x'; 500]).to_string().ends_with(r#"x" and 372 more bytes"#));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(PAYLOAD_LOG_BYTES);
        f.write_char('"')?;
        for chunk in self.0[..shown].utf8_chunks() {
            for c in chunk.valid().chars() {
                match u8::try_from(c) {
                    Ok(ascii) if ascii.is_ascii() => write!(f, "{}", ascii.escape_ascii())?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        f.write_char('"')?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more bytes"),
        }
    }
}

/// Displays a client's text as part of one line on another's screen: control characters other than
/// tab, and the line and paragraph separators some programs break lines at, become U+FFFD.
///
/// ```
/// use mynah::protocol::Shown;
///
/// assert_eq!(Shown("a\tb\r\x1b[2J\u{2028}é").to_string(), "a\tb\u{fffd}\u{fffd}[2J\u{fffd}é");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moves = |c: char| c != '\t' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        let mut pieces = self.0.split(moves);
        f.write_str(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            f.write_char(char::REPLACEMENT_CHARACTER)?;
            f.write_str(piece)?;
        }
        Ok(())
    }
}
