//! The time between accept and the first message of connections with a layer: their handshakes, at
//! most so much of a turn, those that came first first; and their number, bounded.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::debug;

use super::connection::{Flags, State};
use super::layer::Layer;
use super::layered::{ReadError, TOO_LONG, receive};
use super::listener::Listener;
use super::transport::Transport;
use super::visit::Visit;
use super::{Io, Server};
use crate::clock::Millis;
use crate::limits::{CLOCK_CHECK_BYTES, HANDSHAKES_TURN_MAX, turn_micros};
use crate::protocol::{CloseReason, Flow, Handler, dispatch};
use crate::session::Session;

impl<T: Transport> Server<T> {
    /// Puts a layer under the connections that `listener` accepts from now on, or another one: TLS,
    /// with a certificate and its key. The listener's first layer is to be set before its first
    /// connection.
    ///
    #[cfg_attr(feature = "tls", doc = "```no_run")]
    #[cfg_attr(not(feature = "tls"), doc = "```ignore")]
    /// use mynah::{EventLoop, Limits, PrefixedProtocol, ServerFiles, ServerTls};
    ///
    /// let mut event_loop = EventLoop::new(Limits::default())?;
    /// event_loop.bind("[::1]:8443".parse()?, PrefixedProtocol)?;
    /// let (cert, key) = ("cert.pem".into(), "key.pem".into());
    /// let files = ServerFiles { cert, key, client_ca: None };
    /// event_loop.server_mut().set_layer(0, ServerTls::load(&files)?);
    /// event_loop.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn set_layer(&mut self, listener: usize, config: <T::Layer as Layer>::Config) {
        self.io.layers.enable();
        self.listeners[listener].layer = Some(config);
    }

    /// Goes on with handshakes until the budget is spent: each step may be a signature.
    pub(super) fn advance_handshakes(&mut self, registry: &T::Registry) {
        if !T::Layer::EXISTS || self.schedule.handshakes.is_empty() {
            return;
        }
        self.schedule.budget.begin(turn_micros::HANDSHAKES);
        for _ in 0..HANDSHAKES_TURN_MAX {
            let Some(id) = self.schedule.handshakes.pop() else { break };
            let Some(mut visit) = self.visit(id) else { continue };
            visit.conn.flags.set(Flags::QUEUED, false);
            let timer_at = visit.run_handshake(registry);
            self.end_visit(registry, id, timer_at);
            self.schedule.budget.charge(CLOCK_CHECK_BYTES);
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        self.schedule.handshakes.free_if_empty();
    }

    /// Makes place among the connections that are not open yet, where there are as many as there
    /// may be.
    pub(super) fn bound_openings(&mut self) {
        #[cfg(feature = "admission")]
        self.bound_headerless();
        while let Some(store) = self.io.layers.get()
            && store.unopened.len() > self.shared.limits.handshakes_max
            && let Some(index) = store.unopened.first_to_go()
        {
            let id = self.table.id_at(index);
            let Some(mut visit) = self.visit(id) else { return };
            visit.log_handshake_failure(&"too many unfinished handshakes");
            visit.close(CloseReason::Handshake, None);
        }
    }
}

impl<T: Transport> Visit<'_, T> {
    /// Lets the handshake of a connection go on when its turn comes.
    pub(super) fn queue_handshake(&mut self) {
        if !self.conn.flags.has(Flags::QUEUED) {
            self.conn.flags.set(Flags::QUEUED, true);
            self.schedule.handshakes.push(self.id);
        }
    }

    /// One step of a handshake. Returns as [`run`](Visit::run).
    fn run_handshake(&mut self, registry: &T::Registry) -> Millis {
        if self.conn.state != State::Opening {
            return self.run(registry);
        }
        if self.conn.may_read() {
            // A layer is a parser of what anybody sends: its panics are no more than a handler's.
            let read = catch_unwind(AssertUnwindSafe(|| self.read_handshake()));
            if read.is_err() {
                self.close_after_panic();
            }
        }
        self.flush_and_reschedule(registry)
    }

    fn read_handshake(&mut self) {
        let Visit { id, conn, listener, shared, io, .. } = self;
        let Io { read_buffer, layers, .. } = &mut **io;
        let Some(store) = layers.get_mut() else { return };
        match receive(
            conn,
            *id,
            read_buffer,
            store,
            usize::MAX,
            shared.now,
            listener.layer.as_ref(),
        ) {
            Ok(received) => {
                listener.room.stats.bytes_in.add(received.bytes as u64);
                if received.is_open {
                    self.open();
                } else if received.has_ended {
                    self.fail_handshake(&"the client closed it");
                }
            }
            Err(ReadError::Truncated) if !self.io.layers.has_begun(self.id.index) => {
                self.close(CloseReason::PeerClosed, None);
            }
            Err(ReadError::Truncated) => {
                self.log_handshake_failure(&"the client closed the connection");
                self.close(CloseReason::Handshake, None);
            }
            Err(ReadError::Io(error)) => self.close(CloseReason::Io, Some(error)),
            Err(ReadError::Memory) => self.close(CloseReason::MemoryLimit, None),
            Err(ReadError::TooLong) => self.fail_handshake(&TOO_LONG),
            Err(ReadError::Layer(error)) => self.fail_handshake(&error),
        }
        self.log_asked_name();
    }

    /// The handshake is over: the session begins, with what came behind it.
    fn open(&mut self) {
        self.begin_session();
        let Visit { id, shared, io, .. } = self;
        let Some(store) = io.layers.get_mut() else { return };
        store.end_handshake(id.index);
        shared.stats.server.handshakes_total += 1;
        let layer = store.state(id.index).and_then(|state| state.layer.as_ref());
        if layer.is_some_and(Layer::is_resumed) {
            shared.stats.server.resumptions_total += 1;
        }
        self.answer(|visit| match visit.greet_opened() {
            Flow::Continue => visit.process_opened(),
            flow => flow,
        });
    }

    /// The handshake or header before the session is over.
    pub(super) fn begin_session(&mut self) {
        let Visit { id, conn, listener, shared, .. } = self;
        let Listener { protocol, room, .. } = &mut **listener;
        conn.state = State::Open;
        #[cfg(feature = "accounts")]
        let accepted_at = conn.session.last_active_at();
        conn.session = Session::new(id.generation, protocol, shared.now, &room.log);
        room.members += 1;
        #[cfg(feature = "accounts")]
        self.require_login(accepted_at);
    }

    fn greet_opened(&mut self) -> Flow {
        let Visit { id, conn, listener, shared, io, .. } = self;
        match io.origins.peer_of(*id, conn) {
            Ok(peer) => {
                dispatch!(&mut listener.protocol, handler => handler.on_connect(*id, peer, shared))
            }
            Err(error) => {
                self.schedule.io_error = Some(error);
                Flow::Close(CloseReason::Io)
            }
        }
    }

    /// The handshake has failed: what the layer answered is sent, then the connection closes.
    fn fail_handshake(&mut self, reason: &dyn fmt::Display) {
        self.log_handshake_failure(reason);
        let Visit { id, conn, shared, io, .. } = self;
        if let Some(store) = io.layers.get_mut() {
            store.end_handshake(id.index);
            if let Some(state) = store.state_mut(id.index) {
                state.layer = None;
                state.clear_received();
            }
        }
        conn.session.mark_active(shared.now);
        conn.state = State::Draining(CloseReason::Handshake);
    }

    pub(super) fn log_handshake_failure(&mut self, reason: &dyn fmt::Display) {
        let Visit { id, conn, shared, io, .. } = self;
        shared.stats.server.handshake_failures_total += 1;
        shared.connection_log.line(shared.now, || {
            let (peer, layer) = (io.origins.shown_peer(*id, conn), T::Layer::NAME);
            format!("{id}{peer} {layer} handshake failed: {reason}")
        });
    }

    /// The time for the handshake is over.
    pub(super) fn end_late_handshake(&mut self) {
        let has_begun = self.io.layers.has_begun(self.id.index);
        let what = if has_begun { "not finished" } else { "nothing came" };
        let secs = self.shared.limits.handshake_timeout_ms / 1000;
        self.log_handshake_failure(&format_args!("{what} within {secs} s"));
        self.close(CloseReason::Handshake, None);
    }

    /// Logs which server the client asked for.
    fn log_asked_name(&mut self) {
        if let Some(config) = &self.listener.layer
            && let Some(name) = <T::Layer as Layer>::take_asked_name(config)
        {
            debug!("{} asks for server {:?}", self.id, name);
        }
    }
}
