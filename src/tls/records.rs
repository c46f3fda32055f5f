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

/// Most bytes of a connection that wait to become a record, or a whole handshake message. rustls
/// takes handshake messages of 64 KiB; in fragments of a byte each they may be larger on the wire.
pub(super) const HELD_BYTES_MAX: usize = 128 << 10;

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
pub struct Records<C> {
    connection: C,
    /// Bytes of the whole records at the start of what the last [`receive`](Self::receive) did not
    /// take: fragments of a handshake message whose end has not come. rustls counts from behind
    /// them, in any buffer that it is given.
    fragment_bytes: u32,
    has_failed: bool,
}

impl<C: Role> Records<C> {
    /// Takes over a connection of rustls.
    pub fn new(connection: C) -> Self {
        Records { connection, fragment_bytes: 0, has_failed: false }
    }

    /// Takes the whole records at the start of `wire`: data goes to `plain`, what TLS answers (of a
    /// handshake, or an alert) to `answer`. What is not taken may have been decrypted where it lies:
    /// it is to be given again as it is now, with what follows it. After an error, `answer` holds
    /// the alert, and the connection can only be closed.
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
                self.connection.process(&mut wire[received.taken..]);
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
                // Early data is never asked for.
                Ok(_) => is_over = true,
                Err(error) => {
                    self.has_failed = true;
                    self.take_messages(answer);
                    return Err(error);
                }
            }
            received.taken += discard;
            if is_over {
                // A server may speak before the client has finished; it waits for who that is.
                received.is_open = !self.connection.common().is_handshaking();
                let fragments = whole_records(&wire[received.taken..]);
                self.fragment_bytes = u32::try_from(fragments).unwrap_or(u32::MAX);
                return Ok(received);
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
        self.connection.common().handshake_kind().map(|kind| kind == HandshakeKind::Resumed)
    }

    /// Whether the end of a handshake message, the beginning of which has come, is still to come.
    pub fn awaits_fragments(&self) -> bool {
        self.fragment_bytes > 0
    }

    /// The connection of rustls.
    pub fn connection(&self) -> &C {
        &self.connection
    }

    /// The connection of rustls.
    pub fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Calls `write` once data may be sealed, after what TLS itself has to say.
    fn write(
        &mut self,
        wire: &mut WireBuffer,
        write: impl FnOnce(WriteTraffic<'_, C::Data>, &mut WireBuffer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::HandshakeNotComplete);
        }
        // rustls looks for records behind the fragments. There are none: only their length counts.
        let mut fragments = vec![0; self.fragment_bytes as usize];
        loop {
            match self.connection.process(&mut fragments).state? {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, wire),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                ConnectionState::WriteTraffic(traffic) => return write(traffic, wire),
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// Appends what TLS still has to say after an error: its alert. rustls hands that out before it
    /// looks for records, and must not look again.
    fn take_messages(&mut self, answer: &mut WireBuffer) {
        while self.connection.common().wants_write() {
            match self.connection.process(&mut []).state {
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

/// Bytes of the record that `wire` begins with, header included, as far as it can be told; `None`
/// where the header has not come.
pub fn record_len(wire: &[u8]) -> Option<usize> {
    let header = wire.get(..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// Bytes of the whole records that `wire` begins with.
fn whole_records(wire: &[u8]) -> usize {
    let mut len = 0;
    while let Some(record) = record_len(&wire[len..]).filter(|record| *record <= wire.len() - len) {
        len += record;
    }
    len
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;

    use super::*;
    use crate::tls::provider::provider;

    #[derive(Debug)]
    struct NoCertificate;

    impl ResolvesServerCert for NoCertificate {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }

    fn server() -> Records<UnbufferedServerConnection> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        Records::new(UnbufferedServerConnection::new(Arc::new(config)).unwrap())
    }

    /// The first bytes of a ClientHello, in a record of their own.
    const FRAGMENT: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 90];

    #[test]
    fn alert_follows_a_broken_handshake_message() {
        // Behind half a handshake message: an alert of the peer's, and bytes that are no record.
        for (behind, alert) in
            [(&[21, 3, 3, 0, 2, 1, 0][..], &[][..]), (b"GET / HTTP/1.1", &[2, 50])]
        {
            let (mut plain, mut answer) = (Vec::new(), WireBuffer::default());
            let mut server = server();
            let received = server.receive(&mut FRAGMENT.clone(), &mut plain, &mut answer).unwrap();
            assert_eq!((received.taken, answer.len()), (0, 0));
            let mut wire = [&FRAGMENT[..], behind].concat();
            server.receive(&mut wire, &mut plain, &mut answer).unwrap_err();
            server.seal_end(&mut answer);
            assert_eq!(answer.get(HEADER_BYTES..).unwrap_or_default(), alert);
        }
    }

    #[test]
    fn connection_with_half_a_handshake_message_is_sealed() {
        let (mut plain, mut answer) = (Vec::new(), WireBuffer::default());
        let mut server = server();
        server.receive(&mut FRAGMENT.clone(), &mut plain, &mut answer).unwrap();
        assert_eq!(server.seal(b"x", &mut answer), Err(Error::HandshakeNotComplete));
        server.seal_end(&mut answer);
    }

    #[test]
    fn whole_records_end_before_the_first_cut_one() {
        assert_eq!(whole_records(&[]), 0);
        assert_eq!(whole_records(&FRAGMENT[..8]), 0);
        assert_eq!(whole_records(&FRAGMENT), 9);
        assert_eq!(whole_records(&[&FRAGMENT[..], &FRAGMENT[..4]].concat()), 9);
        assert_eq!(whole_records(&[FRAGMENT, FRAGMENT].concat()), 18);
    }
}
