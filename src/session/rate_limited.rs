//! A protocol whose messages wait while their client is over its rates. Only sessions of a server
//! with rates go through it, so that others pay nothing.

use crate::codec::Decoder;
use crate::protocol::command::Reversal;
use crate::protocol::{ClientState, Context, ErrorOf, Flow, FrameOf, Handler, InPlace, Shared};

/// A protocol behind the rates in `Context::shared`.
pub(super) struct RateLimited<'a, H>(pub(super) &'a mut H);

impl<H: Handler> Handler for RateLimited<'_, H> {
    type Decoder = H::Decoder;
    const COUNTS_FRAMES: bool = H::COUNTS_FRAMES;

    fn decoder(&self, client: ClientState) -> Self::Decoder {
        self.0.decoder(client)
    }

    fn save_decoder(&self, decoder: &Self::Decoder, client: &mut ClientState) {
        self.0.save_decoder(decoder, client);
    }

    fn decode<'a>(
        &self,
        decoder: &mut Self::Decoder,
        input: &'a [u8],
    ) -> Result<Option<(<Self::Decoder as Decoder>::Frame<'a>, usize)>, ErrorOf<Self>> {
        self.0.decode(decoder, input)
    }

    fn bytes_needed(&self, decoder: &Self::Decoder, input: &[u8]) -> usize {
        self.0.bytes_needed(decoder, input)
    }

    fn on_message(
        &mut self,
        message: FrameOf<'_, Self>,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let broadcast_len = self.0.broadcast_len(&message);
        let (before, now) = (ctx.shared.rate_state, ctx.shared.now);
        if !ctx.shared.rates.take(&mut ctx.shared.rate_state, broadcast_len, now) {
            return Flow::WaitForRate;
        }
        let flow = self.0.on_message(message, client, ctx);
        if flow.is_deferred() {
            // It will come again, and be counted then.
            ctx.shared.rate_state = before;
        }
        flow
    }

    fn on_decode_error(&mut self, error: ErrorOf<Self>, ctx: &mut Context<'_>) -> Flow {
        self.0.on_decode_error(error, ctx)
    }

    fn in_place_len(buffered: &[u8]) -> Option<usize> {
        H::in_place_len(buffered)
    }

    fn reply_in_place(
        &mut self,
        frame: &mut [u8],
        progress: &mut Option<Box<Reversal>>,
        ctx: &mut Context<'_>,
    ) -> InPlace {
        let outcome = self.0.reply_in_place(frame, progress, ctx);
        if outcome != InPlace::Unfinished {
            ctx.shared.rates.charge(&mut ctx.shared.rate_state, ctx.shared.now);
        }
        outcome
    }

    fn is_over_rate(&self, shared: &Shared) -> bool {
        let mut state = shared.rate_state;
        !shared.rates.take(&mut state, 0, shared.now)
    }

    fn ends_on_would_block(&self) -> bool {
        self.0.ends_on_would_block()
    }

    fn frame_len_max(&self, members: usize) -> usize {
        self.0.frame_len_max(members)
    }
}
