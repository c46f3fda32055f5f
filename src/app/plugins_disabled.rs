//! Stand-in for `plugins` in a build without plugins.

use super::config::Config;
use crate::net::Handle;
use crate::protocol::plugin::PluginHost;
use crate::server::{Server, Transport};

pub(super) fn check(_: &Config) -> Result<(), Vec<String>> {
    Ok(())
}

pub(super) fn load(_: &Config) -> Result<Option<PluginHost>, String> {
    Ok(None)
}

pub(super) fn begin_reload<T: Transport>(
    _: &Config,
    _: Handle,
    _: &mut Server<T>,
) -> Result<bool, String> {
    Ok(false)
}

pub(super) fn take_reloaded<T: Transport>(
    _: &mut Server<T>,
) -> Option<Result<PluginHost, Vec<String>>> {
    None
}

pub(super) fn replace<T: Transport>(_: Option<PluginHost>, _: &mut Server<T>) -> Option<String> {
    None
}
