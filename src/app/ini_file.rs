//! The configuration file: INI, one section for the server, one for each listener.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use super::ini::{self, IniSyntaxError};
use super::settings::Settings;
use crate::cli::{
    EscapeControl, HAS_PLUGINS, ListenerError, ListenerSpec, ProtocolName, SettingError,
};
use crate::strerror::strerror;

const NO_SUCH_KEY: &str = "no such key";

/// What a file asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IniFile {
    /// Its `[server]` section.
    pub settings: Settings,
    /// Its listeners, in order.
    pub listeners: Vec<ListenerSpec>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniError {
    file: PathBuf,
    kind: IniErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum IniErrorKind {
    Unreadable(String),
    NoValue { line: usize },
    Quote { line: usize },
    NoAddress,
    KeyOutsideSection(String),
    OpenSection(String),
    UnknownSection(String),
    RepeatedSection(String),
    Section { section: String, why: String },
    Key { section: String, key: String, why: String },
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        write!(f, "{}: ", self.file.display())?;
        match &self.kind {
            IniErrorKind::Unreadable(why) => write!(f, "cannot be read: {why}"),
            IniErrorKind::NoValue { line } => write!(f, "line {line}: not of the form key = value"),
            IniErrorKind::Quote { line } => {
                write!(f, "line {line}: a quoted value ends with its quote")
            }
            IniErrorKind::NoAddress => f.write_str("[server] has neither host nor port"),
            IniErrorKind::KeyOutsideSection(key) => {
                write!(f, "{key}: stands before the first section")
            }
            IniErrorKind::OpenSection(start) => {
                write!(f, "{start}: the section is not closed by ]")
            }
            IniErrorKind::UnknownSection(section) => write!(f, "[{section}]: no such section"),
            IniErrorKind::Section { section, why } => write!(f, "[{section}]: {why}"),
            IniErrorKind::RepeatedSection(section) => write!(f, "[{section}]: given twice"),
            IniErrorKind::Key { section, key, why } => {
                write!(f, "[{section}] {key}: {why}")
            }
        }
    }
}

impl std::error::Error for IniError {}

impl From<IniSyntaxError<'_>> for IniErrorKind {
    fn from(wrong: IniSyntaxError<'_>) -> Self {
        match wrong {
            IniSyntaxError::NoValue { line } => IniErrorKind::NoValue { line },
            IniSyntaxError::Quote { line } => IniErrorKind::Quote { line },
            IniSyntaxError::OpenSection { start } => IniErrorKind::OpenSection(start.to_owned()),
            IniSyntaxError::KeyOutsideSection { key } => {
                IniErrorKind::KeyOutsideSection(key.to_owned())
            }
        }
    }
}

impl IniFile {
    /// Reads `file`.
    ///
    /// # Errors
    ///
    /// See [`IniError`]; it names file, section and key.
    pub fn read(file: &Path) -> Result<Self, IniError> {
        read(file)
            .and_then(|text| Self::from_text(&text))
            .map_err(|kind| IniError { file: file.to_owned(), kind })
    }

    /// Reads the text of a file that would be called `file`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str, file: &Path) -> Result<Self, IniError> {
        Self::from_text(text).map_err(|kind| IniError { file: file.to_owned(), kind })
    }

    fn from_text(text: &str) -> Result<Self, IniErrorKind> {
        let mut file = IniFile::default();
        for_each_section(text, |section, keys| file.add_section(section, keys))?;
        Ok(file)
    }

    /// `[server]`, or a protocol, with a name of its own behind it where there are several.
    fn add_section(&mut self, section: &str, keys: &[(&str, &str)]) -> Result<(), IniErrorKind> {
        if section == "server" {
            return self.add_server(keys);
        }
        let word = section.split_whitespace().next().unwrap_or_default();
        let protocol = ProtocolName::parse(word)
            .ok_or_else(|| IniErrorKind::UnknownSection(section.to_owned()))?;
        if protocol == ProtocolName::Plugin && !HAS_PLUGINS {
            let why = SettingError::NoPlugins.to_string();
            return Err(IniErrorKind::Section { section: section.to_owned(), why });
        }
        let mut spec = ListenerSpec::new(protocol);
        for_each_key(section, keys, |key, value| set_listener(&mut spec, key, value))?;
        self.listeners.push(spec);
        Ok(())
    }

    /// `host` and `port` in `[server]` are all there is in the file of the ancestor's chat: they
    /// ask for a chat.
    fn add_server(&mut self, keys: &[(&str, &str)]) -> Result<(), IniErrorKind> {
        let mut chat = None;
        for_each_key("server", keys, |key, value| match key {
            "host" | "port" => {
                let chat = chat.get_or_insert_with(|| ListenerSpec::new(ProtocolName::Chat));
                set_listener(chat, key, value)
            }
            _ => self.set_server(key, value),
        })?;
        self.listeners.extend(chat);
        Ok(())
    }

    fn set_server(&mut self, key: &str, value: &str) -> Result<(), String> {
        // A key is spelt as its option, with `_` for `-`; an option's own spelling is no key.
        let name = if key.contains('-') { String::new() } else { key.replace('_', "-") };
        self.settings.set(&name, value).map_err(|why| match why {
            SettingError::Unknown => NO_SUCH_KEY.to_owned(),
            why => why.to_string(),
        })
    }
}

/// What a client takes from a file: where its server is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// `host` in `[server]`.
    pub host: Option<String>,
    /// `port` in `[server]`.
    pub port: Option<u16>,
}

impl ServerAddress {
    /// Reads the address from `file`. What else the file says is the server's affair, and only its
    /// keys in `[server]` must be known, so that a misspelt `port` is noticed.
    ///
    /// # Errors
    ///
    /// See [`IniError`]; a file that has neither host nor port is one.
    pub fn read(file: &Path) -> Result<Self, IniError> {
        read(file)
            .and_then(|text| Self::from_text(&text))
            .map_err(|kind| IniError { file: file.to_owned(), kind })
    }

    fn from_text(text: &str) -> Result<Self, IniErrorKind> {
        let mut address = ServerAddress::default();
        for_each_section(text, |section, keys| match section {
            "server" => for_each_key(section, keys, |key, value| address.set(key, value)),
            _ => Ok(()),
        })?;
        if address == ServerAddress::default() {
            return Err(IniErrorKind::NoAddress);
        }
        Ok(address)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        // What a host and a port are does not depend on the protocol.
        let mut spec = ListenerSpec::new(ProtocolName::Chat);
        match key {
            "host" => {
                set_listener(&mut spec, key, value)?;
                self.host = Some(spec.host);
            }
            "port" => {
                set_listener(&mut spec, key, value)?;
                self.port = Some(spec.port);
            }
            _ => {
                let known = IniFile::default().set_server(key, value);
                return known.or_else(|why| if why == NO_SUCH_KEY { Err(why) } else { Ok(()) });
            }
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<String, IniErrorKind> {
    fs::read_to_string(file).map_err(|error| IniErrorKind::Unreadable(strerror(&error).to_string()))
}

/// Shows `add` every section in order, each once.
fn for_each_section(
    text: &str,
    mut add: impl FnMut(&str, &[(&str, &str)]) -> Result<(), IniErrorKind>,
) -> Result<(), IniErrorKind> {
    let mut seen = Vec::new();
    for section in ini::sections(text)? {
        if seen.contains(&section.name) {
            return Err(IniErrorKind::RepeatedSection(section.name.to_owned()));
        }
        seen.push(section.name);
        add(section.name, &section.keys)?;
    }
    Ok(())
}

fn set_listener(spec: &mut ListenerSpec, key: &str, value: &str) -> Result<(), String> {
    spec.set(key, value).map_err(|error| match error {
        ListenerError::UnknownKey { .. } => NO_SUCH_KEY.to_owned(),
        ListenerError::InvalidValue { source, .. } => source.to_string(),
        error => error.to_string(),
    })
}

fn for_each_key(
    section: &str,
    keys: &[(&str, &str)],
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), IniErrorKind> {
    let mut seen = Vec::new();
    for (key, value) in keys {
        let result =
            if seen.contains(&key) { Err("given twice".to_owned()) } else { set(key, value) };
        seen.push(key);
        result.map_err(|why| IniErrorKind::Key {
            section: section.to_owned(),
            key: (*key).to_owned(),
            why,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<IniFile, IniError> {
        IniFile::parse(text, Path::new("mynah.ini"))
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), format!("mynah.ini: {why}"), "{text}");
    }

    #[test]
    fn the_ancestors_chat_file_opens_a_chat() {
        let file = parse("[server]\nhost = 0.0.0.0 # IP\nport = 5000\n").unwrap();
        let chat = ListenerSpec { host: "0.0.0.0".into(), ..ListenerSpec::new(ProtocolName::Chat) };
        assert_eq!(file.listeners, [chat]);
        assert_eq!(parse("[server]\nport=1\n[chat lobby]\nlang=ru\n").unwrap().listeners.len(), 2);
        assert!(parse("[server]\nmax_clients=1\n").unwrap().listeners.is_empty());
    }

    #[test]
    fn a_file_sets_the_server_and_lists_listeners_in_order() {
        let file = parse(concat!(
            "# a comment\n; another\n",
            "[server]\nmax_clients = 10 # inline\nlog_file = /var/log/mynah.log\n",
            "[raw]\nport=7 ; the echo service\nprefix=%3E%20\nidle=9\n",
            "[command]\nhost = ::1\nmax_frame = 5\n",
            "[command two]\nport = 0\n",
        ))
        .unwrap();
        assert_eq!(file.settings.max_clients, Some(10));
        assert_eq!(file.settings.log_file, Some("/var/log/mynah.log".into()));
        let names: Vec<String> = file.listeners.iter().map(ToString::to_string).collect();
        let expected = ["raw://127.0.0.1:7", "command://[::1]:65432", "command://127.0.0.1:0"];
        assert_eq!(names, expected);
        assert_eq!(file.listeners[0].prefix.as_deref(), Some(&b"> "[..]));
        assert_eq!(file.listeners[0].idle_secs, Some(9));
        assert_eq!(file.listeners[1].frame_len_max, Some(5));
    }

    #[test]
    fn an_empty_file_asks_for_nothing() {
        for text in ["", "\n\n", "# only a comment\n", "\u{feff}[server]\n"] {
            assert_eq!(parse(text), Ok(IniFile::default()), "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_section_and_key() {
        refused(
            "[server]\nmax_clients=x\n",
            "[server] max_clients: 'x' is not a number from 1 to 2147483648",
        );
        refused("[server]\ncolour=red\n", "[server] colour: no such key");
        refused("[server]\nmax-clients=1\n", "[server] max-clients: no such key");
        refused(
            "[server]\ndrain_timeout=1\ndrain_timeout=2\n",
            "[server] drain_timeout: given twice",
        );
        refused("[server]\nport=x\n", "[server] port: bad port 'x', it is 0 to 65535");
        refused("[server]\nlang=ru\n", "[server] lang: no such key");
        refused("[chat]\nlang=de\n", "[chat] lang: 'de' is not en or ru");
        refused("[ftp]\nport=21\n", "[ftp]: no such section");
        refused("[]\n", "[]: no such section");
        refused("[raw]\nport=1\n[raw]\nport=2\n", "[raw]: given twice");
        refused("[command]\nprefix=x\n", "[command] prefix: no such key");
        refused("[raw]\nport=70000\n", "[raw] port: bad port '70000', it is 0 to 65535");
        refused("port=1\n", "port: stands before the first section");
        refused("[server]\nno value\n", "line 2: not of the form key = value");
        refused("no value\nport=1\n", "line 1: not of the form key = value");
        refused("[raw]\nport=\"1\n2\"\n", "line 2: a quoted value ends with its quote");
    }

    #[test]
    fn a_comment_is_not_taken_for_a_missing_value() {
        for text in ["[raw]\nprefix =   # RFC 862\n", "[raw]\nprefix=\t; nothing", "[raw]\nprefix="]
        {
            let file = parse(text).unwrap();
            assert_eq!(file.listeners[0].prefix.as_deref(), Some(&b""[..]), "{text:?}");
        }
        refused("[raw]\nport = # none\n", "[raw] port: bad port '', it is 0 to 65535");
        let file = parse("[raw] prefix = # none\n[raw = ;2]\n").unwrap();
        assert_eq!(file.listeners[0].prefix.as_deref(), Some(&b""[..]));
        assert_eq!(file.listeners.len(), 2);
        let file = parse("[server]\nlog_file = a=b # c\n").unwrap();
        assert_eq!(file.settings.log_file, Some("a=b".into()));
    }

    #[test]
    fn an_indented_line_is_a_line() {
        let file = parse("[server]\r\n\tmax_clients = 10\r\n  [raw]\r\n  port = 7\r\n").unwrap();
        assert_eq!((file.settings.max_clients, file.listeners[0].port), (Some(10), 7));
        refused("[server]\n  max_clients 10\n", "line 2: not of the form key = value");
        refused(
            "[server]\n  max_clients 10\n[raw]\nport=7\n",
            "line 2: not of the form key = value",
        );
    }

    #[test]
    fn a_section_ends_on_its_line() {
        refused("[raw\nport=7\n[command]\nport=8\n", "[raw: the section is not closed by ]");
        refused("[raw\nport=7\n", "[raw: the section is not closed by ]");
        refused("[raw] [command\n]\n", "[command: the section is not closed by ]");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = IniFile::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert_eq!(error, "/no/such/file: cannot be read: no such file or directory");
    }

    #[test]
    fn a_client_finds_its_server_in_the_ancestors_file() {
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
    fn a_file_that_does_not_say_where_the_server_is_is_refused() {
        let what = |text| ServerAddress::from_text(text).unwrap_err();
        assert_eq!(what(""), IniErrorKind::NoAddress);
        assert_eq!(what("[chat]\nport=1\n"), IniErrorKind::NoAddress);
        let key = |key: &str, why: &str| {
            let (key, why) = (key.to_owned(), why.to_owned());
            IniErrorKind::Key { section: "server".to_owned(), key, why }
        };
        assert_eq!(what("[server]\nhost=h\nprot=1\n"), key("prot", "no such key"));
        assert_eq!(what("[server]\nport=x\n"), key("port", "bad port 'x', it is 0 to 65535"));
        assert_eq!(what("[server]\nport=1\nport=2\n"), key("port", "given twice"));
    }
}
