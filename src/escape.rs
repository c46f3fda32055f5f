//! Untrusted text on a terminal or in a log: characters that must not get there are escaped or
//! replaced. Pure: knows neither terminals nor logs.
//!
//! | type | control characters, U+2028, U+2029 | explicit bidi characters | invalid UTF-8 |
//! |---|---|---|---|
//! | [`Escaped`] | escaped | escaped | – |
//! | [`Excerpt`] | escaped | escaped | escaped |
//! | [`Sanitized`] | U+FFFD, tabs stay | U+FFFD | – |
//! | [`SanitizedExcerpt`] | U+FFFD, tabs stay, line breaks become spaces | U+FFFD | U+FFFD |
//! | [`SingleLine`] | U+FFFD, tabs stay | stay | – |

use std::fmt::{self, Write};

use crate::limits::PAYLOAD_LOG_BYTES;
use crate::os_text;

/// Whether a character breaks a line or drives a terminal: control characters (C0, DEL, C1), and
/// the line and paragraph separators, at which some programs break lines. A tab is one of them.
#[must_use]
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character is an explicit directional embedding, override or isolate of the
/// bidirectional algorithm (UAX #9, section 2), with which a text can be made to look like another
/// (CVE-2021-42574, "Trojan Source").
///
/// The implicit marks U+200E, U+200F and U+061C are not among them: text in Hebrew or Arabic needs
/// them, and they reorder no more than a letter does. rustc warns of the same set.
#[must_use]
pub fn is_explicit_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character must not reach a terminal or a log as it is.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    is_control(c) || is_explicit_bidi(c)
}

/// Displays text with [unprintable](is_unprintable) characters escaped as in a Rust string, so that
/// it stays on one line and looks like what it says. Backslashes and quotes are not escaped.
///
/// ```
/// use mynah::internal::escape::Escaped;
///
/// assert_eq!(Escaped("é 'x'\t\u{202e}\n").to_string(), r"é 'x'\t\u{202e}\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(is_unprintable) {
            match piece.char_indices().next_back() {
                Some((at, last)) if is_unprintable(last) => {
                    write!(f, "{}{}", &piece[..at], last.escape_default())?;
                }
                _ => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Writes text [`Escaped`], with bytes that were not UTF-8 as `\xNN` ([`os_text`]): for error
/// messages, which repeat untrusted text.
pub(crate) struct EscapeControl<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for EscapeControl<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(|c| os_text::encoded_byte(c).is_some()) {
            let last = piece.char_indices().next_back();
            match last.and_then(|(at, c)| Some((at, os_text::encoded_byte(c)?))) {
                Some((at, byte)) => write!(self.0, "{}\\x{byte:02x}", Escaped(&piece[..at]))?,
                None => write!(self.0, "{}", Escaped(piece))?,
            }
        }
        Ok(())
    }
}

/// Displays text with each [unprintable](is_unprintable) character but tab replaced by U+FFFD.
///
/// ```
/// use mynah::internal::escape::Sanitized;
///
/// let shown = Sanitized("a\tb\r\x1b[2J\u{2028}é\u{202e}").to_string();
/// assert_eq!(shown, "a\tb\u{fffd}\u{fffd}[2J\u{fffd}é\u{fffd}");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Sanitized<'a>(pub &'a str);

impl fmt::Display for Sanitized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_replaced(f, self.0, is_unprintable)
    }
}

/// Displays text as one line that does not drive a terminal: each [control](is_control) character
/// but tab becomes U+FFFD. Explicit bidi characters stay, as right-to-left text on the wire may
/// need them; who prints it decides ([`Sanitized`]).
///
/// ```
/// use mynah::internal::escape::SingleLine;
///
/// assert_eq!(SingleLine("a\tb\r\u{2028}\u{202b}é").to_string(), "a\tb\u{fffd}\u{fffd}\u{202b}é");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SingleLine<'a>(pub &'a str);

impl fmt::Display for SingleLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_replaced(f, self.0, is_control)
    }
}

/// Displays the first [`PAYLOAD_LOG_BYTES`] of a payload, quoted and escaped as a Rust string, and
/// the count of bytes that were cut off. Printable UTF-8 is not escaped.
///
/// ```
/// use mynah::internal::escape::Excerpt;
///
/// assert_eq!(Excerpt("aé\n\u{202e}".as_bytes()).to_string(), r#""aé\n\u{202e}""#);
/// assert_eq!(Excerpt(b"a\xff").to_string(), r#""a\xff""#);
/// assert!(Excerpt(&[b'x'; 500]).to_string().ends_with(r#"x" and 372 more bytes"#));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = split_at_most(self.0, PAYLOAD_LOG_BYTES);
        f.write_char('"')?;
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                match u8::try_from(c) {
                    Ok(ascii) if ascii.is_ascii() => write!(f, "{}", ascii.escape_ascii())?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        f.write_char('"')?;
        write_cut(f, cut)
    }
}

/// Displays the first `bytes_max` bytes of a text of several lines on one: line breaks become
/// spaces, the rest is [`Sanitized`]. Says how many bytes were cut off.
///
/// ```
/// use mynah::internal::escape::SanitizedExcerpt;
///
/// let excerpt = SanitizedExcerpt { text: b"one\r\ntwo\x1b\xff more", bytes_max: 10 };
/// assert_eq!(excerpt.to_string(), "one two\u{fffd}\u{fffd} and 5 more bytes");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SanitizedExcerpt<'a> {
    /// The text, which need not be UTF-8.
    pub text: &'a [u8],
    /// Bytes of the text that are displayed, before characters are replaced.
    pub bytes_max: usize,
}

impl fmt::Display for SanitizedExcerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = split_at_most(self.text, self.bytes_max);
        for (number, line) in String::from_utf8_lossy(shown).lines().enumerate() {
            write!(f, "{}{}", if number > 0 { " " } else { "" }, Sanitized(line))?;
        }
        write_cut(f, cut)
    }
}

fn write_replaced(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    is_replaced: fn(char) -> bool,
) -> fmt::Result {
    let mut pieces = text.split(|c| c != '\t' && is_replaced(c));
    f.write_str(pieces.next().unwrap_or_default())?;
    for piece in pieces {
        f.write_char(char::REPLACEMENT_CHARACTER)?;
        f.write_str(piece)?;
    }
    Ok(())
}

fn split_at_most(bytes: &[u8], max: usize) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(max))
}

fn write_cut(f: &mut fmt::Formatter<'_>, cut: &[u8]) -> fmt::Result {
    match cut.len() {
        0 => Ok(()),
        more => write!(f, " and {more} more bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, escaped, sanitized, and as a single line.
    const TABLE: [(&str, &str, &str, &str); 7] = [
        ("", "", "", ""),
        ("плохой 'x\\y\"z'", "плохой 'x\\y\"z'", "плохой 'x\\y\"z'", "плохой 'x\\y\"z'"),
        ("\n", r"\n", "\u{fffd}", "\u{fffd}"),
        ("a\r\nb\tc", r"a\r\nb\tc", "a\u{fffd}\u{fffd}b\tc", "a\u{fffd}\u{fffd}b\tc"),
        (
            "\u{1b}[2J\u{9b}0m\u{7f}",
            r"\u{1b}[2J\u{9b}0m\u{7f}",
            "\u{fffd}[2J\u{fffd}0m\u{fffd}",
            "\u{fffd}[2J\u{fffd}0m\u{fffd}",
        ),
        (
            "a\u{202e}b\u{2066}c\u{2029}",
            r"a\u{202e}b\u{2066}c\u{2029}",
            "a\u{fffd}b\u{fffd}c\u{fffd}",
            "a\u{202e}b\u{2066}c\u{fffd}",
        ),
        ("שלום\u{200f}!", "שלום\u{200f}!", "שלום\u{200f}!", "שלום\u{200f}!"),
    ];

    #[test]
    fn unprintable_characters_are_escaped_or_replaced() {
        for (text, escaped, sanitized, single_line) in TABLE {
            assert_eq!(Escaped(text).to_string(), escaped);
            assert_eq!(Sanitized(text).to_string(), sanitized);
            assert_eq!(SingleLine(text).to_string(), single_line);
        }
    }

    #[test]
    fn every_unprintable_character_is_escaped() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = c.to_string();
            let is_raw = |shown: String| shown.contains(c);
            assert!(!(is_unprintable(c) && is_raw(Excerpt(text.as_bytes()).to_string())), "{c:?}");
            assert_eq!(is_raw(Escaped(&text).to_string()), !is_unprintable(c), "{c:?}");
            let stays = !is_unprintable(c) || c == '\t';
            assert_eq!(is_raw(Sanitized(&text).to_string()), stays, "{c:?}");
        }
    }

    #[test]
    fn sanitized_excerpt_is_one_bounded_line() {
        let show = |text| SanitizedExcerpt { text, bytes_max: 8 }.to_string();
        assert_eq!(show(b"a\nb\r\nc"), "a b c");
        assert_eq!(show(b"a\x1b[2J\xff"), "a\u{fffd}[2J\u{fffd}");
        assert_eq!(show("\u{2028}é".as_bytes()), "\u{fffd}é");
        assert_eq!(show("\u{202e}é".as_bytes()), "\u{fffd}é");
        assert_eq!(show(b"123456789"), "12345678 and 1 more bytes");
    }

    #[test]
    fn excerpt_is_cut_by_bytes() {
        assert_eq!(Excerpt(b"").to_string(), r#""""#);
        let long = "é".repeat(PAYLOAD_LOG_BYTES);
        let shown = "é".repeat(PAYLOAD_LOG_BYTES / 2);
        let expected = format!("\"{shown}\" and {PAYLOAD_LOG_BYTES} more bytes");
        assert_eq!(Excerpt(long.as_bytes()).to_string(), expected);
    }
}
