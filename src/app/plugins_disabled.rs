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

pub(super) struct Reloader;

impl Reloader {
    pub(super) fn new(_: &Config, _: Handle) -> Self {
        Reloader
    }

    pub(super) fn reload<T: Transport>(&self, _: &mut Server<T>) {}
}
