//! Loading plugins: at start, for `--check`, and again on SIGHUP.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::config::Config;
use crate::handler::plugin::{Loaded, PluginHost, PluginOptions};
use crate::limits::Limits;

/// `--plugin-budget` where nothing else is said.
const BUDGET_MS: u64 = 50;
/// `--plugin-memory` where nothing else is said.
const MEMORY_BYTES: usize = 8 << 20;

/// Whether every plugin loads; an error has a line for each that does not.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let Some(Loaded { broken, .. }) = load_all(config)? else { return Ok(()) };
    if broken.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = broken.iter().map(ToString::to_string).collect();
    Err(lines.join("\nmynah: "))
}

/// Loads the plugins for a server that starts. Those that are broken are logged and left out.
///
/// # Errors
///
/// The folder that was asked for cannot be read. One that was merely found is done without.
pub(super) fn load(config: &Config) -> Result<Option<PluginHost>, String> {
    let loaded = match load_all(config) {
        Err(why) if config.settings.plugin_dir.is_none() => {
            warn!("{why}");
            None
        }
        loaded => loaded?,
    };
    let Some(Loaded { host, broken }) = loaded else { return Ok(None) };
    for plugin in broken {
        error!("{plugin}; it is left out");
    }
    announce(&host);
    Ok(Some(host))
}

/// Loads the plugins anew for a server that runs: all of them, or none, and then the old ones stay.
pub(super) fn reload(config: &Config) -> Option<PluginHost> {
    let Loaded { host, broken } = match load_all(config) {
        Ok(loaded) => loaded?,
        Err(why) => {
            error!("{why}; the plugins stay as they are");
            return None;
        }
    };
    for plugin in &broken {
        error!("{plugin}; the plugins stay as they are");
    }
    if !broken.is_empty() {
        return None;
    }
    announce(&host);
    Some(host)
}

fn load_all(config: &Config) -> Result<Option<Loaded>, String> {
    let Some(dir) = config.plugin_dir.clone() else { return Ok(None) };
    let settings = &config.settings;
    let options = PluginOptions {
        budget: Duration::from_millis(settings.plugin_budget.unwrap_or(BUDGET_MS)),
        memory_bytes_max: settings.plugin_memory.unwrap_or(MEMORY_BYTES),
        broadcast_bytes_max: broadcast_len_max(settings.broadcast_log),
        dir,
    };
    let started_at = Instant::now();
    PluginHost::load(&options, Box::new(move || started_at.elapsed()))
        .map(Some)
        .map_err(|why| format!("cannot load plugins from {}: {why}", options.dir.display()))
}

/// A plugin may say to everyone in a call what a client may in a frame.
fn broadcast_len_max(broadcast_log: Option<usize>) -> usize {
    let defaults = Limits::default();
    let broadcast_log_bytes_max = broadcast_log.unwrap_or(defaults.broadcast_log_bytes_max);
    Limits { broadcast_log_bytes_max, ..defaults }.broadcast_len_max()
}

fn announce(host: &PluginHost) {
    let names: Vec<&str> = host.names().collect();
    match names.as_slice() {
        [] => info!("no plugins"),
        names => info!("plugins: {}", names.join(", ")),
    }
}
