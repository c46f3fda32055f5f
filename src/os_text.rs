//! Arguments and file names as text and back, without loss: Unix has bytes there, and options and
//! configuration are text.
//!
//! A byte that is not part of UTF-8 becomes a character of its own, U+10FF00 plus the byte, as Python
//! does with surrogates (PEP 383, `surrogateescape`); Rust's text has none. The bytes of such
//! characters in the input are encoded as well, so that decoding is exact.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Stands for byte 0. The last private-use characters, and two that are no characters at all.
const FIRST: u32 = 0x10_ff00;

/// Makes text of any bytes.
#[must_use]
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if encoded_byte(c).is_some() {
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(encode_byte));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(encode_byte));
    }
    text
}

/// The bytes of which [`encode`] made `text`, as a file name or an argument.
#[must_use]
pub(crate) fn decode(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match encoded_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

/// The byte that `c` stands for, if it stands for one.
#[must_use]
pub(crate) fn encoded_byte(c: char) -> Option<u8> {
    u32::from(c).checked_sub(FIRST).and_then(|byte| u8::try_from(byte).ok())
}

fn encode_byte(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_invalid_bytes_stays_as_it_is() {
        for text in ["", "config.ini", "müll/日本", "\u{10feff}\u{e000}"] {
            assert_eq!(encode(text.as_bytes()), text);
            assert_eq!(decode(text), *text);
        }
    }

    #[test]
    fn all_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"a\xff", b"\xf4\x8f\xbf", "\u{10ff00}\u{10ffff}".as_bytes()] {
            assert_eq!(decode(&encode(bytes)).into_vec(), bytes, "{bytes:?}");
        }
        assert_eq!(encode(b"a\x80"), "a\u{10ff80}");
    }
}
