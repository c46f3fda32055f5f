//! TLS records of one connection, in either role: bytes in, bytes out, no socket, no buffer of its
//! own.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, HandshakeKind};

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

/// How many records with data one without counts as: a key update is four derivations of keys.
const CONTROL_RECORD_COST: usize = 4;

/// The reason for which a handshake message in pieces ends an open connection.
const FRAGMENT: &str = "a handshake message in pieces after the handshake";

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
                break;
            }
        }
        let others = count_records(&wire[..received.taken]).saturating_sub(received.records);
        received.records += others * CONTROL_RECORD_COST;
        if received.is_open && !received.has_ended {
            Self::check_no_fragment(&wire[received.taken..])?;
        }
        Ok(received)
    }

    /// Whether `rest`, which is left of an open connection's bytes, has a whole record: the
    /// beginning of a handshake message. rustls would want to see it again with each call, also
    /// when it is to seal; the messages that may come are a few bytes long, and nobody cuts them.
    fn check_no_fragment(rest: &[u8]) -> Result<(), Error> {
        match record_len(rest) {
            Some(len) if len <= rest.len() => Err(Error::General(FRAGMENT.to_owned())),
            _ => Ok(()),
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

    /// Appends what TLS still has to say after an error: its alert. Asks for no more than that:
    /// rustls may believe that messages wait in the bytes, which are gone.
    fn take_messages(&mut self, answer: &mut WireBuffer) {
        while self.0.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) = self.0.process(&mut []).state else {
                return;
            };
            encode(&mut data, answer);
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

/// How many records `wire` holds; about that, where handshake messages came in pieces.
fn count_records(wire: &[u8]) -> usize {
    let (mut count, mut at) = (0, 0);
    while let Some(len) = wire.get(at..).and_then(record_len) {
        (count, at) = (count + 1, at + len);
    }
    count
}

/// Bytes of the record that `wire` begins with, header included, as far as it can be told; `None`
/// where the header has not come.
pub fn record_len(wire: &[u8]) -> Option<usize> {
    let header = wire.get(..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}
