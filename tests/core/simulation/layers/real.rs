//! rustls on both sides. Its bytes differ each time, because the key exchange cannot be seeded, but
//! not their number: Ed25519 has signatures of one length, and so have all other messages.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use mynah::internal::buffer::WireBuffer;
use mynah::internal::tls::{Records, ServerFiles, ServerRecords, ServerTls};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::ConnectionState;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};

use super::{End, SimulatedLayer, Stage};
use crate::support::rng::Rng;

/// All listeners of a process have the same.
pub static SERVER: LazyLock<ServerTls> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/simulation/layers");
    let files =
        ServerFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca: None };
    ServerTls::load(&files).expect("the files are there")
});

static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&rustls::version::TLS13, &rustls::version::TLS12]
        .map(|version| Arc::new(client_config(version)))
});

/// Configuration of a client: all of one version.
pub fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("ring has suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(ring::default_provider())))
        .with_no_client_auth();
    // A ticket would make the hello longer, and worlds share this.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Takes every certificate for that of the server.
#[derive(Debug)]
struct Trusting(CryptoProvider);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl SimulatedLayer for ServerRecords {
    const IS_REPLAYABLE: bool = false;

    fn config(_: &mut Rng) -> ServerTls {
        SERVER.clone()
    }

    fn client(rng: &mut Rng) -> Box<dyn End> {
        let config = Arc::clone(&CLIENTS[usize::from(rng.one_in(3))]);
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = UnbufferedClientConnection::new(config, name).expect("a connection");
        Box::new(Client {
            records: Records::new(connection),
            stage: Stage::Opening,
            input: Vec::new(),
        })
    }
}

/// The client's end.
struct Client {
    records: Records<UnbufferedClientConnection>,
    stage: Stage,
    /// The beginning of a record.
    input: Vec<u8>,
}

impl Client {
    fn is_tls12(&self) -> bool {
        self.records.connection().protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }
}

impl End for Client {
    fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), String> {
        if !bytes.is_empty() && self.stage >= Stage::Ended {
            return Err("bytes behind the last record".to_owned());
        }
        if !bytes.is_empty() && self.stage == Stage::Open {
            // The ticket.
            self.stage = Stage::Confirmed;
        }
        self.input.extend(bytes);
        let mut answer = WireBuffer::default();
        let result = self.records.receive(&mut self.input, plain, &mut answer);
        match result {
            Ok(received) => {
                self.input.drain(..received.taken);
                if received.is_open && self.stage == Stage::Opening {
                    self.stage = if self.is_tls12() { Stage::Confirmed } else { Stage::Open };
                }
                if received.has_ended {
                    self.stage = Stage::Ended;
                }
            }
            Err(Error::AlertReceived(_)) => {
                self.stage = Stage::Failed;
                self.input.clear();
            }
            Err(error) => return Err(error.to_string()),
        }
        wire.extend(&answer[..]);
        Ok(())
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let mut sealed = WireBuffer::default();
        self.records.seal(plain, &mut sealed).expect("the connection is open");
        wire.extend(&sealed[..]);
    }

    fn update_keys(&mut self, _: &mut Vec<u8>) {
        if self.is_tls12() {
            return;
        }
        // They come with the next record.
        match self.records.connection_mut().process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                traffic.refresh_traffic_keys().expect("the keys can be changed");
            }
            other => panic!("no new keys: {other:?}"),
        }
    }

    fn seal_end(&mut self, wire: &mut Vec<u8>) {
        if self.stage == Stage::Opening {
            // An end that nobody has sealed counts for nothing with TLS 1.2: this gives up.
            return wire.extend([21, 3, 3, 0, 2, 2, 90]);
        }
        let mut sealed = WireBuffer::default();
        self.records.seal_end(&mut sealed);
        wire.extend(&sealed[..]);
    }

    fn is_in_record(&self) -> bool {
        !self.input.is_empty()
    }
}
