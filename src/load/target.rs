//! The target of a run: a listener's URL, or `tcp://HOST:PORT` (`tcp+unix:///PATH`) for any server.

use std::fmt::{self, Write};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::cli::suggest::{DidYouMean, nearest};
#[cfg(feature = "tls")]
use crate::cli::tls_options::without_tls;
use crate::cli::unix_client_url::UnixUrl;
use crate::cli::unix_url::UrlPath;
use crate::cli::{ListenerError, ListenerSpec};
use crate::escape::EscapeControl;
use crate::protocol::{self, ProtocolDefaults, ProtocolName};

/// Names of the protocols of targets.
const PROTOCOLS: [&str; 5] = ["command", "prefixed", "raw", "chat", "tcp"];

/// The error where requests are to be sent and none are given.
pub(super) const NO_EXCHANGE: &str = "tcp:// needs --send and --expect (or --expect-bytes N)";

/// Protocol of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A protocol of mynah, `plugin` excepted: only a plugin knows its answers.
    Mynah(ProtocolName),
    /// Any protocol over TCP: connections are opened and held, and requests are as the user gives
    /// them.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Mynah(name) => name.fmt(f),
            Protocol::Tcp => f.write_str("tcp"),
        }
    }
}

/// Where connections go. Displayed as `127.0.0.1:65432` or `unix:/run/mynah.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// The IP address; a Unix socket has none.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Inet(addr) => Some(addr.ip()),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", UrlPath(path)),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The target of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) protocol: Protocol,
    /// Prefix of the answers of `raw`, which come back once a read of the server.
    pub(super) raw_prefix: Vec<u8>,
    /// An IPv4 address, an IPv6 address without brackets, or a name. Never empty.
    pub(super) host: String,
    /// Never 0.
    pub(super) port: u16,
    /// A Unix socket, instead of host and port.
    pub(super) path: Option<PathBuf>,
    /// As it was given.
    pub(super) url: String,
    /// The URL asks for TLS.
    #[cfg(feature = "tls")]
    pub(super) is_tls: bool,
}

/// An error in a target's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetError {
    UnknownProtocol(String),
    /// Plugins answer as they like, so the request and its answer must be given.
    Plugin,
    NoPort,
    UnknownKey {
        key: String,
        protocol: Protocol,
    },
    /// The mode has requests, and those of an unknown protocol must be given.
    NoExchange,
    /// The mode broadcasts, and the protocol does not.
    NoBroadcasts,
    /// The first target has another protocol.
    OtherProtocol {
        first: Protocol,
    },
    /// Either this target or the first goes over TLS.
    #[cfg(feature = "tls")]
    OtherTls,
    Url(ListenerError),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            TargetError::UnknownProtocol(name) => {
                let meant = DidYouMean(nearest(name, PROTOCOLS));
                let all = "command, prefixed, raw, chat and tcp";
                write!(f, "unknown protocol '{name}', there are {all}{meant}")
            }
            TargetError::Plugin => f.write_str(
                "what plugins answer is not known: use tcp instead of plugin, with --send and --expect",
            ),
            TargetError::NoExchange => f.write_str(NO_EXCHANGE),
            TargetError::NoBroadcasts => {
                f.write_str("fanout needs command:// or chat://, which broadcast")
            }
            TargetError::OtherProtocol { first } => {
                write!(f, "the first target is {first}://, and all must be")
            }
            #[cfg(feature = "tls")]
            TargetError::OtherTls => f.write_str("either all targets go over TLS, or none does"),
            TargetError::NoPort => f.write_str("nothing listens on port 0"),
            TargetError::UnknownKey { key, protocol } => {
                let key_of_raw =
                    (*protocol == Protocol::Mynah(ProtocolName::Raw)).then_some("prefix");
                let meant = DidYouMean(key_of_raw.and_then(|known| nearest(key, [known])));
                write!(f, "a {protocol} target has no key '{key}'{meant}")
            }
            TargetError::Url(source) => write!(f, "{source}"),
        }
    }
}

impl Target {
    /// Reads a target's URL. Of a listener's keys it may have `prefix=`, which changes the answers;
    /// the others concern the server alone.
    ///
    /// # Errors
    ///
    /// See [`TargetError`].
    pub(super) fn parse(url: &str) -> Result<Self, TargetError> {
        if let Some(UnixUrl { path, over_tcp, has_mode }) =
            UnixUrl::parse(url).map_err(TargetError::Url)?
        {
            let target = Target::parse(&over_tcp)?;
            if has_mode {
                let (key, protocol) = ("mode".to_owned(), target.protocol);
                return Err(TargetError::UnknownKey { key, protocol });
            }
            // What a certificate is for, unless `--server-name` says otherwise.
            let host = "localhost".to_owned();
            return Ok(Target { path: Some(path), host, url: url.to_owned(), ..target });
        }
        #[cfg(feature = "tls")]
        if let Some(plain) = without_tls(url) {
            return Ok(Target {
                is_tls: true,
                url: url.to_owned(),
                ..Target::parse_plain(&plain)?
            });
        }
        Target::parse_plain(url)
    }

    fn parse_plain(url: &str) -> Result<Self, TargetError> {
        // The parser of listener URLs reads `tcp` as `raw`.
        let tcp = url.strip_prefix("tcp://");
        let spec = match tcp {
            Some(rest) => ListenerSpec::parse_url(&format!("raw://{rest}")),
            None => ListenerSpec::parse_url(url),
        };
        let spec = spec.map_err(|error| match error {
            ListenerError::UnknownProtocol(name) => TargetError::UnknownProtocol(name),
            ListenerError::UnknownKey { key, protocol } => {
                let protocol =
                    if tcp.is_some() { Protocol::Tcp } else { Protocol::Mynah(protocol) };
                TargetError::UnknownKey { key, protocol }
            }
            source => TargetError::Url(source),
        })?;
        if spec.protocol.as_str() == "plugin" {
            return Err(TargetError::Plugin);
        }
        let is_tcp = tcp.is_some();
        let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Mynah(spec.protocol) };
        let is_of_the_server = |key: &&str| *key != "prefix" || is_tcp;
        let mut keys = spec.keys.iter().map(|(key, _)| key.as_str());
        let unknown = keys.find(is_of_the_server).or(spec.idle_secs.map(|_| "idle"));
        if let Some(key) = unknown {
            return Err(TargetError::UnknownKey { key: key.to_owned(), protocol });
        }
        if spec.port == 0 {
            return Err(TargetError::NoPort);
        }
        let raw_prefix = match spec.protocol(&ProtocolDefaults::default()) {
            protocol::Protocol::Raw(raw) => raw.prefix,
            _ => Vec::new(),
        };
        // A server without a host listens at all addresses, loopback among them.
        let host = if spec.host.is_empty() { "127.0.0.1".to_owned() } else { spec.host };
        Ok(Target {
            protocol,
            raw_prefix,
            host,
            port: spec.port,
            path: None,
            url: url.to_owned(),
            #[cfg(feature = "tls")]
            is_tls: false,
        })
    }

    /// The URL without `+tls`.
    #[cfg(feature = "tls")]
    pub(super) fn plain_url(&self) -> String {
        without_tls(&self.url).unwrap_or_else(|| self.url.clone())
    }

    /// The URL with `+tls`.
    #[cfg(feature = "tls")]
    pub(super) fn tls_url(&self) -> String {
        let plain_url = self.plain_url();
        let end = if self.path.is_some() { "+unix://" } else { "://" };
        plain_url.replacen(end, &format!("+tls{end}"), 1)
    }

    /// The addresses of the host, or the socket: at least one.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, or has no address.
    pub(super) fn resolve(&self) -> io::Result<Vec<Address>> {
        if let Some(path) = &self.path {
            return Ok(vec![Address::Unix(path.clone())]);
        }
        let addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let addresses: Vec<Address> = addresses.map(Address::Inet).collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_refused(url: &str, reason: &str) {
        assert_eq!(Target::parse(url).unwrap_err().to_string(), reason);
    }

    #[test]
    fn url_names_a_protocol_of_mynah_or_tcp() {
        let protocol = |url: &str| Target::parse(url).unwrap().protocol;
        assert_eq!(protocol("command://h:1"), Protocol::Mynah(ProtocolName::Command));
        assert_eq!(protocol("prefixed://h:1"), Protocol::Mynah(ProtocolName::Prefixed));
        assert_eq!(protocol("chat://[::1]:1"), Protocol::Mynah(ProtocolName::Chat));
        assert_eq!(protocol("tcp://h:1"), Protocol::Tcp);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn url_of_any_protocol_may_ask_for_tls() {
        for (url, plain) in [
            ("command+tls://h:1", "command://h:1"),
            ("raw+tls://[::1]:1?prefix=", "raw://[::1]:1?prefix="),
            ("tcp+tls://h:1", "tcp://h:1"),
        ] {
            let target = Target::parse(url).unwrap();
            assert!(target.is_tls && !Target::parse(plain).unwrap().is_tls);
            assert_eq!((&*target.url, target.plain_url().as_str()), (url, plain));
            assert_eq!(Target::parse(plain).unwrap().tls_url(), url);
        }
        assert_eq!(Target::parse("tcp+tls://h:1").unwrap().protocol, Protocol::Tcp);
        assert_refused(
            "comand+tls://h:1",
            "unknown protocol 'comand', there are command, prefixed, raw, chat and tcp, did you mean command?",
        );
    }

    #[test]
    fn unix_url_has_a_path() {
        let target = Target::parse("raw+unix:///run/a%20b?prefix=").unwrap();
        let address = Address::Unix("/run/a b".into());
        assert_eq!(target.resolve().unwrap(), std::slice::from_ref(&address));
        assert_eq!(
            (&*target.raw_prefix, &*target.url),
            (&b""[..], "raw+unix:///run/a%20b?prefix=")
        );
        assert_eq!(address.to_string(), "unix:/run/a%20b");
        assert_eq!(Target::parse("tcp+unix:///x").unwrap().protocol, Protocol::Tcp);
        #[cfg(feature = "tls")]
        {
            let target = Target::parse("command+tls+unix:///x").unwrap();
            assert!(target.is_tls && target.plain_url() == "command+unix:///x");
            let plain = Target::parse("command+unix:///x").unwrap();
            assert_eq!(plain.tls_url(), "command+tls+unix:///x");
        }
        assert_refused("raw+unix:///x?mode=0600", "a raw target has no key 'mode'");
        let why = "the path 'x' does not begin with /, as in chat+unix:///run/chat.sock";
        assert_refused("raw+unix://x", why);
    }

    #[test]
    fn empty_host_is_loopback() {
        assert_eq!(Target::parse("command://:1").unwrap().host, "127.0.0.1");
        assert_eq!(Target::parse("command://[fe80::1%lo]:1").unwrap().host, "fe80::1%lo");
    }

    #[test]
    fn raw_prefix_is_the_servers_unless_given() {
        let prefix = |url: &str| Target::parse(url).unwrap().raw_prefix;
        assert_eq!(prefix("raw://h:1"), b"Echo: ");
        assert_eq!(prefix("raw://h:1?prefix="), b"");
    }

    #[test]
    fn errors_name_the_culprit() {
        let all = "command, prefixed, raw, chat and tcp";
        assert_refused("http://h:1", &format!("unknown protocol 'http', there are {all}"));
        assert_refused(
            "tpc://h:1",
            &format!("unknown protocol 'tpc', there are {all}, did you mean tcp?"),
        );
        let plugin =
            "what plugins answer is not known: use tcp instead of plugin, with --send and --expect";
        assert_refused("plugin://h:1", plugin);
        assert_refused("plugin+unix:///x", plugin);
        assert_refused("raw://h:1?prefx=", "a raw target has no key 'prefx', did you mean prefix?");
        assert_refused("h:1", "not of the form PROTOCOL://HOST:PORT, did you mean command://h:1?");
        assert_refused("tcp://h", "bad port '', it is 0 to 65535");
        assert_refused("tcp://h:0", "nothing listens on port 0");
        assert_refused("tcp://h:1?prefix=x", "a tcp target has no key 'prefix'");
        assert_refused("command://h:1?max_frame=5", "a command target has no key 'max_frame'");
        assert_refused("tcp://a\nb:1", r"bad host 'a\nb'");
    }
}
