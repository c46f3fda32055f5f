//! The frame parsers see the same frames and the same error however the bytes are cut, and so does
//! a session built on them. Nothing here allocates in the common case: under AddressSanitizer an
//! allocation costs more than the parsers do.

use std::cell::RefCell;

use mynah::internal::clock::Millis;
use mynah::internal::codec::Decoder;
use mynah::internal::codec::command::{self, CommandDecoder, DecodeError};
use mynah::internal::codec::prefixed::{self, PrefixedDecoder};
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, VISIT_BYTES_MAX};
use mynah::internal::protocol::{CommandProtocol, Context, Flow, PrefixedProtocol, Protocol};

use super::listener::Listener;
use super::reference::{self, Answer, Start};

/// Takes fuzzer input apart and checks it: a byte whose highest bit says `prefixed`, else
/// `command`, and whose lowest five give the number of cuts; two for the longest payload, two for
/// the distance to each next cut, and the stream.
///
/// # Panics
///
/// When a parser deviates from its reference.
pub fn run(data: &[u8]) {
    let [choice, max_high, max_low, rest @ ..] = data else {
        return;
    };
    let (is_prefixed, cuts) = (choice >> 7 == 1, usize::from(choice & 31));
    let max = u32::from(u16::from_be_bytes([*max_high, *max_low]));
    let (distances, stream) = rest.split_at(rest.len().min(2 * cuts));
    let distances = distances.as_chunks::<2>().0.iter();
    let ends = distances.scan(0, |end, distance| {
        *end += usize::from(u16::from_be_bytes(*distance));
        (*end < stream.len()).then_some(*end)
    });
    SCRATCH.with_borrow_mut(|scratch| {
        if is_prefixed {
            scratch.check_prefixed(stream, ends);
        } else {
            scratch.check_command(stream, ends, max);
        }
    });
}

/// Checks one stream of each protocol, cut into `chunks`, with payloads of at most `max` bytes.
///
/// # Panics
///
/// When a parser deviates from its reference.
pub fn check(chunks: &[&[u8]], max: u32) {
    let stream = chunks.concat();
    let ends = chunks.iter().scan(0, |end, chunk| {
        *end += chunk.len();
        Some(*end)
    });
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.check_command(&stream, ends.clone(), max);
        scratch.check_prefixed(&stream, ends);
    });
}

/// A decoder in the reference's terms.
trait Parser: Decoder {
    /// Decodes the start of `input`; the limit that an error names is `max`.
    fn parse<'a>(&mut self, input: &'a [u8], max: u32) -> Start<'a>;

    /// Start of `stream`, all of it at hand.
    fn reference(stream: &[u8], max: u32) -> Start<'_>;

    /// Appends the frame.
    fn encode(code: u8, payload: &[u8], out: &mut Vec<u8>);
}

impl Start<'_> {
    /// Whether both are the same, their payloads in the same place.
    fn is(&self, other: &Start<'_>) -> bool {
        match (self, other) {
            (
                Start::Frame { code, payload, len },
                Start::Frame { code: other_code, payload: other_payload, len: other_len },
            ) => {
                let is_same_place = std::ptr::eq(*payload, *other_payload);
                code == other_code && len == other_len && is_same_place
            }
            (Start::TooLarge(len), Start::TooLarge(other)) => len == other,
            (Start::Partial, Start::Partial) => true,
            _ => false,
        }
    }
}

impl Parser for CommandDecoder {
    fn parse<'a>(&mut self, input: &'a [u8], max: u32) -> Start<'a> {
        match self.decode(input) {
            Ok(Some((command::Frame { command, payload }, len))) => {
                Start::Frame { code: command.code(), payload, len }
            }
            Ok(None) => Start::Partial,
            Err(DecodeError::FrameTooLarge { len, max: named }) => {
                assert_eq!(named, max);
                Start::TooLarge(len)
            }
        }
    }

    fn reference(stream: &[u8], max: u32) -> Start<'_> {
        reference::command(stream, max)
    }

    fn encode(code: u8, payload: &[u8], out: &mut Vec<u8>) {
        command::Frame { command: code.into(), payload }.encode(out);
    }
}

impl Parser for PrefixedDecoder {
    fn parse<'a>(&mut self, input: &'a [u8], _: u32) -> Start<'a> {
        let Ok(found) = self.decode(input);
        found.map_or(Start::Partial, |(payload, len)| Start::Frame { code: 0, payload, len })
    }

    fn reference(stream: &[u8], _: u32) -> Start<'_> {
        reference::prefixed(stream)
    }

    fn encode(_: u8, payload: &[u8], out: &mut Vec<u8>) {
        prefixed::encode(payload, out);
    }
}

/// Runs a decoder as its contract says: shown the bytes from the start of the frame on, and never
/// more often than it asks for. At every cut it finds what the reference finds in the whole stream,
/// lent from the input; all it finds, encoded, is what it was found in.
fn check_decoder<P: Parser>(
    mut parser: P,
    max: u32,
    stream: &[u8],
    ends: impl Iterator<Item = usize>,
    encoded: &mut Vec<u8>,
    mut on_found: impl FnMut(&Start<'_>),
) {
    encoded.clear();
    let mut at = 0;
    for end in ends {
        loop {
            let input = &stream[at..end];
            let missing = parser.bytes_needed(input);
            let found = parser.parse(input, max);
            match found {
                Start::Frame { code, payload, len } => {
                    assert!(missing == 0 && len <= input.len());
                    assert!(found.is(&P::reference(&stream[at..], max)), "{found:?} at {at}");
                    P::encode(code, payload, encoded);
                    on_found(&found);
                    at += len;
                }
                Start::Partial => {
                    assert!(missing > 0, "an incomplete frame misses something");
                    assert!(found.is(&P::reference(input, max)), "{found:?} at {at}");
                    break;
                }
                Start::TooLarge(_) => {
                    assert_eq!(missing, 0, "an error needs no more input");
                    assert!(found.is(&P::reference(&stream[at..], max)), "{found:?} at {at}");
                    assert!(found.is(&parser.parse(input, max)), "errors are sticky");
                    on_found(&found);
                    assert_eq!(*encoded, stream[..at]);
                    return;
                }
            }
        }
    }
    assert!(Start::Partial.is(&P::reference(&stream[at..], max)), "stopped at {at}");
    assert_eq!(*encoded, stream[..at]);
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Buffers, and a listener, that all runs of a thread use.
struct Scratch {
    listener: Listener,
    /// Replies of one visit.
    out: Vec<u8>,
    /// Replies to the whole stream, as the reference gives them.
    expected: Vec<u8>,
    /// The frames found, encoded.
    encoded: Vec<u8>,
}

impl Scratch {
    fn new() -> Self {
        let limits = Limits { send_queue_bytes_max: 4096, ..Limits::default() };
        let log_bytes_max = limits.broadcast_log_bytes_max;
        let mut listener = Listener::new(PrefixedProtocol.into(), limits, log_bytes_max);
        listener.room.members = 1;
        Scratch { listener, out: Vec::new(), expected: Vec::new(), encoded: Vec::new() }
    }

    /// Checks a `command` stream that is cut at `ends`, which rise, and at its end.
    fn check_command(
        &mut self,
        stream: &[u8],
        ends: impl Iterator<Item = usize> + Clone,
        max: u32,
    ) {
        let ends = ends.chain([stream.len()]);
        let Scratch { encoded, expected, .. } = self;
        expected.clear();
        let mut last = Answer::Given;
        let decoder = CommandDecoder::new(max);
        check_decoder(decoder, max, stream, ends.clone(), encoded, |found| {
            if last == Answer::Given {
                last = reference::answer_command(found, max, expected);
            }
        });
        self.listener.protocol = CommandProtocol { payload_len_max: max }.into();
        let longest = command::HEADER_LEN + max as usize;
        self.check_session(stream, ends, longest, last != Answer::Unknown);
    }

    /// Checks a `prefixed` stream in the same way.
    fn check_prefixed(&mut self, stream: &[u8], ends: impl Iterator<Item = usize> + Clone) {
        let ends = ends.chain([stream.len()]);
        let Scratch { encoded, expected, .. } = self;
        expected.clear();
        check_decoder(PrefixedDecoder, 0, stream, ends.clone(), encoded, |found| {
            reference::answer_prefixed(found, expected);
        });
        self.listener.protocol = PrefixedProtocol.into();
        self.check_session(stream, ends, 1 + prefixed::PAYLOAD_LEN_MAX, true);
    }

    /// Feeds a session chunk by chunk. It answers as expected, if that is known, and never keeps
    /// more than one frame of `longest` bytes.
    fn check_session(
        &mut self,
        stream: &[u8],
        ends: impl Iterator<Item = usize>,
        longest: usize,
        is_known: bool,
    ) {
        let Scratch { listener, out, expected, .. } = self;
        let mut session = listener.session(1, Millis(0));
        let mut missing = &expected[..];
        let mut start = 0;
        'stream: for end in ends {
            let chunk = &stream[start..end];
            start = end;
            if chunk.is_empty() {
                continue;
            }
            let mut rest = Some(chunk);
            // The replies are taken at once, as by a fast reader, until nothing is held back.
            while rest.is_some() || session.has_deferred_input() {
                let id = ConnId { index: 0, generation: 1 };
                let visit = |protocol: &mut Protocol, ctx: &mut Context<'_>| match rest.take() {
                    Some(chunk) => session.on_bytes(protocol, chunk, false, ctx),
                    None => session.on_resume(protocol, ctx),
                };
                let flow = listener.call(id, out, VISIT_BYTES_MAX, Millis(0), visit);
                // A long frame is its own reply, in the send queue, ahead of what `out` has.
                if let Some(queue) = session.send_queue() {
                    let queued = queue.contents(session.cursor(), listener.log());
                    missing = expect(missing, &queued.expect("no log"), is_known);
                    session.advance(session.unsent_len(), 0);
                }
                missing = expect(missing, out, is_known);
                out.clear();
                if flow != Flow::Continue {
                    break 'stream;
                }
            }
            assert!(session.buffered_input().len() < longest);
        }
        assert!(!is_known || missing.is_empty(), "not answered: {}", missing.escape_ascii());
        assert_eq!(listener.log().head(), 0, "a broadcast to nobody is not kept");
    }
}

/// Takes `replies` from the beginning of what is `missing`.
fn expect<'a>(missing: &'a [u8], replies: &[u8], is_known: bool) -> &'a [u8] {
    if !is_known {
        return missing;
    }
    let (expected, later) = missing.split_at(replies.len().min(missing.len()));
    assert_eq!(replies, expected);
    later
}
