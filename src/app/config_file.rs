//! The server's configuration file: one section for the server, one for each listener.

use std::path::Path;

use super::settings::Settings;
use crate::cli::ListenerSpec;
use crate::cli::ini::{IniError, IniErrorKind, NO_SUCH_KEY, Section, for_each_section};
use crate::protocol::ProtocolName;
use crate::setting::SettingError;

/// Settings and listeners of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its `[server]` section.
    pub settings: Settings,
    /// Its listeners, in order.
    pub listeners: Vec<ListenerSpec>,
}

impl ConfigFile {
    /// Reads `file`.
    ///
    /// # Errors
    ///
    /// An [`IniError`] names file, line, section and key.
    pub fn read(file: &Path) -> Result<Self, IniError> {
        IniError::read(file, Self::from_text)
    }

    /// Reads `text`, for errors that name `file`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str, file: &Path) -> Result<Self, IniError> {
        Self::from_text(text).map_err(|kind| IniError::new(file, kind))
    }

    fn from_text(text: &str) -> Result<Self, IniErrorKind> {
        let mut file = ConfigFile::default();
        for_each_section(text, |section| file.add_section(section))?;
        Ok(file)
    }

    /// Adds `[server]` or a listener. A listener's section is called by its protocol, with a name
    /// of its own behind that where there are several.
    fn add_section(&mut self, section: &Section<'_>) -> Result<(), IniErrorKind> {
        if section.name == "server" {
            return self.add_server(section);
        }
        let word = section.name.split_whitespace().next().unwrap_or_default();
        let protocol = match ProtocolName::parse(word) {
            Some(protocol) => protocol,
            None if word == "plugin" => {
                return Err(section.invalid(SettingError::NoPlugins.to_string()));
            }
            None => return Err(section.unknown()),
        };
        let mut spec = ListenerSpec::new(protocol);
        section.for_each_key(|key, value| spec.set_in_file(key, value))?;
        self.listeners.push(spec);
        Ok(())
    }

    /// Adds `[server]`. `host` and `port` there ask for a chat: they are all that the configuration
    /// file of the ancestor's chat has.
    fn add_server(&mut self, section: &Section<'_>) -> Result<(), IniErrorKind> {
        let mut chat = None;
        section.for_each_key(|key, value| match key {
            "host" | "port" => {
                let chat = chat.get_or_insert_with(|| ListenerSpec::new(ProtocolName::Chat));
                chat.set_in_file(key, value)
            }
            _ => self.set_server(key, value),
        })?;
        self.listeners.extend(chat);
        Ok(())
    }

    fn set_server(&mut self, key: &str, value: &str) -> Result<(), String> {
        // A key is spelt as its option, with `_` for `-`; an option's own spelling is not a key.
        let name = if key.contains('-') { String::new() } else { key.replace('_', "-") };
        self.settings.set(&name, value).map_err(|error| match error {
            SettingError::Unknown => NO_SUCH_KEY.to_owned(),
            error => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, IniError> {
        ConfigFile::parse(text, Path::new("mynah.ini"))
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), format!("mynah.ini: {why}"), "{text}");
    }

    #[test]
    fn ancestor_chat_file_opens_a_chat() {
        let file = parse("[server]\nhost = 0.0.0.0 # IP\nport = 5000\n").unwrap();
        let chat = ListenerSpec { host: "0.0.0.0".into(), ..ListenerSpec::new(ProtocolName::Chat) };
        assert_eq!(file.listeners, [chat]);
        assert_eq!(parse("[server]\nport=1\n[chat lobby]\nlang=ru\n").unwrap().listeners.len(), 2);
        assert!(parse("[server]\nmax_clients=1\n").unwrap().listeners.is_empty());
    }

    #[test]
    fn file_sets_server_and_listeners_in_order() {
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
        assert_eq!(file.listeners[0].keys, [("prefix".to_owned(), "%3E%20".to_owned())]);
        assert_eq!(file.listeners[0].idle_secs, Some(9));
        assert_eq!(file.listeners[1].keys, [("max_frame".to_owned(), "5".to_owned())]);
    }

    #[test]
    fn empty_file_sets_nothing() {
        for text in ["", "\n\n", "# only a comment\n", "\u{feff}[server]\n"] {
            assert_eq!(parse(text), Ok(ConfigFile::default()), "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_line_section_and_key() {
        refused(
            "[server]\nmax_clients=x\n",
            "line 2: [server] max_clients: 'x' is not a number from 1 to 2147483648",
        );
        refused("[server]\ncolour=red\n", "line 2: [server] colour: no such key");
        refused("[server]\nmax-clients=1\n", "line 2: [server] max-clients: no such key");
        refused(
            "[server]\ndrain_timeout=1\ndrain_timeout=2\n",
            "line 3: [server] drain_timeout: given twice",
        );
        refused("[server]\nport=x\n", "line 2: [server] port: bad port 'x', it is 0 to 65535");
        refused("[server]\nlang=ru\n", "line 2: [server] lang: no such key");
        refused("[chat]\nlang=de\n", "line 2: [chat] lang: 'de' is not en or ru");
        refused("[ftp]\nport=21\n", "line 1: [ftp]: no such section");
        refused("[]\n", "line 1: []: no such section");
        refused("[raw]\nport=1\n[raw]\nport=2\n", "line 3: [raw]: given twice");
        refused("[command]\nprefix=x\n", "line 2: [command] prefix: no such key");
        refused("[raw]\nport=70000\n", "line 2: [raw] port: bad port '70000', it is 0 to 65535");
        refused("port=1\n", "line 1: key 'port' before any section");
        refused("[server]\nno value\n", "line 2: not of the form key = value");
        refused("no value\nport=1\n", "line 1: not of the form key = value");
        refused("[raw]\nport=\"1\n2\"\n", "line 2: a quoted value ends with its quote");
    }

    #[test]
    fn comment_is_not_taken_for_a_missing_value() {
        for text in ["[raw]\nprefix =   # RFC 862\n", "[raw]\nprefix=\t; nothing", "[raw]\nprefix="]
        {
            let file = parse(text).unwrap();
            assert_eq!(file.listeners[0].keys, [("prefix".to_owned(), String::new())], "{text:?}");
        }
        refused("[raw]\nport = # none\n", "line 2: [raw] port: bad port '', it is 0 to 65535");
        let file = parse("[raw] prefix = # none\n[raw = ;2]\n").unwrap();
        assert_eq!(file.listeners[0].keys, [("prefix".to_owned(), String::new())]);
        assert_eq!(file.listeners.len(), 2);
        let file = parse("[server]\nlog_file = a=b # c\n").unwrap();
        assert_eq!(file.settings.log_file, Some("a=b".into()));
    }

    #[test]
    fn indented_line_is_a_line() {
        let file = parse("[server]\r\n\tmax_clients = 10\r\n  [raw]\r\n  port = 7\r\n").unwrap();
        assert_eq!((file.settings.max_clients, file.listeners[0].port), (Some(10), 7));
        refused("[server]\n  max_clients 10\n", "line 2: not of the form key = value");
        refused(
            "[server]\n  max_clients 10\n[raw]\nport=7\n",
            "line 2: not of the form key = value",
        );
    }

    #[test]
    fn section_header_ends_on_its_line() {
        refused(
            "[raw\nport=7\n[command]\nport=8\n",
            "line 1: [raw: the section is not closed by ]",
        );
        refused("[raw\nport=7\n", "line 1: [raw: the section is not closed by ]");
        refused("[raw] [command\n]\n", "line 1: [command: the section is not closed by ]");
    }

    #[test]
    fn unreadable_file_is_named() {
        let error = ConfigFile::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert_eq!(error, "/no/such/file: cannot be read: no such file or directory");
    }
}
