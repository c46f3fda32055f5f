//! Bytes of a terminal as keys: letters, and the sequences of ECMA-48 that terminals send for arrows.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Escape,
    /// A sequence of no meaning here.
    Other,
}

/// The keys in bytes that were read at once. An escape with nothing behind it is the key.
pub(super) fn parse(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((key, len)) = first(rest) {
        keys.push(key);
        rest = rest.get(len..).unwrap_or_default();
    }
    keys
}

fn first(bytes: &[u8]) -> Option<(Key, usize)> {
    match bytes {
        [] => None,
        [0x1b, b'[' | b'O', rest @ ..] => {
            // Parameters, then a final byte.
            let parameters = rest.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
            let key = match (&rest[..parameters], rest.get(parameters)) {
                (_, Some(b'A')) => Key::Up,
                (_, Some(b'B')) => Key::Down,
                (_, Some(b'H')) | (b"1" | b"7", Some(b'~')) => Key::Home,
                (_, Some(b'F')) | (b"4" | b"8", Some(b'~')) => Key::End,
                (b"5", Some(b'~')) => Key::PageUp,
                (b"6", Some(b'~')) => Key::PageDown,
                _ => Key::Other,
            };
            Some((key, 2 + parameters + 1))
        }
        [0x1b] => Some((Key::Escape, 1)),
        // With Alt.
        [0x1b, _, ..] => Some((Key::Other, 2)),
        [byte, ..] if byte.is_ascii() => Some((Key::Char(char::from(*byte)), 1)),
        // Letters of other scripts mean nothing.
        bytes => Some((Key::Other, bytes.iter().take_while(|byte| !byte.is_ascii()).count())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_letters_and_sequences() {
        use Key::{Char, Down, End, Escape, Home, Other, PageDown, PageUp, Up};
        for (bytes, keys) in [
            (&b"qs"[..], &[Char('q'), Char('s')][..]),
            (b"\x1b[A\x1bOB\x1b[1;5A", &[Up, Down, Up]),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", &[PageUp, PageDown, Home, End]),
            (b"\x1b", &[Escape]),
            (b"\x1b[", &[Other]),
            (b"\x1b[200~y", &[Other, Char('y')]),
            (b"\x1bq", &[Other]),
            ("йy".as_bytes(), &[Other, Char('y')]),
            (b"\xff\x1b", &[Other, Escape]),
        ] {
            assert_eq!(parse(bytes), keys, "{}", bytes.escape_ascii());
        }
    }
}
