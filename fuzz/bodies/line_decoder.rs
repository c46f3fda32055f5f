//! The chat's messages are the same however their bytes are cut, and what is kept of them between
//! the cuts is bounded.

use mynah::internal::codec::Decoder;
use mynah::internal::codec::line::{LINE_LEN_MAX, Line, LineDecoder};

use super::reference;

/// Longest run one instruction makes.
const RUN_LEN_MAX: usize = 5_000;
/// Longest stream one input makes.
const STREAM_LEN_MAX: usize = 40_000;

/// Takes fuzzer input apart and checks it: one byte for the number of cuts, two for the distance to
/// each next cut, and the stream, in which `\x01` with a byte and a length of two bytes stands for
/// a run of that byte: inputs are short and messages may be long.
///
/// # Panics
///
/// When the decoder deviates from the reference.
pub fn run(data: &[u8]) {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let (distances, rest) = rest.split_at(rest.len().min(2 * usize::from(cuts)));
    let stream = expand(rest);
    let (mut at, mut chunks) = (0, Vec::new());
    for distance in distances.chunks_exact(2) {
        let distance = usize::from(u16::from_be_bytes([distance[0], distance[1]]));
        let end = stream.len().min(at + distance);
        chunks.push(&stream[at..end]);
        at = end;
    }
    chunks.push(&stream[at..]);
    check(&chunks);
}

fn expand(mut rest: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (1, [filler, high, low, after @ ..]) => {
                let len = usize::from(u16::from_be_bytes([*high, *low])) % RUN_LEN_MAX;
                stream.extend(std::iter::repeat_n(*filler, len));
                rest = after;
            }
            _ => stream.push(byte),
        }
    }
    stream.truncate(STREAM_LEN_MAX);
    stream
}

/// Checks one stream, cut into `chunks`.
///
/// # Panics
///
/// When the decoder deviates from the reference.
pub fn check(chunks: &[&[u8]]) {
    let expected = reference::lines(&chunks.concat());
    let mut decoder = LineDecoder::default();
    let mut found = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            if kept.is_empty() {
                rest = &rest[decoder.discard(rest)..];
            } else {
                assert!(!decoder.is_discarding(), "what is skipped is not kept");
                let (top_up, later) = rest.split_at(decoder.bytes_needed(&kept).min(rest.len()));
                kept.extend(top_up);
                rest = later;
            }
            let in_place = kept.is_empty();
            let input = if in_place { rest } else { &kept };
            let Ok(decoded) = decoder.decode(input);
            match decoded {
                Some((line, len)) => {
                    assert!(len > 0 && len <= input.len());
                    found.push(owned(line));
                    if in_place {
                        rest = &rest[len..];
                    } else {
                        kept.drain(..len);
                    }
                }
                None if in_place || rest.is_empty() => break,
                None => assert!(decoder.bytes_needed(&kept) > 0, "it gets no further"),
            }
        }
        kept.extend(rest);
        assert!(kept.len() <= LINE_LEN_MAX + 1, "{} bytes of one line are kept", kept.len());
    }
    found.extend(decoder.decode_eof(&kept).map(owned));
    assert!(!decoder.is_discarding());
    assert_eq!(found, expected.lines);
    assert_eq!(decoder.ends_lines, expected.ended > 0);
}

fn owned(line: Line<'_>) -> Option<Vec<u8>> {
    match line {
        Line::Text(text) => Some(text.to_vec()),
        Line::TooLong => None,
    }
}
