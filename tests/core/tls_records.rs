//! TLS records that no well-behaved client makes: messages of the handshake in pieces behind it.

use std::sync::Arc;

use mynah::internal::buffer::WireBuffer;
use mynah::internal::server::Layer;
use mynah::internal::tls::{Records, ServerRecords};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use crate::simulation::layers::real::{SERVER, client_config};

/// rustls goes on with a message it has a part of when it is next called, in what it is given then,
/// and panics where that is less.
#[test]
fn part_of_a_message_behind_the_handshake_is_an_error() {
    let mut config = client_config(&rustls::version::TLS13);
    config.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").unwrap();
    let connection = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = Records::new(connection);
    let mut server = <ServerRecords as Layer>::begin(&SERVER).unwrap();
    let (mut plain, mut input) = (Vec::new(), Vec::new());
    let mut is_open = false;
    while !is_open {
        let (mut wire, mut answer) = (WireBuffer::default(), WireBuffer::default());
        let taken = client.receive(&mut input, &mut plain, &mut wire).unwrap().taken;
        input.drain(..taken);
        is_open = server.receive(&mut wire.to_vec(), &mut plain, &mut answer).unwrap().is_open;
        input.extend(&answer[..]);
    }
    client.receive(&mut input, &mut plain, &mut WireBuffer::default()).unwrap();
    let connection = client.into_connection();
    let Some(SupportedCipherSuite::Tls13(suite)) = connection.negotiated_cipher_suite() else {
        panic!("not TLS 1.3");
    };
    let (secrets, _) = connection.dangerous_into_kernel_connection().unwrap();
    let (seq, secrets) = secrets.tx;
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("another suite") };
    let part = OutboundPlainMessage {
        typ: ContentType::Handshake,
        version: ProtocolVersion::TLSv1_3,
        payload: OutboundChunks::Single(&[24, 0]),
    };
    let sealed = suite.aead_alg.encrypter(key, iv).encrypt(part, seq).unwrap();
    let mut wire = WireBuffer::default();
    let result = Layer::receive(&mut server, &mut sealed.encode(), &mut plain, &mut wire);
    let reason = "a handshake message in pieces after the handshake";
    assert_eq!(result.unwrap_err().to_string(), reason);
    // Nothing more is asked of the connection, but nothing panics either.
    assert!(plain.is_empty() && wire.is_empty());
}
