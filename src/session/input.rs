//! Input of a session: frames are cut off the stream and answered one after the other.

use std::mem;

use super::Session;
#[cfg(feature = "admission")]
use super::rate_limited::RateLimited;
use crate::buffer::{FrameClock, RecvBuffer};
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::limits::LARGE_FRAME_BYTES;
use crate::memory::AllocError;
use crate::protocol::command::Reversal;
use crate::protocol::{
    ClientState, CloseReason, Context, ErrorOf, Flow, Handler, InPlace, Protocol, dispatch,
};

/// Input that may follow the bytes just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// More, perhaps at once.
    More,
    /// Nothing that can be read without waiting: for some protocols, the end of a message.
    WouldBlock,
    /// Nothing: an unterminated message is complete.
    Nothing,
}

/// The event the first deferred frame waits for, besides its turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WaitsFor {
    #[default]
    Nothing,
    /// Space in the log, for a broadcast.
    Fanout,
    /// The hash of a password.
    #[cfg(feature = "accounts")]
    Login,
    /// The answer of the server to an admin client.
    #[cfg(feature = "admin")]
    Admin,
    /// The client's rates.
    #[cfg(feature = "admission")]
    Rate,
    /// The cluster's word on a name.
    #[cfg(feature = "cluster")]
    Claim,
}

/// Buffered input and why it is pending.
#[derive(Debug, Default)]
pub(super) struct PendingInput {
    /// The beginning of a frame, or with `is_deferred` whole frames.
    pub(super) recv: RecvBuffer,
    /// Runs while a frame has begun and nothing else waits: `recv` holds its beginning, or has held
    /// what is discarded of it.
    pub(super) clock: Option<FrameClock>,
    /// `recv` may hold whole frames, retried when replies have space. If it holds only a partial
    /// frame, the frame clock starts when that is found.
    pub(super) is_deferred: bool,
    /// Nothing follows the deferred input: an unterminated message at its end is complete, and
    /// keeps its turn.
    pub(super) is_last: bool,
    /// The event the first deferred frame waits for.
    pub(super) waits_for: WaitsFor,
    /// `recv` begins with one long REVERSE that is worked on, a slice a visit.
    pub(super) reversal: Option<Box<Reversal>>,
}

impl PendingInput {
    pub(super) fn is_idle(&self) -> bool {
        self.recv.is_empty() && self.clock.is_none()
    }

    /// Starts the clock of a frame that has begun, or with `has_come` notes that more of it came.
    /// `is_discarding` tells of a frame of which nothing is kept.
    fn update_frame_clock(&mut self, now: Millis, has_come: bool, is_discarding: bool) {
        let begun = self.recv.len();
        match &mut self.clock {
            _ if begun == 0 && !is_discarding => self.clock = None,
            None => self.clock = Some(FrameClock::start(now, begun)),
            Some(clock) if has_come => clock.progress(now, begun),
            Some(_) => {}
        }
    }
}

/// Outcome of looking for a frame.
enum FrameStep<E> {
    /// A frame of so many bytes was answered.
    Taken(usize),
    /// There is no whole frame.
    Unfinished,
    /// The frame has to wait.
    Deferred(Flow),
    /// The frame was the last one.
    Closing(Flow),
    /// The stream can no longer be cut into frames.
    Failed(E),
}

/// Outcome of trying to answer a frame in its own buffer.
enum LargeStep {
    /// It cannot be, or not yet.
    NotTaken,
    /// It was answered.
    Taken,
    /// It is worked on, a slice a visit.
    Unfinished,
}

impl Session {
    /// Processes the bytes of one read. `is_drained`: no more can be read without blocking. Replies
    /// go to `ctx.shared.out`.
    #[inline]
    pub fn on_bytes(
        &mut self,
        protocol: &mut Protocol,
        bytes: &[u8],
        is_drained: bool,
        ctx: &mut Context<'_>,
    ) -> Flow {
        debug_assert!(!self.has_deferred_input(), "deferred frames come first");
        self.last_active_at = ctx.shared.now;
        let behind = if is_drained { Behind::WouldBlock } else { Behind::More };
        self.dispatch(protocol, bytes, behind, ctx)
    }

    /// Ends an unterminated message: EOF, would-block, or a quiet timeout. For a session that
    /// [`has_unterminated`](Self::has_unterminated).
    pub fn end_message(&mut self, protocol: &mut Protocol, ctx: &mut Context<'_>) -> Flow {
        self.dispatch(protocol, &[], Behind::Nothing, ctx)
    }

    /// Takes up frames that were deferred.
    pub fn on_resume(&mut self, protocol: &mut Protocol, ctx: &mut Context<'_>) -> Flow {
        let Some(buffers) = self.buffers.as_deref_mut() else { return Flow::Continue };
        let input = &mut buffers.input;
        if !mem::take(&mut input.is_deferred) {
            return Flow::Continue;
        }
        input.waits_for = WaitsFor::Nothing;
        let behind = if mem::take(&mut input.is_last) { Behind::Nothing } else { Behind::More };
        self.dispatch(protocol, &[], behind, ctx)
    }

    /// Has `protocol` process input, where there are rates within them.
    #[inline(always)]
    fn dispatch(
        &mut self,
        protocol: &mut Protocol,
        bytes: &[u8],
        behind: Behind,
        ctx: &mut Context<'_>,
    ) -> Flow {
        #[cfg(feature = "admission")]
        if ctx.shared.rates.is_limiting() {
            return dispatch!(protocol, handler => {
                self.receive(&mut RateLimited(handler), bytes, behind, ctx)
            });
        }
        dispatch!(protocol, handler => self.receive(handler, bytes, behind, ctx))
    }

    /// Processes input and records where its replies stand in the log: after everything before
    /// `head`. The client's own broadcasts are skipped.
    #[inline(never)]
    fn receive<H: Handler>(
        &mut self,
        handler: &mut H,
        bytes: &[u8],
        behind: Behind,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let (was_subscribed, head) = (self.client.is_subscribed(), ctx.room.log.head());
        ctx.shared.reply_limit = self.reply_capacity(ctx).min(ctx.shared.visit_bytes);
        let is_last = match behind {
            Behind::More => false,
            Behind::WouldBlock => handler.ends_on_would_block(),
            Behind::Nothing => true,
        };
        let mut decoder = handler.decoder(self.client);
        let mut rest = bytes;
        let buffered = match self.buffers {
            None => Ok(None),
            Some(_) => self.answer_buffered(handler, &mut decoder, &mut rest, is_last, head, ctx),
        };
        let step = match buffered {
            Ok(None) => self.answer_in_place(handler, &mut decoder, &mut rest, is_last, ctx),
            Ok(Some(step)) => step,
            Err(AllocError) => FrameStep::Closing(Flow::Close(CloseReason::MemoryLimit)),
        };
        let is_discarding = decoder.is_discarding();
        let flow = match step {
            FrameStep::Unfinished | FrameStep::Taken(_)
                if rest.is_empty() && !is_discarding && self.buffers.is_none() =>
            {
                Flow::Continue
            }
            FrameStep::Unfinished | FrameStep::Taken(_) => {
                let needed = handler.bytes_needed(&decoder, rest);
                self.buffer_rest(rest, needed, !bytes.is_empty(), is_discarding, ctx.shared.now)
            }
            FrameStep::Deferred(flow) => self.defer(flow, rest, is_last),
            // What is left will never be looked at.
            FrameStep::Closing(flow) => {
                self.drop_input();
                flow
            }
            FrameStep::Failed(error) => {
                self.drop_input();
                handler.on_decode_error(error, ctx)
            }
        };
        handler.save_decoder(&decoder, &mut self.client);
        if !self.client.is_subscribed() {
            return flow;
        }
        if !was_subscribed {
            self.cursor = ctx.room.log.head();
            return flow;
        }
        if ctx.shared.out.is_empty() && head == ctx.room.log.head() {
            return flow;
        }
        match self.place_replies(head, ctx.room) {
            Ok(()) => flow,
            Err(AllocError) => self.close_without_memory(),
        }
    }

    /// Answers frames where they lie, until one is unfinished or has to wait; leaves in `rest` what
    /// was not taken.
    #[inline(always)]
    fn answer_in_place<H: Handler>(
        &mut self,
        handler: &mut H,
        decoder: &mut H::Decoder,
        rest: &mut &[u8],
        is_last: bool,
        ctx: &mut Context<'_>,
    ) -> FrameStep<ErrorOf<H>> {
        // A copy of its own, which stays in registers.
        let mut input = *rest;
        let stopped = loop {
            input = &input[decoder.discard(input)..];
            match step(handler, decoder, input, is_last, &mut self.client, ctx) {
                FrameStep::Taken(len) => input = &input[len..],
                stopped => break stopped,
            }
        };
        *rest = input;
        stopped
    }

    /// Answers frames of which a part was buffered, until one is unfinished or has to wait. Returns
    /// `None` once the buffer is empty; unread input stays in `rest`.
    #[inline(never)]
    fn answer_buffered<H: Handler>(
        &mut self,
        handler: &mut H,
        decoder: &mut H::Decoder,
        rest: &mut &[u8],
        is_last: bool,
        log_head: u64,
        ctx: &mut Context<'_>,
    ) -> Result<Option<FrameStep<ErrorOf<H>>>, AllocError> {
        loop {
            let input = &mut self.buffers.get_or_insert_default().input;
            if input.recv.is_empty() {
                *rest = &rest[decoder.discard(rest)..];
                if !decoder.is_discarding() {
                    input.clock = None;
                }
                return Ok(None);
            }
            if let discarded @ 1.. = decoder.discard(&input.recv) {
                // What was deferred may hold the rest of a message that is too long.
                input.recv.consume(discarded);
                continue;
            }
            let needed = handler.bytes_needed(decoder, &input.recv);
            let (top_up, later) = rest.split_at(needed.min(rest.len()));
            input.recv.extend(top_up, needed - top_up.len())?;
            *rest = later;
            if input.recv.len() >= LARGE_FRAME_BYTES
                && H::in_place_len(&input.recv).is_some()
                && !self.must_log_in()
            {
                match self.answer_large(handler, log_head, ctx)? {
                    LargeStep::NotTaken => {}
                    LargeStep::Taken => continue,
                    LargeStep::Unfinished => {
                        return Ok(Some(FrameStep::Deferred(Flow::Continue)));
                    }
                }
            }
            let input = &mut self.buffers.get_or_insert_default().input;
            #[cfg(feature = "accounts")]
            let had_to_log_in = self.client.must_log_in();
            match step(handler, decoder, &input.recv, is_last, &mut self.client, ctx) {
                FrameStep::Taken(len) => {
                    input.clock = None;
                    input.recv.consume(len);
                    #[cfg(feature = "accounts")]
                    if had_to_log_in && !self.client.must_log_in() {
                        // What follows has another limit, and its replies a place in the log.
                        return Ok(Some(FrameStep::Deferred(Flow::Continue)));
                    }
                }
                FrameStep::Unfinished if !rest.is_empty() => {}
                stopped => return Ok(Some(stopped)),
            }
        }
    }

    /// Keeps the beginning of a frame that needs so many more bytes, and its clock.
    #[inline(never)]
    fn buffer_rest(
        &mut self,
        rest: &[u8],
        needed: usize,
        has_come: bool,
        is_discarding: bool,
        now: Millis,
    ) -> Flow {
        let input = &mut self.buffers.get_or_insert_default().input;
        if !rest.is_empty() && input.recv.extend(rest, needed).is_err() {
            return self.close_without_memory();
        }
        input.update_frame_clock(now, has_come, is_discarding);
        Flow::Continue
    }

    /// Keeps frames that have to wait.
    #[inline(never)]
    fn defer(&mut self, flow: Flow, rest: &[u8], is_last: bool) -> Flow {
        if rest.is_empty() && self.buffered_input().is_empty() {
            // The limit was met behind the last frame.
            return flow;
        }
        let input = &mut self.buffers.get_or_insert_default().input;
        input.is_deferred = true;
        input.is_last = is_last;
        input.waits_for = match flow {
            Flow::WaitForFanout => WaitsFor::Fanout,
            #[cfg(feature = "accounts")]
            Flow::WaitForLogin => WaitsFor::Login,
            #[cfg(feature = "admin")]
            Flow::WaitForAdmin => WaitsFor::Admin,
            #[cfg(feature = "admission")]
            Flow::WaitForRate => WaitsFor::Rate,
            #[cfg(feature = "cluster")]
            Flow::WaitForClaim => WaitsFor::Claim,
            _ => WaitsFor::Nothing,
        };
        input.clock = None;
        if !rest.is_empty() && input.recv.extend(rest, 0).is_err() {
            return self.close_without_memory();
        }
        flow
    }

    fn close_without_memory(&mut self) -> Flow {
        self.drop_input();
        Flow::Close(CloseReason::MemoryLimit)
    }

    /// Answers a long frame that was buffered, and is whole now, with its own bytes: the buffer
    /// becomes a block of the send queue.
    #[cold]
    #[inline(never)]
    fn answer_large<H: Handler>(
        &mut self,
        handler: &mut H,
        log_head: u64,
        ctx: &mut Context<'_>,
    ) -> Result<LargeStep, AllocError> {
        let input = &mut self.buffers.get_or_insert_default().input;
        let Some(frame_len) = H::in_place_len(&input.recv) else { return Ok(LargeStep::NotTaken) };
        // More frames may have arrived while a REVERSE is in progress.
        let is_whole = input.reversal.is_some() || input.recv.len() == frame_len;
        if !is_whole || ctx.shared.out.len() >= ctx.shared.reply_limit {
            return Ok(LargeStep::NotTaken);
        }
        #[cfg(feature = "admission")]
        if input.reversal.is_none() && handler.is_over_rate(ctx.shared) {
            // Looked at as a message, it is made to wait.
            return Ok(LargeStep::NotTaken);
        }
        let frame = &mut input.recv[..frame_len];
        match handler.reply_in_place(frame, &mut input.reversal, ctx) {
            InPlace::Unfinished => {
                ctx.shared.charge(usize::MAX);
                return Ok(LargeStep::Unfinished);
            }
            InPlace::Refused => {
                input.recv.consume(frame_len);
                input.reversal = None;
                input.clock = None;
                ctx.room.frames_in += 1;
                return Ok(LargeStep::Taken);
            }
            InPlace::Done => {}
        }
        input.reversal = None;
        input.clock = None;
        ctx.room.frames_in += 1;
        let behind = input.recv.split_off(frame_len)?;
        let frame = mem::replace(&mut input.recv, behind);
        self.place_replies(log_head, ctx.room)?;
        let send = &mut self.buffers.get_or_insert_default().send;
        send.push(&ctx.shared.out)?;
        ctx.shared.out.clear();
        send.push_buffer(frame)?;
        // It counts among the replies of this visit.
        let capacity = self.reply_capacity(ctx);
        ctx.shared.reply_limit = ctx.shared.reply_limit.min(capacity);
        Ok(LargeStep::Taken)
    }
}

/// Looks for a frame at the start of `input`, and has it answered.
// The body of the one loop an echo goes through: a call would cost a fifth of it.
#[inline(always)]
fn step<H: Handler>(
    handler: &mut H,
    decoder: &mut H::Decoder,
    input: &[u8],
    is_last: bool,
    client: &mut ClientState,
    ctx: &mut Context<'_>,
) -> FrameStep<ErrorOf<H>> {
    if ctx.shared.out.len() >= ctx.shared.reply_limit {
        return FrameStep::Deferred(Flow::Continue);
    }
    let found = match handler.decode(decoder, input) {
        Ok(None) if is_last => decoder.decode_eof(input).map(|frame| (frame, input.len())),
        Ok(found) => found,
        Err(error) => return FrameStep::Failed(error),
    };
    let Some((frame, len)) = found else { return FrameStep::Unfinished };
    ctx.room.frames_in += u64::from(H::COUNTS_FRAMES);
    match handler.on_message(frame, client, ctx) {
        Flow::Continue => FrameStep::Taken(len),
        close @ Flow::Close(_) => FrameStep::Closing(close),
        deferred => {
            // The frame will come again, and be counted then.
            ctx.room.frames_in -= u64::from(H::COUNTS_FRAMES);
            FrameStep::Deferred(deferred)
        }
    }
}
