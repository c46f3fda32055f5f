//! The server's configuration file: one section for the server, one for each listener.

use std::path::Path;

use super::settings::Settings;
use crate::cli::ini::{IniError, IniErrorKind, Section, for_each_section};
use crate::cli::server_options::option_for_key;
use crate::cli::{ListenerError, ListenerSpec};
use crate::protocol::ProtocolName;

/// Settings and listeners of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its `[server]` section.
    pub settings: Settings,
    /// Its listeners, in order.
    pub listeners: Vec<ListenerSpec>,
    /// Index of the listener that `host` and `port` in `[server]` open, if they open one.
    pub server_chat: Option<usize>,
}

/// Host and port of a section, as far as it has them.
#[derive(Debug, Default)]
struct SectionAddr {
    host: Option<String>,
    port: Option<u16>,
}

/// A file that is being read.
#[derive(Debug, Default)]
struct Reader {
    file: ConfigFile,
    /// Address in `[server]`, and the number of listeners before it.
    server: Option<(SectionAddr, usize)>,
    /// Address in `[chat]`, and the index of its listener.
    chat: Option<(SectionAddr, usize)>,
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

    /// The listener that `host` and `port` in `[server]` open, if they open one.
    #[must_use]
    pub fn server_chat(&self) -> Option<&ListenerSpec> {
        self.listeners.get(self.server_chat?)
    }

    fn from_text(text: &str) -> Result<Self, IniErrorKind> {
        let mut reader = Reader::default();
        for_each_section(text, |section| reader.add_section(section))?;
        Ok(reader.finish())
    }
}

impl Reader {
    /// Adds `[server]` or a listener. A listener's section is called by its protocol, with a name
    /// of its own behind that where there are several.
    fn add_section(&mut self, section: &Section<'_>) -> Result<(), IniErrorKind> {
        if section.name == "server" {
            return self.add_server(section);
        }
        let mut spec = match ListenerSpec::parse_protocol(section.kind()) {
            Ok(spec) => spec,
            Err(error @ ListenerError::NotBuilt(_)) => {
                return Err(section.invalid(error.to_string()));
            }
            Err(_) => {
                let protocols = ProtocolName::ALL.iter().map(|protocol| protocol.as_str());
                return Err(section.unknown(protocols.chain(["server"])));
            }
        };
        let mut addr = SectionAddr::default();
        section.for_each_key(&mut |key, value| {
            spec.set_in_file(key, value)?;
            addr.take(key, &spec);
            Ok(())
        })?;
        #[cfg(feature = "unix")]
        spec.check_complete().map_err(|error| section.invalid(error.to_string()))?;
        if section.name == "chat" {
            self.chat = Some((addr, self.file.listeners.len()));
        }
        self.file.listeners.push(spec);
        Ok(())
    }

    fn add_server(&mut self, section: &Section<'_>) -> Result<(), IniErrorKind> {
        let mut spec = ListenerSpec::new(ProtocolName::Chat);
        let mut addr = SectionAddr::default();
        section.for_each_key(&mut |key, value| match key {
            "host" | "port" => {
                spec.set_in_file(key, value)?;
                addr.take(key, &spec);
                Ok(())
            }
            _ => {
                let name = option_for_key(key)?.name;
                self.file.settings.set(name, value).map_err(|error| error.to_string())
            }
        })?;
        if addr.host.is_some() || addr.port.is_some() {
            self.server = Some((addr, self.file.listeners.len()));
        }
        Ok(())
    }

    /// Gives `host` and `port` of `[server]` to a chat: they are all that the configuration file of
    /// the ancestor's chat has. It is that of `[chat]`, whose own keys come first, or one more.
    fn finish(self) -> ConfigFile {
        let Reader { mut file, server, chat } = self;
        let Some((server, place)) = server else { return file };
        let (own, index) = chat.unwrap_or_else(|| {
            file.listeners.insert(place, ListenerSpec::new(ProtocolName::Chat));
            file.server_chat = Some(place);
            (SectionAddr::default(), place)
        });
        if let Some(spec) = file.listeners.get_mut(index) {
            SectionAddr { host: own.host.or(server.host), port: own.port.or(server.port) }
                .put(spec);
        }
        file
    }
}

impl SectionAddr {
    /// Takes `host` or `port` from a listener that it has just been set in.
    fn take(&mut self, key: &str, spec: &ListenerSpec) {
        match key {
            "host" => self.host = Some(spec.host.clone()),
            "port" => self.port = Some(spec.port),
            _ => {}
        }
    }

    fn put(self, spec: &mut ListenerSpec) {
        if let Some(host) = self.host {
            spec.host = host;
        }
        if let Some(port) = self.port {
            spec.port = port;
        }
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
        assert_eq!(file.server_chat(), file.listeners.first());
        assert!(parse("[server]\nmax_clients=1\n").unwrap().listeners.is_empty());
    }

    #[test]
    fn server_address_is_that_of_the_chat_section() {
        let urls = |text| {
            let file = parse(text).unwrap();
            let urls: Vec<String> = file.listeners.iter().map(ToString::to_string).collect();
            (urls.join(" "), file.server_chat)
        };
        for (text, listeners, server_chat) in [
            ("[server]\nhost=::1\nport=1\n[chat]\nlang=ru\n", "chat://[::1]:1", None),
            ("[chat]\nlang=ru\n[server]\nport=1\n", "chat://127.0.0.1:1", None),
            ("[server]\nhost=h\nport=1\n[chat]\nport=2\n", "chat://h:2", None),
            ("[server]\nhost=\n[chat]\n", "chat://:5000", None),
            (
                "[raw]\n[server]\nport=1\n[command]\n",
                "raw://127.0.0.1:9999 chat://127.0.0.1:1 command://127.0.0.1:65432",
                Some(1),
            ),
            (
                "[server]\nport=1\n[chat lobby]\n",
                "chat://127.0.0.1:1 chat://127.0.0.1:5000",
                Some(0),
            ),
        ] {
            assert_eq!(urls(text), (listeners.to_owned(), server_chat), "{text}");
        }
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
        let keys = [("prefix", "%3E%20"), ("idle", "9")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(file.listeners[0].keys, keys);
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
        refused(
            "[server]\nmax-clients=1\n",
            "line 2: [server] max-clients: no such key, did you mean max_clients?",
        );
        refused("[servr]\n", "line 1: [servr]: no such section, did you mean [server]?");
        refused("[chta lobby]\n", "line 1: [chta lobby]: no such section, did you mean [chat]?");
        refused("[raw]\nprot=1\n", "line 2: [raw] prot: no such key, did you mean port?");
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

    #[cfg(feature = "unix")]
    #[test]
    fn unix_section_has_path_and_mode() {
        let file = parse(concat!(
            "[server]\nhost=::1\nport=7\n",
            "[chat+unix]\npath = /run/a b.sock # c\nmode=0660\nlang=ru\n",
            "[chat+unix lobby]\npath=/run/100%.sock\n",
        ))
        .unwrap();
        let urls: Vec<String> = file.listeners.iter().map(ToString::to_string).collect();
        let unix = ["chat+unix:///run/a%20b.sock", "chat+unix:///run/100%25.sock"];
        assert_eq!(urls, ["chat://[::1]:7", unix[0], unix[1]]);
        assert_eq!((file.listeners[1].mode, file.listeners[2].mode), (Some(0o660), None));
        let example = "as in chat+unix:///run/chat.sock";
        refused(
            "[chat+unix]\nmode=0600\n",
            &format!("line 1: [chat+unix]: the path of the socket is missing, {example}"),
        );
        refused(
            "[chat+unix]\npath=x.sock\n",
            &format!(
                "line 2: [chat+unix] path: the path 'x.sock' does not begin with /, {example}"
            ),
        );
        refused(
            "[chat+unix]\nport=5000\n",
            "line 2: [chat+unix] port: 'port' is for TCP, a Unix socket has a path",
        );
        refused("[chat]\nmode=0600\n", "line 2: [chat] mode: 'mode' is for chat+unix");
        refused(
            "[chat+unix]\npth=/x\n",
            "line 2: [chat+unix] pth: no such key, did you mean path?",
        );
        refused(
            "[chat+unix]\npath=/x\nmode=rw\n",
            "line 3: [chat+unix] mode: 'rw' is not an octal mode from 0 to 0777, such as 0660",
        );
    }
}
