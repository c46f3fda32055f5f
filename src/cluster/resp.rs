//! The engine's protocol, RESP2 and RESP3 (redis.io, "Redis serialization protocol specification"):
//! where a frame ends, what is in it, and how commands are written.
//!
//! The crate redis-protocol decodes frames. It recurses as deep as a frame nests, and starts anew
//! with each byte that comes, so it is given whole frames only: [`Scanner`] finds their ends, and
//! holds them to bounds. The two frames that come with each publish, its answer and the message
//! itself, are read by [`read_integer`] and [`read_message`] where they are written as engines write
//! them, at a tenth of the crate's cost.

use std::fmt;
use std::ops::Range;

use redis_protocol::{resp2, resp3};

/// Deepest nesting of lists, maps and sets.
pub const DEPTH_MAX: usize = 8;
/// Most elements of a frame, at all depths.
pub const ELEMENTS_MAX: usize = 1024;
/// Longest line: a number, a length, a short text.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// A fault of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RespError {
    /// No known type begins with this byte.
    Type(u8),
    /// A length is not one.
    Length,
    /// A text does not end where its length says.
    Terminator,
    /// A line is over [`LINE_BYTES_MAX`].
    Line,
    /// Lists nest over [`DEPTH_MAX`].
    Depth,
    /// There are over [`ELEMENTS_MAX`] elements.
    Elements,
    /// The frame is over its limit of bytes.
    Size,
    /// A value is not what its type says.
    Value,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RespError::Type(byte) => write!(f, "a reply of type '{}'", byte.escape_ascii()),
            RespError::Length => f.write_str("a length that is not a number"),
            RespError::Terminator => f.write_str("a text that does not end where its length says"),
            RespError::Line => write!(f, "a line over {LINE_BYTES_MAX} bytes"),
            RespError::Depth => write!(f, "lists nested over {DEPTH_MAX} deep"),
            RespError::Elements => write!(f, "a list of over {ELEMENTS_MAX} elements"),
            RespError::Size => f.write_str("a reply that is too long"),
            RespError::Value => f.write_str("a value that is not of its type"),
        }
    }
}

/// Finds the end of the frame at the start of a buffer, without looking at a byte twice.
///
/// Streamed frames and attributes are refused: no engine sends them unasked.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    /// Start of the element that is scanned.
    at: usize,
    /// Its line does not end before here.
    searched: usize,
    /// Its end without the line break, once its length is known.
    text_end: Option<usize>,
    /// Elements that are missing in each list that is open.
    missing: Vec<usize>,
    /// Elements that were announced.
    elements: usize,
}

impl Scanner {
    /// Returns the length of the frame at the start of `input`, if all of it is there; `input` is
    /// what it was at the last call, and perhaps more. After a length, and after an error, the next
    /// call begins with another frame.
    ///
    /// # Errors
    ///
    /// The frame is none, or exceeds a bound.
    pub fn scan(&mut self, input: &[u8], bytes_max: usize) -> Result<Option<usize>, RespError> {
        let result = self.scan_on(input, bytes_max);
        if !matches!(result, Ok(None)) {
            self.reset();
        }
        result
    }

    /// The next call begins with another frame.
    pub(super) fn reset(&mut self) {
        *self = Scanner { missing: std::mem::take(&mut self.missing), ..Scanner::default() };
        self.missing.clear();
    }

    fn scan_on(&mut self, input: &[u8], bytes_max: usize) -> Result<Option<usize>, RespError> {
        loop {
            let is_open = if let Some(end) = self.text_end {
                let Some(line_break) = input.get(end..end + 2) else { return Ok(None) };
                if line_break != b"\r\n" {
                    return Err(RespError::Terminator);
                }
                (self.text_end, self.at) = (None, end + 2);
                false
            } else {
                let Some(end) = self.line_end(input, bytes_max)? else { return Ok(None) };
                let (kind, line) = (input[self.at], &input[self.at + 1..end]);
                self.at = end + 2;
                self.open(kind, line, bytes_max)?
            };
            self.searched = self.at;
            if !is_open && self.close() {
                return Ok(Some(self.at));
            }
        }
    }

    /// Where the line that begins at `at` ends.
    fn line_end(&mut self, input: &[u8], bytes_max: usize) -> Result<Option<usize>, RespError> {
        let Some(&kind) = input.get(self.at) else { return Ok(None) };
        if !b"+-:$*_#,(!=%~>".contains(&kind) {
            return Err(RespError::Type(kind));
        }
        let line_end_max = self.at + 1 + LINE_BYTES_MAX;
        let window = &input[self.searched..input.len().min(line_end_max + 2)];
        if let Some(found) = window.windows(2).position(|pair| pair == b"\r\n") {
            let end = self.searched + found;
            return if end + 2 > bytes_max { Err(RespError::Size) } else { Ok(Some(end)) };
        }
        self.searched = self.searched.max((self.searched + window.len()).saturating_sub(1));
        if self.searched > line_end_max {
            return Err(RespError::Line);
        }
        if input.len() >= bytes_max { Err(RespError::Size) } else { Ok(None) }
    }

    /// Begins an element; says whether it goes on behind its first line.
    fn open(&mut self, kind: u8, line: &[u8], bytes_max: usize) -> Result<bool, RespError> {
        match (kind, line) {
            // Absent, in RESP2.
            (b'$' | b'*', b"-1") => Ok(false),
            (b'$' | b'!' | b'=', _) => {
                let length = length(line)?;
                // A verbatim text begins with its format, `txt:`.
                if kind == b'=' && length < 4 {
                    return Err(RespError::Length);
                }
                let end = self.at.saturating_add(length);
                if end.saturating_add(2) > bytes_max {
                    return Err(RespError::Size);
                }
                self.text_end = Some(end);
                Ok(true)
            }
            (b'*' | b'~' | b'>' | b'%', _) => {
                let each = if kind == b'%' { 2 } else { 1 };
                let elements = length(line)?.saturating_mul(each);
                self.elements = self.elements.saturating_add(elements);
                if self.elements > ELEMENTS_MAX {
                    return Err(RespError::Elements);
                }
                if elements == 0 {
                    return Ok(false);
                }
                if self.missing.len() == DEPTH_MAX {
                    return Err(RespError::Depth);
                }
                self.missing.push(elements);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Ends an element, and the lists whose last it is; says whether that was the frame.
    fn close(&mut self) -> bool {
        while let Some(missing) = self.missing.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return false;
            }
            self.missing.pop();
        }
        true
    }
}

/// A length: digits alone, of which the crate would take a sign too.
fn length(line: &[u8]) -> Result<usize, RespError> {
    let is_number = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    let digits = str::from_utf8(line).ok().filter(|_| is_number).ok_or(RespError::Length)?;
    digits.parse().map_err(|_| RespError::Length)
}

/// The version of the protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2: what is pushed is a list like a reply.
    Two,
    /// RESP3.
    #[default]
    Three,
}

/// Content of a frame; texts are ranges of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A text, of any kind.
    Text(Range<usize>),
    /// An error.
    Error(Range<usize>),
    /// An integer.
    Integer(i64),
    /// Nothing.
    Null,
    /// A list.
    List(Vec<Reply>),
    /// A list that is not an answer.
    Push(Vec<Reply>),
    /// A map, in no order.
    Map(Vec<(Reply, Reply)>),
    /// A number that is no integer, or a set: never asked for.
    Other,
}

/// Decodes a whole frame.
///
/// # Errors
///
/// [`RespError::Value`] if a value is not of its type, or is not of this version.
pub fn decode(frame: &[u8], protocol: Protocol) -> Result<Reply, RespError> {
    match protocol {
        Protocol::Two => match resp2::decode::decode_range(frame) {
            Ok(Some((decoded, len))) if len == frame.len() => Ok(reply_of_resp2(decoded)),
            _ => Err(RespError::Value),
        },
        Protocol::Three => match resp3::decode::complete::decode_range(frame) {
            Ok(Some((decoded, len))) if len == frame.len() => Ok(reply_of_resp3(decoded)),
            _ => Err(RespError::Value),
        },
    }
}

fn reply_of_resp2(frame: resp2::types::RangeFrame) -> Reply {
    use resp2::types::RangeFrame as Frame;
    match frame {
        Frame::SimpleString((start, end)) | Frame::BulkString((start, end)) => {
            Reply::Text(start..end)
        }
        Frame::Error((start, end)) => Reply::Error(start..end),
        Frame::Integer(n) => Reply::Integer(n),
        Frame::Array(list) => Reply::List(list.into_iter().map(reply_of_resp2).collect()),
        Frame::Null => Reply::Null,
    }
}

fn reply_of_resp3(frame: resp3::types::RangeFrame) -> Reply {
    use resp3::types::RangeFrame as Frame;
    let list = |list: Vec<Frame>| list.into_iter().map(reply_of_resp3).collect();
    match frame {
        Frame::BlobString { data: (start, end), .. }
        | Frame::SimpleString { data: (start, end), .. }
        | Frame::VerbatimString { data: (start, end), .. } => Reply::Text(start..end),
        Frame::BlobError { data: (start, end), .. }
        | Frame::SimpleError { data: (start, end), .. } => Reply::Error(start..end),
        Frame::Boolean { data, .. } => Reply::Integer(data.into()),
        Frame::Number { data, .. } => Reply::Integer(data),
        Frame::Null => Reply::Null,
        Frame::Array { data, .. } => Reply::List(list(data)),
        Frame::Push { data, .. } => Reply::Push(list(data)),
        Frame::Map { data, .. } => {
            let pair = |(key, value)| (reply_of_resp3(key), reply_of_resp3(value));
            Reply::Map(data.into_iter().map(pair).collect())
        }
        _ => Reply::Other,
    }
}

/// A message of a channel; texts are ranges of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Length of the frame.
    pub frame_len: usize,
    /// The channel.
    pub channel: Range<usize>,
    /// The published bytes.
    pub payload: Range<usize>,
}

/// Reads the message at the start of `input`. `None` if it is not all there, is over `bytes_max`, or
/// is anything else: that is for [`Scanner`] and [`decode`], which would find the same in it.
#[must_use]
pub fn read_message(input: &[u8], protocol: Protocol, bytes_max: usize) -> Option<Message> {
    let (channel, at) = read_message_head(input, protocol)?;
    let (payload, frame_len) = read_text(input, at)?;
    (frame_len <= bytes_max).then_some(Message { frame_len, channel, payload })
}

/// Length of the message at the start of `input`, of whose payload no more than the length need be
/// there. `None` as [`read_message`].
#[must_use]
pub fn message_len(input: &[u8], protocol: Protocol) -> Option<usize> {
    let (_, at) = read_message_head(input, protocol)?;
    Some(read_text_range(input, at)?.end + 2)
}

/// The channel of a message, and where its payload begins with its length.
fn read_message_head(input: &[u8], protocol: Protocol) -> Option<(Range<usize>, usize)> {
    let start: &[u8] = match protocol {
        Protocol::Two => b"*3\r\n$7\r\nmessage\r\n",
        Protocol::Three => b">3\r\n$7\r\nmessage\r\n",
    };
    if !input.starts_with(start) {
        return None;
    }
    read_text(input, start.len())
}

/// Reads the integer that is the frame at the start of `input`, not a negative one, and the length
/// of the frame. `None` as [`read_message`].
#[must_use]
pub fn read_integer(input: &[u8]) -> Option<(i64, usize)> {
    if input.first() != Some(&b':') {
        return None;
    }
    let (n, len) = read_digits(input, 1)?;
    Some((n.into(), len))
}

/// The text that begins at `at`, and where it ends with its line break.
fn read_text(input: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let text = read_text_range(input, at)?;
    let end = text.end;
    (input.get(end..end + 2)? == b"\r\n").then_some((text, end + 2))
}

/// The range of the text that begins at `at` with its length.
fn read_text_range(input: &[u8], at: usize) -> Option<Range<usize>> {
    if input.get(at) != Some(&b'$') {
        return None;
    }
    let (len, start) = read_digits(input, at + 1)?;
    Some(start..start + len as usize)
}

/// The number whose digits begin at `at`, up to nine of them, and where their line ends.
fn read_digits(input: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut n = 0;
    for (count, byte) in input.get(at..)?.iter().take(10).enumerate() {
        match byte {
            b'0'..=b'9' if count < 9 => n = n * 10 + u32::from(byte - b'0'),
            b'\r' if count > 0 => {
                let end = at + count + 1;
                return (input.get(end) == Some(&b'\n')).then_some((n, end + 1));
            }
            _ => return None,
        }
    }
    None
}

/// Writes the beginning of a command of `parts` parts.
pub(super) fn push_head(output: &mut Vec<u8>, parts: usize) {
    push_line(output, b'*', parts);
}

/// Writes a line of a number.
fn push_line(output: &mut Vec<u8>, kind: u8, n: usize) {
    output.push(kind);
    output.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// Writes a part of a command.
pub(super) fn push_part(output: &mut Vec<u8>, part: &[u8]) {
    push_joined_part(output, &[part]);
}

/// Writes a part of a command that is in pieces.
fn push_joined_part(output: &mut Vec<u8>, pieces: &[&[u8]]) {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    push_line(output, b'$', len);
    pieces.iter().for_each(|piece| output.extend_from_slice(piece));
    output.extend_from_slice(b"\r\n");
}

/// Writes a PUBLISH of a payload that is in pieces.
pub(super) fn push_publish(output: &mut Vec<u8>, channel: &[u8], payload: &[&[u8]]) {
    output.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n");
    push_part(output, channel);
    push_joined_part(output, payload);
}

/// Writes a command.
pub(super) fn push_command(output: &mut Vec<u8>, parts: &[&[u8]]) {
    push_head(output, parts.len());
    parts.iter().for_each(|part| push_part(output, part));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1000;

    /// The answer to all of `input`, and to each beginning of it: that of the whole from some byte
    /// on, and none before.
    #[track_caller]
    fn scan(input: &[u8]) -> Result<Option<usize>, RespError> {
        let whole = Scanner::default().scan(input, BYTES_MAX);
        let mut scanner = Scanner::default();
        for end in 0..=input.len() {
            match scanner.scan(&input[..end], BYTES_MAX) {
                Ok(None) => {}
                decided => {
                    assert_eq!(decided, whole, "{} of {}", end, input.escape_ascii());
                    assert!(decided != Ok(Some(input.len())) || end == input.len());
                    return decided;
                }
            }
        }
        assert_eq!(whole, Ok(None));
        whole
    }

    #[test]
    fn frame_ends_with_its_last_element() {
        for frame in [
            &b"+OK\r\n"[..],
            b"-ERR no\r\n",
            b":-12\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5e3\r\n",
            b"(123456789012345678901234567890\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"$4\r\n\r\n\r\n\r\n",
            b"!5\r\nERR x\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"*0\r\n",
            b"%0\r\n",
            b"*2\r\n:1\r\n*1\r\n+a\rb\r\n",
            b"%1\r\n+a\r\n*0\r\n",
            b"~1\r\n#f\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            assert_eq!(scan(frame), Ok(Some(frame.len())), "{}", frame.escape_ascii());
            let more = [frame, b"+next\r\n"].concat();
            assert_eq!(Scanner::default().scan(&more, BYTES_MAX), Ok(Some(frame.len())));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], RespError::Type(b'G')),
            (b"|1\r\n", RespError::Type(b'|')),
            (b"*2\r\n:1\r\n.\r\n", RespError::Type(b'.')),
            (b"$\r\n", RespError::Length),
            (b"$+1\r\n", RespError::Length),
            (b"$?\r\n", RespError::Length),
            (b"%-1\r\n", RespError::Length),
            (b"=3\r\ntxt\r\n", RespError::Length),
            (b"$99999999999999999999\r\n", RespError::Length),
            (b"$1\r\nab\r\n", RespError::Terminator),
            (b"$18446744073709551615\r\n", RespError::Size),
            (b"$1000\r\n", RespError::Size),
            (b"%18446744073709551615\r\n", RespError::Elements),
            (b"*1024\r\n*1\r\n", RespError::Elements),
            (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", RespError::Depth),
        ] {
            assert_eq!(scan(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(scan(&[b"+", &[b'x'; 1000][..]].concat()), Err(RespError::Size));
    }

    #[test]
    fn lines_have_a_limit_of_their_own() {
        let mut line = vec![b'x'; 1 + LINE_BYTES_MAX];
        line[0] = b'+';
        let ended = [&line[..], b"\r\n"].concat();
        assert_eq!(Scanner::default().scan(&ended, usize::MAX), Ok(Some(ended.len())));
        line.extend_from_slice(b"x\r\n");
        assert_eq!(Scanner::default().scan(&line, usize::MAX), Err(RespError::Line));
    }

    #[test]
    fn scanner_looks_at_each_byte_once() {
        // Quadratic, this would take minutes.
        let mut input = b"*1000\r\n".to_vec();
        (0..1000)
            .for_each(|_| input.extend_from_slice(format!("+{}\r\n", "x".repeat(1000)).as_bytes()));
        let mut scanner = Scanner::default();
        for end in 0..input.len() {
            assert_eq!(scanner.scan(&input[..end], usize::MAX), Ok(None));
        }
        assert_eq!(scanner.scan(&input, usize::MAX), Ok(Some(input.len())));
    }

    /// The message at the start of `input`, by the scanner and the crate.
    fn message_of_crate(input: &[u8], protocol: Protocol) -> Option<Message> {
        let frame_len = Scanner::default().scan(input, BYTES_MAX).ok().flatten()?;
        let list = match (decode(&input[..frame_len], protocol).ok()?, protocol) {
            (Reply::Push(list), Protocol::Three) | (Reply::List(list), Protocol::Two) => list,
            _ => return None,
        };
        match &list[..] {
            [Reply::Text(kind), Reply::Text(channel), Reply::Text(payload)]
                if &input[kind.clone()] == b"message" =>
            {
                let (channel, payload) = (channel.clone(), payload.clone());
                Some(Message { frame_len, channel, payload })
            }
            _ => None,
        }
    }

    #[test]
    fn short_cuts_find_what_the_crate_finds() {
        let frames = [
            &b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$12\r\n$1\r\n+2\r\n:3\r\n\r\n"[..],
            b">3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n",
            b":0\r\n",
            b":123456789\r\n",
        ];
        for (at, frame) in frames.into_iter().enumerate() {
            let mut lists = vec![frame.to_vec(), frame.to_vec()];
            lists[1][0] = if frame[0] == b'>' { b'*' } else { frame[0] };
            for list in lists {
                let mut found = 0;
                // As it is, with a byte changed, and cut.
                for (place, byte) in
                    (0..list.len()).flat_map(|place| (0..=255).map(move |b| (place, b)))
                {
                    let mut changed = [&list[..], b":1\r\n"].concat();
                    changed[place] = byte;
                    for input in [&changed[..], &changed[..place]] {
                        for protocol in [Protocol::Two, Protocol::Three] {
                            let message = read_message(input, protocol, BYTES_MAX);
                            found += usize::from(message.is_some());
                            let theirs = message_of_crate(input, protocol);
                            assert!(
                                message.is_none() || message == theirs,
                                "{message:?}, not {theirs:?}"
                            );
                            let Some((n, len)) = read_integer(input) else { continue };
                            found += 1;
                            assert_eq!(Scanner::default().scan(input, BYTES_MAX), Ok(Some(len)));
                            assert_eq!(decode(&input[..len], protocol), Ok(Reply::Integer(n)));
                        }
                    }
                }
                assert!(found > list.len(), "frame {at} takes the short cut");
            }
        }
    }

    #[test]
    fn short_cuts_keep_to_their_bounds() {
        let frame = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n";
        assert!(read_message(frame, Protocol::Three, frame.len()).is_some());
        assert_eq!(read_message(frame, Protocol::Three, frame.len() - 1), None);
        assert_eq!(read_integer(b":1234567890\r\n"), None);
        assert_eq!(read_integer(b":999999999\r\n"), Some((999_999_999, 12)));
    }

    #[test]
    fn commands_are_lists_of_texts() {
        let mut output = Vec::new();
        push_publish(&mut output, b"channel", &[b"", b"0123456789"]);
        assert_eq!(output, b"*3\r\n$7\r\nPUBLISH\r\n$7\r\nchannel\r\n$10\r\n0123456789\r\n");
        output.clear();
        push_command(&mut output, &[b"PING", b""]);
        assert_eq!(output, b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    }

    #[test]
    fn values_are_checked_by_their_version() {
        let frame = b"*3\r\n$2\r\nab\r\n-ERR\r\n:7\r\n";
        let list = Reply::List(vec![Reply::Text(8..10), Reply::Error(13..16), Reply::Integer(7)]);
        assert_eq!(decode(frame, Protocol::Two), Ok(list.clone()));
        assert_eq!(decode(frame, Protocol::Three), Ok(list));
        assert_eq!(decode(b"$-1\r\n", Protocol::Two), Ok(Reply::Null));
        assert_eq!(decode(b"_\r\n", Protocol::Three), Ok(Reply::Null));
        assert_eq!(
            decode(b">1\r\n#t\r\n", Protocol::Three),
            Ok(Reply::Push(vec![Reply::Integer(1)]))
        );
        for (frame, protocol) in [
            (&b"_\r\n"[..], Protocol::Two),
            (b"$-1\r\n", Protocol::Three),
            (b":x\r\n", Protocol::Two),
            (b"#maybe\r\n", Protocol::Three),
            (b",1,5\r\n", Protocol::Three),
            (b"%1\r\n*0\r\n:1\r\n", Protocol::Three),
            (b"+a\r\n+b\r\n", Protocol::Three),
        ] {
            assert_eq!(decode(frame, protocol), Err(RespError::Value), "{}", frame.escape_ascii());
        }
    }
}
