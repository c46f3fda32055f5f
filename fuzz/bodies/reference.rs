//! The frame parsers as one would write them with the whole stream at hand: nothing incremental,
//! nothing clever, nothing shared with the real ones.

use std::fmt;
use std::io::Write;

/// Beginning of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A whole frame of `len` bytes; `code` is 0 where the protocol has none.
    Frame {
        /// The command byte.
        code: u8,
        /// Its payload.
        payload: &'a [u8],
        /// Bytes of the frame, header included.
        len: usize,
    },
    /// A header that declares a payload over the limit.
    TooLarge(u32),
    /// The beginning of a frame, or nothing.
    Partial,
}

/// Parses the start of a `command` stream whose payloads may have `max` bytes.
pub fn command(stream: &[u8], max: u32) -> Start<'_> {
    let [code, a, b, c, d, rest @ ..] = stream else { return Start::Partial };
    let declared = [a, b, c, d].into_iter().fold(0, |len, byte| len * 256 + u32::from(*byte));
    if declared > max {
        return Start::TooLarge(declared);
    }
    match rest.get(..declared as usize) {
        Some(payload) => Start::Frame { code: *code, payload, len: 5 + payload.len() },
        None => Start::Partial,
    }
}

/// Parses the start of a `prefixed` stream.
pub fn prefixed(stream: &[u8]) -> Start<'_> {
    let Some((&declared, rest)) = stream.split_first() else { return Start::Partial };
    match rest.get(..usize::from(declared)) {
        Some(payload) => Start::Frame { code: 0, payload, len: 1 + payload.len() },
        None => Start::Partial,
    }
}

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With a reply; the next frame is answered, too.
    Given,
    /// With its last reply, or with none.
    Last,
    /// With something that depends on the time (STATUS).
    Unknown,
}

/// Appends what a `command` server answers to a lone client.
pub fn answer_command(start: &Start<'_>, max: u32, out: &mut Vec<u8>) -> Answer {
    let (code, payload) = match *start {
        Start::Frame { code, payload, .. } => (code, payload),
        Start::TooLarge(len) => {
            error(format_args!("frame of {len} bytes exceeds the limit of {max}"), out);
            return Answer::Last;
        }
        Start::Partial => return Answer::Given,
    };
    match code {
        1 => echo(payload, out),
        2 => match str::from_utf8(payload) {
            Ok(text) => echo(text.chars().rev().collect::<String>().as_bytes(), out),
            Err(invalid) => {
                let offset = invalid.valid_up_to();
                error(format_args!("REVERSE needs UTF-8: invalid byte at offset {offset}"), out);
            }
        },
        3 => return Answer::Last,
        4 => echo(b"0", out),
        7 => return Answer::Unknown,
        code => error(format_args!("unknown command {code}"), out),
    }
    Answer::Given
}

fn echo(payload: &[u8], out: &mut Vec<u8>) {
    out.push(1);
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
}

fn error(reason: fmt::Arguments<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend([255, 0, 0, 0, 0]);
    write!(out, "{reason}").expect("a vector takes everything");
    let len = (out.len() - at - 5) as u32;
    out[at + 1..at + 5].copy_from_slice(&len.to_be_bytes());
}

/// Appends what a `prefixed` server answers.
pub fn answer_prefixed(start: &Start<'_>, out: &mut Vec<u8>) {
    if let Start::Frame { payload, .. } = start {
        out.push(payload.len() as u8);
        out.extend(payload.iter().rev());
    }
}

/// The lines of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    /// The messages, the unfinished one at the end among them; `None` for one that is too long.
    pub lines: Vec<Option<Vec<u8>>>,
    /// How many of them were ended.
    pub ended: usize,
}

/// Parses a `chat` stream.
pub fn lines(stream: &[u8]) -> Lines {
    let mut pieces: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    let ended = pieces.len() - 1;
    // Behind the last end there may be nothing, which is no message.
    if pieces.last().is_some_and(|tail| tail.is_empty()) {
        pieces.pop();
    }
    let line = |piece: &&[u8]| {
        let text = piece.strip_suffix(b"\r").unwrap_or(piece);
        (text.len() <= 4096).then(|| text.to_vec())
    };
    Lines { lines: pieces.iter().map(line).collect(), ended }
}
