//! TLS for tests: certificates made for one of them, clients that trust those, and records that a
//! well-behaved client would not send.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, SupportedProtocolVersion,
};

use super::{Client, Folder, Server};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The name in all certificates of servers.
pub(crate) const NAME: &str = "localhost";

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
        }
    }

    /// A certificate for `name` and its key, in PEM, with a P-256 key and a month to go.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        self.issue_until(name, SystemTime::now() + 30 * DAY)
    }

    /// A certificate that expires at `end`.
    pub(crate) fn issue_until(&self, name: &str, end: SystemTime) -> (String, String) {
        self.issue_with(name, end, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A certificate with a key of that kind.
    pub(crate) fn issue_with(
        &self,
        name: &str,
        end: SystemTime,
        kind: &'static SignatureAlgorithm,
    ) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let since_epoch = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// The certificate of a server, in files, and the authority that signed it.
pub(crate) struct Identity {
    pub(crate) folder: Folder,
    pub(crate) authority: Authority,
    /// Paths of the files.
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

impl Identity {
    pub(crate) fn new() -> Identity {
        let (folder, authority) = (Folder::new(), Authority::new("mynah tests"));
        let (cert, key) = authority.issue(NAME);
        let (cert, key) = (folder.file("cert.pem", &cert), folder.file("key.pem", &key));
        let ca = folder.file("ca.pem", &authority.pem);
        Identity { folder, authority, cert, key, ca }
    }

    /// Replaces the files by a new certificate of the same authority.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        let (cert, key) = self.authority.issue(NAME);
        fs::write(&self.cert, &cert).unwrap();
        fs::write(&self.key, &key).unwrap();
        CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()
    }

    /// A client that trusts the authority, without a memory of earlier connections.
    pub(crate) fn client(&self) -> ClientConfig {
        config(&self.authority, rustls::DEFAULT_VERSIONS, None)
    }

    /// The same of one version.
    pub(crate) fn client_of(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        config(&self.authority, &[version], None)
    }

    /// The same with a certificate and its key, in PEM.
    pub(crate) fn client_with(&self, certified: &(String, String)) -> ClientConfig {
        config(&self.authority, rustls::DEFAULT_VERSIONS, Some(certified))
    }

    /// The same of one version.
    pub(crate) fn client_of_with(
        &self,
        version: &'static SupportedProtocolVersion,
        certified: &(String, String),
    ) -> ClientConfig {
        config(&self.authority, &[version], Some(certified))
    }

    /// The options of a server with this certificate.
    pub(crate) fn options(&self) -> [&str; 4] {
        ["--tls-cert", &self.cert, "--tls-key", &self.key]
    }
}

fn config(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    certified: Option<&(String, String)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certified {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap);
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.collect(), key).unwrap()
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    config
}

impl Server {
    /// A server with one listener of `protocol` over TLS and the options `args`.
    #[track_caller]
    pub(crate) fn tls(protocol: &str, args: &[&str]) -> Server {
        let url = format!("{protocol}+tls://127.0.0.1:0");
        let identity = Identity::new();
        let args = [&["-l", &url], &identity.options()[..], args].concat();
        Server::start(&args).with_identity(identity)
    }

    /// The server, whose clients trust the authority of `identity`.
    pub(crate) fn with_identity(mut self, identity: Identity) -> Server {
        self.tls = Some(identity);
        self
    }

    /// The certificate it was started with.
    pub(crate) fn identity(&self) -> &Identity {
        self.tls.as_ref().unwrap()
    }

    /// A client of the first listener that has not begun its handshake.
    #[track_caller]
    pub(crate) fn connect_tcp(&self) -> Client {
        Client::connect(self.addr(0))
    }

    /// A client of the first listener that shakes hands as `config` says.
    #[track_caller]
    pub(crate) fn connect_with(&self, config: impl Into<Arc<ClientConfig>>) -> Client {
        self.connect_tcp().with_tls(config)
    }
}

impl Client {
    /// The client after its handshake.
    #[track_caller]
    pub(crate) fn with_tls(self, config: impl Into<Arc<ClientConfig>>) -> Client {
        self.try_tls(config).unwrap()
    }

    /// The client, if the handshake succeeds as far as a client can tell.
    pub(crate) fn try_tls(mut self, config: impl Into<Arc<ClientConfig>>) -> io::Result<Client> {
        let mut tls = new_connection(config);
        tls.complete_io(self.stream())?;
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// The state of its TLS.
    pub(crate) fn tls_mut(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().unwrap()
    }

    /// Seals `bytes` and returns the records instead of sending them.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let tls = self.tls_mut();
        assert_eq!(io::Write::write(&mut tls.writer(), bytes).unwrap(), bytes.len());
        written(tls)
    }

    /// Gives up its TLS: what it sends from now on is made by the returned sealer, or plain. Its
    /// configuration must allow `enable_secret_extraction`.
    pub(crate) fn take_sealer(&mut self) -> Sealer {
        let tls = self.tls.take().unwrap();
        let suite = tls.negotiated_cipher_suite().unwrap().tls13().unwrap();
        let (sequence, secrets) = tls.dangerous_extract_secrets().unwrap().tx;
        let encrypter = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                suite.aead_alg.encrypter(key, iv)
            }
            _ => panic!("another kind of secrets"),
        };
        Sealer { encrypter, sequence }
    }
}

/// Seals records of any kind, as no client of a library would.
pub(crate) struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Sealer {
    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let version = ProtocolVersion::TLSv1_2;
        let message =
            OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(payload) };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        record.encode()
    }
}

/// A connection of a client that has not begun its handshake.
pub(crate) fn new_connection(config: impl Into<Arc<ClientConfig>>) -> ClientConnection {
    ClientConnection::new(config.into(), ServerName::try_from(NAME).unwrap()).unwrap()
}

/// Records a connection has to send.
pub(crate) fn written(tls: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Waits for data, or for the end, and reads neither.
pub(super) fn peek(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
            return Ok(());
        }
        stream.peek(&mut [0])?;
        if tls.read_tls(stream)? == 0 {
            return Ok(());
        }
    }
}
