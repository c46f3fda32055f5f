//! The `command` codec on its own: headers, limits, what is missing, sticky errors, and the way
//! there and back, above all where lengths turn over.

use std::fmt::Debug;

use mynah::internal::codec::Decoder;
use mynah::internal::codec::command::{
    Command, CommandDecoder, DecodeError, Frame, HEADER_LEN, Header,
};
use mynah::internal::limits::FRAME_LEN_LIMIT;

/// Takes fuzzer input apart and checks it: one byte picks the longest payload, the rest is a
/// stream, and then a frame to encode.
///
/// # Panics
///
/// When the codec deviates from what its documentation says.
pub fn run(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else { return };
    check_header(stream);
    for max in maxima(choice, stream) {
        check_stream(stream, max);
    }
    if let Some((&code, payload)) = stream.split_first() {
        check_round_trip(code, payload);
    }
}

/// Limits worth trying: a corner, and the length that the stream declares, give or take one.
fn maxima(choice: u8, stream: &[u8]) -> [u32; 4] {
    const CORNERS: [u32; 12] = [
        0,
        1,
        255,
        256,
        65_535,
        65_536,
        1 << 20,
        FRAME_LEN_LIMIT - 1,
        FRAME_LEN_LIMIT,
        (1 << 31) - 1,
        1 << 31,
        u32::MAX,
    ];
    let corner = CORNERS[usize::from(choice) % CORNERS.len()];
    let declared = declared(stream).unwrap_or(0);
    [corner, declared, declared.saturating_sub(1), declared.saturating_add(1)]
}

/// The length in the header at the start of `stream`, as the protocol's table has it.
fn declared(stream: &[u8]) -> Option<u32> {
    let len = stream.get(1..5)?;
    Some(len.iter().fold(0, |len, byte| len * 256 + u32::from(*byte)))
}

fn check_header(stream: &[u8]) {
    let header = Header::parse(stream);
    assert_eq!(header.is_some(), stream.len() >= HEADER_LEN);
    let Some(header) = header else { return };
    assert_eq!(header.command.code(), stream[0]);
    assert_eq!(Some(header.len), declared(stream));
    assert_eq!(header.encode(), stream[..HEADER_LEN]);
    assert!(!header.command.to_string().is_empty());
}

/// Decodes a stream frame by frame. Encoding what comes out gives the stream again.
fn check_stream(stream: &[u8], max: u32) {
    let mut decoder = CommandDecoder::new(max);
    let mut encoded = Vec::new();
    let mut rest = stream;
    loop {
        check_cuts(rest, max);
        match decoder.decode(rest) {
            Ok(Some((frame, len))) => {
                assert!(len <= rest.len() && frame.payload.len() <= max as usize);
                assert!(
                    std::ptr::eq(frame.payload, &rest[HEADER_LEN..len]),
                    "a frame is lent from the input, not copied"
                );
                frame.encode(&mut encoded);
                rest = &rest[len..];
            }
            Ok(None) => {
                assert!(declared(rest).is_none_or(|len| len <= max));
                break;
            }
            Err(error) => {
                check_error(decoder, error, rest, max);
                break;
            }
        }
    }
    assert_eq!(encoded, stream[..stream.len() - rest.len()]);
}

/// A beginning of a frame, cut anywhere that matters, is whole, or wrong, or names exactly what it
/// lacks.
fn check_cuts(input: &[u8], max: u32) {
    let end = declared(input).map_or(input.len(), |len| (len as usize).saturating_add(HEADER_LEN));
    let around = |at: usize| [at.saturating_sub(1), at, at.saturating_add(1)];
    let cuts = [around(0), around(HEADER_LEN), around(end), around(input.len())];
    for cut in cuts.into_iter().flatten().filter(|cut| *cut <= input.len()) {
        let input = &input[..cut];
        // A decoder keeps nothing between calls but its error, so a fresh one knows as much.
        let mut decoder = CommandDecoder::new(max);
        let missing = decoder.bytes_needed(input);
        let too_large = declared(input).filter(|len| *len > max);
        match decoder.decode(input) {
            Ok(Some((_, len))) => {
                assert_eq!((len, missing, too_large), (end, 0, None));
                assert!(len <= input.len());
            }
            Ok(None) => {
                let next = if cut < HEADER_LEN { HEADER_LEN } else { end };
                assert_eq!((Some(missing), too_large), (next.checked_sub(cut), None));
                assert!(missing > 0);
            }
            Err(DecodeError::FrameTooLarge { len, max: named }) => {
                assert_eq!((Some(len), named, missing), (too_large, max, 0));
            }
        }
    }
}

/// Shown the same input again, the decoder gives the same error, which names the length.
fn check_error(mut decoder: CommandDecoder, error: DecodeError, rest: &[u8], max: u32) {
    assert_eq!(decoder.decode(rest), Err(error));
    let len = declared(rest).expect("only a header can be wrong");
    assert_eq!(error.to_string(), format!("frame of {len} bytes exceeds the limit of {max}"));
}

/// Any command and payload, encoded, is decoded to itself, and one byte less is not enough.
fn check_round_trip(code: u8, payload: &[u8]) {
    let command = Command::from(code);
    assert_eq!(command.code(), code);
    let frame = Frame { command, payload };
    let mut wire = Vec::new();
    frame.encode(&mut wire);
    let len = HEADER_LEN + payload.len();
    assert_eq!(wire.len(), len);
    let max = u32::try_from(payload.len()).expect("fuzzer inputs are short");

    // A buffer of just the right size is enough.
    let mut exact = vec![0; len];
    frame.encode(&mut exact.as_mut_slice());
    assert_eq!(exact, wire);

    let decode = |max: u32, wire: &[u8]| owned(CommandDecoder::new(max).decode(wire));
    let whole = Ok(Some((code, payload.to_vec(), len)));
    assert_eq!(decode(max, &wire), whole);
    assert_eq!(decode(max, &wire[..len - 1]), Ok(None));
    if let Some(less) = max.checked_sub(1) {
        assert_eq!(decode(less, &wire), Err(DecodeError::FrameTooLarge { len: max, max: less }));
    }
    wire.push(code);
    assert_eq!(decode(max, &wire), whole, "what follows a frame is none of its business");
}

type Owned<E> = Result<Option<(u8, Vec<u8>, usize)>, E>;

/// A result that outlives what it was decoded from.
fn owned<E: Debug>(result: Result<Option<(Frame<'_>, usize)>, E>) -> Owned<E> {
    Ok(result?.map(|(frame, len)| (frame.command.code(), frame.payload.to_vec(), len)))
}
