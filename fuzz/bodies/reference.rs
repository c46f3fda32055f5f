//! The frame parsers as one would write them with the whole stream at hand: nothing incremental,
//! nothing clever, nothing shared with the real ones.

/// What a stream of frames comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Command byte and payload of every whole frame.
    pub frames: Vec<(u8, Vec<u8>)>,
    /// Length declared by the header that ended the stream, if one did.
    pub too_large: Option<u32>,
    /// Bytes of the unfinished frame at the end; 0 where the stream was ended.
    pub tail: usize,
}

/// Parses a `command` stream whose payloads may have `max` bytes.
pub fn command(stream: &[u8], max: u32) -> Parsed {
    let mut parsed = Parsed { frames: Vec::new(), too_large: None, tail: 0 };
    let mut at = 0;
    while stream.len() - at >= 5 {
        let len = stream[at + 1..at + 5].iter().fold(0, |len, byte| len * 256 + u32::from(*byte));
        if len > max {
            parsed.too_large = Some(len);
            return parsed;
        }
        let end = at + 5 + len as usize;
        if end > stream.len() {
            break;
        }
        parsed.frames.push((stream[at], stream[at + 5..end].to_vec()));
        at = end;
    }
    parsed.tail = stream.len() - at;
    parsed
}

/// Parses a `prefixed` stream; the command bytes are 0.
pub fn prefixed(stream: &[u8]) -> Parsed {
    let mut parsed = Parsed { frames: Vec::new(), too_large: None, tail: 0 };
    let mut at = 0;
    while at < stream.len() && at + 1 + usize::from(stream[at]) <= stream.len() {
        let end = at + 1 + usize::from(stream[at]);
        parsed.frames.push((0, stream[at + 1..end].to_vec()));
        at = end;
    }
    parsed.tail = stream.len() - at;
    parsed
}

/// What a `command` server answers to a lone client that sends `stream`; `None` where it would
/// tell the time (STATUS).
pub fn command_replies(stream: &[u8], max: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut reply = |command: u8, payload: &[u8]| {
        out.push(command);
        out.extend((payload.len() as u32).to_be_bytes());
        out.extend(payload);
    };
    let parsed = command(stream, max);
    for (code, payload) in &parsed.frames {
        match code {
            1 => reply(1, payload),
            2 => match String::from_utf8(payload.clone()) {
                Ok(text) => reply(1, text.chars().rev().collect::<String>().as_bytes()),
                Err(error) => {
                    let offset = error.utf8_error().valid_up_to();
                    let why = format!("REVERSE needs UTF-8: invalid byte at offset {offset}");
                    reply(255, why.as_bytes());
                }
            },
            3 => return Some(out),
            4 => reply(1, b"0"),
            7 => return None,
            code => reply(255, format!("unknown command {code}").as_bytes()),
        }
    }
    if let Some(len) = parsed.too_large {
        reply(255, format!("frame of {len} bytes exceeds the limit of {max}").as_bytes());
    }
    Some(out)
}

/// What a `prefixed` server answers to `stream`.
pub fn prefixed_replies(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, payload) in prefixed(stream).frames {
        out.push(payload.len() as u8);
        out.extend(payload.iter().rev());
    }
    out
}

/// What a stream of lines comes to.
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
