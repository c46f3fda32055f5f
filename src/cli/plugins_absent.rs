//! Loading plugins, in a build that has none.

use super::config::Config;
use crate::handler::plugin::PluginHost;

pub(super) fn check(_: &Config) -> Result<(), String> {
    Ok(())
}

pub(super) fn load(_: &Config) -> Result<Option<PluginHost>, String> {
    Ok(None)
}

pub(super) fn reload(_: &Config) -> Option<PluginHost> {
    None
}
