//! The records of one connection to the engine: what came is opened, what goes is sealed. Owns no
//! socket.

use crate::buffer::WireBuffer;
use crate::tls::client::{ClientSession, ClientTls, Failure};

/// Most bytes that are sealed at a time.
const SEAL_BYTES: usize = 1 << 16;

/// Most sealed bytes that wait for an engine that does not read, of what TLS itself answers.
const ANSWER_BYTES_MAX: usize = 1 << 18;

/// TLS of one connection.
pub(super) struct TlsState {
    tls: ClientTls,
    session: ClientSession,
    /// Records that have come, the last one unfinished.
    partial: Vec<u8>,
    /// Plaintext of the records that were opened last.
    pub(super) plain: Vec<u8>,
    /// Sealed bytes, of which the first `sent` are sent.
    wire: WireBuffer,
    sent: usize,
    /// The engine has said that it will send no more.
    pub(super) has_ended: bool,
}

impl TlsState {
    /// Begins a handshake: its first message waits to be sent.
    pub(super) fn begin(tls: &ClientTls) -> Result<Self, Failure> {
        let mut state = TlsState {
            tls: tls.clone(),
            session: tls.begin()?,
            partial: Vec::new(),
            plain: Vec::new(),
            wire: WireBuffer::default(),
            sent: 0,
            has_ended: false,
        };
        state.receive(&[])?;
        Ok(state)
    }

    /// Takes what came: `plain` has what it means.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.plain.clear();
        self.partial.extend_from_slice(bytes);
        let received =
            self.session.receive(&self.tls, &mut self.partial, &mut self.plain, &mut self.wire)?;
        self.partial.drain(..received.taken);
        self.has_ended |= received.has_ended;
        if self.unsent().len() > ANSWER_BYTES_MAX {
            return Err(Failure::NotRead);
        }
        Ok(())
    }

    /// Whether the handshake is over.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Seals the beginning of `plain`, and returns how much of it. What waits must have been sent.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Result<usize, Failure> {
        let len = plain.len().min(SEAL_BYTES);
        self.session.seal(&plain[..len], &mut self.wire)?;
        Ok(len)
    }

    /// Sealed bytes that are to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.wire[self.sent..]
    }

    /// The first `len` bytes of them have been sent.
    pub(super) fn on_sent(&mut self, len: usize) {
        self.sent += len;
        if self.sent == self.wire.len() {
            self.sent = 0;
            self.wire.clear();
        }
    }

    /// Why the connection has failed that its peer has closed without a word of TLS.
    pub(super) fn cut(&self) -> Failure {
        match self.tls.reset_failure() {
            Some(failure) => failure,
            None if self.is_open() => Failure::Cut,
            None => Failure::EndedInHandshake,
        }
    }
}
