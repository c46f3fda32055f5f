//! One visit to a connection: read, answer, write once, and note what is left to do. The ways a
//! connection ends are in `close`.
//!
//! Every visit ends in [`Visit::end`], which leaves the connection waiting for an edge or deadline,
//! waiting for the fan-out, on the resume list, or closed.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Io;
use super::connection::{Connection, Flags, State};
use super::fanout::Fanout;
use super::layer::Layer;
use super::listener::Listener;
use super::schedule::Schedule;
use super::stop::Phase;
use super::transport::Transport;
use crate::buffer::{LagError, Pieces};
use crate::clock::Millis;
use crate::conn_id::ConnId;
#[cfg(feature = "admission")]
use crate::limits::PROXY_HEADER_MS;
use crate::limits::{
    DRAIN_STALL_MS, LINGER_MS, LINGER_STOPPING_MS, Limits, READ_TURN_BYTES_MAX, VISIT_BYTES_MAX,
    VISIT_COST_BYTES, WRITE_BYTES_CROWDED, WRITE_BYTES_MAX,
};
use crate::memory::AllocError;
use crate::protocol::{CloseReason, Context, Flow, Handler, PeerAddr, Protocol, Shared, dispatch};

/// A connection with everything its visit may touch, looked up once.
pub(super) struct Visit<'a, T: Transport> {
    pub(super) id: ConnId,
    pub(super) conn: &'a mut Connection<T>,
    pub(super) listener: &'a mut Listener<T>,
    pub(super) shared: &'a mut Shared,
    pub(super) schedule: &'a mut Schedule,
    pub(super) io: &'a mut Io<T::Layer>,
}

/// Next action on the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputStep {
    /// Nothing, for now.
    Stop,
    /// Take up deferred frames.
    Resume,
    /// Read from the stream.
    Read,
    /// Read through the layer.
    Layered,
    /// End an unterminated message.
    EndMessage,
}

impl<T: Transport> Visit<'_, T> {
    /// The whole visit. Returns when the connection's timer is to fire, if earlier than it is armed
    /// for; else [`Millis::NEVER`].
    #[inline]
    pub(super) fn run(&mut self, registry: &T::Registry) -> Millis {
        match self.conn.state {
            State::Open => self.answer(Self::process_input),
            State::Closed => return Millis::NEVER,
            #[cfg(feature = "admission")]
            State::Opening if self.conn.flags.has(Flags::AWAITS_HEADER) => self.read_proxy_header(),
            State::Opening if T::Layer::EXISTS => {
                self.queue_handshake();
                return Millis::NEVER;
            }
            State::Opening | State::Draining(_) | State::Lingering => self.discard_input(),
        }
        let charged =
            self.schedule.visit_bytes_max - self.shared.visit_bytes + self.shared.out.len();
        self.shared.visit_bytes = self.schedule.visit_bytes_max;
        self.listener.room.note_frames();
        let timer_at = self.end(registry);
        self.schedule.budget.charge(VISIT_COST_BYTES + charged);
        timer_at
    }

    /// Runs `process`, which calls protocols, behind the unwind boundary, and takes the step it
    /// asks for: a protocol that panics costs its own connection and nothing else.
    #[inline]
    pub(super) fn answer(&mut self, process: impl FnOnce(&mut Self) -> Flow) {
        #[cfg(feature = "admission")]
        self.begin_rates();
        let head = if cfg!(debug_assertions) { self.log_head_if_others_wait() } else { None };
        let result = catch_unwind(AssertUnwindSafe(|| process(self)));
        debug_assert!(
            head.is_none() || head == self.log_head_if_others_wait(),
            "{} went into the log ahead of those who wait for their turn",
            self.id
        );
        // What was appended to the log must be known to be unsent before anyone's cursor moves.
        self.listener.start_pass_if_needed(&mut self.shared.memory);
        #[cfg(feature = "admission")]
        self.end_rates();
        let flow = match result {
            Ok(flow) => flow,
            Err(_) => return self.close_after_panic(),
        };
        match flow {
            // `Yield` and `NeedPeerAddr` leave the input deferred; the resume list retries it.
            Flow::Continue | Flow::Yield | Flow::NeedPeerAddr => self.drain_if_input_ended(),
            // What has come before its listener was removed is answered without delay.
            #[cfg(feature = "admission")]
            Flow::WaitForRate if self.conn.flags.has(Flags::LEAVING) => {
                self.conn.session.on_rate_turn(self.shared.now);
                self.requeue();
            }
            // Its timer has it tried again.
            #[cfg(feature = "admission")]
            Flow::WaitForRate => {}
            // The input is deferred; `admin` puts the connection on the resume list.
            #[cfg(feature = "admin")]
            Flow::WaitForAdmin => {}
            // The input is deferred; `cluster` puts the connection on the resume list.
            #[cfg(feature = "cluster")]
            Flow::WaitForClaim => {}
            // The input is deferred; `logins` puts the connection on the resume list.
            #[cfg(feature = "accounts")]
            Flow::WaitForLogin => {}
            Flow::WaitForFanout => {
                self.listener.fanout.waiting.push_back(self.id);
                self.listener.fanout.admission_check.on_wait(self.id);
            }
            // Without memory there is none for last replies either.
            Flow::Close(reason @ (CloseReason::MemoryLimit | CloseReason::Io)) => {
                let error = self.schedule.io_error.take();
                self.close(reason, error);
            }
            Flow::Close(CloseReason::Layer) if T::Layer::EXISTS => {
                let error = self.schedule.io_error.take();
                self.fail_layer(&error.map_or(String::new(), |error| error.to_string()));
            }
            Flow::Close(reason) => self.start_drain(reason),
        }
    }

    /// A handler, or the connection's layer, has panicked: that costs this connection.
    #[cold]
    #[inline(never)]
    pub(super) fn close_after_panic(&mut self) {
        self.shared.connection_log.handler_panicked(self.shared.now, self.id);
        self.close(CloseReason::Internal, None);
    }

    /// The head of the listener's log, where senders wait for it and this one has not been
    /// admitted.
    fn log_head_if_others_wait(&self) -> Option<u64> {
        let others_wait =
            self.schedule.admitted_share.is_none() && !self.listener.fanout.waiting.is_empty();
        others_wait.then(|| self.listener.room.log.head())
    }

    /// Processes deferred input, then reads, until the socket is drained, the budget spent, or the
    /// client must read.
    pub(super) fn process_input(&mut self) -> Flow {
        const { assert!(VISIT_BYTES_MAX <= READ_TURN_BYTES_MAX, "a visit reads no more") };
        let mut read_left = self.schedule.visit_bytes_max;
        let Visit { id, conn, listener, shared, schedule, io } = self;
        let Io { read_buffer, origins, .. } = &mut **io;
        let read_max = read_left.min(read_buffer.len());
        let buffer = &mut read_buffer[..read_max];
        let Listener { protocol, room, fanout, .. } = &mut **listener;
        shared.log_share = log_share(schedule, fanout);
        let mut ctx = Context { id: *id, peer: PeerAddr::Unknown, room, shared };
        loop {
            let flow = match next_input_step(conn, protocol, &ctx, schedule.phase) {
                InputStep::Stop => return Flow::Continue,
                InputStep::Read if read_left == 0 => return Flow::Continue,
                InputStep::Read => match read_inline(conn, buffer) {
                    Err(error) => {
                        schedule.io_error = Some(error);
                        return Flow::Close(CloseReason::Io);
                    }
                    Ok(Some(n)) => {
                        read_left = read_left.saturating_sub(n);
                        ctx.room.stats.bytes_in.add(n as u64);
                        schedule.budget.note(n);
                        let is_drained = !conn.may_read();
                        let bytes = &buffer[..n];
                        let flow = conn.session.on_bytes(protocol, bytes, is_drained, &mut ctx);
                        // Most are done now; the loop would find that out again.
                        if flow == Flow::Continue && conn.is_quiescent() {
                            return flow;
                        }
                        flow
                    }
                    Ok(None) => Flow::Continue,
                },
                InputStep::Layered => return self.process_layered_input(),
                InputStep::Resume => conn.session.on_resume(protocol, &mut ctx),
                InputStep::EndMessage => conn.session.end_message(protocol, &mut ctx),
            };
            match flow {
                Flow::Continue => {}
                Flow::NeedPeerAddr => ctx.peer = PeerAddr::Known(origins.peer_of(*id, conn).ok()),
                flow => return flow,
            }
        }
    }

    /// Acts on a deadline that has passed.
    pub(super) fn process_deadline(&mut self, registry: &T::Registry) -> Millis {
        match self.conn.state {
            #[cfg(feature = "admission")]
            State::Opening if self.conn.flags.has(Flags::AWAITS_HEADER) => self.end_late_header(),
            State::Opening => {
                if T::Layer::EXISTS {
                    self.end_late_handshake();
                }
            }
            State::Open if self.is_record_late() => {
                self.answer(|_| Flow::Close(CloseReason::FrameTimeout));
            }
            State::Open => self.answer(Self::process_timeout),
            State::Draining(_) => self.close(CloseReason::DrainTimeout, None),
            State::Lingering | State::Closed => self.close(CloseReason::PeerClosed, None),
        }
        self.shared.visit_bytes = self.schedule.visit_bytes_max;
        self.listener.room.note_frames();
        self.flush_and_reschedule(registry)
    }

    /// An idle, frame or quiet timeout fired.
    fn process_timeout(&mut self) -> Flow {
        let Visit { id, conn, listener, shared, schedule, .. } = self;
        let Listener { protocol, room, fanout, idle_ms, .. } = &mut **listener;
        shared.log_share = log_share(schedule, fanout);
        let mut ctx = Context { id: *id, peer: PeerAddr::Unknown, room, shared };
        let flow = conn.session.on_deadline(protocol, *idle_ms, &mut ctx);
        // A write-blocked idle client is closed without draining.
        if flow == Flow::Close(CloseReason::IdleTimeout) && conn.flags.has(Flags::WRITE_BLOCKED) {
            self.close(CloseReason::IdleTimeout, None);
            return Flow::Continue;
        }
        flow
    }

    /// Ends a visit in which nothing is read, as [`run`](Self::run) ends its own: one copy of the
    /// code for all but the hot path.
    #[inline(never)]
    pub(super) fn flush_and_reschedule(&mut self, registry: &T::Registry) -> Millis {
        self.end(registry)
    }

    /// Flushes, then reschedules. Returns as [`run`](Self::run).
    #[inline(always)]
    fn end(&mut self, registry: &T::Registry) -> Millis {
        match self.flush(registry) {
            Ok(Flushed::All) => {}
            Ok(Flushed::Part) => self.requeue(),
            Err(FlushError::Io(error)) => self.close(CloseReason::Io, Some(error)),
            Err(FlushError::Lag(LagError)) => self.close(CloseReason::SlowConsumer, None),
            Err(FlushError::Memory(AllocError)) => self.close(CloseReason::MemoryLimit, None),
            Err(FlushError::Panic) => self.close_after_panic(),
        }
        self.shared.out.clear();
        if let State::Draining(reason) = self.conn.state
            && !self.conn.session.has_unsent()
            && !(self.is_layered() && self.io.layers.has_unsent(self.id.index))
        {
            self.finish_drain(reason);
        }
        self.reschedule()
    }

    /// One write of what waits, in order: queued replies, the replies at hand, and what the log
    /// holds behind the cursor. Replies that are not taken are queued.
    #[inline(always)]
    fn flush(&mut self, registry: &T::Registry) -> Result<Flushed, FlushError> {
        if self.conn.state == State::Closed {
            return Ok(Flushed::All);
        }
        // Most have nothing waiting but the replies at hand, and sockets that take them.
        const BUSY: Flags = Flags::LAGGING.and(Flags::WRITE_BLOCKED).and(Flags::LAYERED);
        let is_free = !self.conn.flags.has_any(BUSY);
        let log = &self.listener.room.log;
        let unsent = self.conn.session.unsent_broadcasts(log).filter(|_| is_free);
        let Some([front, back]) = unsent else { return self.flush_queue(registry) };
        let out = &self.shared.out;
        let wanted = out.len() + front.len() + back.len();
        if wanted == 0 {
            return Ok(Flushed::All);
        }
        if wanted > write_bytes_max(self.schedule.visit_bytes_max) {
            return self.flush_queue(registry);
        }
        let written = if front.is_empty() {
            let written = write(&mut self.conn.stream, &[IoSlice::new(out)])?;
            if written == wanted {
                self.listener.room.stats.bytes_out.add(written as u64);
                return Ok(Flushed::All);
            }
            written
        } else if out.is_empty() && back.is_empty() {
            write(&mut self.conn.stream, &[IoSlice::new(front)])?
        } else {
            let mut slices = [IoSlice::new(&[]); 3];
            let mut count = 0;
            for piece in [out, front, back] {
                if !piece.is_empty() {
                    slices[count] = IoSlice::new(piece);
                    count += 1;
                }
            }
            write(&mut self.conn.stream, &slices[..count])?
        };
        self.listener.room.stats.bytes_out.add(written as u64);
        self.schedule.budget.note(written);
        let from_out = self.conn.session.advance(written, out.len());
        if written == wanted {
            return Ok(Flushed::All);
        }
        self.conn.flags.set(Flags::WRITE_BLOCKED, true);
        self.conn.session.queue(&out[from_out..])?;
        self.track_lag();
        self.arm_writable(registry)
    }

    /// Has writable events announced, once for the life of the connection.
    pub(super) fn arm_writable(&mut self, registry: &T::Registry) -> Result<Flushed, FlushError> {
        if !self.conn.flags.has(Flags::WRITE_ARMED) {
            self.conn.stream.arm_writable(registry, self.id)?;
            self.conn.flags.set(Flags::WRITE_ARMED, true);
        }
        Ok(Flushed::All)
    }

    /// Writes where more than the replies at hand may wait.
    #[inline(never)]
    fn flush_queue(&mut self, registry: &T::Registry) -> Result<Flushed, FlushError> {
        if self.is_layered() {
            return self.flush_layered(registry);
        }
        let Visit { conn, listener, shared, schedule, .. } = self;
        let log = &listener.room.log;
        let was_waiting = conn.session.has_unsent() || conn.flags.has(Flags::LAGGING);
        let mut pieces = Pieces::new(write_bytes_max(schedule.visit_bytes_max));
        conn.session.gather(&shared.out, log, &mut pieces)?;
        let wanted = pieces.bytes();
        if wanted == 0 {
            return Ok(Flushed::All);
        }
        let mut written = 0;
        if !conn.flags.has(Flags::WRITE_BLOCKED) {
            written = write(&mut conn.stream, pieces.as_slices())?;
            listener.room.stats.bytes_out.add(written as u64);
            schedule.budget.note(written);
            // A short write is a full stream (epoll(7)): the next edge announces space.
            conn.flags.set(Flags::WRITE_BLOCKED, written < wanted);
        }
        if written > 0 && was_waiting {
            conn.session.mark_active(shared.now);
        }
        let from_out = conn.session.advance(written, shared.out.len());
        conn.session.queue(&shared.out[from_out..])?;
        self.track_lag();
        if self.conn.flags.has(Flags::WRITE_BLOCKED) {
            return self.arm_writable(registry);
        }
        let is_part = self.conn.session.has_unsent() || self.conn.flags.has(Flags::LAGGING);
        Ok(if is_part { Flushed::Part } else { Flushed::All })
    }

    /// Puts the connection on the resume list, once.
    pub(super) fn requeue(&mut self) {
        if !self.conn.flags.has(Flags::QUEUED) {
            self.conn.flags.set(Flags::QUEUED, true);
            self.schedule.resume.push_back(self.id);
        }
    }

    /// Queues the connection if runnable. Returns when to arm the timer, or [`Millis::NEVER`].
    #[inline]
    pub(super) fn reschedule(&mut self) -> Millis {
        if self.conn.is_quiescent() && !self.conn.session.must_log_in() {
            return self.idle_timer_at();
        }
        self.reschedule_busy()
    }

    /// When the timer of a connection is to fire for which nothing waits.
    #[inline]
    fn idle_timer_at(&self) -> Millis {
        let conn = &*self.conn;
        debug_assert!(
            !is_stalled(conn, self.listener, self.shared),
            "{} has nothing waiting and is stalled",
            self.id
        );
        match conn.session.idle_at(self.listener.idle_ms) {
            Some(at) if at < conn.timer.at() => at,
            _ => Millis::NEVER,
        }
    }

    #[inline(never)]
    pub(super) fn reschedule_busy(&mut self) -> Millis {
        if self.is_layered() {
            self.update_layer_charge();
        }
        let Visit { conn, listener, shared, schedule, .. } = self;
        conn.session.update_charge(&mut shared.memory);
        let mut is_stalled = false;
        let is_runnable = match conn.state {
            State::Open => {
                is_stalled = self::is_stalled(conn, listener, shared);
                conn.session.set_paused(is_stalled, shared.now);
                let may_read = conn.may_read() && !conn.input_has_ended();
                !is_stalled && (may_read || conn.session.has_deferred_input())
            }
            State::Draining(_) | State::Lingering => conn.may_read(),
            State::Opening => conn.may_read(),
            State::Closed => false,
        };
        let deadline = deadline(conn, listener, &shared.limits, schedule.phase, is_stalled);
        let deadline = match self.is_layered() {
            true => {
                self.pause_record(is_stalled);
                self.record_due_at().map_or(deadline, |at| at.min(deadline))
            }
            false => deadline,
        };
        #[cfg(feature = "admission")]
        let deadline = self.rate_turn_at().map_or(deadline, |at| at.min(deadline));
        let Visit { id, conn, listener, .. } = self;
        debug_assert!(
            !is_stalled
                || conn.flags.has_any(Flags::WRITE_BLOCKED | Flags::QUEUED)
                || listener.fanout.active
                || listener.fanout.is_admitting
                || (conn.session.is_waiting() && !conn.session.waits_for_fanout()),
            "{id} is stalled and nothing will wake it"
        );
        let timer_at = if deadline < conn.timer.at() { deadline } else { Millis::NEVER };
        if is_runnable {
            self.requeue();
        }
        timer_at
    }

    /// Whether a deadline of the connection has passed.
    pub(super) fn is_due(&self) -> bool {
        let (conn, listener) = (&*self.conn, &*self.listener);
        let is_stalled = conn.state == State::Open && is_stalled(conn, listener, self.shared);
        let phase = self.schedule.phase;
        deadline(conn, listener, &self.shared.limits, phase, is_stalled) <= self.shared.now
            || self.is_record_late()
            || self.has_rate_turn()
    }

    /// Whether the connection's bytes go through a layer.
    #[inline]
    fn is_layered(&self) -> bool {
        T::Layer::EXISTS && self.conn.flags.has(Flags::LAYERED)
    }

    /// Whether a record has begun and has not been finished in time.
    fn is_record_late(&self) -> bool {
        T::Layer::EXISTS && self.record_due_at().is_some_and(|at| at <= self.shared.now)
    }

    /// Whether a message that had to wait for its client's rates may be tried again.
    fn has_rate_turn(&self) -> bool {
        #[cfg(feature = "admission")]
        return self.rate_turn_at().is_some_and(|at| at <= self.shared.now);
        #[cfg(not(feature = "admission"))]
        false
    }

    /// Updates the [`LAGGING`](Flags::LAGGING) flag and the laggard count.
    pub(super) fn track_lag(&mut self) {
        let lags = self.conn.session.lag(&self.listener.room.log) > 0;
        if lags == self.conn.flags.has(Flags::LAGGING) {
            return;
        }
        self.conn.flags.set(Flags::LAGGING, lags);
        if lags {
            self.listener.fanout.laggards += 1;
        } else {
            self.listener.on_caught_up(&mut self.shared.memory);
        }
    }
}

/// The share of a flush that was written.
pub(super) enum Flushed {
    /// All that can be written at this moment.
    All,
    /// As much as one write takes; there is more, and the stream has space.
    Part,
}

/// The reason a flush could not go on.
pub(super) enum FlushError {
    Io(io::Error),
    Lag(LagError),
    Memory(AllocError),
    /// The connection's layer panicked.
    Panic,
}

impl From<LagError> for FlushError {
    fn from(error: LagError) -> Self {
        FlushError::Lag(error)
    }
}

impl From<AllocError> for FlushError {
    fn from(error: AllocError) -> Self {
        FlushError::Memory(error)
    }
}

impl From<io::Error> for FlushError {
    fn from(error: io::Error) -> Self {
        FlushError::Io(error)
    }
}

/// Bytes a visit may add to the log: a sender that comes while others wait for it goes behind them.
#[inline(always)]
pub(super) fn log_share(schedule: &Schedule, fanout: &Fanout) -> usize {
    match schedule.admitted_share {
        Some(share) => share,
        None if fanout.waiting.is_empty() => usize::MAX,
        None => 0,
    }
}

/// The next thing to do with the input of an open connection.
#[inline]
fn next_input_step<T: Transport>(
    conn: &Connection<T>,
    protocol: &Protocol,
    ctx: &Context<'_>,
    phase: Phase,
) -> InputStep {
    let may_read = conn.may_read() && !conn.input_has_ended();
    const BUFFERED: Flags = Flags::LAGGING.and(Flags::LAYERED);
    if conn.session.owns_memory() || conn.flags.has_any(BUFFERED) {
        if T::Layer::EXISTS && conn.flags.has(Flags::LAYERED) {
            return InputStep::Layered;
        }
        return next_buffered_step(conn, protocol, ctx, phase, may_read);
    }
    // Nothing waits: neither input nor, but for those at hand, replies.
    let reply_max = ctx.shared.visit_bytes.min(ctx.shared.limits.send_queue_high_water());
    if may_read && ctx.shared.out.len() < reply_max { InputStep::Read } else { InputStep::Stop }
}

/// The same where something waits.
pub(super) fn next_buffered_step<T: Transport>(
    conn: &Connection<T>,
    protocol: &Protocol,
    ctx: &Context<'_>,
    phase: Phase,
    may_read: bool,
) -> InputStep {
    let is_deferred = conn.session.has_deferred_input();
    if !is_deferred && !may_read {
        let is_eof = conn.flags.has(Flags::EOF);
        let is_leaving = phase.is_stopping() || conn.flags.has(Flags::LEAVING);
        let is_over = is_eof || is_leaving || ends_on_would_block(protocol);
        if !is_over || !conn.session.has_unterminated(protocol, is_eof) {
            return InputStep::Stop;
        }
    }
    let out_len = ctx.shared.out.len();
    let Shared { limits, is_tight, visit_bytes, .. } = &*ctx.shared;
    let is_over_high_water =
        conn.session.is_over_high_water(&ctx.room.log, out_len, limits, *is_tight);
    if is_over_high_water || out_len >= *visit_bytes {
        InputStep::Stop
    } else if is_deferred {
        if conn.session.is_waiting() { InputStep::Stop } else { InputStep::Resume }
    } else if may_read {
        InputStep::Read
    } else {
        InputStep::EndMessage
    }
}

fn ends_on_would_block(protocol: &Protocol) -> bool {
    dispatch!(protocol, handler => handler.ends_on_would_block())
}

/// Reads once. `None` at would-block or EOF ([`Flags::EOF`]).
///
/// A short read has drained the stream, which saves asking again, except where the peer has shut
/// its side: the end of the stream stands behind it and no edge will announce it.
#[inline(never)]
pub(super) fn read<T: Transport>(
    conn: &mut Connection<T>,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    read_inline(conn, buffer)
}

/// [`read`], inlined into the one place where it is hot.
#[inline(always)]
fn read_inline<T: Transport>(
    conn: &mut Connection<T>,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    loop {
        match conn.stream.read(buffer) {
            Ok(0) => {
                conn.flags.set(Flags::EOF, true);
                return Ok(None);
            }
            Ok(n) => {
                let is_drained = n < buffer.len() && !conn.flags.has(Flags::READ_CLOSED);
                conn.flags.set(Flags::READ_READY, !is_drained);
                return Ok(Some(n));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.flags.set(Flags::READ_READY, false);
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes of one write in a visit that may make so many bytes of replies.
#[inline]
pub(super) const fn write_bytes_max(visit_bytes_max: usize) -> usize {
    if visit_bytes_max < VISIT_BYTES_MAX { WRITE_BYTES_CROWDED } else { WRITE_BYTES_MAX }
}

/// Writes once. A full stream takes 0 bytes.
#[inline]
pub(super) fn write<T: Transport>(stream: &mut T, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match stream.write(pieces) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether the connection waits for its client to read, for the fan-out, or for a hash.
pub(super) fn is_stalled<T: Transport>(
    conn: &Connection<T>,
    listener: &Listener<T>,
    shared: &Shared,
) -> bool {
    let log = &listener.room.log;
    conn.session.is_waiting()
        || conn.session.is_over_high_water(log, 0, &shared.limits, shared.is_tight)
}

/// Current deadline, or [`Millis::NEVER`].
#[inline]
pub(super) fn deadline<T: Transport>(
    conn: &Connection<T>,
    listener: &Listener<T>,
    limits: &Limits,
    phase: Phase,
    is_stalled: bool,
) -> Millis {
    let since = conn.session.last_active_at();
    match conn.state {
        #[cfg(feature = "admission")]
        State::Opening if conn.flags.has(Flags::AWAITS_HEADER) => since.after(PROXY_HEADER_MS),
        State::Opening if T::Layer::EXISTS => since.after(limits.handshake_timeout_ms),
        State::Open => {
            let Listener { protocol, idle_ms, .. } = listener;
            let at = conn.session.deadline(protocol, *idle_ms, limits, is_stalled);
            at.unwrap_or(Millis::NEVER)
        }
        // The stop, or the removal of the listener, has a deadline of its own.
        State::Draining(reason) if reason.is_orderly() => Millis::NEVER,
        State::Draining(CloseReason::Full) => since.after(LINGER_MS),
        State::Draining(_) => since.after(DRAIN_STALL_MS),
        State::Lingering if phase.is_stopping() => since.after(LINGER_STOPPING_MS),
        State::Lingering => since.after(LINGER_MS),
        State::Opening | State::Closed => Millis::NEVER,
    }
}
