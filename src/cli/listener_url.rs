//! Listeners written as `PROTOCOL://HOST:PORT[?key=value&…]` or `PROTOCOL+unix:///PATH[?…]`, or as
//! keys of a file's section.

use std::fmt::{self, Write};
use std::net::Ipv6Addr;
#[cfg(any(feature = "tls", feature = "unix"))]
use std::path::PathBuf;

use super::ini::no_such_key;
use super::suggest::{DidYouMean, nearest};
#[cfg(any(feature = "unix", feature = "client", feature = "load"))]
use super::unix_url::UnixPathError;
#[cfg(feature = "unix")]
use super::unix_url::{UrlPath, check_path, parse_mode, parse_path};
use crate::escape::EscapeControl;
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
use crate::limits::LISTENER_NAME_LEN_MAX;
use crate::limits::TIMEOUT_SECS_LIMIT;
#[cfg(feature = "admin")]
use crate::protocol::AdminProtocol;
#[cfg(feature = "accounts")]
use crate::protocol::login::Auth;
use crate::protocol::{Protocol, ProtocolDefaults, ProtocolName};
#[cfg(feature = "admission")]
use crate::server::TrustedProxies;
#[cfg(feature = "cluster")]
use crate::setting::yes_or_no;
use crate::setting::{HAS_TLS, HAS_UNIX, SettingError, number};

/// A listener as written in a URL or a file. `None` is a key that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Its protocol.
    pub protocol: ProtocolName,
    /// An IPv4 address, an IPv6 address without its brackets, or a name; empty for all addresses.
    pub host: String,
    /// The port; 0 lets the system pick one.
    pub port: u16,
    /// The socket's file, for `+unix`: host and port mean nothing then. Empty until it is set.
    #[cfg(feature = "unix")]
    pub path: Option<PathBuf>,
    /// `mode=`: permissions of the socket's file.
    #[cfg(feature = "unix")]
    pub mode: Option<u32>,
    /// `reuse_port=`: whether other processes may listen on its port too (`SO_REUSEPORT`, socket(7)).
    #[cfg(feature = "cluster")]
    pub reuse_port: Option<bool>,
    /// Whether its connections begin with a TLS handshake: `+tls`.
    #[cfg(feature = "tls")]
    pub is_tls: bool,
    /// `cert=`: file of its certificate.
    #[cfg(feature = "tls")]
    pub cert: Option<PathBuf>,
    /// `key=`: file of its key.
    #[cfg(feature = "tls")]
    pub key: Option<PathBuf>,
    /// `proxy=`: peers that begin with a PROXY header.
    #[cfg(feature = "admission")]
    pub proxies: Option<TrustedProxies>,
    /// `auth=`: whether its clients log in.
    #[cfg(feature = "accounts")]
    pub auth: Option<Auth>,
    /// `name=`: what metrics and passed sockets call it. A configuration names those that have none.
    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    pub name: Option<String>,
    /// `idle=`: seconds, 0 for never.
    pub idle_secs: Option<u64>,
    /// The keys that were given, as they were written, but not those of its address; each is valid.
    pub keys: Vec<(String, String)>,
}

/// An error of a listener's URL or of its keys in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerError {
    /// There is no `://`.
    NoProtocol {
        /// The URL that was probably meant.
        nearest: Option<String>,
    },
    /// No protocol has that name.
    UnknownProtocol(String),
    /// The protocol needs plugins, TLS or Unix sockets, which this build does not have.
    NotBuilt(SettingError),
    /// The host has characters that hosts do not have.
    InvalidHost(String),
    /// The port is missing or not a number from 0 to 65535.
    InvalidPort(String),
    /// A key is not one of the protocol's.
    UnknownKey {
        /// The key.
        key: String,
        /// The protocol.
        protocol: ProtocolName,
    },
    /// The path of a Unix socket is missing or wrong.
    #[cfg(any(feature = "unix", feature = "client", feature = "load"))]
    UnixPath(UnixPathError),
    /// A key of Unix sockets, for a TCP listener of this protocol.
    #[cfg(feature = "unix")]
    OnlyUnix(String, ProtocolName),
    /// `host`, `port` or `reuse_port`, for a Unix socket.
    #[cfg(feature = "unix")]
    OnlyTcp(String),
    /// A key is given twice.
    Repeated(String),
    /// A key's value is invalid.
    InvalidValue {
        /// The key.
        key: String,
        /// The reason.
        source: SettingError,
    },
}

#[cfg(feature = "admin")]
impl ListenerError {
    /// The error in a value, of the key as it was written.
    fn of_key(self, written: &str) -> Self {
        match self {
            ListenerError::InvalidValue { source, .. } => {
                ListenerError::InvalidValue { key: written.to_owned(), source }
            }
            error => error,
        }
    }
}

impl fmt::Display for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            ListenerError::NoProtocol { nearest } => {
                let nearest = DidYouMean(nearest.as_deref());
                write!(f, "not of the form PROTOCOL://HOST:PORT{nearest}")
            }
            ListenerError::UnknownProtocol(name) => {
                write!(f, "unknown protocol '{name}', there are {}", ProtocolName::list())?;
                let known = ProtocolName::ALL.iter().map(|protocol| protocol.as_str());
                write!(f, "{}", DidYouMean(nearest(name, known)))
            }
            ListenerError::NotBuilt(why) => write!(f, "{why}"),
            ListenerError::InvalidHost(host) => write!(f, "bad host '{host}'"),
            ListenerError::InvalidPort(port) => write!(f, "bad port '{port}', it is 0 to 65535"),
            ListenerError::UnknownKey { key, protocol } => {
                if HAS_TLS && matches!(&**key, "cert" | "key") {
                    return write!(f, "'{key}' is for {protocol}+tls");
                }
                let known = known_keys(*protocol);
                #[cfg(feature = "cluster")]
                let known = known.chain(TCP_KEYS);
                let nearest = DidYouMean(nearest(key, known));
                let has_vowel = cfg!(feature = "admin") && protocol.as_str().starts_with('a');
                let article = if has_vowel { "an" } else { "a" };
                write!(f, "{article} {protocol} listener has no key '{key}'{nearest}")
            }
            #[cfg(any(feature = "unix", feature = "client", feature = "load"))]
            ListenerError::UnixPath(source) => write!(f, "{source}"),
            #[cfg(feature = "unix")]
            ListenerError::OnlyUnix(key, protocol) => write!(f, "'{key}' is for {protocol}+unix"),
            #[cfg(feature = "unix")]
            ListenerError::OnlyTcp(key) => {
                write!(f, "'{key}' is for TCP, a Unix socket has a path")
            }
            ListenerError::Repeated(key) => write!(f, "'{key}' is given twice"),
            ListenerError::InvalidValue { key, source } => write!(f, "{key}: {source}"),
        }
    }
}

impl std::error::Error for ListenerError {}

impl ListenerSpec {
    /// A listener on loopback and the default port, with no key set.
    #[must_use]
    pub fn new(protocol: ProtocolName) -> Self {
        ListenerSpec {
            protocol,
            host: "127.0.0.1".to_owned(),
            port: protocol.default_port(),
            #[cfg(feature = "unix")]
            path: None,
            #[cfg(feature = "unix")]
            mode: None,
            #[cfg(feature = "cluster")]
            reuse_port: None,
            #[cfg(feature = "tls")]
            is_tls: false,
            #[cfg(feature = "tls")]
            cert: None,
            #[cfg(feature = "tls")]
            key: None,
            #[cfg(feature = "admission")]
            proxies: None,
            #[cfg(feature = "accounts")]
            auth: None,
            #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
            name: None,
            idle_secs: None,
            keys: Vec::new(),
        }
    }

    /// Reads a listener URL.
    ///
    /// # Errors
    ///
    /// See [`ListenerError`].
    pub fn parse_url(url: &str) -> Result<Self, ListenerError> {
        let no_protocol = || ListenerError::NoProtocol { nearest: url_for(url) };
        let (protocol, rest) = url.split_once("://").ok_or_else(no_protocol)?;
        let mut spec = ListenerSpec::parse_protocol(protocol)?;
        let protocol = spec.protocol;
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        spec.set_address(authority)?;
        let mut seen = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(ListenerError::Repeated(key.to_owned()));
            }
            seen.push(key);
            #[cfg(feature = "admin")]
            if key == "host" && protocol == ProtocolName::Admin {
                // Its address stands before the `?`: these are names it may be asked under.
                spec.set(AdminProtocol::HOSTS, value).map_err(|error| error.of_key(key))?;
                continue;
            }
            if matches!(key, "host" | "port" | "path") {
                return Err(ListenerError::UnknownKey { key: key.to_owned(), protocol });
            }
            spec.set(key, value)?;
        }
        Ok(spec)
    }

    /// Sets what stands behind `://`: host and port, or a path.
    fn set_address(&mut self, authority: &str) -> Result<(), ListenerError> {
        #[cfg(feature = "unix")]
        if let Some(path) = &mut self.path {
            *path = parse_path(authority).map_err(ListenerError::UnixPath)?;
            return Ok(());
        }
        let (host, port) = split_authority(authority)?;
        self.set("host", host)?;
        self.set("port", port)
    }

    /// A listener of a protocol as it is written in a URL or as the kind of a section:
    /// `PROTOCOL[+tls][+unix]`.
    ///
    /// # Errors
    ///
    /// There is no such protocol, or not in this build.
    pub fn parse_protocol(name: &str) -> Result<Self, ListenerError> {
        let (name, is_unix) = match name.strip_suffix("+unix") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, is_tls) = match name.strip_suffix("+tls") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let protocol = match ProtocolName::parse(name) {
            Some(_) if is_tls && !HAS_TLS => {
                return Err(ListenerError::NotBuilt(SettingError::NO_TLS));
            }
            Some(_) if is_unix && !HAS_UNIX => {
                return Err(ListenerError::NotBuilt(SettingError::NO_UNIX));
            }
            Some(protocol) => protocol,
            None if name == "plugin" => {
                return Err(ListenerError::NotBuilt(SettingError::NO_PLUGINS));
            }
            None => return Err(ListenerError::UnknownProtocol(name.to_owned())),
        };
        Ok(ListenerSpec {
            #[cfg(feature = "tls")]
            is_tls,
            #[cfg(feature = "unix")]
            path: is_unix.then(PathBuf::new),
            ..ListenerSpec::new(protocol)
        })
    }

    /// Sets one key, as in a URL's query or a file's section.
    ///
    /// # Errors
    ///
    /// See [`ListenerError`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ListenerError> {
        let invalid = |source| ListenerError::InvalidValue { key: key.to_owned(), source };
        match key {
            #[cfg(feature = "unix")]
            "host" | "port" if self.path.is_some() => {
                return Err(ListenerError::OnlyTcp(key.to_owned()));
            }
            #[cfg(all(feature = "cluster", feature = "unix"))]
            "reuse_port" if self.path.is_some() => {
                return Err(ListenerError::OnlyTcp(key.to_owned()));
            }
            #[cfg(feature = "cluster")]
            "reuse_port" => self.reuse_port = Some(yes_or_no(value).map_err(invalid)?),
            #[cfg(feature = "unix")]
            "path" | "mode" if self.path.is_none() => {
                return Err(ListenerError::OnlyUnix(key.to_owned(), self.protocol));
            }
            #[cfg(feature = "unix")]
            "path" => {
                let path = crate::os_text::decode(value).into();
                self.path = Some(check_path(path).map_err(ListenerError::UnixPath)?);
            }
            #[cfg(feature = "unix")]
            "mode" => self.mode = Some(parse_mode(value).map_err(invalid)?),
            "host" => self.host = host(value)?,
            "port" => {
                self.port = number(value, 0..=u16::MAX)
                    .map_err(|_| ListenerError::InvalidPort(value.to_owned()))?;
            }
            "idle" => {
                self.idle_secs = Some(number(value, 0..=TIMEOUT_SECS_LIMIT).map_err(invalid)?);
            }
            #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
            "name" => self.name = Some(name(value).map_err(invalid)?),
            #[cfg(feature = "admission")]
            "proxy" => self.proxies = Some(TrustedProxies::parse(value).map_err(invalid)?),
            #[cfg(feature = "tls")]
            "cert" | "key" if self.is_tls => {
                if value.is_empty() {
                    return Err(invalid(SettingError::Empty));
                }
                let path = Some(PathBuf::from(crate::os_text::decode(value)));
                if key == "cert" { self.cert = path } else { self.key = path }
            }
            #[cfg(feature = "accounts")]
            "auth" if self.has_auth() => self.auth = Some(Auth::parse(value).map_err(invalid)?),
            #[cfg(not(feature = "accounts"))]
            "auth" => return Err(invalid(SettingError::NO_ACCOUNTS)),
            key => match self.protocol.build(&ProtocolDefaults::default()).set(key, value) {
                Ok(()) => {}
                Err(SettingError::Unknown) => {
                    let (key, protocol) = (key.to_owned(), self.protocol);
                    return Err(ListenerError::UnknownKey { key, protocol });
                }
                Err(source) => return Err(invalid(source)),
            },
        }
        if !matches!(key, "host" | "port" | "path") {
            self.keys.push((key.to_owned(), value.to_owned()));
        }
        Ok(())
    }

    /// Whether only this machine reaches it: it is on loopback, or a Unix socket.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn is_local(&self) -> bool {
        #[cfg(feature = "unix")]
        if self.path.is_some() {
            return true;
        }
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// The value of `key` as it was given.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(other, _)| other == key).map(|(_, value)| &**value)
    }

    /// Whether both speak one protocol, through layers of one kind.
    pub(crate) fn speaks_as(&self, other: &ListenerSpec) -> bool {
        #[cfg(feature = "tls")]
        let is_same_layer = self.is_tls == other.is_tls;
        #[cfg(not(feature = "tls"))]
        let is_same_layer = true;
        self.protocol == other.protocol && is_same_layer
    }

    /// Whether its protocol has accounts.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn has_auth(&self) -> bool {
        has_auth(self.protocol)
    }

    /// The protocol with its keys set; those that are not given have `defaults`.
    #[must_use]
    pub fn protocol(&self, defaults: &ProtocolDefaults) -> Protocol {
        let mut protocol = self.protocol.build(defaults);
        for (key, value) in &self.keys {
            // The others are not the protocol's.
            let set = protocol.set(key, value);
            debug_assert!(
                matches!(set, Ok(()) | Err(SettingError::Unknown)),
                "a key is kept only if it is valid"
            );
        }
        protocol
    }

    /// Checks that a section has all it needs.
    ///
    /// # Errors
    ///
    /// A Unix socket has no path.
    #[cfg(feature = "unix")]
    pub(crate) fn check_complete(&self) -> Result<(), ListenerError> {
        match &self.path {
            Some(path) if path.as_os_str().is_empty() => {
                Err(ListenerError::UnixPath(UnixPathError::Missing))
            }
            _ => Ok(()),
        }
    }

    /// Sets one key of a file's section. The reason of an error leaves the key out: an
    /// [`IniError`](super::IniError) names it.
    pub(crate) fn set_in_file(&mut self, key: &str, value: &str) -> Result<(), String> {
        self.set(key, value).map_err(|error| match error {
            ListenerError::UnknownKey { key, protocol } => {
                #[cfg(feature = "unix")]
                if self.path.is_some() {
                    return no_such_key(
                        &key,
                        ["path", "mode"].into_iter().chain(known_keys(protocol)),
                    );
                }
                let keys = ["host", "port"].into_iter().chain(known_keys(protocol));
                #[cfg(feature = "cluster")]
                let keys = keys.chain(TCP_KEYS);
                no_such_key(&key, keys)
            }
            ListenerError::InvalidValue { source, .. } => source.to_string(),
            error => error.to_string(),
        })
    }
}

/// Shows `command://127.0.0.1:65432` or `chat+unix:///run/chat.sock`, without the keys.
impl fmt::Display for ListenerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerSpec { protocol, host, port, .. } = self;
        #[cfg(feature = "tls")]
        let protocol = format_args!("{protocol}{}", if self.is_tls { "+tls" } else { "" });
        #[cfg(feature = "unix")]
        if let Some(path) = &self.path {
            return write!(f, "{protocol}+unix://{}", UrlPath(path));
        }
        if host.contains(':') {
            write!(f, "{protocol}://[{host}]:{port}")
        } else {
            write!(f, "{protocol}://{host}:{port}")
        }
    }
}

/// Splits `HOST:PORT`; an IPv6 address stands in brackets (RFC 3986, 3.2.2).
fn split_authority(authority: &str) -> Result<(&str, &str), ListenerError> {
    let bad_host = || ListenerError::InvalidHost(authority.to_owned());
    if authority.starts_with('[') {
        let (host, rest) = authority.split_once(']').ok_or_else(bad_host)?;
        let port =
            rest.strip_prefix(':').ok_or_else(|| ListenerError::InvalidPort(rest.to_owned()))?;
        return Ok((authority.get(..host.len() + 1).ok_or_else(bad_host)?, port));
    }
    let (host, port) =
        authority.rsplit_once(':').ok_or_else(|| ListenerError::InvalidPort(String::new()))?;
    if host.contains(':') {
        return Err(ListenerError::InvalidHost(host.to_owned()));
    }
    Ok((host, port))
}

/// Checks a host: an IPv6 address with or without brackets, an IPv4 address, a name, or nothing.
/// Returns it without brackets. The zone of an IPv6 address stands behind `%`, or behind `%25` as a
/// URL has it (RFC 6874).
pub(super) fn host(value: &str) -> Result<String, ListenerError> {
    let bad = || ListenerError::InvalidHost(value.to_owned());
    let bracketed = match value.strip_prefix('[') {
        Some(rest) => Some(rest.strip_suffix(']').ok_or_else(bad)?),
        None => None,
    };
    let address = bracketed.unwrap_or(value);
    let (address, zone) = match address.split_once('%') {
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        None => (address, None),
    };
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if address.parse::<Ipv6Addr>().is_ok() {
        return match zone {
            Some(zone) if zone.is_empty() || !zone.bytes().all(is_of_a_name) => Err(bad()),
            Some(zone) => Ok(format!("{address}%{zone}")),
            None => Ok(address.to_owned()),
        };
    }
    if bracketed.is_some() || zone.is_some() || !value.bytes().all(is_of_a_name) {
        return Err(bad());
    }
    Ok(value.to_owned())
}

/// Checks a listener's name: it goes into lists with `:` between names, into metrics, and into the
/// names of other systems' channels.
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
fn name(value: &str) -> Result<String, SettingError> {
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=LISTENER_NAME_LEN_MAX).contains(&value.len()) && value.bytes().all(is_in_names) {
        return Ok(value.to_owned());
    }
    let choices = "a name of 1 to 64 letters, digits, '_', '.' and '-'";
    Err(SettingError::NotOneOf { value: value.to_owned(), choices })
}

/// Gives a name to each listener that has none: its protocol's, with `-2` and so on behind it where
/// that is taken.
///
/// # Errors
///
/// Two listeners have one name, this one.
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
pub(crate) fn name_listeners(specs: &mut [ListenerSpec]) -> Result<(), String> {
    let mut given: Vec<String> = specs.iter().filter_map(|spec| spec.name.clone()).collect();
    given.sort_unstable();
    if let Some(pair) = given.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(pair[0].clone());
    }
    let mut numbers: Vec<(&str, u32)> =
        ProtocolName::ALL.iter().map(|protocol| (protocol.as_str(), 0)).collect();
    for spec in specs.iter_mut().filter(|spec| spec.name.is_none()) {
        let protocol = spec.protocol.as_str();
        let Some((_, number)) = numbers.iter_mut().find(|(known, _)| *known == protocol) else {
            continue;
        };
        while spec.name.is_none() {
            *number += 1;
            let name = match *number {
                1 => protocol.to_owned(),
                number => format!("{protocol}-{number}"),
            };
            spec.name = Some(name).filter(|name| given.binary_search(name).is_err());
        }
    }
    Ok(())
}

/// Keys of listeners over TCP alone, besides host and port.
#[cfg(feature = "cluster")]
const TCP_KEYS: [&str; 1] = ["reuse_port"];

/// Whether clients of a protocol can log in.
#[cfg(feature = "accounts")]
fn has_auth(protocol: ProtocolName) -> bool {
    matches!(protocol, ProtocolName::Command | ProtocolName::Chat)
}

/// The keys of a listener besides host and port, and those of TLS.
pub(crate) fn known_keys(protocol: ProtocolName) -> impl Iterator<Item = &'static str> {
    let keys = ["idle"].into_iter();
    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    let keys = keys.chain(["name"]);
    #[cfg(feature = "admission")]
    let keys = keys.chain(["proxy"]);
    #[cfg(feature = "accounts")]
    let keys = keys.chain(Some("auth").filter(|_| has_auth(protocol)));
    keys.chain(protocol.keys().iter().copied())
}

/// The URL for a plain port, `HOST:PORT`, or `:PORT`: a default port means its protocol, every other
/// `command`. A protocol in place of the host, or alone, means that protocol on loopback.
#[inline(never)]
pub(crate) fn url_for(word: &str) -> Option<String> {
    if let Some(protocol) = ProtocolName::parse(word) {
        return Some(ListenerSpec::new(protocol).to_string());
    }
    let (host, port) = word.rsplit_once(':').unwrap_or(("127.0.0.1", word));
    let port: u16 = number(port, 0..=u16::MAX).ok()?;
    let by_port = ProtocolName::ALL.iter().find(|protocol| protocol.default_port() == port);
    let (protocol, host) = match ProtocolName::parse(host) {
        Some(protocol) => (protocol, "127.0.0.1"),
        None => (by_port.copied().unwrap_or(ProtocolName::Command), host),
    };
    let url = format!("{protocol}://{host}:{port}");
    ListenerSpec::parse_url(&url).is_ok().then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ListenerSpec, ListenerError> {
        ListenerSpec::parse_url(url)
    }

    #[track_caller]
    fn refused(url: &str, why: &str) {
        assert_eq!(parse(url).unwrap_err().to_string(), why, "{url}");
    }

    #[test]
    fn host_is_ipv4_bracketed_ipv6_or_a_name() {
        for (url, host, port) in [
            ("command://0.0.0.0:0", "0.0.0.0", 0),
            ("prefixed://[::1]:8080", "::1", 8080),
            ("chat://[fe80::1%eth0]:5000", "fe80::1%eth0", 5000),
            ("command://:65432", "", 65432),
            ("raw://my-host.example:65535", "my-host.example", 65535),
        ] {
            let spec = parse(url).unwrap();
            assert_eq!((spec.host.as_str(), spec.port), (host, port));
            assert_eq!(spec.to_string(), url);
        }
    }

    #[test]
    fn listener_keys_belong_to_their_protocol() {
        let spec = parse("command://h:1?max_frame=10&idle=5").unwrap();
        let keys = [("max_frame", "10"), ("idle", "5")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!((&spec.keys[..], spec.idle_secs), (&keys[..], Some(5)));
        for (url, expected) in
            [("raw://h:1?prefix=", &b""[..]), ("raw://h:1?prefix=a%20%ff+", b"a \xff+")]
        {
            let Protocol::Raw(raw) = parse(url).unwrap().protocol(&ProtocolDefaults::default())
            else {
                panic!("{url}")
            };
            assert_eq!(raw.prefix, expected);
        }
        refused("raw://h:1?max_frame=1", "a raw listener has no key 'max_frame'");
        refused("command://h:1?prefix=x", "a command listener has no key 'prefix'");
        refused("prefixed://h:1?host=x", "a prefixed listener has no key 'host'");
        #[cfg(feature = "admin")]
        refused("admin://h:1?port=x", "an admin listener has no key 'port'");
        refused("prefixed://h:1?", "a prefixed listener has no key ''");
        refused("prefixed://h:1?idle=1&idle=2", "'idle' is given twice");
    }

    #[test]
    fn invalid_url_part_is_named() {
        refused(
            "127.0.0.1:80",
            "not of the form PROTOCOL://HOST:PORT, did you mean command://127.0.0.1:80?",
        );
        refused("h", "not of the form PROTOCOL://HOST:PORT");
        let all = ProtocolName::list();
        let why = format!("unknown protocol 'comand', there are {all}, did you mean command?");
        refused("comand://h:1", &why);
        refused("raw://h:1?prefx=", "a raw listener has no key 'prefx', did you mean prefix?");
        refused(
            "http://h:1",
            &format!("unknown protocol 'http', there are {}", ProtocolName::list()),
        );
        refused("raw://h", "bad port '', it is 0 to 65535");
        refused("raw://h:", "bad port '', it is 0 to 65535");
        refused("raw://h:65536", "bad port '65536', it is 0 to 65535");
        refused("raw://h:+1", "bad port '+1', it is 0 to 65535");
        refused("raw://h:1/", "bad port '1/', it is 0 to 65535");
        refused("raw://::1:1", "bad host '::1'");
        refused("raw://[::1:1", "bad host '[::1:1'");
        refused("raw://[::1]1", "bad port '1', it is 0 to 65535");
        refused("raw://[no]:1", "bad host '[no]'");
        refused("raw://[]:1", "bad host '[]'");
        refused("raw://[fe80::1%]:1", "bad host '[fe80::1%]'");
        refused("raw://[fe80::1%a/b]:1", "bad host '[fe80::1%a/b]'");
        refused("raw://h%lo:1", "bad host 'h%lo'");
        assert_eq!(parse("raw://[fe80::1%25lo]:1").unwrap().host, "fe80::1%lo");
        refused("raw://u@h:1", "bad host 'u@h'");
        refused("raw://h\n\x1b[2J:1", r"bad host 'h\n\u{1b}[2J'");
        refused("raw://h:1?idle=x", "idle: 'x' is not a number from 0 to 31536000");
        for url in ["raw://h:1?prefix=%", "raw://h:1?prefix=%4", "raw://h:1?prefix=%zz"] {
            let text = url.split_once('=').unwrap().1;
            let why = format!("prefix: '{text}' is not percent-encoded text of at most 1024 bytes");
            refused(url, &why);
        }
        let long = format!("raw://h:1?prefix={}", "x".repeat(1025));
        assert!(parse(&long).is_err());
        assert!(parse(&long[..long.len() - 1]).is_ok());
    }

    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    #[test]
    fn name_has_64_letters_and_few_others_at_most() {
        let longest = "x".repeat(64);
        for name in ["lobby", "a_b.c-2", "7", &*longest] {
            let spec = parse(&format!("chat://h:1?name={name}")).unwrap();
            assert_eq!(spec.name.as_deref(), Some(name));
        }
        for name in ["", "a b", "a:b", "a/b", "\u{e9}", "a\n", "%41", &"x".repeat(65)] {
            let error = parse(&format!("chat://h:1?name={name}")).unwrap_err().to_string();
            assert!(error.ends_with("is not a name of 1 to 64 letters, digits, '_', '.' and '-'"));
        }
    }

    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    #[test]
    fn listener_without_a_name_is_called_by_protocol() {
        let names = |urls: &[&str]| {
            let mut specs: Vec<_> = urls.iter().map(|url| parse(url).unwrap()).collect();
            name_listeners(&mut specs)?;
            Ok::<_, String>(specs.into_iter().map(|spec| spec.name.unwrap()).collect::<Vec<_>>())
        };
        let urls = ["chat://h:1", "raw://h:2", "chat://h:3", "chat://h:4?name=lobby", "chat://h:5"];
        assert_eq!(names(&urls).unwrap(), ["chat", "raw", "chat-2", "lobby", "chat-3"]);
        let urls = ["chat://h:1", "raw://h:2?name=chat", "chat://h:3", "raw://h:4?name=chat-3"];
        assert_eq!(names(&urls).unwrap(), ["chat-2", "chat", "chat-4", "chat-3"]);
        let urls = ["chat://h:1?name=a", "raw://h:2", "raw://h:3?name=a"];
        assert_eq!(names(&urls), Err("a".to_owned()));
    }

    #[test]
    fn address_in_another_form_has_a_url() {
        for (word, url) in [
            ("9999", Some("raw://127.0.0.1:9999")),
            ("20432", Some("command://127.0.0.1:20432")),
            ("localhost:5000", Some("chat://localhost:5000")),
            ("[::1]:80", Some("command://[::1]:80")),
            (":20432", Some("command://:20432")),
            ("raw:80", Some("raw://127.0.0.1:80")),
            ("chat", Some("chat://127.0.0.1:5000")),
            ("h:chat", None),
            ("65536", None),
            ("+1", None),
            ("", None),
            ("host", None),
            ("host:", None),
            ("a b:80", None),
            ("[zz]:80", None),
        ] {
            assert_eq!(url_for(word).as_deref(), url, "{word}");
        }
    }

    #[cfg(feature = "admin")]
    #[test]
    fn admin_has_hosts_beside_its_address() {
        let spec = parse("admin://127.0.0.1:1?host=a.example,b").unwrap();
        assert_eq!((&*spec.host, spec.port), ("127.0.0.1", 1));
        assert_eq!(spec.keys, [("hosts".to_owned(), "a.example,b".to_owned())]);
        assert_eq!(parse("admin://127.0.0.1:1?hosts=a.example,b").unwrap().keys, spec.keys);
        let mut section = ListenerSpec::new(ProtocolName::Admin);
        section.set_in_file("host", "10.0.0.1").unwrap();
        section.set_in_file("hosts", "a.example,b").unwrap();
        assert_eq!((&*section.host, &section.keys), ("10.0.0.1", &spec.keys));
        let error = parse("admin://127.0.0.1:1?host=a:1").unwrap_err().to_string();
        assert!(error.contains("host") && !error.contains("hosts="), "{error}");
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn port_is_shared_where_the_key_says_so() {
        for (url, expected) in [
            ("chat://h:1?reuse_port=yes", Some(true)),
            ("raw://h:1?reuse_port=no&idle=1", Some(false)),
            ("raw://h:1", None),
        ] {
            assert_eq!(parse(url).unwrap().reuse_port, expected, "{url}");
        }
        refused("raw://h:1?reuse_port=on", "reuse_port: 'on' is not yes or no");
        refused(
            "raw://h:1?reuseport=yes",
            "a raw listener has no key 'reuseport', did you mean reuse_port?",
        );
        let error = ListenerSpec::new(ProtocolName::Raw).set_in_file("reuse_prt", "yes");
        assert_eq!(error.unwrap_err(), "no such key, did you mean reuse_port?");
        #[cfg(feature = "unix")]
        refused(
            "raw+unix:///x?reuse_port=yes",
            "'reuse_port' is for TCP, a Unix socket has a path",
        );
    }

    #[cfg(feature = "unix")]
    #[test]
    fn unix_socket_has_a_path_and_a_mode() {
        let spec = parse("command+unix:///run/a%20b.sock?mode=0660&idle=5&max_frame=10").unwrap();
        assert_eq!(spec.path.as_deref(), Some(std::path::Path::new("/run/a b.sock")));
        assert_eq!((spec.mode, spec.idle_secs), (Some(0o660), Some(5)));
        assert_eq!(spec.to_string(), "command+unix:///run/a%20b.sock");
        #[cfg(feature = "tls")]
        assert_eq!(parse("raw+tls+unix:///x").unwrap().to_string(), "raw+tls+unix:///x");
        let example = "as in chat+unix:///run/chat.sock";
        refused("chat+unix://", &format!("the path of the socket is missing, {example}"));
        refused(
            "chat+unix://h:5000",
            &format!("'h:5000' is a host and port, a Unix socket has a path, {example}"),
        );
        refused("chat://h:1?mode=0600", "'mode' is for chat+unix");
        refused("chat+unix:///x?port=1", "a chat listener has no key 'port'");
        refused("chat+unix:///x?path=/y", "a chat listener has no key 'path'");
        refused(
            "chat+unix:///x?mode=0888",
            "mode: '0888' is not an octal mode from 0 to 0777, such as 0660",
        );
        refused("chat+unix:///x?mode=1&mode=1", "'mode' is given twice");
        let all = ProtocolName::list();
        refused("ftp+unix:///x", &format!("unknown protocol 'ftp', there are {all}"));
    }

    #[cfg(not(feature = "unix"))]
    #[test]
    fn unix_socket_needs_its_feature() {
        refused("chat+unix:///x", "this build has no Unix sockets (cargo feature `unix`)");
    }
}
