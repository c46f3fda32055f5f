//! Bytes to frames and back. Knows neither I/O nor time nor logging: `core` and `bytes` only.
//!
//! Every decoder works in place: it is shown the bytes from the first one of the current frame on
//! and lends the frame out of them. It copies nothing and keeps nothing but its limit, because
//! reading a five-byte header again costs less than remembering it for each of a million idle
//! connections. Whoever calls keeps an unfinished tail (see [`crate::buffer::RecvBuffer`]).

// Tests may panic; that is how they fail.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub mod command;
pub mod prefixed;

use core::convert::Infallible;

/// What all decoders share, so that one loop feeds them all.
pub trait Decoder {
    /// A whole frame, lent from the input.
    type Frame<'a>;
    /// Why the stream cannot go on.
    type Error;

    /// Looks for a whole frame at the start of `input`.
    ///
    /// `input` begins at the first byte of a frame. Returns the frame and the number of bytes it
    /// takes up, or `None` when `input` is only a beginning.
    ///
    /// # Errors
    ///
    /// What follows can no longer be told into frames. The error is sticky: every later call
    /// returns it again.
    fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Self::Frame<'a>, usize)>, Self::Error>;

    /// How many bytes have to be added to `input`, the beginning of a frame, before
    /// [`decode`](Self::decode) can get any further; 0 when it can.
    fn missing(&self, input: &[u8]) -> usize;
}

/// The error of a decoder that accepts every byte.
pub type Never = Infallible;
