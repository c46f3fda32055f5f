//! The `prefixed` protocol: one byte N, then N bytes.

use bytes::BufMut;

use super::{Decoder, Never};

/// Longest payload, in bytes: the largest number in one length byte.
pub const PAYLOAD_LEN_MAX: usize = u8::MAX as usize;

/// Finds payloads in a stream of length-prefixed messages. No byte is an error here.
///
/// ```
/// use mynah::internal::codec::{Decoder, prefixed::PrefixedDecoder};
///
/// let found = PrefixedDecoder.decode(b"\x02hi\x01!");
/// assert_eq!(found, Ok(Some((&b"hi"[..], 3))));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixedDecoder;

impl Decoder for PrefixedDecoder {
    type Frame<'a> = &'a [u8];
    type Error = Never;

    #[inline]
    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, Never> {
        let Some((&len, rest)) = input.split_first() else { return Ok(None) };
        let Some(payload) = rest.get(..usize::from(len)) else { return Ok(None) };
        Ok(Some((payload, usize::from(len).saturating_add(1))))
    }

    fn bytes_needed(&self, input: &[u8]) -> usize {
        match input.split_first() {
            Some((&len, rest)) => usize::from(len).saturating_sub(rest.len()),
            None => 1,
        }
    }
}

/// Appends `payload` behind its length to `out`.
///
/// # Panics
///
/// If the payload is longer than [`PAYLOAD_LEN_MAX`]: a programming error, since replies are as
/// long as requests and requests cannot be longer.
pub fn encode(payload: &[u8], out: &mut impl BufMut) {
    out.put_u8(u8::try_from(payload.len()).expect("a prefixed payload has at most 255 bytes"));
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_byte_is_an_empty_message() {
        assert_eq!(PrefixedDecoder.decode(b"\0"), Ok(Some((&b""[..], 1))));
    }

    #[test]
    fn longest_message_has_255_bytes() {
        let mut wire = Vec::new();
        encode(&[7; PAYLOAD_LEN_MAX], &mut wire);
        assert_eq!(wire.len(), 256);
        assert_eq!(PrefixedDecoder.decode(&wire[..255]), Ok(None));
        assert_eq!(PrefixedDecoder.decode(&wire), Ok(Some((&[7; PAYLOAD_LEN_MAX][..], 256))));
    }

    #[test]
    fn what_is_missing_is_named_at_every_cut() {
        let wire = b"\x03abc";
        assert_eq!(PrefixedDecoder.bytes_needed(b""), 1);
        for cut in 1..=4 {
            assert_eq!(PrefixedDecoder.bytes_needed(&wire[..cut]), 4 - cut);
        }
        assert_eq!(PrefixedDecoder.bytes_needed(b"\x03abc\x05"), 0);
    }
}
