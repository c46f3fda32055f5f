//! The `prefixed` protocol: a length byte and a message, answered with the same length and the
//! bytes reversed.

use log::debug;

use super::{ClientState, Context, Flow, Handler, ProtocolDefaults, UrlProtocol};
use crate::codec::prefixed::{self, PrefixedDecoder};
use crate::escape::Excerpt;

/// Cost of a message besides its bytes, of which it may have none.
const MESSAGE_COST_BYTES: usize = 16;

/// Messages behind one length byte, answered reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixedProtocol;

impl Handler for PrefixedProtocol {
    type Decoder = PrefixedDecoder;

    fn decoder(&self, _: ClientState) -> PrefixedDecoder {
        PrefixedDecoder
    }

    fn on_message(&mut self, payload: &[u8], _: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        debug!("{} message: {}", ctx.id, Excerpt(payload));
        ctx.shared.charge(MESSAGE_COST_BYTES);
        let out = &mut ctx.shared.out;
        let start = out.len();
        prefixed::encode(payload, out);
        out[start + 1..].reverse();
        Flow::Continue
    }

    fn frame_len_max(&self, _: usize) -> usize {
        1 + prefixed::PAYLOAD_LEN_MAX
    }
}

impl UrlProtocol for PrefixedProtocol {
    const NAME: &'static str = "prefixed";
    const DEFAULT_PORT: u16 = 8080;
    const IDLE_SECS: u64 = 60;
    const IS_DEFAULT: bool = true;
    const SUMMARY: &'static str = "a length byte and text, which is reversed";

    fn with_defaults(_: &ProtocolDefaults) -> Self {
        PrefixedProtocol
    }
}
