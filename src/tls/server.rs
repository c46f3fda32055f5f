//! The server's side: what listeners accept, and the layer under a session.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::ring::Ticketer;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InvalidMessage, ServerConfig};

use super::files::{FileError, certified_key, expires_at, read_roots};
use super::provider::provider;
use super::records::{Records, record_len};
use super::short_chains::ShortChains;
use crate::buffer::WireBuffer;
use crate::server::{Layer, Received};

/// How long before a certificate expires the log begins to warn of it.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Tickets sent after a full handshake. A client that reconnects uses one, and is given the next
/// with the new connection.
const TICKETS: usize = 1;

/// The files of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerFiles {
    /// Its certificate, and those that lead to its root.
    pub cert: PathBuf,
    /// The key of its certificate.
    pub key: PathBuf,
    /// Roots of client certificates, which are then mandatory.
    pub client_ca: Option<PathBuf>,
}

/// Something about the files that an operator should know.
#[derive(Debug, PartialEq, Eq)]
pub enum Warning {
    /// The certificate in this file has expired, so long ago.
    Expired(PathBuf, Duration),
    /// The certificate in this file will expire in so long.
    Expires(PathBuf, Duration),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Expired(path, ago) => {
                write!(f, "the certificate in {} expired {} ago", path.display(), Rough(*ago))
            }
            Warning::Expires(path, left) => {
                write!(f, "the certificate in {} expires in {}", path.display(), Rough(*left))
            }
        }
    }
}

/// A duration in its largest unit, rounded down.
struct Rough(Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (count, unit) = match secs {
            86_400.. => (secs / 86_400, "day"),
            3_600.. => (secs / 3_600, "hour"),
            _ => (secs / 60, "minute"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// Configuration shared by the connections of a listener: certificate, key, ticket keys.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    path: PathBuf,
    /// When the certificate expires, since the Unix epoch.
    expires_at: Option<Duration>,
    certificate: Arc<Certificate>,
    /// Hash of the files' content.
    content: u64,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(files: &ServerFiles) -> Result<Self, FileError> {
        let provider = provider();
        let certified = certified_key(&files.cert, &files.key, &provider)?;
        // Its key is known by it.
        let mut content = DefaultHasher::new();
        certified.cert.hash(&mut content);
        let expires_at = certified.cert.first().and_then(expires_at);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has suites of both versions");
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = read_roots(path)?;
                roots.roots.iter().for_each(|root| format!("{root:?}").hash(&mut content));
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .expect("a file of roots holds one at least");
                builder.with_client_cert_verifier(Arc::new(ShortChains(verifier)))
            }
        };
        let certificate =
            Arc::new(Certificate { certified: Arc::new(certified), asked: None.into() });
        let mut config = builder.with_cert_resolver(Arc::clone(&certificate) as _);
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        // Tickets are kept by clients; a cache in the server would be memory for nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Ok(ticketer) = Ticketer::new() {
            config.ticketer = ticketer;
        }
        let path = files.cert.clone();
        let content = content.finish();
        Ok(ServerTls { config: Arc::new(config), path, expires_at, certificate, content })
    }

    /// The file of the certificate.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both were made of the same content.
    pub(crate) fn has_same_files(&self, other: &ServerTls) -> bool {
        (&self.path, self.content) == (&other.path, other.content)
    }

    /// The warning about the certificate at `now`, the time since the Unix epoch.
    pub fn warning(&self, now: Duration) -> Option<Warning> {
        let (path, expires_at) = (|| self.path.clone(), self.expires_at?);
        match expires_at.checked_sub(now) {
            None => Some(Warning::Expired(path(), now - expires_at)),
            Some(left) if left < EXPIRY_WARNING => Some(Warning::Expires(path(), left)),
            Some(_) => None,
        }
    }
}

/// The one certificate of a listener, whatever name is asked for. Remembers that name, for the log.
#[derive(Debug)]
struct Certificate {
    certified: Arc<CertifiedKey>,
    asked: Mutex<Option<String>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if log::log_enabled!(log::Level::Debug) {
            let name = hello.server_name().map(str::to_owned);
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = name;
        }
        Some(Arc::clone(&self.certified))
    }
}

/// The reason for which a handshake message in pieces ends an open connection. Those that a client
/// may send then are a few bytes long, and nobody cuts them; kept, they would cost every reply.
const FRAGMENT: &str = "a handshake message in pieces after the handshake";

/// rustls' reason for a failure, in words; those of a peer that speaks no TLS in plainer ones.
#[derive(Debug)]
pub struct Reason(Error);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            error @ Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                write!(f, "the client speaks no TLS: {error}")
            }
            Error::AlertReceived(alert) => write!(f, "the client sent the alert {alert:?}"),
            Error::NoCertificatesPresented => f.write_str("the client sent no certificate"),
            Error::General(reason) => f.write_str(reason),
            error => write!(f, "{error}"),
        }
    }
}

/// TLS under the sessions of a server.
pub type ServerRecords = Records<UnbufferedServerConnection>;

impl Layer for ServerRecords {
    const NAME: &'static str = "TLS";
    type Place<S> = Option<S>;
    type Config = ServerTls;
    type Error = Reason;

    fn begin(config: &ServerTls) -> Result<Self, Reason> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&config.config));
        connection.map(Records::new).map_err(Reason)
    }

    fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut WireBuffer,
    ) -> Result<Received, Reason> {
        let received = Records::receive(self, wire, plain, answer).map_err(Reason)?;
        if received.is_open && self.awaits_fragments() {
            return Err(Reason(Error::General(FRAGMENT.to_owned())));
        }
        Ok(received)
    }

    fn seal(&mut self, plain: &[u8], wire: &mut WireBuffer) -> Result<(), Reason> {
        Records::seal(self, plain, wire).map_err(Reason)
    }

    fn seal_end(&mut self, wire: &mut WireBuffer) {
        Records::seal_end(self, wire);
    }

    fn record_len(wire: &[u8]) -> Option<usize> {
        record_len(wire)
    }

    fn is_resumed(&self) -> bool {
        Records::is_resumed(self) == Some(true)
    }

    fn take_asked_name(config: &ServerTls) -> Option<String> {
        config.certificate.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
