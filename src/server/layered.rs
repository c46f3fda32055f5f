//! The bytes of a connection that has a layer: records in, data to its session, replies out in
//! records. What a turn answers is sealed into one buffer and written at once.

use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Io;
use super::connection::{Connection, Flags, State};
use super::layer::{Layer, Received};
use super::layers::Store;
use super::listener::Listener;
use super::schedule::Schedule;
use super::transport::Transport;
use super::visit::{
    FlushError, Flushed, InputStep, Visit, log_share, next_buffered_step, read, write,
    write_bytes_max,
};
use crate::buffer::{LagError, Pieces};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::{
    HANDSHAKE_BYTES_MAX, LAYER_WRITE_BYTES_BLOCKED, LAYER_WRITE_BYTES_MAX, RECORD_COST_BYTES,
};
use crate::protocol::{CloseReason, Context, Flow, PeerAddr};

/// Outcome of one read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadOutcome {
    /// Bytes read from the socket.
    pub(super) bytes: usize,
    /// Records among them, as [`Received::records`] counts.
    pub(super) records: usize,
    /// The session may speak.
    pub(super) is_open: bool,
    /// The peer will send no more.
    pub(super) has_ended: bool,
}

/// The log's words for [`ReadError::TooLong`].
pub(super) const TOO_LONG: &str = "its handshake messages are too long";

/// The reason a read ends the connection.
pub(super) enum ReadError<E> {
    Io(io::Error),
    /// The stream ended without the layer's end: what came may not be all.
    Truncated,
    /// There is no memory for the beginning of a record.
    Memory,
    /// A handshake message, which is not taken in parts, is longer than any.
    TooLong,
    Layer(E),
}

/// Reads once, and has the layer take the records that are whole; their data is then in
/// `store.plain`. The layer of a connection begins, by `config`, with its first bytes.
pub(super) fn receive<T: Transport>(
    conn: &mut Connection<T>,
    id: ConnId,
    read_buffer: &mut [u8],
    store: &mut Store<T::Layer>,
    read_max: usize,
    now: Millis,
    config: Option<&<T::Layer as Layer>::Config>,
) -> Result<ReadOutcome, ReadError<<T::Layer as Layer>::Error>> {
    store.plain.clear();
    let kept = store.state_mut(id.index).map_or(0, |state| state.received().len());
    let buffer = &mut read_buffer[kept..];
    let read_max = read_max.min(buffer.len());
    let Some(bytes) = read(conn, &mut buffer[..read_max]).map_err(ReadError::Io)? else {
        let has_ended = conn.flags.has(Flags::EOF);
        return if has_ended { Err(ReadError::Truncated) } else { Ok(ReadOutcome::default()) };
    };
    if let Some(config) = config
        && store.state(id.index).is_none()
    {
        let layer = <T::Layer as Layer>::begin(config).map_err(ReadError::Layer)?;
        store.begin(id.index, layer);
    }
    let Some((state, plain, wire)) = store.parts(id.index) else {
        return Ok(ReadOutcome { bytes, ..ReadOutcome::default() });
    };
    let received = state.received();
    let record_len = T::Layer::record_len(received);
    if record_len.is_some_and(|len| kept + bytes < len) {
        // Long records may come in many pieces; none is looked at twice.
        let wanted = record_len.unwrap_or(0) - kept - bytes;
        let new = &read_buffer[kept..kept + bytes];
        state.extend_received(new, wanted, now).map_err(|_| ReadError::Memory)?;
        conn.flags.set(Flags::LAYER_HOLDS, true);
        return Ok(ReadOutcome { bytes, ..ReadOutcome::default() });
    }
    read_buffer[..kept].copy_from_slice(received);
    let all = &mut read_buffer[..kept + bytes];
    let Some(layer) = &mut state.layer else { return Ok(ReadOutcome::default()) };
    let received = layer.receive(all, plain, wire).map_err(ReadError::Layer)?;
    let Received { taken, records, is_open, has_ended } = received;
    let rest = if has_ended { &[] } else { &all[taken..] };
    if kept > 0 {
        state.clear_received();
    }
    if !rest.is_empty() {
        // After the handshake too there are messages of one, and they too may come in pieces.
        if rest.len() > HANDSHAKE_BYTES_MAX {
            return Err(ReadError::TooLong);
        }
        let wanted = T::Layer::record_len(rest).unwrap_or(0).saturating_sub(rest.len());
        state.extend_received(rest, wanted, now).map_err(|_| ReadError::Memory)?;
        conn.flags.set(Flags::LAYER_HOLDS, true);
    }
    if has_ended {
        conn.flags.set(Flags::EOF, true);
    }
    Ok(ReadOutcome { bytes, records, is_open, has_ended })
}

impl Schedule {
    /// Keeps the error of a read through a layer for the log, and says how the connection ends.
    pub(super) fn note<E: fmt::Display>(&mut self, error: ReadError<E>) -> Flow {
        let (reason, error) = match error {
            ReadError::Io(error) => (CloseReason::Io, Some(error)),
            ReadError::Truncated => (CloseReason::Truncated, None),
            ReadError::Memory => (CloseReason::MemoryLimit, None),
            ReadError::TooLong => (CloseReason::Layer, Some(io::Error::other(TOO_LONG))),
            ReadError::Layer(error) => {
                (CloseReason::Layer, Some(io::Error::other(error.to_string())))
            }
        };
        self.io_error = error;
        Flow::Close(reason)
    }
}

impl<T: Transport> Visit<'_, T> {
    /// [`process_input`](Visit::process_input) of a connection with a layer.
    #[inline(never)]
    pub(super) fn process_layered_input(&mut self) -> Flow {
        let mut read_left = self.schedule.visit_bytes_max;
        let Visit { id, conn, listener, shared, schedule, io } = self;
        let Io { read_buffer, layers, origins, .. } = &mut **io;
        let Some(store) = layers.get_mut() else { return Flow::Continue };
        let Listener { protocol, room, fanout, .. } = &mut **listener;
        shared.log_share = log_share(schedule, fanout);
        let mut ctx = Context { id: *id, peer: PeerAddr::Unknown, room, shared };
        loop {
            let may_read = conn.may_read() && !conn.input_has_ended();
            let flow = match next_buffered_step(conn, protocol, &ctx, schedule.phase, may_read) {
                InputStep::Read if read_left > 0 => {
                    match receive(conn, *id, read_buffer, store, read_left, ctx.shared.now, None) {
                        Ok(read) => {
                            read_left = read_left.saturating_sub(read.bytes);
                            ctx.room.stats.bytes_in.add(read.bytes as u64);
                            schedule.budget.note(read.bytes);
                            ctx.shared.charge(read.records * RECORD_COST_BYTES);
                        }
                        Err(error) => return schedule.note(error),
                    }
                    if store.plain.is_empty() {
                        let begun = store.state(id.index).map_or(0, |state| state.received().len());
                        if conn.flags.has(Flags::LAYER_HOLDS) && begun > 0 {
                            conn.session.on_partial_record(begun, ctx.shared.now);
                        }
                        continue;
                    }
                    let is_drained = !conn.may_read();
                    conn.session.on_bytes(protocol, &store.plain, is_drained, &mut ctx)
                }
                InputStep::Resume => conn.session.on_resume(protocol, &mut ctx),
                InputStep::EndMessage => conn.session.end_message(protocol, &mut ctx),
                _ => return Flow::Continue,
            };
            match flow {
                Flow::Continue => {}
                Flow::NeedPeerAddr => ctx.peer = PeerAddr::Known(origins.peer_of(*id, conn).ok()),
                flow => return flow,
            }
        }
    }

    /// A layer that was open has failed: what it answered is sent, then the connection closes. What
    /// is unsent is lost, because it can no longer be sealed.
    pub(super) fn fail_layer(&mut self, error: &dyn fmt::Display) {
        let Visit { id, conn, shared, io, .. } = self;
        shared.connection_log.line(shared.now, || {
            format!("{id}{} {} failed: {error}", io.origins.shown_peer(*id, conn), T::Layer::NAME)
        });
        self.start_drain(CloseReason::Layer);
        self.release_memory();
        self.shared.out.clear();
        if let Some(state) = self.io.layers.state_mut(self.id.index) {
            state.layer = None;
            state.clear_received();
        }
    }

    /// [`flush`](Visit::flush) of a connection with a layer.
    pub(super) fn flush_layered(&mut self, registry: &T::Registry) -> Result<Flushed, FlushError> {
        let flushed = self.seal_and_write(registry);
        // Whatever went wrong: the buffer is the next connection's.
        if let Some(store) = self.io.layers.get_mut() {
            store.wire.clear();
        }
        flushed
    }

    fn seal_and_write(&mut self, registry: &T::Registry) -> Result<Flushed, FlushError> {
        let was_waiting = self.conn.session.has_unsent() || self.conn.flags.has(Flags::LAGGING);
        let (mut left, mut out_at, mut has_moved) =
            (write_bytes_max(self.schedule.visit_bytes_max), 0, false);
        while !self.conn.flags.has(Flags::WRITE_BLOCKED) {
            let at_once =
                if was_waiting { LAYER_WRITE_BYTES_BLOCKED } else { LAYER_WRITE_BYTES_MAX };
            let sealed = match self.is_sealed_sent() {
                true => self.seal(left.min(at_once), &mut out_at)?,
                false => 0,
            };
            left -= sealed;
            if !self.write_sealed()? {
                break;
            }
            has_moved = true;
            if left == 0 {
                break;
            }
        }
        if has_moved && was_waiting {
            self.conn.session.mark_active(self.shared.now);
        }
        // What the layer answered, where the socket takes nothing.
        let Visit { id, conn, shared, io, .. } = self;
        if let Some((state, _, wire)) = io.layers.get_mut().and_then(|s| s.parts(id.index))
            && !wire.is_empty()
        {
            state.keep_unsent(wire)?;
            conn.flags.set(Flags::LAYER_HOLDS, true);
        }
        conn.session.queue(&shared.out[out_at..])?;
        self.track_lag();
        if self.conn.flags.has(Flags::WRITE_BLOCKED) {
            self.check_lag()?;
            return self.arm_writable(registry);
        }
        let is_part = self.conn.session.has_unsent() || self.conn.flags.has(Flags::LAGGING);
        Ok(if is_part { Flushed::Part } else { Flushed::All })
    }

    /// Whether the log still has what the client is to be sent: nothing is sealed for a socket that
    /// is full, so nobody else would notice.
    fn check_lag(&self) -> Result<(), LagError> {
        let mut pieces = Pieces::new(LAYER_WRITE_BYTES_BLOCKED);
        match self.conn.state {
            State::Opening => Ok(()),
            _ => self.conn.session.gather(&[], &self.listener.room.log, &mut pieces),
        }
    }

    /// Whether the socket has taken all that was sealed in earlier visits.
    fn is_sealed_sent(&self) -> bool {
        !self.io.layers.has_unsent(self.id.index)
    }

    /// Seals what is to be written next, at most `bytes_max` of it, and behind the last of it the
    /// end. `out_at` is how much of the replies at hand has been sealed. Returns how many bytes
    /// were.
    fn seal(&mut self, bytes_max: usize, out_at: &mut usize) -> Result<usize, FlushError> {
        let Visit { id, conn, listener, shared, io, .. } = self;
        let log = &listener.room.log;
        let out = &shared.out[*out_at..];
        let mut pieces = Pieces::new(bytes_max);
        if conn.state != State::Opening {
            conn.session.gather(out, log, &mut pieces)?;
        }
        let bytes = pieces.bytes();
        let Io { read_buffer, layers, .. } = &mut **io;
        let Some(store) = layers.get_mut() else { return Ok(0) };
        let Some((state, _, wire)) = store.parts(id.index) else { return Ok(0) };
        let Some(layer) = &mut state.layer else { return Ok(0) };
        let plain = match pieces.as_slices() {
            [] => &[][..],
            [piece] => piece,
            pieces => {
                // As few records as can be.
                let mut at = 0;
                for piece in pieces {
                    read_buffer[at..at + piece.len()].copy_from_slice(piece);
                    at += piece.len();
                }
                &read_buffer[..at]
            }
        };
        if !plain.is_empty() {
            let sealed = catch_unwind(AssertUnwindSafe(|| layer.seal(plain, wire)));
            let Ok(sealed) = sealed else { return Err(FlushError::Panic) };
            sealed.map_err(|error| FlushError::Io(io::Error::other(error.to_string())))?;
        }
        let from_out = conn.session.advance(bytes, out.len());
        *out_at += from_out;
        let is_last = *out_at == shared.out.len() && !conn.session.has_unsent();
        if matches!(conn.state, State::Draining(_)) && is_last {
            let sealed = catch_unwind(AssertUnwindSafe(|| layer.seal_end(wire)));
            state.layer = None;
            sealed.map_err(|_| FlushError::Panic)?;
        }
        Ok(bytes)
    }

    /// Writes what has been sealed, as one write. Returns whether anything was written.
    fn write_sealed(&mut self) -> Result<bool, FlushError> {
        let Visit { id, conn, listener, schedule, io, .. } = self;
        let Some(store) = io.layers.get_mut() else { return Ok(false) };
        let Some((state, _, wire)) = store.parts(id.index) else { return Ok(false) };
        let unsent = state.unsent();
        let (unsent_len, wanted) = (unsent.len(), unsent.len() + wire.len());
        let slices = [IoSlice::new(unsent), IoSlice::new(wire)];
        let slices = match (unsent.is_empty(), wire.is_empty()) {
            (true, true) => return Ok(false),
            (true, false) => &slices[1..],
            (false, true) => &slices[..1],
            (false, false) => &slices[..],
        };
        let written = write(&mut conn.stream, slices)?;
        listener.room.stats.bytes_out.add(written as u64);
        schedule.budget.note(written);
        let from_unsent = written.min(unsent_len);
        state.advance(from_unsent);
        if written < wanted {
            conn.flags.set(Flags::WRITE_BLOCKED, true);
            conn.flags.set(Flags::LAYER_HOLDS, true);
            state.keep_unsent(&wire[written - from_unsent..])?;
        }
        wire.clear();
        Ok(written > 0)
    }

    /// Charges the account with what waits with the layer.
    pub(super) fn update_layer_charge(&mut self) {
        let Visit { id, conn, shared, io, .. } = self;
        if let Some(state) = io.layers.state_mut(id.index) {
            let holds = state.update_charge(&mut shared.memory);
            conn.flags.set(Flags::LAYER_HOLDS, holds);
        }
    }

    /// When a record that has begun is late, if nothing more of it comes.
    pub(super) fn record_due_at(&self) -> Option<Millis> {
        let may_be_late = self.conn.state == State::Open && self.conn.flags.has(Flags::LAYER_HOLDS);
        let store = self.io.layers.get().filter(|_| may_be_late)?;
        store.record_due_at(self.id.index, self.shared.limits.frame_timeout_ms)
    }

    /// Stops the clock of a record that has begun while the client is not read from.
    pub(super) fn pause_record(&mut self, is_stalled: bool) {
        if self.conn.flags.has(Flags::LAYER_HOLDS)
            && let Some(state) = self.io.layers.state_mut(self.id.index)
        {
            state.set_paused(is_stalled, self.shared.now);
        }
    }

    /// Has the session process the data that came with the end of the handshake.
    fn process_plain(&mut self) -> Flow {
        let Visit { id, conn, listener, shared, schedule, io } = self;
        let Some(store) = io.layers.get().filter(|store| !store.plain.is_empty()) else {
            return Flow::Continue;
        };
        let Listener { protocol, room, fanout, .. } = &mut **listener;
        shared.log_share = log_share(schedule, fanout);
        let mut ctx = Context { id: *id, peer: PeerAddr::Unknown, room, shared };
        let is_drained = !conn.may_read();
        let flow = conn.session.on_bytes(protocol, &store.plain, is_drained, &mut ctx);
        // What needs the address is deferred, and taken up with what else there is.
        if flow == Flow::NeedPeerAddr { Flow::Continue } else { flow }
    }

    /// Has the session process the data behind the handshake, then what else can be read.
    pub(super) fn process_opened(&mut self) -> Flow {
        match self.process_plain() {
            Flow::Continue => self.process_input(),
            flow => flow,
        }
    }
}
