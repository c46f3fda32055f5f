//! A service of an embedder's, the key-value server of docs/examples/: however its stream is cut,
//! the same frames are found, the same replies come, and no more than a frame is buffered.

#[path = "../../docs/examples/key_value.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod key_value;

use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, VISIT_BYTES_MAX};
use mynah::internal::protocol::{Context, Flow, Protocol};
use mynah::{Framing, Service};

use super::listener::Listener;
use key_value::KeyValue;

/// Longest frame: its length is a `u16`.
const FRAME_LEN_MAX: usize = 2 + u16::MAX as usize;

/// Takes fuzzer input apart and checks it: a byte for the number of cuts, two for the distance to
/// each next cut, and the stream.
///
/// # Panics
///
/// When the cuts change what is answered, or a bound is broken.
pub fn run(data: &[u8]) {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let (distances, stream) = rest.split_at(rest.len().min(2 * usize::from(cuts)));
    let mut start = 0;
    let mut chunks = Vec::new();
    for distance in distances.chunks_exact(2) {
        let distance = usize::from(u16::from_be_bytes([distance[0], distance[1]]));
        let end = stream.len().min(start + distance);
        chunks.push(&stream[start..end]);
        start = end;
    }
    chunks.push(&stream[start..]);
    let (replies, frames) = answers(&chunks);
    assert_eq!((replies, frames), answers(&[stream]), "the cuts change what is answered");
    assert_eq!(frames, whole_frames(stream).min(frames), "more is answered than was sent");
}

/// All replies to a stream that comes in `chunks`, and how many frames were answered.
fn answers(chunks: &[&[u8]]) -> (Vec<u8>, u64) {
    let limits = Limits::default();
    let mut listener = Listener::new(KeyValue::default().into(), limits, 0);
    listener.room.members = 1;
    let mut session = listener.session(1, Millis(0));
    let id = ConnId { index: 0, generation: 1 };
    let (mut replies, mut out) = (Vec::new(), Vec::new());
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        let mut rest = Some(*chunk);
        while rest.is_some() || session.has_deferred_input() {
            let visit = |protocol: &mut Protocol, ctx: &mut Context<'_>| match rest.take() {
                Some(chunk) => session.on_bytes(protocol, chunk, false, ctx),
                None => session.on_resume(protocol, ctx),
            };
            let flow = listener.call(id, &mut out, VISIT_BYTES_MAX, Millis(0), visit);
            replies.append(&mut out);
            if flow != Flow::Continue {
                return (replies, listener.stats().frames_in_total);
            }
        }
        assert!(session.buffered_input().len() < FRAME_LEN_MAX);
    }
    (replies, listener.stats().frames_in_total)
}

/// Frames that are whole, by a loop of their own.
fn whole_frames(mut stream: &[u8]) -> u64 {
    let mut frames = 0;
    while let [high, low, rest @ ..] = stream {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let found = KeyValue::default().find_frame(stream);
        let Some(later) = rest.get(len..) else {
            assert_eq!(found, Framing::Incomplete { needed: len - rest.len() });
            break;
        };
        assert_eq!(found, Framing::Frame { len: 2 + len });
        stream = later;
        frames += 1;
    }
    frames
}
