//! The `raw` protocol: input is sent back, behind a prefix. With an empty prefix this is the echo
//! service of RFC 862.

use log::debug;

use super::{ClientState, Context, Excerpt, Flow, Hooks};
use crate::codec::raw::RawDecoder;
use crate::limits::READ_BUFFER_BYTES;

/// An unframed echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawProtocol {
    /// Put before each answer.
    pub prefix: Vec<u8>,
}

impl Hooks for RawProtocol {
    type Decoder = RawDecoder;
    const COUNTS_FRAMES: bool = false;

    fn decoder(&self, _: ClientState) -> RawDecoder {
        RawDecoder
    }

    fn on_message(&mut self, bytes: &[u8], _: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        debug!("{} message: {}", ctx.id, Excerpt(bytes));
        ctx.shared.out.extend_from_slice(&self.prefix);
        ctx.shared.out.extend_from_slice(bytes);
        Flow::Continue
    }

    fn frame_len_max(&self, _: usize) -> usize {
        self.prefix.len() + READ_BUFFER_BYTES
    }
}
