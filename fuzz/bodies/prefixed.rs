//! The `prefixed` codec on its own: every byte is a beginning, nothing is an error, and what is
//! missing is named exactly.

use mynah::internal::codec::Decoder;
use mynah::internal::codec::prefixed::{self, PAYLOAD_LEN_MAX, PrefixedDecoder};

/// Checks `data` as a stream, and as a payload to encode.
///
/// # Panics
///
/// When the codec deviates from what its documentation says.
pub fn run(data: &[u8]) {
    check_stream(data);
    for payload in [data, data.get(1..).unwrap_or_default()] {
        check_round_trip(&payload[..payload.len().min(PAYLOAD_LEN_MAX)]);
    }
}

/// Decodes a stream message by message. Encoding what comes out gives the stream again.
fn check_stream(stream: &[u8]) {
    let mut encoded = Vec::new();
    let mut rest = stream;
    loop {
        check_cuts(rest);
        let Ok(found) = PrefixedDecoder.decode(rest);
        let Some((payload, len)) = found else { break };
        assert_eq!(len, 1 + payload.len());
        assert!(
            std::ptr::eq(payload, &rest[1..len]),
            "a message is lent from the input, not copied"
        );
        prefixed::encode(payload, &mut encoded);
        rest = &rest[len..];
    }
    assert!(rest.len() <= PAYLOAD_LEN_MAX, "a whole message was not found");
    assert_eq!(encoded, stream[..stream.len() - rest.len()]);
}

/// A beginning of a message, cut anywhere, is whole or names exactly what it lacks.
fn check_cuts(input: &[u8]) {
    let end = 1 + usize::from(input.first().copied().unwrap_or(0));
    for cut in 0..=input.len().min(end + 1) {
        let missing = PrefixedDecoder.bytes_needed(&input[..cut]);
        let Ok(found) = PrefixedDecoder.decode(&input[..cut]);
        let expected = (cut >= end).then(|| (&input[1..end], end));
        assert_eq!(found, expected);
        // Before its first byte a message is not known to be longer than that.
        let next = if cut == 0 { 1 } else { end };
        assert_eq!(missing, next.saturating_sub(cut));
    }
}

/// Any payload, encoded, is decoded to itself, and one byte less is not enough.
fn check_round_trip(payload: &[u8]) {
    let mut wire = Vec::new();
    prefixed::encode(payload, &mut wire);
    let len = 1 + payload.len();
    assert_eq!(wire.len(), len);
    let mut exact = vec![0; len];
    prefixed::encode(payload, &mut exact.as_mut_slice());
    assert_eq!(exact, wire);
    assert_eq!(PrefixedDecoder.decode(&wire), Ok(Some((payload, len))));
    assert_eq!(PrefixedDecoder.decode(&wire[..len - 1]), Ok(None));
    wire.push(255);
    assert_eq!(PrefixedDecoder.decode(&wire), Ok(Some((payload, len))));
}
