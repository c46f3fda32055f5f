//! One connection's conversation, without its socket: bytes go in, frames reach a handler, reply
//! bytes come out. Time is an argument. Knows nothing of readiness, slots or other sessions.

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

/// Bytes that wait, and why. Freed as soon as none do.
#[derive(Debug, Default)]
struct Buffers {
    /// The beginning of a frame, or with `held` whole frames that must wait.
    recv: RecvBuffer,
    /// Runs while `recv` holds the beginning of a frame.
    clock: Option<FrameClock>,
    /// `recv` may hold whole frames: their turn comes when replies have room again.
    held: bool,
    /// The first of them is a broadcast the log has no room for yet.
    waits_for_fanout: bool,
    send: SendQueue,
}

impl Session {
    /// A conversation that begins now; it will be sent broadcasts from the log's head on.
    #[must_use]
    pub fn new(now: Millis, log: &BroadcastLog) -> Self {
        Session {
            buffers: None,
            last_active_at: now,
            cursor: log.head(),
        }
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
            Some(buffers) if buffers.held => {
                buffers.held = false;
                buffers.waits_for_fanout = false;
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
        let flow = match protocol {
            Protocol::Command { frame_len_max } => self.feed(
                CommandDecoder::new(*frame_len_max),
                bytes,
                now,
                ctx,
                handler::on_command,
                handler::on_command_error,
            ),
            Protocol::Prefixed => self.feed(
                PrefixedDecoder,
                bytes,
                now,
                ctx,
                handler::on_prefixed,
                |never, _| match never {},
            ),
            Protocol::Raw { prefix } => {
                handler::on_raw(prefix, bytes, ctx);
                Flow::Continue
            }
        };
        // Nobody else appended meanwhile: what is new in the log is this session's own.
        self.cursor = ctx.room.log.head();
        flow
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
        let out_len_max = ctx
            .limits
            .send_queue_high_water()
            .saturating_sub(self.unsent().len());
        let (mut recv, mut clock) = self.take_recv();
        let mut rest = input;
        let mut held = false;
        let flow = loop {
            if ctx.out.len() >= out_len_max {
                held = true;
                break Flow::Continue;
            }
            if !recv.is_empty() {
                let (top_up, later) = rest.split_at(decoder.missing(&recv).min(rest.len()));
                recv.extend(top_up);
                rest = later;
            }
            let in_place = recv.is_empty();
            let answered = match decoder.decode(if in_place { rest } else { &recv }) {
                Ok(Some((frame, len))) => {
                    ctx.stats.frames_in_total += 1;
                    Some((on_frame(frame, ctx), len))
                }
                Ok(None) => None,
                Err(error) => return on_error(error, ctx),
            };
            match answered {
                Some((Flow::Wait, _)) => {
                    // It will come again.
                    ctx.stats.frames_in_total -= 1;
                    held = true;
                    break Flow::Wait;
                }
                Some((flow, len)) => {
                    clock = None;
                    if flow != Flow::Continue {
                        return flow;
                    }
                    if in_place {
                        rest = &rest[len..];
                    } else {
                        recv.consume(len);
                    }
                }
                None if in_place || rest.is_empty() => break Flow::Continue,
                None => {}
            }
        };
        recv.extend(rest);
        self.keep(recv, clock, held, flow, now, !input.is_empty());
        flow
    }

    /// Puts aside what could not be acted on.
    fn keep(
        &mut self,
        recv: RecvBuffer,
        clock: Option<FrameClock>,
        held: bool,
        flow: Flow,
        now: Millis,
        came: bool,
    ) {
        if recv.is_empty() {
            return self.free_if_empty();
        }
        let buffers = self.buffers.get_or_insert_default();
        buffers.held = held;
        buffers.waits_for_fanout = flow == Flow::Wait;
        buffers.clock = match clock {
            _ if held => None,
            None => Some(FrameClock::start(now, recv.len())),
            Some(mut clock) => {
                if came {
                    clock.progress(now, recv.len());
                }
                Some(clock)
            }
        };
        buffers.recv = recv;
    }

    fn take_recv(&mut self) -> (RecvBuffer, Option<FrameClock>) {
        match &mut self.buffers {
            Some(buffers) => (std::mem::take(&mut buffers.recv), buffers.clock.take()),
            None => (RecvBuffer::default(), None),
        }
    }

    /// The conversation ends: unfinished and held input is dropped.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.recv = RecvBuffer::default();
            buffers.clock = None;
            buffers.held = false;
            buffers.waits_for_fanout = false;
        }
        self.free_if_empty();
    }

    /// Input that has come and has not been acted on.
    #[must_use]
    pub fn kept_input(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.recv)
    }

    /// Whether whole frames wait for [`on_resume`](Self::on_resume).
    #[must_use]
    pub fn holds_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.held)
    }

    /// Whether the first held frame is a broadcast the log has no room for.
    #[must_use]
    pub fn waits_for_fanout(&self) -> bool {
        self.buffers
            .as_ref()
            .is_some_and(|buffers| buffers.waits_for_fanout)
    }

    /// The fan-out has come round: a held broadcast may be tried again.
    pub fn on_fanout_done(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.waits_for_fanout = false;
        }
    }

    /// Whether the client has to read before the server reads from it again.
    #[must_use]
    pub fn is_backlogged(&self, log: &BroadcastLog, limits: &Limits) -> bool {
        let waiting = self.lag(log).saturating_add(self.unsent().len() as u64);
        waiting >= limits.send_queue_high_water() as u64
    }

    /// Stops the clock of an unfinished frame while the server is not reading.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self
            .buffers
            .as_mut()
            .and_then(|buffers| buffers.clock.as_mut())
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
        if self
            .deadline(idle_ms, ctx.limits)
            .is_some_and(|at| at <= now)
        {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        Flow::Continue
    }

    fn frame_late_at(&self, limits: &Limits) -> Option<Millis> {
        self.buffers
            .as_ref()?
            .clock?
            .late_at(limits.frame_timeout_ms)
    }

    fn frame_age_secs(&self, now: Millis) -> u64 {
        let clock = self.buffers.as_ref().and_then(|buffers| buffers.clock);
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

    fn free_if_empty(&mut self) {
        if self
            .buffers
            .as_ref()
            .is_some_and(|b| b.recv.is_empty() && b.send.is_empty())
        {
            self.buffers = None;
        }
    }
}

/// A subscriber's cursor has fallen off the broadcast log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FellBehind;
