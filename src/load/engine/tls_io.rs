//! TLS of the connections: handshake, records in and out. The engine sees plaintext; a run without
//! TLS takes none of this.
//!
//! All connections share the buffers. One owns bytes only while it has the beginning of a record, or
//! sealed bytes that its socket does not take.

use std::io::{self, ErrorKind, Write};

use super::super::connection::State;
use super::super::plan::Plan;
use super::super::route::Spread;
use super::super::socket;
use super::super::target::Target;
use super::Engine;
use super::connection_io::CLOSED_BY_PEER;
use crate::buffer::WireBuffer;
use crate::net::retry_interrupted;
use crate::tls::client::{ClientSession, ClientTls, Failure};

/// Most bytes that are sealed at a time.
const SEAL_BYTES: usize = 1 << 16;

/// Most sealed bytes that wait for a target that does not read, of what TLS itself answers.
const ANSWER_BYTES_MAX: usize = 1 << 18;

/// TLS of a run.
pub(super) struct TlsLayer {
    /// That of each target, and its URL without `+tls`.
    targets: Vec<(ClientTls, String)>,
    spread: Spread,
    /// By the index of the connection; `None` before its handshake and after its end.
    connections: Vec<Option<Box<TlsState>>>,
    /// Plaintext of one read and records of one write: empty in between.
    plain: Vec<u8>,
    wire: WireBuffer,
}

/// TLS of one connection.
struct TlsState {
    session: ClientSession,
    /// The beginning of a record or of a handshake message.
    partial: Vec<u8>,
    /// Sealed bytes that the socket has not taken.
    unsent: Vec<u8>,
}

impl TlsLayer {
    /// That of `plan`; `None` if its targets do not speak TLS.
    pub(super) fn new(plan: &Plan) -> Option<Self> {
        let urls = plan.targets().map(Target::plain_url);
        let targets: Vec<(ClientTls, String)> = plan.tls.iter().cloned().zip(urls).collect();
        (!targets.is_empty()).then(|| TlsLayer {
            targets,
            spread: plan.spread(),
            connections: Vec::new(),
            plain: Vec::new(),
            wire: WireBuffer::default(),
        })
    }

    /// The number of the target of connection `index`.
    fn target(&self, index: usize) -> usize {
        self.spread.place(index).0
    }

    fn state(&mut self, index: usize) -> Option<&mut TlsState> {
        self.connections.get_mut(index)?.as_deref_mut()
    }

    /// Copies the unfinished record of connection `index` to the start of `buffer`; returns its length.
    pub(super) fn load_partial(&self, index: usize, buffer: &mut [u8]) -> usize {
        let Some(Some(state)) = self.connections.get(index) else { return 0 };
        buffer[..state.partial.len()].copy_from_slice(&state.partial);
        state.partial.len()
    }

    pub(super) fn has_unsent(&self, index: usize) -> bool {
        let state = self.connections.get(index).and_then(Option::as_ref);
        state.is_some_and(|state| !state.unsent.is_empty())
    }

    /// Forgets connection `index`.
    pub(super) fn close(&mut self, index: usize) {
        if let Some(state) = self.connections.get_mut(index) {
            *state = None;
        }
    }
}

impl Engine<'_> {
    /// Begins the handshake of connection `index`, which has just been established.
    pub(super) fn begin_handshake(&mut self, index: usize) {
        let Some(layer) = &mut self.tls else { return };
        let target = layer.target(index);
        let session = match layer.targets[target].0.begin() {
            Ok(session) => session,
            Err(failure) => return self.fail_tls(index, &failure),
        };
        if layer.connections.len() <= index {
            layer.connections.resize_with(index + 1, || None);
        }
        let state = TlsState { session, partial: Vec::new(), unsent: Vec::new() };
        layer.connections[index] = Some(Box::new(state));
        self.connections[index].state = State::Handshaking;
        self.on_wire(index, 0);
    }

    /// Takes `len` bytes from the front of the buffer, the unfinished record of connection `index` and
    /// what was read behind it, and acts on what they are.
    pub(super) fn on_wire(&mut self, index: usize, len: usize) {
        let Some(layer) = &mut self.tls else { return };
        let target = layer.target(index);
        let TlsLayer { targets, connections, plain, wire, .. } = layer;
        let tls = &mut targets[target].0;
        let Some(Some(state)) = connections.get_mut(index) else { return };
        let input = &mut self.buffer[..len];
        plain.clear();
        wire.clear();
        let was_open = state.session.is_open();
        let result = state.session.receive(tls, input, plain, wire);
        let taken = result.as_ref().map_or(len, |received| received.taken);
        keep(&mut state.partial, &input[taken..]);
        let is_open = state.session.is_open();
        let received = match result {
            Ok(received) => received,
            Err(failure) => {
                // The alert that says why: the target may want to know.
                if let Some(stream) = &mut self.connections[index].stream {
                    let _ = retry_interrupted(|| stream.write(wire));
                }
                return self.fail_tls(index, &failure);
            }
        };
        if state.unsent.len() > ANSWER_BYTES_MAX && !wire.is_empty() {
            return self.fail_tls(index, &Failure::NotRead);
        }
        if !wire.is_empty() && !self.send_wire(index) {
            return;
        }
        if is_open && !was_open {
            self.finish_handshake(index);
        }
        let Some(layer) = &self.tls else { return };
        let len = layer.plain.len();
        if len > 0 && !self.ignores_input && self.is_connected(index) {
            // The record is in the buffer no longer, and what it holds is shorter.
            self.buffer[..len].copy_from_slice(&layer.plain);
            self.on_read(index, len);
        }
        if received.has_ended && self.is_connected(index) {
            self.fail(index, CLOSED_BY_PEER);
        }
    }

    fn finish_handshake(&mut self, index: usize) {
        let agreed = self.tls.as_mut().and_then(|layer| layer.state(index)?.session.agreed());
        if let Some(agreed) = agreed {
            let stats = self.run.stats.tls.get_or_insert_default();
            stats.handshakes += 1;
            stats.resumed += u64::from(agreed.is_resumed);
            stats.version.get_or_insert_with(|| agreed.version.to_owned());
            stats.cipher_suite.get_or_insert_with(|| agreed.cipher_suite.to_owned());
        }
        self.open_or_await_greeting(index);
    }

    /// The end of connection `index` that its target has not told: the end of file (`None`), or an
    /// error.
    #[cold]
    pub(super) fn on_wire_end(&mut self, index: usize, error: Option<&io::Error>) {
        let has_answered = self.run.stats.counts.answered > 0;
        let Some(layer) = &mut self.tls else { return };
        let is_open = layer.state(index).is_some_and(|state| state.session.is_open());
        let demand = layer.targets[layer.target(index)].0.reset_failure().filter(|_| !has_answered);
        let is_reset = error.is_none_or(|error| error.kind() == ErrorKind::ConnectionReset);
        match (demand.filter(|_| is_reset), error) {
            (Some(failure), _) => self.fail_tls(index, &failure),
            (None, Some(error)) => self.fail(index, &socket::errno_name(error)),
            (None, None) if is_open => self.fail_tls(index, &Failure::Cut),
            (None, None) => self.fail_tls(index, &Failure::EndedInHandshake),
        }
    }

    /// Fails connection `index`, whose handshake has taken too long.
    pub(super) fn expire_handshake(&mut self, index: usize) {
        self.fail_tls(index, &Failure::TimedOut);
    }

    /// Seals the unsent bytes of connection `index` and sends them, as far as its socket takes them.
    pub(super) fn flush_tls(&mut self, index: usize) {
        loop {
            let Some(layer) = &mut self.tls else { return };
            layer.wire.clear();
            let TlsLayer { connections, wire, .. } = layer;
            let Some(Some(state)) = connections.get_mut(index) else { return };
            if state.unsent.is_empty() {
                let Some(active) = &mut self.connections[index].active else { return };
                if active.unsent == 0 {
                    return;
                }
                let bytes = self.workload.next_bytes(active.sent, active.unsent);
                let bytes = &bytes[..bytes.len().min(SEAL_BYTES)];
                if let Err(failure) = state.session.seal(bytes, wire) {
                    return self.fail_tls(index, &failure);
                }
                active.sent += bytes.len() as u64;
                active.unsent -= bytes.len() as u64;
            }
            if !self.send_wire(index) || self.has_unsent_wire(index) {
                return;
            }
        }
    }

    /// Seals `bytes` behind what connection `index` has to send, and sends it.
    pub(super) fn send_tls(&mut self, index: usize, bytes: &[u8]) {
        let Some(layer) = &mut self.tls else { return };
        layer.wire.clear();
        let TlsLayer { connections, wire, .. } = layer;
        let Some(Some(state)) = connections.get_mut(index) else { return };
        match state.session.seal(bytes, wire) {
            Ok(()) => {
                self.send_wire(index);
            }
            Err(failure) => self.fail_tls(index, &failure),
        }
    }

    pub(super) fn has_unsent_wire(&self, index: usize) -> bool {
        self.tls.as_ref().is_some_and(|layer| layer.has_unsent(index))
    }

    /// Sends the sealed bytes of connection `index`: those that wait, then those in the shared buffer.
    /// Records that its socket does not take wait. False if the connection has failed.
    fn send_wire(&mut self, index: usize) -> bool {
        let Some(layer) = &mut self.tls else { return false };
        let TlsLayer { connections, wire, .. } = layer;
        let Some(Some(state)) = connections.get_mut(index) else { return false };
        let Some(stream) = &mut self.connections[index].stream else { return false };
        let has_waited = !state.unsent.is_empty();
        if has_waited {
            state.unsent.extend_from_slice(wire);
        }
        let mut sent = 0;
        let result = loop {
            let bytes = if has_waited { &state.unsent[sent..] } else { &wire[sent..] };
            if bytes.is_empty() {
                break Ok(());
            }
            match retry_interrupted(|| stream.write(bytes)) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.run.stats.counts.bytes_sent += sent as u64;
        if has_waited {
            state.unsent.drain(..sent);
            free_if_empty(&mut state.unsent);
        } else {
            keep(&mut state.unsent, &wire[sent..]);
        }
        wire.clear();
        if let Err(error) = result {
            self.fail(index, &socket::errno_name(&error));
            return false;
        }
        true
    }

    /// Fails connection `index`; the summary says why the first did.
    #[cold]
    fn fail_tls(&mut self, index: usize, failure: &Failure) {
        if let Some(layer) = &self.tls {
            let reason = failure.explain(&layer.targets[layer.target(index)].1);
            self.run.stats.reason.get_or_insert(reason);
        }
        self.fail(index, &failure.name());
    }
}

/// Makes `kept` hold `bytes`, and no memory if there are none.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.clear();
    kept.extend_from_slice(bytes);
    free_if_empty(kept);
}

fn free_if_empty(kept: &mut Vec<u8>) {
    if kept.is_empty() && kept.capacity() > 0 {
        *kept = Vec::new();
    }
}
