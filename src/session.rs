//! One connection's conversation, without its socket: bytes go in, frames reach a handler, reply
//! bytes come out. Time is an argument. Knows nothing of readiness, slots or other sessions.

use std::mem;

use crate::buffer::{BroadcastLog, FrameClock, RecvBuffer, SendQueue};
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::codec::command::CommandDecoder;
use crate::codec::prefixed::PrefixedDecoder;
use crate::handler::{self, CloseReason, Context, Flow};
use crate::limits::Limits;

/// What a listener speaks, with what its URL says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The 5-byte-header command protocol.
    Command {
        /// Longest payload accepted, in bytes.
        frame_len_max: u32,
    },
    /// Messages behind one length byte, answered reversed.
    Prefixed,
    /// Unframed echo.
    Raw {
        /// What each answer begins with.
        prefix: Vec<u8>,
    },
}

/// The state of one conversation: 24 bytes while it is idle.
///
/// Reply bytes leave in this order: the send queue first, then what the broadcast log holds behind
/// the cursor. A reply is therefore never queued before the lag has been moved in front of it
/// ([`settle`](Self::settle)), so no frame is ever torn apart by another.
#[derive(Debug)]
pub struct Session {
    /// What a connection has only while something is unfinished.
    buffers: Option<Box<Buffers>>,
    /// When the client last sent a byte, or took one of those it made wait.
    last_active_at: Millis,
    /// How much of the broadcast log the client has been sent.
    cursor: u64,
}

/// Bytes that wait. Freed as soon as none do.
#[derive(Debug, Default)]
struct Buffers {
    input: Input,
    send: SendQueue,
}

/// Input that has not been acted on, and why.
#[derive(Debug, Default)]
struct Input {
    /// The beginning of a frame, or with `held` whole frames that must wait.
    recv: RecvBuffer,
    /// Runs while `recv` holds the beginning of a frame and nothing more.
    clock: Option<FrameClock>,
    /// `recv` may hold whole frames: their turn comes when replies have room again. It may also
    /// hold a mere beginning; its clock then starts when that is found out, in the client's favour.
    held: bool,
    /// The first of them is a broadcast the log has no room for yet.
    waits_for_fanout: bool,
}

impl Session {
    /// A conversation that begins now; it will be sent broadcasts from the log's head on.
    #[must_use]
    pub fn new(now: Millis, log: &BroadcastLog) -> Self {
        Session { buffers: None, last_active_at: now, cursor: log.head() }
    }

    /// Takes what a read returned. Replies go to `ctx.out`, after what the log still owes.
    pub fn on_bytes(
        &mut self,
        protocol: &Protocol,
        bytes: &[u8],
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        debug_assert!(!self.holds_input(), "held frames come first");
        self.last_active_at = now;
        self.receive(protocol, bytes, now, ctx)
    }

    /// Takes up frames that were held back.
    pub fn on_resume(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        match &mut self.buffers {
            Some(buffers) if buffers.input.held => {
                buffers.input.held = false;
                buffers.input.waits_for_fanout = false;
            }
            _ => return Flow::Continue,
        }
        self.receive(protocol, &[], now, ctx)
    }

    fn receive(
        &mut self,
        protocol: &Protocol,
        bytes: &[u8],
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        if self.settle(&ctx.room.log, ctx.out).is_err() {
            return Flow::Close(CloseReason::SlowConsumer);
        }
        match protocol {
            Protocol::Command { frame_len_max } => self.feed(
                CommandDecoder::new(*frame_len_max),
                bytes,
                now,
                ctx,
                handler::on_command,
                handler::on_command_error,
            ),
            Protocol::Prefixed => {
                self.feed(PrefixedDecoder, bytes, now, ctx, handler::on_prefixed, |never, _| {
                    match never {}
                })
            }
            Protocol::Raw { prefix } => {
                handler::on_raw(prefix, bytes, ctx);
                Flow::Continue
            }
        }
    }

    /// Cuts frames out of what was kept and what came, in place where nothing was kept.
    ///
    /// Stops early when the replies fill the send queue's share, or when the handler asks to wait;
    /// what is left is then held.
    fn feed<D: Decoder>(
        &mut self,
        mut decoder: D,
        input: &[u8],
        now: Millis,
        ctx: &mut Context<'_>,
        mut on_frame: impl FnMut(D::Frame<'_>, &mut Context<'_>) -> Flow,
        on_error: impl FnOnce(D::Error, &mut Context<'_>) -> Flow,
    ) -> Flow {
        let mut kept = self.take_input();
        let mut rest = input;
        let flow = loop {
            if self.is_backlogged(&ctx.room.log, ctx.out.len(), ctx.limits) {
                kept.held = true;
                break Flow::Continue;
            }
            if !kept.recv.is_empty() {
                let missing = decoder.missing(&kept.recv);
                let (top_up, later) = rest.split_at(missing.min(rest.len()));
                kept.recv.extend(top_up);
                ctx.stats.kept_bytes_total += top_up.len() as u64;
                rest = later;
            }
            let in_place = kept.recv.is_empty();
            let answered = match decoder.decode(if in_place { rest } else { &kept.recv }) {
                Ok(Some((frame, len))) => {
                    ctx.stats.frames_in_total += 1;
                    Some((on_frame(frame, ctx), len))
                }
                Ok(None) => None,
                Err(error) => return on_error(error, ctx),
            };
            match answered {
                Some((Flow::Continue, len)) => {
                    // Nobody else appends meanwhile: what is new in the log is this session's own.
                    self.cursor = ctx.room.log.head();
                    kept.clock = None;
                    if in_place {
                        rest = &rest[len..];
                    } else {
                        kept.recv.consume(len);
                    }
                }
                Some((Flow::Wait, _)) => {
                    // The frame will come again, and be counted then.
                    ctx.stats.frames_in_total -= 1;
                    kept.held = true;
                    kept.waits_for_fanout = true;
                    break Flow::Wait;
                }
                // What is left will never be looked at.
                Some((close @ Flow::Close(_), _)) => return close,
                None if in_place || rest.is_empty() => break Flow::Continue,
                None => {}
            }
        };
        kept.recv.extend(rest);
        ctx.stats.kept_bytes_total += rest.len() as u64;
        kept.wind_clock(now);
        self.put_input(kept);
        flow
    }

    fn take_input(&mut self) -> Input {
        self.buffers.as_mut().map_or_else(Input::default, |buffers| mem::take(&mut buffers.input))
    }

    fn put_input(&mut self, input: Input) {
        if input.recv.is_empty() {
            self.free_if_empty();
        } else {
            self.buffers.get_or_insert_default().input = input;
        }
    }

    /// The conversation ends: unfinished and held input is dropped.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input = Input::default();
        }
        self.free_if_empty();
    }

    /// Input that has come and has not been acted on.
    #[must_use]
    pub fn kept_input(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.input.recv)
    }

    /// Whether whole frames wait for [`on_resume`](Self::on_resume).
    #[must_use]
    pub fn holds_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.held)
    }

    /// Whether the first held frame is a broadcast the log has no room for.
    #[must_use]
    pub fn waits_for_fanout(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.waits_for_fanout)
    }

    /// The fan-out has come round: a held broadcast may be tried again.
    pub fn on_fanout_done(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input.waits_for_fanout = false;
        }
    }

    /// Whether the client has to read before the server reads from it again: what waits for it,
    /// `out_len` reply bytes at hand included, has reached the high-water mark.
    #[must_use]
    pub fn is_backlogged(&self, log: &BroadcastLog, out_len: usize, limits: &Limits) -> bool {
        let replies = self.unsent().len() + out_len;
        self.lag(log) + replies as u64 >= limits.send_queue_high_water() as u64
    }

    /// Stops the clock of an unfinished frame while the server is not reading.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self.buffers.as_mut().and_then(|buffers| buffers.input.clock.as_mut())
        {
            clock.set_paused(paused, now);
        }
    }

    /// When [`on_deadline`](Self::on_deadline) has something to say if nothing happens until then.
    /// `idle_ms` of 0 means never idle.
    #[must_use]
    pub fn deadline(&self, idle_ms: u64, limits: &Limits) -> Option<Millis> {
        let late = self.frame_late_at(limits);
        let idle = (idle_ms > 0).then(|| self.last_active_at.after(idle_ms));
        match (late, idle) {
            (Some(late), Some(idle)) => Some(late.min(idle)),
            (late, idle) => late.or(idle),
        }
    }

    /// Time has passed: is an unfinished frame late, or the client idle?
    pub fn on_deadline(
        &mut self,
        protocol: &Protocol,
        idle_ms: u64,
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        if self.frame_late_at(ctx.limits).is_some_and(|at| at <= now) {
            if let Protocol::Command { .. } = protocol {
                let age = self.frame_age_secs(now);
                if self.settle(&ctx.room.log, ctx.out).is_err() {
                    return Flow::Close(CloseReason::SlowConsumer);
                }
                ctx.reply_error(format_args!("frame incomplete after {age} s"));
            }
            return Flow::Close(CloseReason::FrameTimeout);
        }
        if self.deadline(idle_ms, ctx.limits).is_some_and(|at| at <= now) {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        Flow::Continue
    }

    fn frame_late_at(&self, limits: &Limits) -> Option<Millis> {
        self.buffers.as_ref()?.input.clock?.late_at(limits.frame_timeout_ms)
    }

    fn frame_age_secs(&self, now: Millis) -> u64 {
        let clock = self.buffers.as_ref().and_then(|buffers| buffers.input.clock);
        clock.map_or(0, |clock| clock.age_secs(now))
    }

    /// Moves what the log still owes in front of the replies to come.
    ///
    /// # Errors
    ///
    /// The cursor has fallen off the log.
    pub fn settle(&mut self, log: &BroadcastLog, out: &mut Vec<u8>) -> Result<(), FellBehind> {
        if self.cursor != log.head() {
            let [front, back] = log.since(self.cursor).ok_or(FellBehind)?;
            out.extend_from_slice(front);
            out.extend_from_slice(back);
            self.cursor = log.head();
        }
        Ok(())
    }

    /// How many bytes of the log the client has not been sent.
    #[must_use]
    pub fn lag(&self, log: &BroadcastLog) -> u64 {
        log.head().saturating_sub(self.cursor)
    }

    /// How much of the broadcast log the client has been sent, as an absolute offset.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// `n` more bytes of the log have been sent.
    pub fn advance_cursor(&mut self, n: usize) {
        self.cursor += n as u64;
    }

    /// Replies the socket has not taken.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.send)
    }

    /// Keeps replies until the socket takes them.
    pub fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffers.get_or_insert_default().send.push(bytes);
        }
    }

    /// The socket took the first `n` unsent bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn on_sent(&mut self, n: usize) {
        if let Some(buffers) = &mut self.buffers {
            buffers.send.consume(n);
        }
        self.free_if_empty();
    }

    /// The client took bytes it had made wait.
    pub fn touch(&mut self, now: Millis) {
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

    fn free_if_empty(&mut self) {
        if self.buffers.as_ref().is_some_and(|b| b.input.recv.is_empty() && b.send.is_empty()) {
            self.buffers = None;
        }
    }
}

impl Input {
    /// Starts the clock of a frame that has begun, or notes that more of it came.
    fn wind_clock(&mut self, now: Millis) {
        let begun = self.recv.len();
        match &mut self.clock {
            _ if self.held || begun == 0 => self.clock = None,
            None => self.clock = Some(FrameClock::start(now, begun)),
            Some(clock) => clock.progress(now, begun),
        }
    }
}

/// A subscriber's cursor has fallen off the broadcast log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FellBehind;
