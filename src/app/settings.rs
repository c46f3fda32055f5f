//! The server-wide settings. Each has one meaning and one range on the command line and in `[server]`
//! of a file. Their names are those of `cli/server_options.rs`.

use std::path::PathBuf;

use log::LevelFilter;

#[cfg(feature = "admission")]
use super::admission::AdmissionSettings;
#[cfg(feature = "systemd")]
use super::log_format::LogFormat;
#[cfg(feature = "cluster")]
use crate::cli::EngineUrl;
use crate::limits::{
    FRAME_LEN_LIMIT, KEEPALIVE_SECS_LIMIT, MEMORY_BYTES_FLOOR, MEMORY_BYTES_LIMIT,
    PLUGIN_BUDGET_MS_LIMIT, PLUGIN_MEMORY_BYTES_FLOOR, PLUGIN_MEMORY_BYTES_LIMIT,
    QUEUE_BYTES_FLOOR, QUEUE_BYTES_LIMIT, TIMEOUT_SECS_LIMIT,
};
use crate::os_text;
use crate::setting::{HAS_PLUGINS, SettingError, number, yes_or_no};

/// Server-wide settings; `None` where a setting was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Most connections at once.
    pub max_clients: Option<usize>,
    /// Longest command payload, in bytes.
    pub max_frame: Option<u32>,
    /// Seconds after which a silent connection is closed, 0 for never.
    pub idle_timeout: Option<u64>,
    /// Seconds after which the kernel probes a silent peer, 0 for never.
    pub tcp_keepalive: Option<u64>,
    /// Seconds an incomplete frame may stall.
    pub frame_timeout: Option<u64>,
    /// Most unsent reply bytes of one connection.
    pub send_queue: Option<usize>,
    /// Most broadcast bytes a listener keeps for connections that lag.
    pub broadcast_log: Option<usize>,
    /// Most bytes buffered, over all connections and listeners.
    pub memory_limit: Option<usize>,
    /// Seconds that a stop waits for unsent replies.
    pub drain_timeout: Option<u64>,
    /// File of the certificate of `+tls` listeners, with those that lead to its root.
    #[cfg(feature = "tls")]
    pub tls_cert: Option<PathBuf>,
    /// File of its key.
    #[cfg(feature = "tls")]
    pub tls_key: Option<PathBuf>,
    /// File of the roots of client certificates, which are then mandatory.
    #[cfg(feature = "tls")]
    pub tls_client_ca: Option<PathBuf>,
    /// Seconds from accept to the end of a handshake, and of a login where there must be one.
    #[cfg(any(feature = "tls", feature = "accounts"))]
    pub handshake_timeout: Option<u64>,
    /// Limits by address, and the pace of one connection.
    #[cfg(feature = "admission")]
    pub admission: AdmissionSettings,
    /// The file of accounts.
    #[cfg(feature = "accounts")]
    pub accounts: Option<PathBuf>,
    /// Whether clients may add accounts.
    #[cfg(feature = "accounts")]
    pub allow_register: Option<bool>,
    /// The file of the admin listener's token.
    #[cfg(feature = "admin")]
    pub admin_token: Option<PathBuf>,
    /// The engine that joins this node with others.
    #[cfg(feature = "cluster")]
    pub cluster: Option<EngineUrl>,
    /// The folder plugins are loaded from.
    pub plugin_dir: Option<PathBuf>,
    /// Longest run of a plugin call, in milliseconds.
    pub plugin_budget: Option<u64>,
    /// Most memory of a plugin, in bytes.
    pub plugin_memory: Option<usize>,
    /// Whether no plugins are loaded, from whatever folder.
    pub no_plugins: Option<bool>,
    /// Least severe level that is logged.
    pub log_level: Option<LevelFilter>,
    /// Form of the console's lines; `None` where it depends on what standard error is.
    #[cfg(feature = "systemd")]
    pub log_format: Option<LogFormat>,
    /// File that is logged to besides the console.
    pub log_file: Option<PathBuf>,
    /// Every setting that was given, as it was written: name and value. Of a URL without its password.
    pub given: Vec<(String, String)>,
}

impl Settings {
    /// Sets `name`, spelt as the long option, to `value`.
    ///
    /// # Errors
    ///
    /// See [`SettingError`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        self.parse(name, value)?;
        self.given.retain(|(other, _)| other != name);
        // It may have a password.
        #[cfg(feature = "cluster")]
        if let ("cluster", Some(url)) = (name, &self.cluster) {
            self.given.push((name.to_owned(), url.to_string()));
            return Ok(());
        }
        self.given.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The value of `name` as it was given.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    fn parse(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let queue = QUEUE_BYTES_FLOOR..=QUEUE_BYTES_LIMIT;
        let secs = 0..=TIMEOUT_SECS_LIMIT;
        match name {
            "max-clients" => self.max_clients = Some(number(value, 1..=1 << 31)?),
            "max-frame" => self.max_frame = Some(number(value, 0..=FRAME_LEN_LIMIT)?),
            "idle-timeout" => self.idle_timeout = Some(number(value, secs)?),
            "tcp-keepalive" => {
                self.tcp_keepalive = Some(number(value, 0..=KEEPALIVE_SECS_LIMIT)?);
            }
            "frame-timeout" => self.frame_timeout = Some(number(value, 1..=TIMEOUT_SECS_LIMIT)?),
            "send-queue" => self.send_queue = Some(number(value, queue)?),
            "broadcast-log" => self.broadcast_log = Some(number(value, queue)?),
            "memory-limit" => {
                let memory = MEMORY_BYTES_FLOOR..=MEMORY_BYTES_LIMIT;
                self.memory_limit = Some(number(value, memory)?);
            }
            "drain-timeout" => self.drain_timeout = Some(number(value, secs)?),
            "plugin-dir" | "plugin-budget" | "plugin-memory" if !HAS_PLUGINS => {
                return Err(SettingError::NO_PLUGINS);
            }
            #[cfg(feature = "tls")]
            "tls-cert" | "tls-key" | "tls-client-ca" if value.is_empty() => {
                return Err(SettingError::Empty);
            }
            #[cfg(feature = "tls")]
            "tls-cert" => self.tls_cert = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(feature = "tls")]
            "tls-key" => self.tls_key = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(feature = "tls")]
            "tls-client-ca" => self.tls_client_ca = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(any(feature = "tls", feature = "accounts"))]
            "handshake-timeout" => {
                self.handshake_timeout = Some(number(value, 1..=TIMEOUT_SECS_LIMIT)?);
            }
            #[cfg(feature = "accounts")]
            "accounts" if value.is_empty() => return Err(SettingError::Empty),
            #[cfg(feature = "accounts")]
            "accounts" => self.accounts = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(feature = "accounts")]
            "allow-register" => self.allow_register = Some(yes_or_no(value)?),
            #[cfg(feature = "admin")]
            "admin-token" if value.is_empty() => return Err(SettingError::Empty),
            #[cfg(feature = "admin")]
            "admin-token" => self.admin_token = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(feature = "cluster")]
            "cluster" if value.is_empty() => return Err(SettingError::Empty),
            #[cfg(feature = "cluster")]
            "cluster" => {
                let url = EngineUrl::parse(value);
                self.cluster =
                    Some(url.map_err(|error| SettingError::NotAnEngine(error.to_string()))?);
            }
            "plugin-dir" | "log-file" if value.is_empty() => return Err(SettingError::Empty),
            "plugin-dir" => self.plugin_dir = Some(PathBuf::from(os_text::decode(value))),
            "plugin-budget" => {
                self.plugin_budget = Some(number(value, 1..=PLUGIN_BUDGET_MS_LIMIT)?);
            }
            "plugin-memory" => {
                let memory = PLUGIN_MEMORY_BYTES_FLOOR..=PLUGIN_MEMORY_BYTES_LIMIT;
                self.plugin_memory = Some(number(value, memory)?);
            }
            "no-plugins" => self.no_plugins = Some(yes_or_no(value)?),
            "log-level" => self.log_level = Some(level(value)?),
            #[cfg(feature = "systemd")]
            "log-format" => self.log_format = Some(LogFormat::parse(value)?),
            "log-file" => self.log_file = Some(PathBuf::from(os_text::decode(value))),
            #[cfg(feature = "admission")]
            name => return self.admission.set(name, value),
            #[cfg(not(feature = "admission"))]
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }
}

fn level(value: &str) -> Result<LevelFilter, SettingError> {
    value.parse().map_err(|_| SettingError::NotOneOf {
        value: value.to_owned(),
        choices: "off, error, warn, info, debug or trace",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::server_options;

    #[test]
    fn every_setting_of_the_help_is_known() {
        for setting in server_options::settings() {
            assert_ne!(
                Settings::default().set(setting.name, "x").err(),
                Some(SettingError::Unknown),
                "{}",
                setting.name
            );
        }
        assert_eq!(Settings::default().set("no-such", "1"), Err(SettingError::Unknown));
    }

    #[test]
    fn number_ranges_are_inclusive_and_named() {
        for (name, min, max) in [
            ("max-clients", 1, 1 << 31),
            ("max-frame", 0, 1 << 30),
            ("idle-timeout", 0, 31_536_000),
            ("tcp-keepalive", 0, 32_767),
            ("frame-timeout", 1, 31_536_000),
            ("send-queue", 4096, 1 << 30),
            ("broadcast-log", 4096, 1 << 30),
            ("memory-limit", 1 << 20, 1 << 46),
            ("drain-timeout", 0, 31_536_000u64),
        ] {
            let mut settings = Settings::default();
            assert_eq!(settings.set(name, &min.to_string()), Ok(()), "{name}");
            assert_eq!(settings.set(name, &max.to_string()), Ok(()), "{name}");
            for value in
                [(max + 1).to_string(), "-1".into(), "+5000".into(), "".into(), "5k".into()]
            {
                let error = SettingError::NotInRange { value: value.clone(), min, max };
                assert_eq!(settings.set(name, &value), Err(error), "{name} {value}");
            }
        }
    }
}
