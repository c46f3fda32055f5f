//! One connection's conversation, without its socket: bytes go in, frames reach a handler, reply
//! bytes come out. Time is an argument. Knows nothing of readiness, slots or other sessions.

mod frame_loop;

use std::mem;

use crate::address::AddressKey;
use crate::buffer::{BroadcastLog, LagError, Pieces, SendQueue};
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::codec::command::{Command, CommandDecoder, Frame, HEADER_LEN, Header};
use crate::codec::line::LineDecoder;
use crate::codec::package::PackageDecoder;
use crate::codec::prefixed::PrefixedDecoder;
use crate::limits::{LARGE_FRAME_BYTES, Limits, SEND_SEGMENTS_MAX, TAIL_QUIET_MS};
use crate::memory::{AllocError, MemoryAccount};
use crate::protocol::chat;
use crate::protocol::{self, ClientState, CloseReason, Context, Flow, Protocol, ReversalStep};

use frame_loop::{FrameLoop, FrameStep, Input, Pending};

/// The state of one conversation: 32 bytes while it is idle.
///
/// Reply bytes leave in this order: the send queue first, then the replies at hand, then what the
/// broadcast log holds behind the cursor. Where replies are made while the client lags, the queue
/// notes that so much of the log comes before them ([`SendQueue::push_log`]), so no frame is ever
/// torn apart by another, and nothing of the log is copied.
#[derive(Debug)]
pub struct Session {
    /// What a connection has only while something is unfinished.
    buffers: Option<Box<Buffers>>,
    /// When the client last sent a byte, or took one of those it made wait.
    last_active_at: Millis,
    /// How much of the broadcast log the client has been sent, if it is subscribed or some of it
    /// stands in the send queue.
    cursor: u64,
    /// Which of the conversations that have had this place in the table this is.
    generation: u32,
    tag: ClientState,
}

/// Bytes that wait. Freed by [`Session::update_charge`] as soon as none do.
#[derive(Debug, Default)]
struct Buffers {
    input: Pending,
    send: SendQueue,
    /// Bytes the memory account has been charged with for this.
    charged: usize,
    /// Whose they are, if anybody has had to know.
    address: Option<AddressKey>,
}

impl Buffers {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.input.recv.allocated() + self.send.allocated()
    }
}

/// What came of a frame too large to be copied.
enum Large {
    /// It is answered or dropped.
    Taken,
    /// It is being worked on.
    Pending,
}

impl Session {
    /// A conversation that begins now. It will be sent broadcasts from the log's head on, or where
    /// clients have to join first, from when it joins.
    #[must_use]
    pub fn new(generation: u32, protocol: &Protocol, now: Millis, log: &BroadcastLog) -> Self {
        let tag = match protocol {
            Protocol::Chat { .. } => ClientState::UNREGISTERED,
            _ => ClientState::SUBSCRIBER,
        };
        Session { buffers: None, last_active_at: now, cursor: log.head(), generation, tag }
    }

    /// Which of the conversations that have had this place in the table this is.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Takes what a read returned; `is_dry` is that nothing more can be read without waiting.
    /// Replies go to `ctx.out`.
    pub fn on_bytes(
        &mut self,
        protocol: &Protocol,
        bytes: &[u8],
        is_dry: bool,
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        debug_assert!(!self.has_deferred_input(), "deferred frames come first");
        self.last_active_at = now;
        let is_last = is_dry && protocol.ends_on_would_block();
        self.receive(protocol, &Input { bytes, now, is_last }, ctx)
    }

    /// No more is waited for: what has come is all there is of the last message. For a session whose
    /// [`has_unterminated`](Self::has_unterminated).
    pub fn on_end(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        self.receive(protocol, &Input { bytes: &[], now, is_last: true }, ctx)
    }

    /// Takes up frames that were deferred.
    pub fn on_resume(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        let Some(Buffers { input, .. }) = self.buffers.as_deref_mut() else {
            return Flow::Continue;
        };
        if !mem::take(&mut input.deferred) {
            return Flow::Continue;
        }
        input.waits_for_fanout = false;
        let is_last = mem::take(&mut input.is_last);
        self.receive(protocol, &Input { bytes: &[], now, is_last }, ctx)
    }

    /// Has input acted on, and notes where among the broadcasts the replies to it stand: behind all
    /// that the log held before, and what the client added to it is not for itself.
    #[inline]
    fn receive(&mut self, protocol: &Protocol, input: &Input<'_>, ctx: &mut Context<'_>) -> Flow {
        let (was_subscribed, head) = (self.tag.is_subscribed(), ctx.room.log.head());
        let flow = self.interpret(protocol, input, head, ctx);
        if !self.tag.is_subscribed() {
            return flow;
        }
        if !was_subscribed {
            self.cursor = ctx.room.log.head();
            return flow;
        }
        if ctx.out.is_empty() && head == ctx.room.log.head() {
            return flow;
        }
        match self.place_replies(head, ctx) {
            Ok(()) => flow,
            Err(AllocError) => Flow::Close(CloseReason::MemoryLimit),
        }
    }

    fn interpret(
        &mut self,
        protocol: &Protocol,
        input: &Input<'_>,
        log_head: u64,
        ctx: &mut Context<'_>,
    ) -> Flow {
        match protocol {
            Protocol::Command { frame_len_max } => self.feed::<_, true>(
                &mut CommandDecoder::new(*frame_len_max),
                input,
                log_head,
                ctx,
                |frame, _, ctx| protocol::on_command(frame, ctx),
                protocol::on_command_error,
            ),
            Protocol::Prefixed => self.feed::<_, false>(
                &mut PrefixedDecoder,
                input,
                log_head,
                ctx,
                |payload, _, ctx| protocol::on_prefixed(payload, ctx),
                |never, _| match never {},
            ),
            Protocol::Raw { prefix } => {
                protocol::on_raw(prefix, input.bytes, ctx);
                Flow::Continue
            }
            Protocol::Chat { lang } => {
                let mut decoder: LineDecoder = self.tag.line_decoder();
                let flow = self.feed::<_, false>(
                    &mut decoder,
                    input,
                    log_head,
                    ctx,
                    |line, tag, ctx| chat::on_line(line, *lang, tag, ctx),
                    |never, _| match never {},
                );
                self.tag.keep_line_decoder(decoder);
                flow
            }
            Protocol::Plugin { package_len_max, .. } => {
                let len_max = *package_len_max as usize;
                let mut decoder = PackageDecoder::new(len_max, self.tag.is_discarding());
                let flow = self.feed::<_, false>(
                    &mut decoder,
                    input,
                    log_head,
                    ctx,
                    |package, _, ctx| protocol::on_package(package, ctx),
                    |never, _| match never {},
                );
                self.tag.set_discarding(decoder.discarding);
                flow
            }
        }
    }

    /// Has frames answered: those of which something was kept, then those that came whole, in place.
    ///
    /// Stops early when the replies reach their limit, or when the handler asks to wait; what is
    /// left is then deferred. With `LARGE`, frames of the `command` protocol that were kept and are
    /// long are not copied into their replies but become them.
    fn feed<D: Decoder, const LARGE: bool>(
        &mut self,
        decoder: &mut D,
        input: &Input<'_>,
        log_head: u64,
        ctx: &mut Context<'_>,
        on_frame: impl FnMut(D::Frame<'_>, &mut ClientState, &mut Context<'_>) -> Flow,
        on_error: impl FnOnce(D::Error, &mut Context<'_>) -> Flow,
    ) -> Flow {
        ctx.reply_limit = self.reply_capacity(ctx).min(*ctx.visit_bytes);
        let mut frames = FrameLoop { decoder, on_frame, is_last: input.is_last, taken: 0 };
        let mut pending = self.take_input();
        let mut rest = input.bytes;
        let step = loop {
            let in_place = pending.recv.is_empty();
            if in_place {
                rest = &rest[frames.decoder.discard(rest)..];
            } else if let dropped @ 1.. = frames.decoder.discard(&pending.recv) {
                // What was deferred may hold the rest of a message that is too long.
                pending.recv.consume(dropped);
                continue;
            } else {
                let missing = frames.decoder.bytes_needed(&pending.recv);
                let (top_up, later) = rest.split_at(missing.min(rest.len()));
                if pending.recv.extend(top_up, missing - top_up.len()).is_err() {
                    return Flow::Close(CloseReason::MemoryLimit);
                }
                rest = later;
                if LARGE && pending.recv.len() >= LARGE_FRAME_BYTES {
                    match self.take_large(&mut pending, log_head, ctx) {
                        Ok(None) => {}
                        Ok(Some(Large::Taken)) => {
                            frames.taken += 1;
                            continue;
                        }
                        Ok(Some(Large::Pending)) => break FrameStep::Deferred(Flow::Continue),
                        Err(AllocError) => return Flow::Close(CloseReason::MemoryLimit),
                    }
                }
            }
            let next = if in_place { rest } else { &pending.recv };
            match frames.step(next, &mut self.tag, ctx) {
                FrameStep::Taken(len) if in_place => rest = &rest[len..],
                FrameStep::Taken(len) => pending.recv.consume(len),
                FrameStep::Unfinished if !in_place && !rest.is_empty() => {}
                stopped => break stopped,
            }
        };
        if frames.taken > 0 {
            pending.clock = None;
        }
        let flow = match step {
            FrameStep::Taken(_) | FrameStep::Unfinished => Flow::Continue,
            FrameStep::Deferred(flow) => {
                pending.deferred = true;
                pending.is_last = input.is_last;
                pending.waits_for_fanout = flow == Flow::WaitForFanout;
                flow
            }
            // What is left will never be looked at.
            FrameStep::Over(flow) => return flow,
            FrameStep::Broken(error) => return on_error(error, ctx),
        };
        if !rest.is_empty() {
            let wanted = if pending.deferred { 0 } else { frames.decoder.bytes_needed(rest) };
            if pending.recv.extend(rest, wanted).is_err() {
                return Flow::Close(CloseReason::MemoryLimit);
            }
        }
        pending.update_frame_clock(input, frames.decoder.is_discarding());
        self.put_input(pending);
        flow
    }

    /// Answers a long ECHO or REVERSE that was kept and is whole now, with its own bytes: the reply
    /// to an ECHO is the frame itself, and a REVERSE is turned round where it lies, a slice a visit.
    /// `None` for everything else.
    #[cold]
    #[inline(never)]
    fn take_large(
        &mut self,
        pending: &mut Pending,
        log_head: u64,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Large>, AllocError> {
        let Some(header) = Header::parse(&pending.recv) else { return Ok(None) };
        let frame_len = HEADER_LEN + header.len as usize;
        // Behind one that is being worked on, others may have come.
        let is_whole = pending.reversal.is_some() || pending.recv.len() == frame_len;
        if !is_whole || ctx.out.len() >= ctx.reply_limit {
            return Ok(None);
        }
        match header.command {
            Command::Echo => {}
            Command::Reverse => {
                let reversal = pending.reversal.get_or_insert_default();
                match reversal.step(&mut pending.recv[HEADER_LEN..frame_len]) {
                    ReversalStep::Unfinished => {
                        ctx.charge(usize::MAX);
                        return Ok(Some(Large::Pending));
                    }
                    ReversalStep::Done => pending.recv[0] = Command::Echo.code(),
                    ReversalStep::Invalid { offset } => {
                        pending.recv.consume(frame_len);
                        pending.reversal = None;
                        ctx.stats.frames_in_total += 1;
                        protocol::reply_not_utf8(offset, ctx);
                        return Ok(Some(Large::Taken));
                    }
                }
            }
            _ => return Ok(None),
        }
        pending.reversal = None;
        ctx.stats.frames_in_total += 1;
        protocol::debug_command(
            Frame { command: header.command, payload: &pending.recv[HEADER_LEN..frame_len] },
            ctx,
        );
        let behind = pending.recv.split_off(frame_len)?;
        self.place_replies(log_head, ctx)?;
        let send = &mut self.buffers.get_or_insert_default().send;
        send.push(ctx.out)?;
        ctx.out.clear();
        send.push_buffer(mem::replace(&mut pending.recv, behind))?;
        // It counts among the replies of this visit.
        let waiting = self.reply_capacity(ctx);
        ctx.reply_limit = ctx.reply_limit.min(waiting);
        Ok(Some(Large::Taken))
    }

    /// Notes that the replies at hand, or what is queued next, come behind what the log held at
    /// `until`, and that what has been appended since is the client's own.
    #[inline]
    fn place_replies(&mut self, until: u64, ctx: &Context<'_>) -> Result<(), AllocError> {
        let head = ctx.room.log.head();
        if !self.tag.is_subscribed() {
            return Ok(());
        }
        if self.cursor == until && self.buffers.is_none() {
            self.cursor = head;
            return Ok(());
        }
        self.push_log(until, head)
    }

    #[cold]
    fn push_log(&mut self, until: u64, resume_at: u64) -> Result<(), AllocError> {
        let send = &mut self.buffers.get_or_insert_default().send;
        // A long frame that was answered in between has noted a part already.
        let until = until.max(send.log_end(self.cursor)).min(resume_at);
        if let Some(cursor) = send.push_log(self.cursor, until, resume_at)? {
            self.cursor = cursor;
        }
        Ok(())
    }

    fn take_input(&mut self) -> Pending {
        self.buffers.as_mut().map_or_else(Pending::default, |buffers| mem::take(&mut buffers.input))
    }

    fn put_input(&mut self, input: Pending) {
        if !input.is_idle() {
            self.buffers.get_or_insert_default().input = input;
        }
    }

    /// The conversation ends: unfinished and deferred input is dropped.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input = Pending::default();
        }
    }

    /// Charges the account with what the conversation holds now, and gives back what it no longer
    /// needs. To be called whenever the conversation is left alone.
    #[inline]
    pub fn update_charge(&mut self, memory: &mut MemoryAccount) {
        if self.buffers.is_some() {
            self.update_buffers_charge(memory);
        }
    }

    fn update_buffers_charge(&mut self, memory: &mut MemoryAccount) {
        let Some(buffers) = &mut self.buffers else { return };
        if buffers.input.is_idle() && buffers.send.is_empty() {
            memory.recharge(&mut buffers.charged, 0);
            self.buffers = None;
        } else {
            let held = buffers.allocated();
            memory.recharge(&mut buffers.charged, held);
        }
    }

    /// The conversation is over: drops all that waits, and credits the account.
    pub fn release_memory(&mut self, memory: &mut MemoryAccount) {
        if let Some(buffers) = &mut self.buffers {
            memory.recharge(&mut buffers.charged, 0);
            buffers.send.retire();
        }
        self.buffers = None;
    }

    /// Bytes the account has been charged with.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.charged)
    }

    /// Whose the bytes that wait are, as far as [`set_address`](Self::set_address) has told.
    #[must_use]
    pub fn address(&self) -> Option<AddressKey> {
        self.buffers.as_ref().and_then(|buffers| buffers.address)
    }

    /// Tells whose the bytes that wait are. It is kept as long as any do.
    pub fn set_address(&mut self, address: AddressKey) {
        if let Some(buffers) = &mut self.buffers {
            buffers.address = Some(address);
        }
    }

    /// Bytes allocated for what waits.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.allocated())
    }

    /// Input that has come and has not been acted on.
    #[must_use]
    pub fn buffered_input(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.input.recv)
    }

    /// Whether whole frames wait for [`on_resume`](Self::on_resume).
    #[must_use]
    pub fn has_deferred_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.deferred)
    }

    /// Whether the first deferred frame is a broadcast the log has no room for.
    #[must_use]
    pub fn waits_for_fanout(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.waits_for_fanout)
    }

    /// The log has room again: a deferred broadcast may be tried.
    pub fn on_log_vacancy(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input.waits_for_fanout = false;
        }
    }

    /// Whether the client has to read before the server reads from it again: what waits for it,
    /// `out_len` reply bytes at hand included, has reached the high-water mark; or anything at all
    /// waits and memory is tight. What of the log has not been offered to everyone yet does not count:
    /// the client may take all of it.
    #[must_use]
    pub fn is_backlogged(
        &self,
        log: &BroadcastLog,
        out_len: usize,
        limits: &Limits,
        is_tight: bool,
    ) -> bool {
        out_len >= self.capacity(log, limits, is_tight)
    }

    fn reply_capacity(&self, ctx: &Context<'_>) -> usize {
        self.capacity(&ctx.room.log, ctx.limits, ctx.is_tight)
    }

    /// Bytes of replies at which the client is backlogged.
    #[inline]
    fn capacity(&self, log: &BroadcastLog, limits: &Limits, is_tight: bool) -> usize {
        let high_water = limits.send_queue_high_water() as u64;
        let waiting = match &self.buffers {
            None => self.lag_of_offered(log),
            Some(buffers) => {
                let send = &buffers.send;
                if (is_tight && !send.is_empty()) || send.segments() >= SEND_SEGMENTS_MAX {
                    return 0;
                }
                self.lag_of_offered(log).saturating_add(send.len() as u64)
            }
        };
        // No more than the high-water mark, which is a `usize`.
        high_water.saturating_sub(waiting) as usize
    }

    /// Stops the clock of an unfinished frame while the server is not reading.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self.buffers.as_mut().and_then(|buffers| buffers.input.clock.as_mut())
        {
            clock.set_paused(paused, now);
        }
    }

    /// Whether an unfinished message counts as one where no more of it is waited for. Unless
    /// `is_end` says that none can come, one of a client that ends its messages does not.
    #[must_use]
    pub fn has_unterminated(&self, protocol: &Protocol, is_end: bool) -> bool {
        let counts = protocol.allows_unterminated() && (is_end || !self.tag.ends_lines());
        counts && self.buffers.as_ref().is_some_and(|buffers| buffers.input.clock.is_some())
    }

    /// When [`on_deadline`](Self::on_deadline) has something to say if nothing happens until then.
    /// An `idle_ms` of 0 turns the idle timeout off; a stalled client has none either.
    #[must_use]
    pub fn deadline(
        &self,
        protocol: &Protocol,
        idle_ms: u64,
        limits: &Limits,
        is_stalled: bool,
    ) -> Option<Millis> {
        let late = self.late_at(protocol, limits);
        let idle = self.idle_at(idle_ms).filter(|_| !is_stalled);
        match (late, idle) {
            (Some(late), Some(idle)) => Some(late.min(idle)),
            (late, idle) => late.or(idle),
        }
    }

    /// Time has passed: is an unfinished frame late, or the client idle? Not asked of a client that is
    /// not read from: it has no [`deadline`](Self::deadline).
    pub fn on_deadline(
        &mut self,
        protocol: &Protocol,
        idle_ms: u64,
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        if self.late_at(protocol, ctx.limits).is_some_and(|at| at <= now) {
            return if protocol.allows_unterminated() {
                self.on_end(protocol, now, ctx)
            } else {
                self.on_late_frame(protocol, now, ctx)
            };
        }
        if self.idle_at(idle_ms).is_some_and(|at| at <= now) {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        Flow::Continue
    }

    fn idle_at(&self, idle_ms: u64) -> Option<Millis> {
        (idle_ms > 0).then(|| self.last_active_at.after(idle_ms))
    }

    fn on_late_frame(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        if let Protocol::Command { .. } = protocol {
            let age = self.frame_age_secs(now);
            ctx.reply_error(format_args!("frame incomplete after {age} s"));
            if self.place_replies(ctx.room.log.head(), ctx).is_err() {
                return Flow::Close(CloseReason::MemoryLimit);
            }
        }
        Flow::Close(CloseReason::FrameTimeout)
    }

    /// When something is to be done about what is unfinished: where messages have tails, when the
    /// client will have been quiet for long enough for one, elsewhere when the frame is late. A chat
    /// client that has once ended a message is waited for: a slow network may split its lines, and
    /// half a line is no worse than a client that says nothing.
    fn late_at(&self, protocol: &Protocol, limits: &Limits) -> Option<Millis> {
        let clock = self.buffers.as_ref()?.input.clock?;
        match protocol {
            Protocol::Chat { .. } if self.tag.ends_lines() => None,
            Protocol::Chat { .. } => clock.quiet_at(TAIL_QUIET_MS),
            Protocol::Plugin { gather_ms, .. } => clock.quiet_at(*gather_ms),
            _ => clock.late_at(limits.frame_timeout_ms),
        }
    }

    fn frame_age_secs(&self, now: Millis) -> u64 {
        let clock = self.buffers.as_ref().and_then(|buffers| buffers.input.clock);
        clock.map_or(0, |clock| clock.age_secs(now))
    }

    /// Puts a message from somebody else into the send queue, behind what of the log lies below
    /// `log_head` and in front of the rest.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn push_message(&mut self, log_head: u64, message: &[u8]) -> Result<(), AllocError> {
        if self.tag.is_subscribed() && (self.cursor < log_head || self.buffers.is_some()) {
            self.push_log(log_head, log_head)?;
        }
        self.queue(message)
    }

    /// The conversation leaves its room: it is sent what the log holds at this moment, and nothing
    /// that comes behind it. Returns who it was there.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn unsubscribe(
        &mut self,
        log: &BroadcastLog,
    ) -> Result<Option<chat::MemberKey>, AllocError> {
        let result = match self.tag.is_subscribed() && self.cursor < log.head() {
            true => self.push_log(log.head(), log.head()),
            false => Ok(()),
        };
        let member = self.tag.leave();
        result.map(|()| member)
    }

    /// The offset up to which the client is sent the log.
    #[inline]
    fn log_end(&self, log: &BroadcastLog) -> u64 {
        match &self.buffers {
            _ if self.tag.is_subscribed() => log.head(),
            Some(buffers) => buffers.send.log_end(self.cursor),
            None => self.cursor,
        }
    }

    /// How many bytes of the log the client is still to be sent.
    #[inline]
    #[must_use]
    pub fn lag(&self, log: &BroadcastLog) -> u64 {
        if self.buffers.is_none() {
            return if self.tag.is_subscribed() {
                log.head().saturating_sub(self.cursor)
            } else {
                0
            };
        }
        let skipped = self.buffers.as_ref().map_or(0, |buffers| buffers.send.skipped());
        self.log_end(log).saturating_sub(self.cursor).saturating_sub(skipped)
    }

    /// The same of what everyone has been offered.
    #[inline]
    fn lag_of_offered(&self, log: &BroadcastLog) -> u64 {
        let offered = log.offered();
        if self.buffers.is_none() {
            let is_subscribed = self.tag.is_subscribed();
            return if is_subscribed { offered.saturating_sub(self.cursor) } else { 0 };
        }
        let skipped =
            self.buffers.as_ref().map_or(0, |buffers| buffers.send.skipped_below(offered));
        let end = self.log_end(log).min(offered);
        end.saturating_sub(self.cursor).saturating_sub(skipped)
    }

    /// Collects what is to be written next, in order: queued replies with what of the log comes
    /// between them, the replies at hand, and the rest of the log.
    ///
    /// # Errors
    ///
    /// [`LagError`] when the log no longer has what the client is to be sent.
    pub fn gather<'a>(
        &'a self,
        out: &'a [u8],
        log: &'a BroadcastLog,
        pieces: &mut Pieces<'a>,
    ) -> Result<(), LagError> {
        let mut cursor = self.cursor;
        if let Some(buffers) = &self.buffers {
            match buffers.send.gather(cursor, log, pieces)? {
                Some(behind) => cursor = behind,
                None => return Ok(()),
            }
        }
        if pieces.push(out) && self.tag.is_subscribed() {
            let [front, back] = log.range(cursor, log.head()).ok_or(LagError)?;
            let _ = pieces.push(front) && pieces.push(back);
        }
        Ok(())
    }

    /// The socket took the first `n` of the bytes that [`gather`](Self::gather) collects, where
    /// `out_len` replies were at hand. Returns how many of those it took.
    pub fn advance(&mut self, n: usize, out_len: usize) -> usize {
        let n = match &mut self.buffers {
            Some(buffers) => buffers.send.advance(n, &mut self.cursor),
            None => n,
        };
        let from_out = n.min(out_len);
        self.cursor += (n - from_out) as u64;
        from_out
    }

    /// What of the log is to be written behind the replies at hand, where nothing is queued and the
    /// log still has it.
    #[inline]
    #[must_use]
    pub fn unsent_broadcasts<'a>(&self, log: &'a BroadcastLog) -> Option<[&'a [u8]; 2]> {
        if self.buffers.is_some() {
            None
        } else if !self.tag.is_subscribed() || self.cursor == log.head() {
            Some([&[], &[]])
        } else {
            log.since(self.cursor)
        }
    }

    /// Whether anything waits in the send queue.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| !buffers.send.is_empty())
    }

    /// Reply bytes the socket has not taken.
    #[must_use]
    pub fn unsent_len(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.send.len())
    }

    /// What the send queue costs its client's account: its bytes, and its places.
    #[must_use]
    pub fn unsent_cost(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.send.cost())
    }

    /// The send queue, where there is one: for tests and fuzzing.
    #[must_use]
    pub fn send_queue(&self) -> Option<&SendQueue> {
        self.buffers.as_ref().map(|buffers| &buffers.send)
    }

    /// Keeps replies until the socket takes them.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn queue(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.buffers.get_or_insert_default().send.push(bytes)
    }

    /// Who the client is in its chat, if it has a nickname.
    #[must_use]
    pub fn member(&self) -> Option<chat::MemberKey> {
        self.tag.member()
    }

    /// How much of the broadcast log the client has been sent, as an absolute offset.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The client took bytes it had made wait.
    pub fn mark_active(&mut self, now: Millis) {
        self.last_active_at = now;
    }

    /// When the client last showed a sign of life.
    #[must_use]
    pub fn last_active_at(&self) -> Millis {
        self.last_active_at
    }

    /// Whether anything is kept on the heap for the conversation: only while input or replies wait.
    #[must_use]
    pub fn owns_memory(&self) -> bool {
        self.buffers.is_some()
    }
}
