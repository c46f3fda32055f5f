//! Loading plugins: at start, for `--check`, and again on SIGHUP.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::config::Config;
use crate::defaults;
use crate::limits::Limits;
use crate::net::Handle;
use crate::protocol::plugin::{Clock, Loaded, PluginHost, PluginOptions, Reload};
use crate::server::{Server, Transport};
use crate::strerror::strerror;

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

/// Begins to load the plugins of a server that runs, beside those in service, in the loop that
/// `handle` wakes. Returns false where there are none to load.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn begin_reload<T: Transport>(
    config: &Config,
    handle: Handle,
    server: &mut Server<T>,
) -> Result<bool, String> {
    let Some(options) = options(config) else { return Ok(false) };
    if server.plugins_mut().is_none() {
        server.set_plugins(PluginHost::empty(clock()));
        server.start_plugins();
    }
    let Some(scheduler) = server.plugins_mut() else { return Ok(false) };
    let reload = Reload::new(options, clock(), move || handle.wake());
    let begun = scheduler.reload(reload);
    begun.map(|()| true).map_err(|error| format!("cannot load plugins: {}", strerror(&error)))
}

/// The outcome of a reload that has begun: the plugins, or a reason for each that did not load.
pub(super) fn take_reloaded<T: Transport>(
    server: &mut Server<T>,
) -> Option<Result<PluginHost, Vec<String>>> {
    server.plugins_mut()?.take_reloaded()
}

/// Takes plugins into service in place of those there are, or none. Returns a line for the log.
pub(super) fn replace<T: Transport>(
    host: Option<PluginHost>,
    server: &mut Server<T>,
) -> Option<String> {
    if host.is_none() && server.plugins_mut().is_none() {
        return None;
    }
    let line = host.as_ref().map(PluginHost::summary);
    server.set_plugins(host.unwrap_or_else(|| PluginHost::empty(clock())));
    line
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
