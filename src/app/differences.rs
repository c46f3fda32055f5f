//! Differences of two configurations, in the words of options and URLs: `max-clients 10 -> 20`.

use super::config::Config;
use crate::cli::{ListenerSpec, server_options};

/// Options and keys of a socket or its file, which cannot change while it is open, and of the connections
/// to the engine.
const NEEDS_RESTART: [&str; 2 + 2 * cfg!(feature = "cluster") as usize] = [
    "tcp-keepalive",
    "mode",
    #[cfg(feature = "cluster")]
    "cluster",
    #[cfg(feature = "cluster")]
    "reuse_port",
];

/// Lines about differences, of the server or of one listener.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) lines: Vec<String>,
    /// Warnings about those that have no effect yet.
    pub(super) warnings: Vec<String>,
    /// Behind the name of what differs: of which listener it is.
    of: String,
}

impl Differences {
    /// Adds a line for each server-wide setting that differs.
    pub(super) fn add_settings(&mut self, old: &Config, new: &Config) {
        for option in server_options::settings() {
            let (old, new) = (old.settings.given(option.name), new.settings.given(option.name));
            self.add(option.name, old, new);
        }
    }

    /// Adds a line for each key in which a listener, now at `url`, differs.
    pub(super) fn add_listener(
        &mut self,
        url: &str,
        old: (&Config, &ListenerSpec),
        new: (&Config, &ListenerSpec),
    ) {
        self.of = format!(" of {url}");
        let idle = |(config, spec): (&Config, &ListenerSpec)| config.idle_secs(spec).to_string();
        self.add("idle-timeout", Some(&idle(old)), Some(&idle(new)));
        let (old, new) = (old.1, new.1);
        for (key, value) in &new.keys {
            self.add_key(key, old.given(key), Some(value));
        }
        for (key, value) in &old.keys {
            if new.given(key).is_none() {
                self.add_key(key, Some(value), None);
            }
        }
        self.of.clear();
    }

    /// Adds a warning for each key that a listener, now at `url`, would set for its socket, which it
    /// takes over from `old`.
    #[cfg(feature = "unix")]
    pub(super) fn add_socket(&mut self, url: &str, old: &ListenerSpec, new: &ListenerSpec) {
        self.of = format!(" of {url}");
        for key in NEEDS_RESTART {
            self.add(key, old.given(key), new.given(key));
        }
        self.of.clear();
    }

    fn add_key(&mut self, key: &str, old: Option<&str>, new: Option<&str>) {
        // It has its line, with that of the option.
        if key != "idle" {
            self.add(key, old, new);
        }
    }

    #[inline(never)]
    fn add(&mut self, name: &str, old: Option<&str>, new: Option<&str>) {
        let shown = |value: Option<&'_ str>| value.unwrap_or("default").to_owned();
        if old == new {
            return;
        }
        let line = format!("{name}{} {} -> {}", self.of, shown(old), shown(new));
        if NEEDS_RESTART.contains(&name) {
            self.warnings.push(format!("{line} needs a restart"));
        } else {
            self.lines.push(line);
        }
    }
}
