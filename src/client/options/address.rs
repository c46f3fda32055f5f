//! The server's address on the command line: a URL, options, or a file.

use std::path::{Path, PathBuf};

use getopts::Matches;

use super::error::{NamedBy, UsageError};
#[cfg(feature = "tls")]
use crate::cli::tls_options::without_tls;
use crate::cli::unix_client_url::UnixUrl;
use crate::cli::{ListenerSpec, ServerAddress, url_for};
use crate::os_text;
use crate::protocol::ProtocolName;

/// The file in which the chat's first client looked for its server.
const CONFIG_FILE: &str = "config.ini";

/// The parts of an address that the user named.
#[derive(Debug, Default)]
pub(super) struct Address {
    host: Option<String>,
    port: Option<u16>,
    /// A Unix socket, instead of host and port.
    pub(super) path: Option<PathBuf>,
    /// From `--protocol` or the URL.
    protocol: Option<ProtocolName>,
    /// The URL asks for TLS.
    #[cfg(feature = "tls")]
    pub(super) is_tls: bool,
    /// The port is that of a file, which names the server of a chat.
    is_port_of_file: bool,
}

impl Address {
    /// The address of `url` if there is one, and of the options; each part from its option, else from
    /// the file of `--config`.
    pub(super) fn new(matches: &Matches, url: Option<Address>) -> Result<Self, UsageError> {
        let has_url = url.is_some();
        let mut address = url.unwrap_or_default();
        if let Some(name) = matches.opt_str("protocol") {
            let protocol = parse_protocol(name)?;
            if address.protocol.is_some_and(|of_url| of_url != protocol) {
                return Err(UsageError::UrlAndOption("protocol"));
            }
            address.protocol = Some(protocol);
        }
        let mut spec = ListenerSpec::new(ProtocolName::Command);
        for option in ["host", "port"] {
            let Some(value) = matches.opt_str(option) else { continue };
            if has_url {
                return Err(UsageError::UrlAndOption(option));
            }
            match spec.set(option, &value) {
                Err(source) => return Err(UsageError::Address { option, value, source }),
                Ok(()) if option == "host" => address.host = Some(spec.host.clone()),
                Ok(()) => address.port = Some(spec.port),
            }
        }
        if let Some(file) = matches.opt_str("config") {
            let file = ServerAddress::read(Path::new(&os_text::decode(&file)));
            let file = file.map_err(UsageError::File)?;
            address.is_port_of_file = address.port.is_none() && file.port.is_some();
            address.host = address.host.or(file.host);
            address.port = address.port.or(file.port);
        }
        if address.port == Some(0) {
            return Err(UsageError::PortZero);
        }
        Ok(address)
    }

    /// Takes `word` for a URL or `HOST:PORT`; `None` if it is neither.
    pub(super) fn from_word(word: &str) -> Result<Option<Self>, UsageError> {
        let invalid = |source| UsageError::Url { url: word.to_owned(), source };
        let Some((scheme, _)) = word.split_once("://") else {
            // `url_for` knows the forms of an address; a port alone is none.
            let Some(url) = url_for(word).filter(|_| word.contains(':')) else { return Ok(None) };
            let spec = ListenerSpec::parse_url(&url).map_err(invalid)?;
            return Ok(Some(Address { protocol: None, ..Address::from_spec(spec) }));
        };
        for transport in scheme.split('+').skip(1) {
            let transport = match transport {
                "tls" if cfg!(feature = "tls") => continue,
                "tls" => "TLS",
                _ => continue,
            };
            return Err(UsageError::NoTransport { url: word.to_owned(), transport });
        }
        let unix = UnixUrl::parse(word).map_err(invalid)?;
        let url = unix.as_ref().map_or(word, |unix| &unix.over_tcp);
        #[cfg(feature = "tls")]
        let plain = without_tls(url);
        #[cfg(feature = "tls")]
        let (is_tls, url) = (plain.is_some(), plain.as_deref().unwrap_or(url));
        let spec = ListenerSpec::parse_url(url).map_err(invalid)?;
        let mut address = Address::from_spec(spec);
        #[cfg(feature = "tls")]
        {
            address.is_tls = is_tls;
        }
        if let Some(unix) = unix {
            address.path = Some(unix.path);
            // What a certificate is for, unless `--server-name` says otherwise.
            address.host = Some("localhost".to_owned());
            address.port = None;
        }
        Ok(Some(address))
    }

    /// The address of a URL. A listener of all addresses is reached on loopback; its keys are the
    /// server's business.
    fn from_spec(spec: ListenerSpec) -> Self {
        let host = Some(spec.host).filter(|host| !host.is_empty());
        let host = host.or_else(|| Some(ListenerSpec::new(spec.protocol).host));
        let (port, protocol) = (Some(spec.port), Some(spec.protocol));
        Address { host, port, protocol, ..Address::default() }
    }

    /// The protocol and what chose it. A file may give a chat any port: `is_chat` says that the command
    /// is `chat`.
    pub(super) fn protocol(&self, is_chat: bool) -> (ProtocolName, NamedBy) {
        if let Some(protocol) = self.protocol {
            return (protocol, NamedBy::User);
        }
        let by_port = ProtocolName::ALL.iter().find(|p| Some(p.default_port()) == self.port);
        match (by_port, self.port) {
            _ if is_chat && self.is_port_of_file => (ProtocolName::Chat, NamedBy::Default),
            (Some(&protocol), Some(port)) => (protocol, NamedBy::Port(port)),
            _ if is_chat => (ProtocolName::Chat, NamedBy::Default),
            _ => (ProtocolName::Command, NamedBy::Default),
        }
    }

    /// For a chat without an address: takes it from the file of [`CONFIG_FILE`] in the working folder,
    /// as the chat's first client did, and returns the line that says so. A file that does not name a
    /// server is not used, because nobody asked for it.
    pub(super) fn read_default_file(&mut self) -> Option<String> {
        let file = Path::new(CONFIG_FILE);
        if self.host.is_some() || self.port.is_some() || !file.is_file() {
            return None;
        }
        Some(match ServerAddress::read(file) {
            Ok(ServerAddress { port: Some(0), .. }) => {
                format!("{CONFIG_FILE} is not used: {}", UsageError::PortZero)
            }
            Ok(address) => {
                self.host = address.host;
                self.port = address.port;
                let (host, port) = self.host_and_port(ProtocolName::Chat);
                let url = ListenerSpec { host, port, ..ListenerSpec::new(ProtocolName::Chat) };
                format!("the server is that of {CONFIG_FILE}: {url}")
            }
            Err(error) => format!("not used: {error}"),
        })
    }

    /// Host and port, with the defaults of `protocol`.
    pub(super) fn host_and_port(&self, protocol: ProtocolName) -> (String, u16) {
        let default = ListenerSpec::new(protocol);
        // As a listener's, an empty host is all addresses.
        let host = self.host.clone().filter(|host| !host.is_empty());
        (host.unwrap_or(default.host), self.port.unwrap_or(default.port))
    }
}

fn parse_protocol(name: String) -> Result<ProtocolName, UsageError> {
    let protocol = ProtocolName::parse(&name.to_ascii_lowercase());
    protocol.ok_or(UsageError::UnknownProtocol(name))
}
