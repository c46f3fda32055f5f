//! Bytes as text of printable ASCII, and back: `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`.

use std::fmt;

use crate::os_text;

/// Most bytes of a text.
pub(super) const BYTES_MAX: usize = 64 * 1024;

/// An error in a text. Places are counted in characters, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EscapeError {
    Empty,
    TooLong,
    /// A backslash and a character that mean nothing together.
    Unknown {
        escape: char,
        place: usize,
    },
    /// `\x` without two hexadecimal digits behind it.
    Hex {
        place: usize,
    },
    /// The last character is a backslash.
    Unfinished {
        place: usize,
    },
}

impl fmt::Display for EscapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = r"there are \r \n \t \0 \\ and \xNN";
        match self {
            EscapeError::Empty => f.write_str("is empty"),
            EscapeError::TooLong => write!(f, "has more than {BYTES_MAX} bytes"),
            EscapeError::Unknown { escape, place } => {
                write!(f, "bad escape '\\{escape}' at character {place}, {known}")
            }
            EscapeError::Hex { place } => {
                write!(f, r"bad escape at character {place}: \x needs two hexadecimal digits")
            }
            EscapeError::Unfinished { place } => {
                write!(f, "bad escape at character {place}: nothing follows the backslash")
            }
        }
    }
}

/// The bytes that `text` stands for. Arguments that are not UTF-8 are themselves ([`os_text`]).
///
/// # Errors
///
/// See [`EscapeError`]; the first one is returned.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, EscapeError> {
    let mut bytes = Vec::new();
    let mut chars = text.chars().zip(1..);
    while let Some((c, place)) = chars.next() {
        if c != '\\' {
            match os_text::encoded_byte(c) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        } else {
            let mut next = || chars.next().map(|(c, _)| c);
            bytes.push(match next() {
                Some('r') => b'\r',
                Some('n') => b'\n',
                Some('t') => b'\t',
                Some('0') => 0,
                Some('\\') => b'\\',
                Some('x') => {
                    let mut digit = || next().and_then(|c| c.to_digit(16));
                    let high = digit().ok_or(EscapeError::Hex { place })?;
                    let low = digit().ok_or(EscapeError::Hex { place })?;
                    // Two digits are a byte.
                    (high * 16 + low) as u8
                }
                Some(escape) => return Err(EscapeError::Unknown { escape, place }),
                None => return Err(EscapeError::Unfinished { place }),
            });
        }
        if bytes.len() > BYTES_MAX {
            return Err(EscapeError::TooLong);
        }
    }
    if bytes.is_empty() { Err(EscapeError::Empty) } else { Ok(bytes) }
}

/// Displays bytes as a text of which [`unescape`] makes them again.
#[derive(Debug, Clone, Copy)]
pub(super) struct EscapedBytes<'a>(pub(super) &'a [u8]);

impl fmt::Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                b'\r' => f.write_str(r"\r")?,
                b'\n' => f.write_str(r"\n")?,
                b'\t' => f.write_str(r"\t")?,
                0 => f.write_str(r"\0")?,
                b'\\' => f.write_str(r"\\")?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                other => write!(f, r"\x{other:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        let bytes = |text: &str| unescape(text).unwrap();
        assert_eq!(bytes(r"PING\r\n"), b"PING\r\n");
        assert_eq!(bytes(r"\t\0\\\x7f\xFf\0010"), b"\t\0\\\x7f\xff\x00010");
        assert_eq!(bytes("é\\x41"), "éA".as_bytes());
        assert_eq!(bytes(&os_text::encode(b"a\xffb")), b"a\xffb");
    }

    #[test]
    fn errors_name_the_escape_and_its_place() {
        let error = |text: &str| unescape(text).unwrap_err().to_string();
        let known = r"there are \r \n \t \0 \\ and \xNN";
        assert_eq!(error(""), "is empty");
        assert_eq!(error(r"é\q"), format!(r"bad escape '\q' at character 2, {known}"));
        for text in [r"ab\x", r"ab\x1", r"ab\x1g", r"ab\x\r"] {
            let hex = r"bad escape at character 3: \x needs two hexadecimal digits";
            assert_eq!(error(text), hex, "{text}");
        }
        assert_eq!(error(r"a\\\"), r"bad escape at character 4: nothing follows the backslash");
        assert!(unescape(&"x".repeat(BYTES_MAX)).is_ok());
        assert_eq!(error(&"x".repeat(BYTES_MAX + 1)), "has more than 65536 bytes");
    }

    #[test]
    fn any_bytes_escaped_are_themselves_again() {
        let all: Vec<u8> = (0..=255).collect();
        let mut state = 7_u32;
        for _ in 0..2_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let from = (state >> 24) as usize;
            let bytes = &all[from..(from + 1 + (state >> 12 & 7) as usize).min(256)];
            let text = EscapedBytes(bytes).to_string();
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
            assert_eq!(unescape(&text).as_deref(), Ok(bytes), "{text}");
        }
        assert_eq!(EscapedBytes(b"GET /\r\n\0\\\xc3").to_string(), r"GET /\r\n\0\\\xc3");
    }

    /// Any text of the characters that matter is read or refused as a regular expression would.
    #[test]
    fn unescape_is_total() {
        let alphabet = ['\\', 'x', '0', 'a', 'g', 'n'];
        for number in 0..alphabet.len().pow(5) {
            let digit = |place| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
            let text: String = (0..5).map(digit).collect();
            let mut rest = text.as_str();
            let mut expected = Some(Vec::new());
            while !rest.is_empty() {
                let hex = |text: &str| u8::from_str_radix(text.get(2..4)?, 16).ok();
                let (byte, len) = match rest {
                    _ if !rest.starts_with('\\') => (Some(rest.as_bytes()[0]), 1),
                    _ if rest.starts_with(r"\x") => (hex(rest), 4),
                    _ if rest.starts_with(r"\\") => (Some(b'\\'), 2),
                    _ if rest.starts_with(r"\0") => (Some(0), 2),
                    _ if rest.starts_with(r"\n") => (Some(b'\n'), 2),
                    _ => (None, 1),
                };
                expected = expected.zip(byte).map(|(mut bytes, byte)| {
                    bytes.push(byte);
                    bytes
                });
                rest = rest.get(len..).unwrap_or_default();
            }
            assert_eq!(unescape(&text).ok(), expected, "{text}");
        }
    }
}
