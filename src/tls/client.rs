//! The clients' side: whom `mynah-cli` and `mynah-load` trust, what they show, and their
//! connections.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{
    ClientSessionMemoryCache, ResolvesClientCert, Resumption, UnbufferedClientConnection,
    WebPkiServerVerifier,
};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Error, HandshakeType, ProtocolVersion, RootCertStore,
    SignatureScheme, StreamOwned,
};

pub use super::failure::Failure;
use super::files::{FileError, certified_key, read_chain, read_roots};
use super::provider::provider;
use super::records::{HELD_BYTES_MAX, Records};
use super::verifier::{Trust, Verifier};
use crate::buffer::WireBuffer;
use crate::server::Received;

/// Servers whose sessions are kept to be resumed. A program connects to one.
const SERVERS_KEPT: usize = 1;

/// The options of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// `--cacert`: the only roots; without it, the system's.
    pub cacert: Option<PathBuf>,
    /// `--insecure`: any certificate is accepted.
    pub is_insecure: bool,
    /// `--cert` and `--key`.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// An error of [`ClientTls::load`].
#[derive(Debug)]
pub enum LoadError {
    /// A file cannot be used.
    File(FileError),
    /// The system has no roots, and `--cacert` names none.
    NoRoots(Option<String>),
    /// No server can have this name.
    Name(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File(error) => write!(f, "{error}"),
            LoadError::NoRoots(reason) => {
                f.write_str("this system has no certificates of CAs")?;
                if let Some(reason) = reason {
                    write!(f, " ({reason})")?;
                }
                f.write_str(": name that of the server's with --cacert FILE")
            }
            LoadError::Name(name) => write!(f, "'{name}' is not the name of a server"),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<FileError> for LoadError {
    fn from(error: FileError) -> Self {
        LoadError::File(error)
    }
}

/// TLS to one server: what all connections of a program have in common, the sessions that can be
/// resumed among it.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    files: ClientFiles,
    was_asked: Arc<AtomicBool>,
}

/// Those of the same options are equal.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        let key = |tls: &ClientTls| (tls.0.files.clone(), tls.0.server_name.clone());
        key(self) == key(other)
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// Reads the files. The server's certificate must be for `name`, or for `host` without one.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(files: ClientFiles, name: Option<&str>, host: &str) -> Result<Self, LoadError> {
        // The zone of an address is this machine's business.
        let name = name.unwrap_or_else(|| host.split('%').next().unwrap_or_default());
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|_| LoadError::Name(name.to_owned()))?;
        let provider = provider();
        let trust = trust(&files)?;
        let verifier = Verifier { trust, provider: Arc::clone(&provider) };
        let was_asked = Arc::new(AtomicBool::new(false));
        let identity = match &files.identity {
            None => None,
            Some((cert, key)) => Some(certified_key(cert, key, &provider)?),
        };
        let identity = Identity {
            certified: identity.map(SingleCertAndKey::from),
            was_asked: Arc::clone(&was_asked),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(identity));
        let sessions = ClientSessionMemoryCache::new(SERVERS_KEPT);
        config.resumption = Resumption::store(Arc::new(sessions));
        let config = Arc::new(config);
        Ok(ClientTls(Arc::new(Shared { config, server_name, files, was_asked })))
    }

    /// Whether any certificate is accepted.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.0.files.is_insecure
    }

    /// A connection that begins its handshake: the first [`receive`](ClientSession::receive), of
    /// nothing, answers with its hello.
    ///
    /// # Errors
    ///
    /// rustls cannot make one.
    pub fn begin(&self) -> Result<ClientSession, Failure> {
        let config = Arc::clone(&self.0.config);
        let connection = UnbufferedClientConnection::new(config, self.0.server_name.clone());
        let records = connection.map(Records::new).map_err(Failure::Tls)?;
        Ok(ClientSession { records, has_begun: false, is_open: false })
    }

    /// A stream over a socket that blocks. Its timeouts are the socket's.
    ///
    /// # Errors
    ///
    /// rustls cannot make one.
    pub fn stream<S: Read + Write>(&self, socket: S) -> Result<impl Read + Write, Failure> {
        let config = Arc::clone(&self.0.config);
        let connection = ClientConnection::new(config, self.0.server_name.clone());
        connection.map(|connection| StreamOwned::new(connection, socket)).map_err(Failure::Tls)
    }

    /// The failure of a connection that the server has reset, or ended without an alert, before it
    /// has answered anything: the alert that says why it wants a certificate may be lost in a reset.
    #[must_use]
    pub fn reset_failure(&self) -> Option<Failure> {
        let is_demand = self.was_asked() && self.0.files.identity.is_none();
        is_demand.then_some(Failure::CertificateDemanded)
    }

    fn was_asked(&self) -> bool {
        self.0.was_asked.load(Ordering::Relaxed)
    }

    fn failure(&self, error: Error) -> Failure {
        match error {
            // What was sent came back.
            Error::InappropriateHandshakeMessage {
                got_type: HandshakeType::ClientHello, ..
            } => Failure::NotTls,
            error => Failure::new(error, self.was_asked(), self.0.files.identity.is_some()),
        }
    }
}

fn trust(files: &ClientFiles) -> Result<Trust, LoadError> {
    if files.is_insecure {
        return Ok(Trust::Anyone);
    }
    let (roots, listed) = match &files.cacert {
        Some(path) => (read_roots(path)?, read_chain(path)?),
        None => (system_roots()?, Vec::new()),
    };
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("there is a root at least");
    Ok(Trust::Roots { webpki, listed })
}

/// The roots that the system's administrator trusts. Those of a kind that cannot be used are left
/// out, as browsers do.
fn system_roots() -> Result<RootCertStore, LoadError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(LoadError::NoRoots(found.errors.first().map(ToString::to_string)));
    }
    Ok(roots)
}

/// Certificate for a server that asks, if any, and whether one has.
#[derive(Debug)]
struct Identity {
    certified: Option<SingleCertAndKey>,
    was_asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.certified.as_ref()?.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        // Without this, rustls would not tell that the server asks.
        true
    }
}

/// One connection of a client: [`Records`], with what a client must tell apart.
pub struct ClientSession {
    records: Records<UnbufferedClientConnection>,
    /// The server's first bytes have come.
    has_begun: bool,
    is_open: bool,
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// Parameters that an open connection has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The handshake was a resumption.
    pub is_resumed: bool,
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The name that IANA has for the cipher suite.
    pub cipher_suite: &'static str,
}

impl ClientSession {
    /// Takes the whole records at the start of `wire`, as [`Records::receive`] does. What is not
    /// taken must be kept, as it is, and given again with what follows it.
    ///
    /// # Errors
    ///
    /// The connection has failed; `answer` is still to be sent.
    pub fn receive(
        &mut self,
        tls: &ClientTls,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut WireBuffer,
    ) -> Result<Received, Failure> {
        if !self.has_begun && !is_record(wire) {
            return Err(Failure::NotTls);
        }
        let received = match self.records.receive(wire, plain, answer) {
            Ok(received) => received,
            Err(error) => return Err(tls.failure(error)),
        };
        self.has_begun |= received.taken > 0;
        self.is_open |= received.is_open;
        if wire.len() - received.taken > HELD_BYTES_MAX {
            return Err(Failure::TooLong);
        }
        Ok(received)
    }

    /// Whether the handshake is over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The parameters agreed on; `None` while the handshake is not over.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed> {
        let connection = self.records.connection();
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let suite = connection.negotiated_cipher_suite()?.suite();
        let cipher_suite = suite.as_str().unwrap_or("unknown");
        Some(Agreed { is_resumed: self.records.is_resumed()?, version, cipher_suite })
    }

    /// Seals `plain` in records, at the end of `wire`.
    ///
    /// # Errors
    ///
    /// The connection is not open, or its keys are used up.
    pub fn seal(&mut self, plain: &[u8], wire: &mut WireBuffer) -> Result<(), Failure> {
        self.records.seal(plain, wire).map_err(Failure::Tls)
    }

    /// Seals a close_notify, where the connection is open.
    pub fn seal_end(&mut self, wire: &mut WireBuffer) {
        if self.is_open {
            self.records.seal_end(wire);
        }
    }
}

/// Whether bytes may be the beginning of TLS: a handshake message, or an alert, of any version 3.
fn is_record(wire: &[u8]) -> bool {
    matches!(wire, [] | [21 | 22] | [21 | 22, 3, ..])
}
