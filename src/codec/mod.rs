//! Bytes to frames and back. Knows neither I/O nor time nor logging: `core` and `bytes` only.
//!
//! Every decoder works in place: it is shown the bytes from the first one of the current frame on
//! and lends the frame out of them. It copies nothing and keeps nothing but its limit, because
//! reading a five-byte header again costs less than remembering it for each of a million idle
//! connections. The caller keeps an unfinished frame (see [`crate::buffer::RecvBuffer`]).

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
#[cfg(feature = "admin")]
pub mod http;
pub mod line;
pub mod package;
pub mod prefixed;
#[cfg(feature = "admission")]
pub mod proxy_header;
pub mod raw;

use core::convert::Infallible;

/// Interface of all decoders, so that one loop feeds them all.
pub trait Decoder {
    /// A whole frame, lent from the input.
    type Frame<'a>;
    /// The reason the stream cannot go on.
    type Error;

    /// Looks for a whole frame at the start of `input`.
    ///
    /// `input` begins at the first byte of a frame. Returns the frame and the number of bytes it
    /// takes up, or `None` when `input` is only a beginning.
    ///
    /// # Errors
    ///
    /// The stream can no longer be cut into frames; it is not to be decoded any further.
    fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Self::Frame<'a>, usize)>, Self::Error>;

    /// Lower bound of the bytes missing from the unfinished frame in `input`, which sizes the
    /// buffer; 0 if [`decode`](Self::decode) can get further. It may be called again before they
    /// have arrived. If a frame does not announce its length, they may include bytes of the next.
    fn bytes_needed(&self, input: &[u8]) -> usize;

    /// Number of bytes at the start of `input` that belong to no frame and are to be dropped before
    /// [`decode`](Self::decode) sees the rest.
    fn discard(&mut self, input: &[u8]) -> usize {
        let _ = input;
        0
    }

    /// Takes the beginning of a frame for a whole one, because no more of it will come.
    fn decode_eof<'a>(&mut self, input: &'a [u8]) -> Option<Self::Frame<'a>> {
        let _ = input;
        None
    }

    /// Whether part of a frame has been dropped and the rest is still to come.
    fn is_discarding(&self) -> bool {
        false
    }
}

/// The error of a decoder that accepts every byte.
pub type Never = Infallible;
