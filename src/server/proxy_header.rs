//! Limits by address, and connections that begin with a PROXY header: the header is looked at where
//! it lies in the kernel, so that what has come of it costs no memory.

use std::io::{self, IoSlice};

use super::Server;
use super::address_table::AddressLimit;
use super::connection::{Flags, State};
use super::layer::Layer;
use super::origins::{AddressLimits, TrustedProxies};
use super::transport::Transport;
use super::visit::{self, Visit};
use crate::address::Peer;
use crate::close_reason::Refusal;
use crate::codec::proxy_header::{ProxySource, V2_LEN_MAX, decode};
use crate::limits::PROXY_HEADER_MS;
use crate::networks::Networks;
use crate::protocol::{CloseReason, Flow, Handler, dispatch};

impl<T: Transport> Server<T> {
    /// Limits the connections of one address that come from now on. Those of `exempt` networks are
    /// not counted.
    ///
    /// ```
    /// use mynah::{AddressLimits, EventLoop, Limits, Networks};
    ///
    /// let mut event_loop = EventLoop::new(Limits::default())?;
    /// let limits = AddressLimits { open_max: 100, rate_max: 20 };
    /// let exempt = Networks::parse("10.0.0.0/8,::1").unwrap();
    /// event_loop.server_mut().set_address_limits(limits, exempt);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_address_limits(&mut self, limits: AddressLimits, exempt: Networks) {
        self.io.origins.set_limits(limits, exempt);
    }

    /// Has the connections that `listener` accepts from `proxies`, from now on, begin with a PROXY
    /// header; what it says is the client's address.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn trust_proxies(&mut self, listener: usize, proxies: Option<TrustedProxies>) {
        self.listeners[listener].proxies = proxies.map(Box::new);
    }

    /// Takes in a connection of a proxy. Its client is not known, so no address is counted for it.
    pub(super) fn admit_headerless(
        &mut self,
        registry: &T::Registry,
        number: usize,
        stream: T,
        peer: Peer,
    ) {
        let Some(id) = self.insert(registry, number, stream, peer) else { return };
        let Some(mut visit) = self.visit(id) else { return };
        if visit.is_full() {
            if visit.listener.layer.is_some() {
                // As any other: what is said before a handshake is no part of it.
                visit.log_refusal(peer);
                self.remove_at_once(id);
                return;
            }
            visit.refuse(peer);
        } else {
            visit.count_client();
            visit.begin_opening();
            visit.conn.flags.set(Flags::AWAITS_HEADER, true);
            visit.io.origins.wait_for_header(id);
        }
        let timer_at = visit.flush_and_reschedule(registry);
        self.end_visit(registry, id, timer_at);
    }

    /// Makes place among the connections whose header has not come.
    pub(super) fn bound_headerless(&mut self) {
        while let Some(id) = self.io.origins.first_over(self.shared.limits.headerless_max) {
            let Some(mut visit) = self.visit(id) else { return };
            visit.fail_header(&"too many wait for theirs");
        }
    }

    /// Refuses a connection whose address has too many, before anything is allocated for it.
    pub(super) fn refuse_over_limit(
        &mut self,
        number: usize,
        mut stream: T,
        peer: Peer,
        limit: AddressLimit,
    ) {
        let Some(ip) = peer.ip() else { return };
        let (listener, shared) = (&self.listeners[number], &mut self.shared);
        if listener.layer.is_none() && limit.is_told() {
            dispatch!(&listener.protocol, handler => handler.write_over_limit(ip, &mut shared.out));
        }
        if !shared.out.is_empty() {
            // A new socket takes it all, and who has left is not told.
            let _ = visit::write(&mut stream, &[IoSlice::new(&shared.out)]);
            // What has come by now shall not turn the close into a reset.
            let _ = stream.read(&mut self.io.read_buffer);
            shared.out.clear();
        }
        listener.room.stats.count_refused(limit.into());
        if limit.is_told() {
            shared.connection_log.over_address_limit(shared.now, ip);
        }
    }
}

impl<T: Transport> Visit<'_, T> {
    /// Looks for the header, and acts on it once it is whole.
    #[inline(never)]
    pub(super) fn read_proxy_header(&mut self) {
        if !self.conn.may_read() {
            return;
        }
        let seen = &mut self.io.read_buffer[..V2_LEN_MAX];
        let found = match peek(&mut self.conn.stream, seen) {
            Ok(0) => return self.close(CloseReason::PeerClosed, None),
            Ok(n) => decode(&seen[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.conn.flags.set(Flags::READ_READY, false);
            }
            Err(error) => return self.close(CloseReason::Io, Some(error)),
        };
        match found {
            Ok(Some((source, len))) => match self.skip_header(len) {
                Ok(()) => self.begin_client(source),
                Err(error) => self.close(CloseReason::Io, Some(error)),
            },
            Ok(None) if self.conn.flags.has(Flags::READ_CLOSED) => {
                self.fail_header(&"it is cut short");
            }
            // More of it is announced by an edge.
            Ok(None) => self.conn.flags.set(Flags::READ_READY, false),
            Err(error) => self.fail_header(&error),
        }
    }

    /// Takes the header from the stream, and not a byte behind it.
    fn skip_header(&mut self, len: usize) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            match self.conn.stream.read(&mut self.io.read_buffer[..left]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => left -= n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.listener.room.stats.bytes_in.add(len as u64);
        Ok(())
    }

    /// The client is known: it is counted, and its layer or its session begins.
    fn begin_client(&mut self, source: ProxySource) {
        self.conn.flags.set(Flags::AWAITS_HEADER, false);
        self.io.origins.end_wait(self.id);
        if let ProxySource::Client(client) = source {
            self.io.origins.set_client(self.id.index, client);
            self.conn.flags.set(Flags::PROXIED, true);
        }
        let peer = match self.io.origins.peer_of(self.id, self.conn) {
            Ok(peer) => peer,
            // A health check that has left with a reset: its socket no longer knows.
            Err(_) => return self.close(CloseReason::PeerClosed, None),
        };
        match self.io.origins.admit(peer, self.shared.now) {
            Ok(admitted) => self.io.origins.hold(self.id.index, admitted),
            Err(limit) => return self.refuse_client(peer, limit),
        }
        self.log_client(peer);
        if T::Layer::EXISTS && self.listener.layer.is_some() {
            return self.accept_unopened(peer);
        }
        self.begin_session();
        self.answer(|visit| match visit.greet(peer) {
            Flow::Continue => visit.process_input(),
            flow => flow,
        });
    }

    /// The client that a header named has too many connections.
    fn refuse_client(&mut self, peer: Peer, limit: AddressLimit) {
        let Visit { conn, listener, shared, .. } = self;
        if let Some(ip) = peer.ip() {
            if listener.layer.is_none() && limit.is_told() {
                dispatch!(&listener.protocol, handler => {
                    handler.write_over_limit(ip, &mut shared.out);
                });
            }
            if limit.is_told() {
                shared.connection_log.over_address_limit(shared.now, ip);
            }
        }
        listener.room.stats.count_refused(limit.into());
        conn.session.mark_active(shared.now);
        conn.state = State::Draining(CloseReason::AddressLimit);
    }

    /// The time for the header is over.
    pub(super) fn end_late_header(&mut self) {
        let secs = PROXY_HEADER_MS / 1000;
        self.fail_header(&format_args!("it did not come within {secs} s"));
    }

    pub(super) fn fail_header(&mut self, reason: &dyn std::fmt::Display) {
        let Visit { id, conn, listener, shared, .. } = self;
        listener.room.stats.count_refused(Refusal::ProxyHeader);
        let peer = conn.stream.peer().map_or(String::new(), |peer| format!(" from {peer}"));
        let (name, now) = (&listener.name, shared.now);
        let line = format_args!("{id}{peer} to {name} has no valid PROXY header: {reason}");
        shared.connection_log.bad_proxy_header(now, line);
        self.close(CloseReason::ProxyHeader, None);
    }
}

fn peek<T: Transport>(stream: &mut T, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.peek(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
