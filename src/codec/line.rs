//! The `chat` protocol's messages: lines, and unterminated messages.

use super::{Decoder, Never};

/// Longest message in bytes, its end not counted.
pub const LINE_LEN_MAX: usize = 4096;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The bytes before the end of the line; not known to be UTF-8.
    Text(&'a [u8]),
    /// A message longer than the decoder takes; it is discarded.
    TooLong,
}

/// Finds the messages of a client: lines of at most [`LINE_LEN_MAX`] bytes.
pub type LineDecoder = LinesUpTo<LINE_LEN_MAX>;

/// Finds messages that end with `\n` or `\r\n`, and are at most `LEN_MAX` bytes long.
///
/// The limit is not a field, because a server keeps a decoder's fields for each of its clients.
///
/// Some clients never end a message: they send it and wait. Their text is unfinished to
/// [`decode`](Decoder::decode), and [`decode_eof`](Decoder::decode_eof) takes it for a message. The
/// caller decides when, by its clock, and only while [`ends_lines`](Self::ends_lines) is false,
/// because a client that has ended one message will end the next.
///
/// ```
/// use mynah::internal::codec::{Decoder, line::{Line, LineDecoder}};
///
/// let mut decoder = LineDecoder::default();
/// assert_eq!(decoder.decode(b"hel"), Ok(None));
/// assert_eq!(decoder.decode_eof(b"hel"), Some(Line::Text(b"hel")));
/// assert_eq!(decoder.decode(b"hello\r\nwo"), Ok(Some((Line::Text(b"hello"), 7))));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinesUpTo<const LEN_MAX: usize> {
    /// The client has ended a message at least once.
    pub ends_lines: bool,
    /// The rest of a message that was too long is discarded as it comes.
    pub discarding: bool,
}

impl<const LEN_MAX: usize> LinesUpTo<LEN_MAX> {
    /// Length of the longest message with its `\r\n`.
    const WINDOW_LEN: usize = LEN_MAX.saturating_add(2);

    /// A message, of which the `\r` before a `\n` is no part.
    fn line(text: &[u8]) -> Line<'_> {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > LEN_MAX { Line::TooLong } else { Line::Text(text) }
    }
}

impl<const LEN_MAX: usize> Decoder for LinesUpTo<LEN_MAX> {
    type Frame<'a> = Line<'a>;
    type Error = Never;

    fn discard(&mut self, input: &[u8]) -> usize {
        if !self.discarding {
            return 0;
        }
        let Some(at) = newline(input) else { return input.len() };
        self.discarding = false;
        self.ends_lines = true;
        at.saturating_add(1)
    }

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Line<'a>, usize)>, Never> {
        let window = input.get(..Self::WINDOW_LEN).unwrap_or(input);
        if let Some((text, _)) = newline(window).and_then(|at| window.split_at_checked(at)) {
            self.ends_lines = true;
            return Ok(Some((Self::line(text), text.len().saturating_add(1))));
        }
        if Self::line(window) == Line::TooLong {
            self.discarding = true;
            return Ok(Some((Line::TooLong, window.len())));
        }
        Ok(None)
    }

    /// All bytes that could still belong to the line, unless its end is in `input`.
    fn bytes_needed(&self, input: &[u8]) -> usize {
        match newline(input) {
            Some(_) => 0,
            None => Self::WINDOW_LEN.saturating_sub(input.len()),
        }
    }

    fn decode_eof<'a>(&mut self, input: &'a [u8]) -> Option<Line<'a>> {
        let skipped = core::mem::take(&mut self.discarding);
        (!skipped && !input.is_empty()).then(|| Self::line(input))
    }

    fn is_discarding(&self) -> bool {
        self.discarding
    }
}

fn newline(input: &[u8]) -> Option<usize> {
    input.iter().position(|&byte| byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        vec![b'x'; len]
    }

    fn decode(input: &[u8]) -> Option<(Line<'_>, usize)> {
        let Ok(found) = LineDecoder::default().decode(input);
        found
    }

    #[test]
    fn lines_end_with_a_line_feed_or_both() {
        assert_eq!(decode(b"a\nb\n"), Some((Line::Text(b"a"), 2)));
        assert_eq!(decode(b"a\r\nb\n"), Some((Line::Text(b"a"), 3)));
        assert_eq!(decode(b"\n"), Some((Line::Text(b""), 1)));
        assert_eq!(decode(b"a\rb\n"), Some((Line::Text(b"a\rb"), 4)), "a lone \\r ends nothing");
        assert_eq!(decode(b"a\r"), None);
        assert_eq!(decode(b""), None);
    }

    #[test]
    fn longest_message_has_4096_bytes_however_it_ends() {
        for end in [&b"\n"[..], b"\r\n"] {
            let longest = [&text(LINE_LEN_MAX), end].concat();
            assert_eq!(decode(&longest), Some((Line::Text(&text(LINE_LEN_MAX)), longest.len())));
            assert_eq!(decode(&longest[..longest.len() - 1]), None);
            let longer = [&text(LINE_LEN_MAX + 1), end].concat();
            let (line, _) = decode(&longer).unwrap();
            assert_eq!(line, Line::TooLong);
        }
        let mut decoder = LineDecoder::default();
        assert_eq!(decoder.decode_eof(&text(LINE_LEN_MAX)), Some(Line::Text(&text(LINE_LEN_MAX))));
        assert_eq!(decode(&text(LINE_LEN_MAX + 1)), Some((Line::TooLong, LINE_LEN_MAX + 1)));
    }

    #[test]
    fn long_message_is_discarded_to_its_end() {
        let mut decoder = LineDecoder::default();
        let stream = text(10_000);
        let Ok(found) = decoder.decode(&stream);
        assert_eq!(found, Some((Line::TooLong, LineDecoder::WINDOW_LEN)));
        assert!(decoder.is_discarding() && !decoder.ends_lines);
        assert_eq!(decoder.discard(b"more"), 4);
        assert_eq!(decoder.discard(b"end\nnext"), 4);
        assert!(!decoder.is_discarding() && decoder.ends_lines);
        assert_eq!(decoder.discard(b"next"), 0);
    }

    #[test]
    fn quiet_ends_what_is_skipped_and_is_no_message() {
        let mut decoder = LineDecoder { discarding: true, ..LineDecoder::default() };
        assert_eq!(decoder.decode_eof(b""), None);
        assert_eq!(decoder, LineDecoder::default());
        assert_eq!(decoder.decode_eof(b""), None, "nothing is no message");
    }

    #[test]
    fn what_may_be_added_never_hides_the_end_of_a_line() {
        let decoder = LineDecoder::default();
        assert_eq!(decoder.bytes_needed(b"a\nb"), 0);
        assert_eq!(decoder.bytes_needed(b"abc"), LineDecoder::WINDOW_LEN - 3);
    }

    #[test]
    fn limit_is_whoever_reads_the_lines_to_choose() {
        let Ok(found) = LinesUpTo::<2>::default().decode(b"ab\r\n");
        assert_eq!(found, Some((Line::Text(b"ab"), 4)));
        let Ok(found) = LinesUpTo::<2>::default().decode(b"abc\n");
        assert_eq!(found, Some((Line::TooLong, 4)));
        assert_eq!(LinesUpTo::<{ usize::MAX }>::default().bytes_needed(b"a"), usize::MAX - 1);
    }
}
