//! No framing: all that one read returned is one message.

use core::convert::Infallible;

use super::Decoder;

/// Takes its whole input for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawDecoder;

impl Decoder for RawDecoder {
    type Frame<'a> = &'a [u8];
    type Error = Infallible;

    #[inline]
    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, Infallible> {
        Ok((!input.is_empty()).then_some((input, input.len())))
    }

    fn bytes_needed(&self, _: &[u8]) -> usize {
        0
    }
}
