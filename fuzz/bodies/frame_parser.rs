//! The frame parsers see the same frames and the same error however the bytes are cut, and so does
//! a session built on them.

use mynah::clock::Millis;
use mynah::codec::Decoder;
use mynah::codec::command::{self, CommandDecoder, DecodeError};
use mynah::codec::prefixed::{self, PrefixedDecoder};
use mynah::conn_id::ConnId;
use mynah::limits::{Limits, VISIT_BYTES_MAX};
use mynah::protocol::{
    CommandProtocol, Context, Flow, PeerAddr, PrefixedProtocol, Protocol, Room, Shared,
};
use mynah::session::Session;

use super::reference::{self, Parsed};

/// Takes fuzzer input apart and checks it: one byte for the number of cuts, two for the longest
/// payload, two for the distance to each next cut, and the stream.
pub fn run(data: &[u8]) {
    let [cuts, max_high, max_low, rest @ ..] = data else {
        return;
    };
    let max = u32::from(u16::from_be_bytes([*max_high, *max_low]));
    let (distances, stream) = rest.split_at(rest.len().min(2 * usize::from(*cuts)));
    let mut at = 0;
    let mut chunks = Vec::new();
    for distance in distances.chunks_exact(2) {
        let end =
            stream.len().min(at + usize::from(u16::from_be_bytes([distance[0], distance[1]])));
        chunks.push(&stream[at..end]);
        at = end;
    }
    chunks.push(&stream[at..]);
    check(&chunks, max);
}

/// Checks one stream, cut into `chunks`, with payloads of at most `max` bytes.
///
/// # Panics
///
/// When a parser deviates from its reference.
pub fn check(chunks: &[&[u8]], max: u32) {
    let stream = chunks.concat();
    let encode = |command: u8, payload: &[u8], out: &mut Vec<u8>| {
        command::Frame { command: command.into(), payload }.encode(out);
    };
    let parsed = reference::command(&stream, max);
    assert_eq!(
        parse(
            chunks,
            CommandDecoder::new(max),
            |frame| (frame.command.code(), frame.payload.to_vec()),
            |e| {
                let DecodeError::FrameTooLarge { len, max: named } = e;
                assert_eq!(named, max);
                len
            }
        ),
        parsed
    );
    check_round_trip(&parsed, &stream, encode);

    let parsed = reference::prefixed(&stream);
    assert_eq!(
        parse(chunks, PrefixedDecoder, |payload| (0, payload.to_vec()), |never| match never {}),
        parsed
    );
    check_round_trip(&parsed, &stream, |_, payload, out| prefixed::encode(payload, out));

    let longest = command::HEADER_LEN + max as usize;
    let replies = converse(chunks, CommandProtocol { frame_len_max: max }.into(), longest);
    if let Some(expected) = reference::command_replies(&stream, max) {
        assert_eq!(replies, expected);
    }
    let replies = converse(chunks, PrefixedProtocol.into(), 1 + prefixed::PAYLOAD_LEN_MAX);
    assert_eq!(replies, reference::prefixed_replies(&stream));
}

/// Runs a decoder as its contract says: shown the bytes from the start of the frame on, and never
/// more often than it asks for.
fn parse<D: Decoder>(
    chunks: &[&[u8]],
    mut decoder: D,
    frame_of: impl Fn(D::Frame<'_>) -> (u8, Vec<u8>),
    len_of: impl Fn(D::Error) -> u32,
) -> Parsed {
    let mut kept: Vec<u8> = Vec::new();
    let mut parsed = Parsed { frames: Vec::new(), too_large: None, tail: 0 };
    for chunk in chunks {
        kept.extend(*chunk);
        let mut at = 0;
        loop {
            let input = &kept[at..];
            let missing = decoder.bytes_needed(input);
            match decoder.decode(input) {
                Ok(Some((frame, len))) => {
                    let (command, payload) = frame_of(frame);
                    assert!(missing == 0 && len > 0 && len <= input.len());
                    parsed.frames.push((command, payload));
                    at += len;
                }
                Ok(None) => {
                    assert!(missing > 0, "an incomplete frame misses something");
                    break;
                }
                Err(error) => {
                    assert_eq!(missing, 0, "an error needs no more input");
                    parsed.too_large = Some(len_of(error));
                    let again = decoder.decode(input).err().map(&len_of);
                    assert_eq!(again, parsed.too_large, "errors are sticky");
                    return parsed;
                }
            }
        }
        kept.drain(..at);
    }
    parsed.tail = kept.len();
    parsed
}

/// Encoding what was decoded gives the bytes it was decoded from.
fn check_round_trip(parsed: &Parsed, stream: &[u8], encode: impl Fn(u8, &[u8], &mut Vec<u8>)) {
    let mut encoded = Vec::new();
    for (command, payload) in &parsed.frames {
        encode(*command, payload, &mut encoded);
    }
    assert!(stream.starts_with(&encoded));
}

/// Feeds a session chunk by chunk and returns all it answers. It never keeps more than one frame
/// of `longest` bytes.
fn converse(chunks: &[&[u8]], mut protocol: Protocol, longest: usize) -> Vec<u8> {
    let limits = Limits { send_queue_bytes_max: 4096, ..Limits::default() };
    let mut room = Room::new(limits.broadcast_log_bytes_max);
    let mut shared = Shared::new(limits, Millis(0));
    room.members = 1;
    let mut session = Session::new(1, &protocol, Millis(0), &room.log);
    let mut replies = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        let mut rest = Some(chunk);
        // The replies are taken at once, as by a fast reader, until nothing is deferred.
        while rest.is_some() || session.has_deferred_input() {
            shared.visit_bytes = VISIT_BYTES_MAX;
            let id = ConnId { index: 0, generation: 1 };
            let mut ctx =
                Context { id, peer: PeerAddr::Unknown, room: &mut room, shared: &mut shared };
            let flow = match rest.take() {
                Some(chunk) => session.on_bytes(&mut protocol, chunk, false, &mut ctx),
                None => session.on_resume(&mut protocol, &mut ctx),
            };
            // A long frame is its own reply, in the send queue.
            if let Some(queue) = session.send_queue() {
                replies.extend(queue.contents(session.cursor(), &room.log).expect("no log"));
                session.advance(session.unsent_len(), 0);
            }
            replies.append(&mut shared.out);
            if flow != Flow::Continue {
                return replies;
            }
        }
        assert!(session.buffered_input().len() < longest);
    }
    replies
}
