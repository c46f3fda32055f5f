//! Loading plugins: at start, for `--check`, and again on SIGHUP.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::config::Config;
use crate::defaults;
use crate::limits::Limits;
use crate::net::Handle;
use crate::protocol::plugin::{Clock, Loaded, PluginHost, PluginOptions, Reload};
use crate::server::{Server, Transport};

/// Loads every plugin and drops it again. There is an error for each that fails.
pub(super) fn check(config: &Config) -> Result<(), Vec<String>> {
    let loaded = load_all(config).map_err(|error| vec![error])?;
    let Some(Loaded { broken, .. }) = loaded else { return Ok(()) };
    let errors: Vec<String> = broken.iter().map(ToString::to_string).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Loads the plugins of a server that starts. Broken plugins are logged and left out.
///
/// # Errors
///
/// The folder that was asked for cannot be read. The default folder is a warning instead, and may
/// be readable at a reload.
pub(super) fn load(config: &Config) -> Result<Option<PluginHost>, String> {
    let loaded = match load_all(config) {
        Err(reason) if config.settings.plugin_dir.is_none() => {
            warn!("{reason}");
            return Ok(Some(PluginHost::empty(clock())));
        }
        loaded => loaded?,
    };
    let Some(Loaded { host, broken }) = loaded else { return Ok(None) };
    for plugin in broken {
        error!("{plugin}; it is left out");
    }
    info!("{}", host.summary());
    Ok(Some(host))
}

/// Reloads the plugins of a running server.
pub(super) struct Reloader(Option<(PluginOptions, Handle)>);

impl Reloader {
    /// A reloader for the server of the loop that `handle` wakes. Without a plugin folder it does
    /// nothing.
    pub(super) fn new(config: &Config, handle: Handle) -> Self {
        Reloader(options(config).map(|options| (options, handle)))
    }

    /// Starts to load all plugins anew. Either all of them replace the old ones or none does.
    pub(super) fn reload<T: Transport>(&self, server: &mut Server<T>) {
        if let Some((options, handle)) = &self.0 {
            let handle = handle.clone();
            let wake = move || handle.wake();
            server.reload_plugins(Reload::new(options.clone(), clock(), wake));
        }
    }
}

fn load_all(config: &Config) -> Result<Option<Loaded>, String> {
    let Some(options) = options(config) else { return Ok(None) };
    PluginHost::load(&options, clock())
        .map(Some)
        .map_err(|error| format!("cannot load plugins: {error}"))
}

/// Plugin options of the configuration; `None` without a plugin folder.
fn options(config: &Config) -> Option<PluginOptions> {
    let settings = &config.settings;
    Some(PluginOptions {
        dir: config.plugin_dir.clone()?,
        budget: Duration::from_millis(settings.plugin_budget.unwrap_or(defaults::PLUGIN_BUDGET_MS)),
        memory_bytes_max: settings.plugin_memory.unwrap_or(defaults::PLUGIN_MEMORY_BYTES),
        broadcast_bytes_max: broadcast_len_max(settings.broadcast_log),
    })
}

fn clock() -> Clock {
    let started_at = Instant::now();
    Box::new(move || started_at.elapsed())
}

/// Longest broadcast of a plugin call: as long as that of a client's frame.
fn broadcast_len_max(broadcast_log: Option<usize>) -> usize {
    let defaults = Limits::default();
    let broadcast_log_bytes_max = broadcast_log.unwrap_or(defaults.broadcast_log_bytes_max);
    Limits { broadcast_log_bytes_max, ..defaults }.broadcast_len_max()
}
