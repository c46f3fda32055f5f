//! The server's configuration: options and file, merged.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use getopts::{Matches, ParsingStyle};
use log::LevelFilter;

use super::config_file::ConfigFile;
use super::help;
use super::hints::{self, ArgumentError};
use super::settings::Settings;
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
use crate::cli::name_listeners;
use crate::cli::options::{self, OptionError, OptionSpec};
use crate::cli::{IniError, ListenerError, ListenerSpec, server_options};
use crate::defaults;
use crate::escape::EscapeControl;
#[cfg(feature = "admin")]
use crate::limits::ADMIN_PLACES;
#[cfg(feature = "cluster")]
use crate::limits::FILES_ENGINE;
use crate::limits::{FILES_OWN, FILES_RESERVED, Limits, MEMORY_BYTES_FLOOR, QUEUE_BYTES_FLOOR};
use crate::os_text;
#[cfg(feature = "accounts")]
use crate::protocol::login::Auth;
use crate::protocol::{ProtocolDefaults, ProtocolName};
use crate::server::ListenerConfig;
use crate::setting::{HAS_PLUGINS, SettingError};

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// `--help`: this text.
    Help(String),
    /// `--version`.
    Version,
    /// `--check`: options and file are valid. The files they name have not been read.
    Check(Config),
    /// Run a server.
    Run(Config),
}

/// Configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The merged settings; `None` means the default.
    pub settings: Settings,
    /// The listeners to open, in order.
    pub listeners: Vec<ListenerSpec>,
    /// True if the listeners were not asked for: one whose port is taken may be skipped.
    pub listeners_are_defaults: bool,
    /// Folder of the plugins, if there are any.
    pub plugin_dir: Option<PathBuf>,
    /// Lines for the log about what the configuration means.
    pub notices: Vec<String>,
    /// Warnings about what it shows to others.
    #[cfg(feature = "cluster")]
    pub warnings: Vec<String>,
}

/// An error of the command line or the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// Options are unknown, lack their value, or are given twice.
    Options(Vec<OptionError>),
    /// Arguments that are not options.
    Arguments(Vec<ArgumentError>),
    /// An option's value is invalid.
    Option {
        /// The long name.
        name: &'static str,
        /// The reason.
        source: SettingError,
    },
    /// More than one of options of which one may be given.
    OnlyOneOf(&'static str),
    /// A `--listen` is invalid.
    Listen {
        /// The value given.
        url: String,
        /// The reason.
        source: ListenerError,
    },
    /// Two listeners have one name.
    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    RepeatedName(String),
    /// A `+tls` listener has no certificate.
    #[cfg(feature = "tls")]
    NoCertificate(String),
    /// A listener has `auth=required`, and there is no file of accounts.
    #[cfg(feature = "accounts")]
    NoAccounts(String),
    /// Clients may register, and there is no file of accounts.
    #[cfg(feature = "accounts")]
    RegisterWithoutAccounts,
    /// An admin listener is open to other machines, and there is no token.
    #[cfg(feature = "admin")]
    NoAdminToken(String),
    /// The configuration file cannot be read or is invalid.
    File(IniError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            ConfigError::Options(errors) => write_all(&mut f, errors),
            ConfigError::Arguments(errors) => write_all(&mut f, errors),
            ConfigError::Option { name, source } => write!(f, "--{name}: {source}"),
            ConfigError::OnlyOneOf(options) => write!(f, "only one of {options}"),
            ConfigError::Listen { url, source } => write!(f, "--listen {url}: {source}"),
            #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
            ConfigError::RepeatedName(name) => {
                write!(f, "two listeners have the name '{name}'")
            }
            #[cfg(feature = "tls")]
            ConfigError::NoCertificate(url) => {
                write!(f, "{url} needs a certificate and its key: --tls-cert FILE --tls-key FILE")
            }
            #[cfg(feature = "accounts")]
            ConfigError::NoAccounts(url) => {
                write!(f, "{url} with auth=required needs accounts: --accounts FILE")
            }
            #[cfg(feature = "accounts")]
            ConfigError::RegisterWithoutAccounts => {
                f.write_str("--allow-register needs --accounts FILE")
            }
            #[cfg(feature = "admin")]
            ConfigError::NoAdminToken(url) => {
                write!(f, "{url} is not on loopback and needs a token: --admin-token FILE")
            }
            ConfigError::File(source) => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Writes errors one behind the other.
fn write_all(f: &mut impl Write, errors: &[impl fmt::Display]) -> fmt::Result {
    errors.iter().enumerate().try_for_each(|(at, error)| {
        let separator = if at > 0 { "; " } else { "" };
        write!(f, "{separator}{error}")
    })
}

impl Invocation {
    /// Reads the command line, without the program's name, and the configuration file it names.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    // Called twice; inlined it would be twice 8 KiB.
    #[inline(never)]
    pub fn from_args<A: AsRef<OsStr>>(args: &[A]) -> Result<Self, ConfigError> {
        let options = server_options::all();
        let matches =
            options::parse(&options, ParsingStyle::FloatingFrees, args).map_err(|mut errors| {
                let encode = |arg: &A| os_text::encode(arg.as_ref().as_bytes());
                hints::add_listener(&mut errors, &args.iter().map(encode).collect::<Vec<_>>());
                ConfigError::Options(errors)
            })?;
        if matches.opt_present("help") {
            return Ok(Invocation::Help(help::text()));
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        if !matches.free.is_empty() {
            return Err(ConfigError::Arguments(hints::for_words(&matches.free)));
        }
        let config = Config::from_matches(&matches)?;
        Ok(if matches.opt_present("check") {
            Invocation::Check(config)
        } else {
            Invocation::Run(config)
        })
    }
}

impl Config {
    fn from_matches(matches: &Matches) -> Result<Self, ConfigError> {
        let path = matches.opt_str("config").map(|path| PathBuf::from(os_text::decode(&path)));
        let mut file = match &path {
            Some(path) => ConfigFile::read(path).map_err(ConfigError::File)?,
            None => ConfigFile::default(),
        };
        let mut settings = std::mem::take(&mut file.settings);
        set_options(&mut settings, matches)?;
        let mut listeners = Vec::new();
        for url in matches.opt_strs("listen") {
            let spec = ListenerSpec::parse_url(&url);
            listeners.push(spec.map_err(|source| ConfigError::Listen { url, source })?);
        }
        let mut notices = Vec::new();
        if listeners.is_empty() {
            if let (Some(path), Some(chat)) = (path, file.server_chat()) {
                let path = path.display();
                notices.push(format!("{path}: host and port in [server] open a chat, {chat}"));
            }
            listeners = file.listeners;
        }
        let listeners_are_defaults = listeners.is_empty();
        let plugin_dir = plugin_dir(&settings);
        if listeners_are_defaults {
            listeners = default_listeners(plugin_dir.is_some());
        }
        #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
        name_listeners(&mut listeners).map_err(ConfigError::RepeatedName)?;
        #[cfg(feature = "cluster")]
        let warnings = shown_password(&settings, matches);
        let config = Config {
            settings,
            listeners,
            listeners_are_defaults,
            plugin_dir,
            notices,
            #[cfg(feature = "cluster")]
            warnings,
        };
        #[cfg(feature = "tls")]
        let config = config.with_tls_checked()?;
        #[cfg(feature = "accounts")]
        let config = config.with_accounts_checked()?;
        #[cfg(feature = "admin")]
        let config = config.with_admin_checked()?;
        Ok(config)
    }

    /// Whether any listener is admin.
    #[cfg(feature = "admin")]
    pub(super) fn has_admin(&self) -> bool {
        self.listeners.iter().any(|spec| spec.protocol == ProtocolName::Admin)
    }

    /// Refuses an admin listener that other machines reach without a token, and notes a token that
    /// nobody is asked for.
    #[cfg(feature = "admin")]
    fn with_admin_checked(mut self) -> Result<Self, ConfigError> {
        let mut listeners =
            self.listeners.iter().filter(|spec| spec.protocol == ProtocolName::Admin);
        if self.settings.admin_token.is_none() {
            if let Some(spec) = listeners.find(|spec| !spec.is_local()) {
                return Err(ConfigError::NoAdminToken(spec.to_string()));
            }
        } else if !self.has_admin() {
            self.notices.push("--admin-token is not used: no listener is admin".to_owned());
        }
        Ok(self)
    }

    /// Refuses TLS without a certificate, and notes a certificate without TLS.
    #[cfg(feature = "tls")]
    fn with_tls_checked(mut self) -> Result<Self, ConfigError> {
        let has_cert = self.settings.tls_cert.is_some();
        let lacks_cert = |spec: &&ListenerSpec| spec.is_tls && spec.cert.is_none() && !has_cert;
        if let Some(spec) = self.listeners.iter().find(lacks_cert) {
            return Err(ConfigError::NoCertificate(spec.to_string()));
        }
        if has_cert && !self.listeners.iter().any(|spec| spec.is_tls && spec.cert.is_none()) {
            self.notices.push("--tls-cert is not used: no listener has +tls".to_owned());
        }
        Ok(self)
    }

    /// Refuses a login that nobody could pass, and notes accounts that nobody can log in to.
    #[cfg(feature = "accounts")]
    fn with_accounts_checked(mut self) -> Result<Self, ConfigError> {
        if self.settings.accounts.is_none() {
            let is_required = |spec: &&ListenerSpec| spec.auth == Some(Auth::Required);
            if let Some(spec) = self.listeners.iter().find(is_required) {
                return Err(ConfigError::NoAccounts(spec.to_string()));
            }
            if self.settings.allow_register == Some(true) {
                return Err(ConfigError::RegisterWithoutAccounts);
            }
        } else if self.listeners.iter().all(|spec| self.auth(spec) == Auth::Off) {
            let notice = "--accounts is not used: no listener has accounts";
            self.notices.push(notice.to_owned());
        }
        Ok(self)
    }

    /// Whether the clients of a listener log in.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn auth(&self, spec: &ListenerSpec) -> Auth {
        match self.settings.accounts {
            Some(_) if spec.has_auth() => spec.auth.unwrap_or(Auth::Optional),
            _ => Auth::Off,
        }
    }

    /// The files of a listener that has TLS. Its own keys beat the options. A certificate without a
    /// key has it in the same file.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_files(&self, spec: &ListenerSpec) -> Option<crate::tls::ServerFiles> {
        let Settings { tls_cert, tls_key, tls_client_ca, .. } = &self.settings;
        let (cert, key) = match &spec.cert {
            Some(cert) => (cert, spec.key.as_ref().unwrap_or(cert)),
            None => {
                let cert = tls_cert.as_ref()?;
                (cert, spec.key.as_ref().or(tls_key.as_ref()).unwrap_or(cert))
            }
        };
        let (cert, key, client_ca) = (cert.clone(), key.clone(), tls_client_ca.clone());
        spec.is_tls.then_some(crate::tls::ServerFiles { cert, key, client_ca })
    }

    /// The server's limits in a process that may open `files` files and use `memory` bytes, and
    /// `--max-clients` if it had to be lowered.
    ///
    /// Of the descriptors kept back, 8 to 16 are for connections that linger. The broadcast logs of
    /// all listeners together are at most a quarter of the memory limit, so that closing connections
    /// always brings the server under it.
    #[must_use]
    pub fn limits(&self, files: usize, memory: usize) -> (Limits, Option<usize>) {
        let own = FILES_OWN + self.listeners.len();
        #[cfg(feature = "admin")]
        let own = if self.has_admin() { own + ADMIN_PLACES } else { own };
        #[cfg(feature = "cluster")]
        let own = if self.settings.cluster.is_some() { own + FILES_ENGINE } else { own };
        let lingering_max = FILES_RESERVED.saturating_sub(own).clamp(8, 16);
        let reserved = FILES_RESERVED.max(own + lingering_max);
        let fitting = files.saturating_sub(reserved).max(1);
        let wanted = self.settings.max_clients.unwrap_or(fitting);
        let defaults = Limits::default();
        let ms = |secs: Option<u64>, default: u64| secs.map_or(default, |secs| secs * 1000);
        let Settings { send_queue, frame_timeout, drain_timeout, .. } = self.settings;
        #[cfg(any(feature = "tls", feature = "accounts"))]
        let handshake_timeout = self.settings.handshake_timeout;
        #[cfg(not(any(feature = "tls", feature = "accounts")))]
        let handshake_timeout = None;
        let memory_bytes_max = self.settings.memory_limit.unwrap_or(memory / 4);
        let memory_bytes_max = memory_bytes_max.max(MEMORY_BYTES_FLOOR);
        let log_bytes_max =
            (memory_bytes_max / 4 / self.listeners.len().max(1)).max(QUEUE_BYTES_FLOOR);
        let limits = Limits {
            clients_max: wanted.min(fitting),
            lingering_max,
            send_queue_bytes_max: send_queue.unwrap_or(defaults.send_queue_bytes_max),
            memory_bytes_max,
            broadcast_log_bytes_max: self.broadcast_log().min(log_bytes_max),
            frame_timeout_ms: ms(frame_timeout, defaults.frame_timeout_ms),
            drain_timeout_ms: ms(drain_timeout, defaults.drain_timeout_ms),
            handshake_timeout_ms: ms(handshake_timeout, defaults.handshake_timeout_ms),
            ..defaults
        };
        (limits, (wanted > fitting).then_some(wanted))
    }

    /// Most broadcast bytes of one listener, before [`limits`](Self::limits) fits it to the memory.
    #[must_use]
    pub fn broadcast_log(&self) -> usize {
        self.settings.broadcast_log.unwrap_or(Limits::default().broadcast_log_bytes_max)
    }

    /// Silence after which the kernel probes a peer; `None` for never.
    #[must_use]
    pub fn keepalive(&self) -> Option<Duration> {
        match self.settings.tcp_keepalive.unwrap_or(defaults::TCP_KEEPALIVE_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        }
    }

    /// Least severe level that is logged.
    #[must_use]
    pub fn log_level(&self) -> LevelFilter {
        self.settings.log_level.unwrap_or(defaults::LOG_LEVEL)
    }

    /// File that is logged to besides the console.
    #[must_use]
    pub fn log_file(&self) -> Option<PathBuf> {
        self.settings.log_file.clone()
    }

    /// The core's configuration of the listener `spec`, which the log calls `name`. The listener's
    /// own key beats the server-wide setting, and that beats the default.
    #[must_use]
    pub fn listener(&self, spec: &ListenerSpec, name: String) -> ListenerConfig {
        let mut defaults = ProtocolDefaults::default();
        defaults.payload_len_max = self.settings.max_frame.unwrap_or(defaults.payload_len_max);
        #[cfg(feature = "admin")]
        {
            defaults.http_date = Some(super::timestamp::http_date);
        }
        let protocol = spec.protocol(&defaults);
        ListenerConfig { name, protocol, idle_ms: self.idle_secs(spec) * 1000 }
    }

    /// Seconds of silence after which the listener `spec` closes a connection; 0 for never.
    #[must_use]
    pub fn idle_secs(&self, spec: &ListenerSpec) -> u64 {
        let own = spec.idle_secs.or(self.settings.idle_timeout);
        own.unwrap_or(spec.protocol.idle_secs())
    }
}

/// Sets what the command line has. It beats the file, which `settings` have already.
fn set_options(settings: &mut Settings, matches: &Matches) -> Result<(), ConfigError> {
    let is_given = |name: &&str| matches.opt_present(name);
    if ["verbose", "quiet", "log-level"].iter().filter(|name| is_given(name)).count() > 1 {
        return Err(ConfigError::OnlyOneOf("-v, -q and --log-level"));
    }
    if ["plugin-dir", "no-plugins"].iter().all(is_given) {
        return Err(ConfigError::OnlyOneOf("--plugin-dir and --no-plugins"));
    }
    for OptionSpec { name, .. } in server_options::settings() {
        #[cfg(feature = "accounts")]
        if *name == "allow-register" {
            if matches.opt_present(name) {
                set(settings, name, "yes")?;
            }
            continue;
        }
        if let Some(value) = matches.opt_str(name) {
            set(settings, name, &value)?;
        }
    }
    for (name, setting, value) in [
        ("verbose", "log-level", "debug"),
        ("quiet", "log-level", "warn"),
        ("plugin-dir", "no-plugins", "no"),
        ("no-plugins", "no-plugins", "yes"),
    ] {
        if matches.opt_present(name) {
            set(settings, setting, value)?;
        }
    }
    Ok(())
}

/// The warning about a password among the arguments.
#[cfg(feature = "cluster")]
fn shown_password(settings: &Settings, matches: &Matches) -> Vec<String> {
    let has_password = settings.cluster.as_ref().is_some_and(|url| url.password.is_some());
    let warning = "--cluster: everybody on this machine can see the password among the arguments, \
                   password_file=FILE is for it";
    if has_password && matches.opt_present("cluster") {
        vec![warning.to_owned()]
    } else {
        Vec::new()
    }
}

fn set(settings: &mut Settings, name: &'static str, value: &str) -> Result<(), ConfigError> {
    settings.set(name, value).map_err(|source| ConfigError::Option { name, source })
}

/// The folder that plugins are loaded from: the one that was asked for, or the default one where it
/// exists.
fn plugin_dir(settings: &Settings) -> Option<PathBuf> {
    if settings.no_plugins == Some(true) {
        return None;
    }
    let default = PathBuf::from(defaults::PLUGIN_DIR);
    let found = || Some(default).filter(|dir| HAS_PLUGINS && dir.is_dir());
    settings.plugin_dir.clone().or_else(found)
}

fn default_listeners(has_plugins: bool) -> Vec<ListenerSpec> {
    let is_wanted = |protocol: &&ProtocolName| {
        protocol.is_default() && (has_plugins || protocol.as_str() != "plugin")
    };
    ProtocolName::ALL.iter().filter(is_wanted).copied().map(ListenerSpec::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CommandProtocol, Protocol};

    fn invocation(args: &[&str]) -> Result<Invocation, ConfigError> {
        Invocation::from_args(args)
    }

    fn config(args: &[&str]) -> Config {
        match invocation(args) {
            Ok(Invocation::Run(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(args: &[&str], why: &str) {
        assert_eq!(invocation(args).unwrap_err().to_string(), why);
    }

    fn idle_ms(args: &[&str]) -> Vec<u64> {
        let config = config(args);
        let listener = |spec| config.listener(spec, String::new()).idle_ms;
        config.listeners.iter().map(listener).collect()
    }

    #[test]
    fn default_listeners_open_without_arguments() {
        let config = config(&[]);
        let names: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
        let expected = [
            "command://127.0.0.1:65432",
            "prefixed://127.0.0.1:8080",
            "raw://127.0.0.1:9999",
            "chat://127.0.0.1:5000",
        ];
        assert_eq!(names, expected);
        assert!(config.listeners_are_defaults);
        assert_eq!(config.keepalive(), Some(Duration::from_secs(300)));
        assert_eq!(config.log_level(), LevelFilter::Info);
    }

    #[test]
    fn listener_key_beats_option_beats_default() {
        assert_eq!(idle_ms(&[]), [0, 60_000, 0, 0]);
        assert_eq!(idle_ms(&["--idle-timeout", "7"]), [7_000; 4]);
        let listen = ["-l", "prefixed://h:1?idle=0", "-l", "prefixed://h:2", "--idle-timeout", "7"];
        assert_eq!(idle_ms(&listen), [0, 7_000]);
        let config =
            config(&["-l", "command://h:1?max_frame=5", "-l", "command://h:2", "--max-frame", "6"]);
        let len_max = |spec| match config.listener(spec, String::new()).protocol {
            Protocol::Command(CommandProtocol { payload_len_max }) => payload_len_max,
            other => panic!("{other:?}"),
        };
        let lens: Vec<u32> = config.listeners.iter().map(len_max).collect();
        assert_eq!(lens, [5, 6]);
    }

    #[test]
    fn max_clients_is_at_most_the_file_limit_less_32() {
        let limits = |args: &[&str], files| {
            let (limits, lowered_from) = config(args).limits(files, 1 << 32);
            (limits.clients_max, lowered_from)
        };
        assert_eq!(limits(&[], 20_000), (19_968, None));
        assert_eq!(limits(&["-m", "100"], 20_000), (100, None));
        assert_eq!(limits(&["-m", "19968"], 20_000), (19_968, None));
        assert_eq!(limits(&["-m", "19969"], 20_000), (19_968, Some(19_969)));
        assert_eq!(limits(&[], 3), (1, None));
    }

    #[test]
    fn every_descriptor_is_accounted_for() {
        for listeners in [1, 3, 12, 30] {
            let mut config = config(&[]);
            config.listeners = vec![ListenerSpec::new(ProtocolName::Raw); listeners];
            let (limits, _) = config.limits(1024, 1 << 32);
            let used = limits.clients_max + limits.lingering_max + FILES_OWN + listeners;
            assert!(used <= 1024, "{listeners} listeners: {used}");
            assert!(limits.lingering_max >= 8);
        }
    }

    #[test]
    fn log_level_is_given_in_one_of_three_spellings() {
        assert_eq!(config(&["-v"]).log_level(), LevelFilter::Debug);
        assert_eq!(config(&["-vv"]).log_level(), LevelFilter::Debug);
        assert_eq!(config(&["-q"]).log_level(), LevelFilter::Warn);
        assert_eq!(config(&["--log-level", "off"]).log_level(), LevelFilter::Off);
        assert_eq!(config(&["--log-level", "TRACE"]).log_level(), LevelFilter::Trace);
        refused(&["-v", "-q"], "only one of -v, -q and --log-level");
        refused(&["-v", "--log-level", "info"], "only one of -v, -q and --log-level");
        refused(
            &["--log-level", "loud"],
            "--log-level: 'loud' is not off, error, warn, info, debug or trace",
        );
    }

    #[test]
    fn usage_error_names_the_culprit() {
        refused(&["--no-such"], "unknown option '--no-such'");
        refused(&["--lisen"], "unknown option '--lisen', did you mean --listen?");
        refused(&["--listen"], "--listen needs a value, URL");
        refused(&["--max-clients", "1", "-m", "2"], "--max-clients is given twice");
        refused(&["now"], "unexpected argument 'now'");
        refused(&["two\nlines"], r"unexpected argument 'two\nlines'");
        let known = ProtocolName::list();
        let why = format!("--listen http://h:1: unknown protocol 'http', there are {known}");
        refused(&["-l", "http://h:1"], &why);
        refused(&["-m", "0"], "--max-clients: '0' is not a number from 1 to 2147483648");
        if !HAS_PLUGINS {
            let why = "this build has no plugins (cargo feature `plugins`)";
            refused(&["--plugin-dir", "."], &format!("--plugin-dir: {why}"));
            refused(&["-l", "plugin://h:1"], &format!("--listen plugin://h:1: {why}"));
        }
        refused(&["-c", "/no/such"], "/no/such: cannot be read: no such file or directory");
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn engine_password_among_the_arguments_is_warned_of() {
        let warnings = |url: &str| config(&["--cluster", url]).warnings;
        assert!(warnings("redis://:s3cret@h")[0].contains("password_file"));
        assert_eq!(warnings("redis://u@h?password_file=/p"), [""; 0]);
        refused(&["--cluster", ""], "--cluster: needs a value");
        refused(&["--cluster", "redis://h:x"], "--cluster: bad port, it is 1 to 65535");
        let given = config(&["--cluster", "redis://:s3cret@h"]);
        assert!(!format!("{given:?}").contains("s3cret"));
    }

    #[test]
    fn check_help_and_version_run_no_server() {
        assert!(matches!(invocation(&["--check"]), Ok(Invocation::Check(_))));
        assert_eq!(invocation(&["-V"]), Ok(Invocation::Version));
        let Ok(Invocation::Help(text)) = invocation(&["-h"]) else { panic!() };
        for option in server_options::all() {
            let shown = format!("--{} {}", option.name, option.value);
            assert!(text.contains(shown.trim_end()), "{text}");
        }
    }
}
