//! TLS records of one connection, in either role: bytes in, bytes out, no socket, no buffer of its
//! own.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, HandshakeKind, PeerMisbehaved};

use crate::buffer::WireBuffer;
use crate::server::Received;

/// Bytes of a record's header (RFC 8446, 5.1).
const HEADER_BYTES: usize = 5;

/// Most plaintext of one record (RFC 8446, 5.1).
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// Most that a record grows by when it is sealed: header, content type, and the nonce and tag of a
/// TLS 1.2 suite.
const SEAL_BYTES_MAX: usize = HEADER_BYTES + 1 + 8 + 16;

/// What TLS itself may want to say in front of a record: a key update.
const KEY_UPDATE_BYTES_MAX: usize = 64;

/// rustls' connection in one of the two roles: the states are the same, the types are not.
pub trait Role {
    /// rustls' data of the role.
    type Data;

    /// `process_tls_records` of rustls.
    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data>;

    /// What both roles have in common.
    fn common(&self) -> &CommonState;
}

impl Role for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data> {
        self.process_tls_records(wire)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Role for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'w>(&'c mut self, wire: &'w mut [u8]) -> UnbufferedStatus<'c, 'w, Self::Data> {
        self.process_tls_records(wire)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// One TLS connection: rustls' state and nothing else. While it is idle it owns no buffers.
pub struct Records<C>(C);

impl<C: Role> Records<C> {
    /// Takes over a connection of rustls.
    pub fn new(connection: C) -> Self {
        Records(connection)
    }

    /// Takes the whole records at the start of `wire`: data goes to `plain`, what TLS answers (of a
    /// handshake, or an alert) to `answer`. After an error, `answer` holds the alert, and the
    /// connection can only be closed.
    ///
    /// # Errors
    ///
    /// The peer breaks the protocol, or cannot be agreed with.
    pub fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut WireBuffer,
    ) -> Result<Received, Error> {
        let mut received = Received::default();
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.0.process(&mut wire[received.taken..]);
            let mut is_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        received.records += 1;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, answer),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => received.has_ended = true,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    received.is_open = true;
                    is_over = true;
                }
                // Early data is never asked for.
                Ok(_) => is_over = true,
                Err(error) => {
                    self.take_messages(answer);
                    return Err(error);
                }
            }
            received.taken += discard;
            if is_over {
                let rest = &wire[received.taken..];
                return match received.is_open && has_whole_record(rest) {
                    true => Err(PeerMisbehaved::KeyEpochWithPendingFragment.into()),
                    false => Ok(received),
                };
            }
        }
    }

    /// Seals `plain` in records, at the end of `wire`.
    ///
    /// # Errors
    ///
    /// The connection is not open, or its keys are used up.
    pub fn seal(&mut self, plain: &[u8], wire: &mut WireBuffer) -> Result<(), Error> {
        let records = plain.len().div_ceil(PLAINTEXT_BYTES_MAX);
        let mut wanted = plain.len() + records * SEAL_BYTES_MAX + KEY_UPDATE_BYTES_MAX;
        self.write(wire, |mut traffic, wire| {
            loop {
                match traffic.encrypt(plain, wire.space(wanted)) {
                    Ok(sealed) => {
                        wire.advance(sealed);
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(error)) if error.required_size > wanted => {
                        wanted = error.required_size;
                    }
                    Err(_) => return Err(Error::EncryptError),
                }
            }
        })
    }

    /// Seals a close_notify: the peer is told that no more will come. Does nothing where the
    /// connection has failed, or is not open.
    pub fn seal_end(&mut self, wire: &mut WireBuffer) {
        let sealed = self.write(wire, |mut traffic, wire| {
            match traffic.queue_close_notify(wire.space(KEY_UPDATE_BYTES_MAX + SEAL_BYTES_MAX)) {
                Ok(sealed) => wire.advance(sealed),
                Err(error) => log::debug!("close_notify was not sealed: {error}"),
            }
            Ok(())
        });
        if let Err(error) = sealed {
            log::debug!("no close_notify: {error}");
        }
    }

    /// Whether the handshake was a resumption; `None` while it is not over.
    pub fn is_resumed(&self) -> Option<bool> {
        self.0.common().handshake_kind().map(|kind| kind == HandshakeKind::Resumed)
    }

    /// The connection of rustls.
    pub fn connection(&self) -> &C {
        &self.0
    }

    /// Gives the connection of rustls back.
    pub fn into_connection(self) -> C {
        self.0
    }

    /// The connection of rustls.
    pub fn connection_mut(&mut self) -> &mut C {
        &mut self.0
    }

    /// Calls `write` once data may be sealed, after what TLS itself has to say.
    fn write(
        &mut self,
        wire: &mut WireBuffer,
        write: impl FnOnce(WriteTraffic<'_, C::Data>, &mut WireBuffer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            match self.0.process(&mut []).state? {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, wire),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                ConnectionState::WriteTraffic(traffic) => return write(traffic, wire),
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// Appends what TLS still has to say after an error: its alert. Asks for nothing else: rustls
    /// would go on with the handshake message it has a part of, which is not in what it is given.
    fn take_messages(&mut self, answer: &mut WireBuffer) {
        while self.0.common().wants_write() {
            match self.0.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, answer),
                _ => return,
            }
        }
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, wire: &mut WireBuffer) {
    use rustls::unbuffered::EncodeError;

    let mut wanted = 0;
    loop {
        match data.encode(wire.space(wanted)) {
            Ok(encoded) => return wire.advance(encoded),
            Err(EncodeError::InsufficientSize(error)) if error.required_size > wanted => {
                wanted = error.required_size;
            }
            Err(error) => unreachable!("a message has its size and is encoded once: {error}"),
        }
    }
}

/// Whether `wire` begins with a whole record. Where that is left over, rustls has found a part of a
/// handshake message in it, and has to be given it again with the rest. Nobody sends such messages
/// in pieces behind the handshake, and while one is left over nothing can be sealed, because
/// [`Records::write`] gives rustls nothing.
fn has_whole_record(wire: &[u8]) -> bool {
    record_len(wire).is_some_and(|len| len <= wire.len())
}

/// Bytes of the record that `wire` begins with, header included, as far as it can be told; `None`
/// where the header has not come.
pub fn record_len(wire: &[u8]) -> Option<usize> {
    let header = wire.get(..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}
