//! The server that a command talks to: protocol, address, timeout, account. Opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use crate::cli::unix_url::UrlPath;
use crate::protocol::ProtocolName;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;

/// A server's address and the time it has to answer. Displayed as a URL:
/// `command://127.0.0.1:65432`, `command+unix:///run/mynah.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Its protocol; any, for an admin listener.
    pub(super) protocol: ProtocolName,
    /// It is an admin listener (`--admin`), which a build without that protocol can ask too.
    pub(super) is_admin: bool,
    /// An IP address or a name; an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// A Unix socket, instead of host and port.
    pub(super) path: Option<PathBuf>,
    /// Longest time for connecting, and then for each reply; `None` for no limit.
    pub(super) timeout: Option<Duration>,
    /// The account that each connection logs in to first.
    pub(super) account: Option<Arc<Account>>,
    /// TLS, where the URL asks for it.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

impl Endpoint {
    /// True if the end of the client's data ends a message, so that a connection carries one message
    /// and its reply: there is no other end.
    pub(super) fn is_unframed(&self) -> bool {
        !matches!(self.protocol, ProtocolName::Command | ProtocolName::Prefixed)
    }

    /// The URL, with `transport` behind the protocol.
    pub(super) fn url(&self, transport: &str) -> String {
        let Endpoint { host, port, .. } = self;
        let protocol = if self.is_admin { "admin" } else { self.protocol.as_str() };
        if let Some(path) = &self.path {
            format!("{protocol}{transport}+unix://{}", UrlPath(path))
        } else if host.contains(':') {
            format!("{protocol}{transport}://[{host}]:{port}")
        } else {
            format!("{protocol}{transport}://{host}:{port}")
        }
    }

    #[cfg(feature = "tls")]
    fn transport(&self) -> &'static str {
        if self.tls.is_some() { "+tls" } else { "" }
    }

    #[cfg(not(feature = "tls"))]
    fn transport(&self) -> &'static str {
        ""
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url(self.transport()))
    }
}
