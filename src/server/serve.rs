//! One connection's turn: read, answer, write once, and note what is left to do. How connections end
//! is in `close`.
//!
//! Every way a connection is touched ends in [`Server::flush_and_reschedule`], which leaves it in one
//! of four conditions: waiting for an edge that must come (or a deadline), waiting for the fan-out
//! to come round, on the resume list, or closed.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::connection::{Connection, Flags, State};
use super::listener::{Listener, ListenerConfig};
use super::transport::Transport;
use super::{Phase, Server};
use crate::buffer::{LagError, Pieces};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::{
    DRAIN_STALL_MS, LINGER_MS, LINGER_STOPPING_MS, Limits, READ_TURN_BYTES_MAX, VISIT_BYTES_MAX,
    VISIT_COST_BYTES, WRITE_BYTES_CROWDED, WRITE_BYTES_MAX,
};
use crate::memory::{AllocError, MemoryAccount};
use crate::protocol::{CloseReason, Context, Flow, PeerAddr};

impl<T: Transport> Server<T> {
    /// Visits a connection: reads what may be read, answers it, and writes the answers.
    pub(super) fn serve(&mut self, registry: &T::Registry, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        let moved = self.stats.bytes_in_total + self.stats.bytes_out_total;
        match conn.state {
            State::Open => self.catch_handler_panic(id, Self::process_input),
            State::Draining(_) | State::Lingering => self.discard(id),
            State::Closed => return,
        }
        let charged = self.visit_bytes_max - self.visit_bytes + self.out.len();
        self.finish_visit(registry, id);
        let moved = self.stats.bytes_in_total + self.stats.bytes_out_total - moved;
        // A visit moves a megabyte or two at most.
        self.budget.charge(VISIT_COST_BYTES + moved as usize + charged);
    }

    /// Writes what the visit to a connection came to, and carries what it has for others.
    fn finish_visit(&mut self, registry: &T::Registry, id: ConnId) {
        self.visit_bytes = self.visit_bytes_max;
        self.flush_and_reschedule(registry, id);
        self.deliver_direct(registry);
        self.append_plugin_broadcasts();
    }

    /// Runs what calls handlers behind the unwind boundary, and does what they ask for: a handler
    /// that panics costs its own connection and nothing else.
    fn catch_handler_panic(&mut self, id: ConnId, talk: fn(&mut Self, ConnId) -> io::Result<Flow>) {
        let head = if cfg!(debug_assertions) { self.log_head_if_others_wait(id) } else { None };
        let result = catch_unwind(AssertUnwindSafe(|| talk(self, id)));
        debug_assert!(
            head.is_none() || head == self.log_head_if_others_wait(id),
            "{id} went into the log ahead of those who wait for their turn"
        );
        // Whatever was appended to the log must be known to be owed before anyone's cursor moves.
        if let Some(conn) = self.table.get_mut(id) {
            let listener = usize::from(conn.listener);
            self.start_pass_if_needed(listener);
        }
        match result {
            // Without memory there is none for last replies either.
            Ok(Ok(Flow::Close(CloseReason::MemoryLimit))) => {
                self.close(id, CloseReason::MemoryLimit, None);
            }
            Ok(Ok(Flow::Close(reason))) => self.start_drain(id, reason),
            Ok(Ok(Flow::WaitForFanout)) => {
                if let Some(conn) = self.table.get_mut(id) {
                    let listener = usize::from(conn.listener);
                    let fanout = &mut self.listeners[listener].fanout;
                    fanout.waiting.push_back(id);
                    fanout.rota.on_wait(id);
                }
            }
            // `Yield` and `NeedPeerAddr` leave the input deferred; the resume list retries it.
            Ok(Ok(Flow::Continue | Flow::Yield | Flow::NeedPeerAddr)) => {
                self.drain_if_input_ended(id)
            }
            Ok(Err(error)) => self.close(id, CloseReason::Io, Some(error)),
            Err(_) => {
                self.connection_log.handler_panicked(self.now, id);
                self.close(id, CloseReason::Internal, None);
            }
        }
    }

    /// The head of the connection's log, where senders wait for it and this one has not been let in.
    fn log_head_if_others_wait(&mut self, id: ConnId) -> Option<u64> {
        let conn = self.table.get_mut(id)?;
        let Listener { room, fanout, .. } = &self.listeners[usize::from(conn.listener)];
        let others_wait = self.log_share.is_none() && !fanout.waiting.is_empty();
        others_wait.then(|| room.log.head())
    }

    /// Feeds the session with held input first, then with reads, until the stream is dry, the
    /// budget is spent or the replies have to be read first.
    fn process_input(&mut self, id: ConnId) -> io::Result<Flow> {
        let (now, stopping, is_tight) = (self.now, self.phase.is_stopping(), self.is_tight);
        let mut budget = self.visit_bytes_max.min(READ_TURN_BYTES_MAX);
        let Some((conn, config, mut ctx, read_buffer)) = self.parts(id) else {
            return Ok(Flow::Continue);
        };
        let read_max = budget.min(read_buffer.len());
        loop {
            let is_deferred = conn.session.has_deferred_input();
            let may_read = conn.may_read() && !conn.input_has_ended();
            let is_end = conn.flags.has(Flags::EOF);
            if !is_deferred && !may_read {
                let over = is_end || stopping || config.protocol.ends_on_would_block();
                if !over || !conn.session.has_unterminated(&config.protocol, is_end) {
                    return Ok(Flow::Continue);
                }
            }
            let out_len = ctx.out.len();
            let is_backlogged =
                conn.session.is_backlogged(&ctx.room.log, out_len, ctx.limits, is_tight);
            if is_backlogged || out_len >= *ctx.visit_bytes {
                return Ok(Flow::Continue);
            }
            let flow = if is_deferred {
                if conn.session.waits_for_fanout() {
                    return Ok(Flow::Continue);
                }
                conn.session.on_resume(&config.protocol, now, &mut ctx)
            } else if !may_read {
                conn.session.on_end(&config.protocol, now, &mut ctx)
            } else if budget == 0 {
                return Ok(Flow::Continue);
            } else if let Some(n) = read(conn, &mut read_buffer[..read_max])? {
                budget = budget.saturating_sub(n);
                ctx.stats.bytes_in_total += n as u64;
                let is_dry = !conn.may_read();
                let bytes = &read_buffer[..n];
                conn.session.on_bytes(&config.protocol, bytes, is_dry, now, &mut ctx)
            } else {
                Flow::Continue
            };
            match flow {
                Flow::Continue => {}
                Flow::NeedPeerAddr => ctx.peer = PeerAddr::Known(conn.stream.peer_addr().ok()),
                flow => return Ok(flow),
            }
        }
    }

    /// A connection, what its listener says of it, what its handlers may touch, and the buffer it
    /// may be read into: the parts of the server a conversation takes.
    fn parts(&mut self, id: ConnId) -> Option<Parts<'_, T>> {
        let conn = self.table.get_mut(id)?;
        let Listener { config, room, fanout, .. } = &mut self.listeners[usize::from(conn.listener)];
        let ctx = Context {
            id,
            limits: &self.limits,
            room,
            stats: &mut self.stats,
            out: &mut self.out,
            visit_bytes: &mut self.visit_bytes,
            reply_limit: 0,
            // Whoever comes while others wait for the log goes behind them.
            log_share: match self.log_share {
                Some(share) => share,
                None if fanout.waiting.is_empty() => usize::MAX,
                None => 0,
            },
            is_tight: self.is_tight,
            direct: &mut self.direct,
            connection_log: &mut self.connection_log,
            plugins: self.plugins.as_deref_mut(),
            peer: PeerAddr::Unknown,
            now: self.now,
        };
        Some((conn, config, ctx, &mut self.read_buffer))
    }

    /// Writes what can be written, and leaves the connection where somebody will come back to it.
    pub(super) fn flush_and_reschedule(&mut self, registry: &T::Registry, id: ConnId) {
        match self.flush(registry, id) {
            Ok(Flushed::All) => {}
            Ok(Flushed::Part) => self.requeue(id),
            Err(FlushError::Io(error)) => self.close(id, CloseReason::Io, Some(error)),
            Err(FlushError::Lag(LagError)) => self.close(id, CloseReason::SlowConsumer, None),
            Err(FlushError::Memory(AllocError)) => {
                self.close(id, CloseReason::MemoryLimit, None);
            }
        }
        self.out.clear();
        let Some(conn) = self.table.get_mut(id) else { return };
        if let State::Draining(reason) = conn.state
            && !conn.session.has_unsent()
        {
            self.finish_drain(id, reason);
        }
        self.reschedule(id);
        self.check_memory();
    }

    /// One write of what waits, in order: queued replies, the replies at hand, and what the log holds
    /// behind the cursor. Replies that are not taken are queued.
    fn flush(&mut self, registry: &T::Registry, id: ConnId) -> Result<Flushed, FlushError> {
        let Some(conn) = self.table.get_mut(id) else { return Ok(Flushed::All) };
        let listener = &mut self.listeners[usize::from(conn.listener)];
        let log = &listener.room.log;
        if conn.state == State::Closed {
            return Ok(Flushed::All);
        }
        // Most have nothing waiting but what is at hand, and sockets that take it.
        let is_free = !conn.flags.has(Flags::LAGGING) && !conn.flags.has(Flags::WRITE_BLOCKED);
        let Some([front, back]) = conn.session.unsent_broadcasts(log).filter(|_| is_free) else {
            return self.flush_queue(registry, id);
        };
        let wanted = self.out.len() + front.len() + back.len();
        if wanted == 0 {
            return Ok(Flushed::All);
        }
        if wanted > write_bytes_max(self.visit_bytes_max) {
            return self.flush_queue(registry, id);
        }
        let written = if front.is_empty() {
            let written = write(&mut conn.stream, &[IoSlice::new(&self.out)])?;
            if written == wanted {
                self.stats.bytes_out_total += written as u64;
                return Ok(Flushed::All);
            }
            written
        } else if self.out.is_empty() && back.is_empty() {
            write(&mut conn.stream, &[IoSlice::new(front)])?
        } else {
            let mut slices = [IoSlice::new(&[]); 3];
            let mut count = 0;
            for piece in [&self.out, front, back] {
                if !piece.is_empty() {
                    slices[count] = IoSlice::new(piece);
                    count += 1;
                }
            }
            write(&mut conn.stream, &slices[..count])?
        };
        self.stats.bytes_out_total += written as u64;
        let from_out = conn.session.advance(written, self.out.len());
        if written == wanted {
            return Ok(Flushed::All);
        }
        conn.flags.set(Flags::WRITE_BLOCKED, true);
        conn.session.queue(&self.out[from_out..])?;
        track_lag(conn, listener, &mut self.memory);
        self.arm_writable(registry, id)
    }

    /// Has writable events announced, once for the life of the connection.
    fn arm_writable(&mut self, registry: &T::Registry, id: ConnId) -> Result<Flushed, FlushError> {
        if let Some(conn) = self.table.get_mut(id)
            && !conn.flags.has(Flags::WRITE_ARMED)
        {
            conn.stream.arm_writable(registry, id)?;
            conn.flags.set(Flags::WRITE_ARMED, true);
        }
        Ok(Flushed::All)
    }

    /// Writes where more than the replies at hand may wait.
    fn flush_queue(&mut self, registry: &T::Registry, id: ConnId) -> Result<Flushed, FlushError> {
        let Some(conn) = self.table.get_mut(id) else { return Ok(Flushed::All) };
        let listener = &mut self.listeners[usize::from(conn.listener)];
        let log = &listener.room.log;
        let was_waiting = conn.session.has_unsent() || conn.flags.has(Flags::LAGGING);
        let mut pieces = Pieces::new(write_bytes_max(self.visit_bytes_max));
        conn.session.gather(&self.out, log, &mut pieces)?;
        let wanted = pieces.bytes();
        if wanted == 0 {
            return Ok(Flushed::All);
        }
        let mut written = 0;
        if !conn.flags.has(Flags::WRITE_BLOCKED) {
            written = write(&mut conn.stream, pieces.as_slices())?;
            self.stats.bytes_out_total += written as u64;
            // A short write is a full stream (epoll(7)): the next edge announces room.
            conn.flags.set(Flags::WRITE_BLOCKED, written < wanted);
        }
        if written > 0 && was_waiting {
            conn.session.mark_active(self.now);
        }
        let from_out = conn.session.advance(written, self.out.len());
        conn.session.queue(&self.out[from_out..])?;
        track_lag(conn, listener, &mut self.memory);
        if conn.flags.has(Flags::WRITE_BLOCKED) {
            return self.arm_writable(registry, id);
        }
        let is_part = conn.session.has_unsent() || conn.flags.has(Flags::LAGGING);
        Ok(if is_part { Flushed::Part } else { Flushed::All })
    }

    /// Notes what is left to do: on the resume list if more can be done at once, in the wheel if
    /// time may end it.
    fn reschedule(&mut self, id: ConnId) {
        let (now, limits, phase) = (self.now, self.limits, self.phase);
        let is_tight = self.is_tight;
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.session.update_charge(&mut self.memory);
        let number = usize::from(conn.listener);
        let listener = &self.listeners[number];
        let mut is_stalled = false;
        let runnable = match conn.state {
            State::Open => {
                is_stalled = self::is_stalled(conn, listener, &limits, is_tight);
                conn.session.set_paused(is_stalled, now);
                let may_read = conn.may_read() && !conn.input_has_ended();
                !is_stalled && (may_read || conn.session.has_deferred_input())
            }
            State::Draining(_) | State::Lingering => conn.may_read(),
            State::Closed => false,
        };
        let deadline = deadline(conn, listener, &limits, phase, is_stalled);
        debug_assert!(
            !is_stalled
                || conn.flags.has(Flags::WRITE_BLOCKED)
                || conn.flags.has(Flags::QUEUED)
                || listener.fanout.active
                || listener.fanout.is_admitting,
            "{id} is stalled and nothing will wake it"
        );
        if deadline < conn.timer.at() {
            self.wheel.arm(&mut self.table, id.index, deadline);
        }
        if runnable {
            self.requeue(id);
        }
    }

    /// The timer of a connection fired. Timers are armed for the earliest deadline there was and
    /// not moved when it is put off, so most of the time there is nothing to do but arm it again.
    pub(super) fn on_deadline(&mut self, registry: &T::Registry, id: ConnId) {
        if !self.is_due(id) {
            return self.reschedule(id);
        }
        // The loop itself may have been late. Nobody is cut for bytes that have arrived.
        if let Some(conn) = self.table.get_mut(id) {
            conn.flags.set(Flags::READ_READY, true);
        }
        self.serve(registry, id);
        if !self.is_due(id) {
            return self.reschedule(id);
        }
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.state {
            State::Open => self.catch_handler_panic(id, Self::process_timeout),
            State::Draining(_) => self.close(id, CloseReason::DrainTimeout, None),
            State::Lingering | State::Closed => self.close(id, CloseReason::PeerClosed, None),
        }
        self.finish_visit(registry, id);
    }

    fn is_due(&mut self, id: ConnId) -> bool {
        let (now, limits, phase) = (self.now, self.limits, self.phase);
        let is_tight = self.is_tight;
        let Some(conn) = self.table.get_mut(id) else { return false };
        let listener = &self.listeners[usize::from(conn.listener)];
        let is_stalled = conn.state == State::Open && is_stalled(conn, listener, &limits, is_tight);
        deadline(conn, listener, &limits, phase, is_stalled) <= now
    }

    /// Nothing came for as long as it takes to mean something.
    fn process_timeout(&mut self, id: ConnId) -> io::Result<Flow> {
        let now = self.now;
        let Some((conn, config, mut ctx, _)) = self.parts(id) else { return Ok(Flow::Continue) };
        let flow = conn.session.on_deadline(&config.protocol, config.idle_ms, now, &mut ctx);
        // It has had the idle timeout to take what it was owed, and its lag in the log is not worth
        // a copy.
        if flow == Flow::Close(CloseReason::IdleTimeout) && conn.flags.has(Flags::WRITE_BLOCKED) {
            self.close(id, CloseReason::IdleTimeout, None);
            return Ok(Flow::Continue);
        }
        Ok(flow)
    }
}

type Parts<'a, T> = (&'a mut Connection<T>, &'a ListenerConfig, Context<'a>, &'a mut [u8]);

/// How much of what could be written at this moment has been.
enum Flushed {
    /// All of it.
    All,
    /// As much as one write takes; there is more, and the stream has room.
    Part,
}

/// Why a flush could not go on.
enum FlushError {
    Io(io::Error),
    Lag(LagError),
    Memory(AllocError),
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

/// Reads once. `None` when there is nothing, or nothing any more; the flags say which.
///
/// A short read has drained the stream, which saves asking again, except where the peer has shut
/// its side: the end of the stream stands behind it and no edge will announce it.
pub(super) fn read<T: Transport>(
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
                let drained = n < buffer.len() && !conn.flags.has(Flags::READ_CLOSED);
                conn.flags.set(Flags::READ_READY, !drained);
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
const fn write_bytes_max(visit_bytes_max: usize) -> usize {
    if visit_bytes_max < VISIT_BYTES_MAX { WRITE_BYTES_CROWDED } else { WRITE_BYTES_MAX }
}

/// Writes once. A full stream takes 0 bytes.
#[inline]
fn write<T: Transport>(stream: &mut T, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match stream.write(pieces) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether an open connection cannot go on before the client reads or the fan-out has come round.
pub(super) fn is_stalled<T: Transport>(
    conn: &Connection<T>,
    listener: &Listener<T>,
    limits: &Limits,
    is_tight: bool,
) -> bool {
    conn.session.waits_for_fanout()
        || conn.session.is_backlogged(&listener.room.log, 0, limits, is_tight)
}

/// When time ends what the connection is doing; [`Millis::NEVER`] if it does not.
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
        State::Open => {
            let ListenerConfig { protocol, idle_ms, .. } = &listener.config;
            let at = conn.session.deadline(protocol, *idle_ms, limits, is_stalled);
            at.unwrap_or(Millis::NEVER)
        }
        // The stop has a deadline of its own.
        State::Draining(CloseReason::Shutdown) => Millis::NEVER,
        State::Draining(CloseReason::Full) => since.after(LINGER_MS),
        State::Draining(_) => since.after(DRAIN_STALL_MS),
        State::Lingering if phase.is_stopping() => since.after(LINGER_STOPPING_MS),
        State::Lingering => since.after(LINGER_MS),
        State::Closed => Millis::NEVER,
    }
}

/// Keeps count of the connections that have been offered broadcasts and not taken them.
fn track_lag<T: Transport>(
    conn: &mut Connection<T>,
    listener: &mut Listener<T>,
    memory: &mut MemoryAccount,
) {
    let lags = conn.session.lag(&listener.room.log) > 0;
    if lags == conn.flags.has(Flags::LAGGING) {
        return;
    }
    conn.flags.set(Flags::LAGGING, lags);
    if lags {
        listener.fanout.laggards += 1;
    } else {
        caught_up(listener, memory);
    }
}

/// One laggard fewer. When the last has caught up and no pass is on its way, nobody needs what the
/// log holds.
pub(super) fn caught_up<T: Transport>(listener: &mut Listener<T>, memory: &mut MemoryAccount) {
    listener.fanout.laggards -= 1;
    if listener.fanout.laggards == 0 && !listener.fanout.active {
        let head = listener.room.log.head();
        debug_assert_eq!(listener.room.log.offered(), head, "a pass was due");
        listener.room.log.release_below(head);
        listener.update_charge(memory);
    }
}
