//! The server's address in a configuration file, as the client reads it: `[server]` with `host` and
//! `port`.

use std::path::Path;

use super::ini::{IniError, IniErrorKind, for_each_section};
use super::listener_url::ListenerSpec;
use super::server_options::option_for_key;
use crate::protocol::ProtocolName;

/// Host and port of a server, as far as a file names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// `host` in `[server]`.
    pub host: Option<String>,
    /// `port` in `[server]`.
    pub port: Option<u16>,
}

impl ServerAddress {
    /// Reads the address from `file`. Of the rest of the file only the keys of `[server]` must be
    /// known, so that a misspelt `port` is an error; their values are not checked.
    ///
    /// # Errors
    ///
    /// As [`IniError`]; a file with neither host nor port is an error, too.
    pub fn read(file: &Path) -> Result<Self, IniError> {
        IniError::read(file, Self::from_text)
    }

    fn from_text(text: &str) -> Result<Self, IniErrorKind> {
        let mut address = ServerAddress::default();
        for_each_section(text, |section| match section.name {
            "server" => section.for_each_key(&mut |key, value| address.set(key, value)),
            _ => Ok(()),
        })?;
        if address == ServerAddress::default() {
            return Err(IniErrorKind::NoAddress);
        }
        Ok(address)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        // Hosts and ports are written alike for every protocol.
        let mut spec = ListenerSpec::new(ProtocolName::Chat);
        match key {
            "host" => {
                spec.set_in_file(key, value)?;
                self.host = Some(spec.host);
            }
            "port" => {
                spec.set_in_file(key, value)?;
                self.port = Some(spec.port);
            }
            _ => {
                option_for_key(key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_section_names_host_and_port() {
        let address = |text| ServerAddress::from_text(text).unwrap();
        let both = ServerAddress { host: Some("0.0.0.0".into()), port: Some(5000) };
        assert_eq!(address("[server]\nhost = 0.0.0.0 # IP\nport = 5000\n"), both);
        let port = ServerAddress { host: None, port: Some(7) };
        assert_eq!(address("[server]\nport=7 ; echo\n"), port);
        let servers = "[raw]\nport=9\n[ftp]\n[server]\nport=7\nmax_clients=x\nplugin_dir=y\n";
        assert_eq!(address(servers), port, "what concerns the server alone is not judged");
        let six = ServerAddress { host: Some("::1".into()), port: None };
        assert_eq!(address("[server]\nhost=[::1]\n"), six);
    }

    #[test]
    fn file_without_an_address_is_refused() {
        let kind = |text| ServerAddress::from_text(text).unwrap_err();
        assert_eq!(kind(""), IniErrorKind::NoAddress);
        assert_eq!(kind("[chat]\nport=1\n"), IniErrorKind::NoAddress);
    }

    #[test]
    fn server_key_errors_name_line_and_key() {
        let invalid = |line, key: &str, reason: &str| {
            let (key, reason) = (key.to_owned(), reason.to_owned());
            Err(IniErrorKind::InvalidKey { line, section: "server".to_owned(), key, reason })
        };
        for (text, error) in [
            ("[server]\nhost=h\nprot=1\n", invalid(3, "prot", "no such key, did you mean port?")),
            ("[server]\nport=x\n", invalid(2, "port", "bad port 'x', it is 0 to 65535")),
            ("[server]\nport=1\nport=2\n", invalid(3, "port", "given twice")),
        ] {
            assert_eq!(ServerAddress::from_text(text), error, "{text:?}");
        }
    }
}
