//! Stand-in for `accounts` in a build without accounts.

use super::config::Config;
use crate::net::{EventLoop, SocketTransport};
use crate::server::Server;

pub(super) fn check(_: &Config) -> Result<(), String> {
    Ok(())
}

pub(super) struct AccountsReloader;

impl AccountsReloader {
    pub(super) fn load(_: &Config) -> Result<Self, String> {
        Ok(AccountsReloader)
    }

    pub(super) fn start(&mut self, _: &Config, _: &mut EventLoop) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn attach(&self, _: usize, _: &mut EventLoop) {}

    pub(super) fn reload(&mut self) {}

    #[cfg(feature = "systemd")]
    pub(super) fn is_reloading(&self) -> bool {
        false
    }

    pub(super) fn on_wake(&mut self) {}

    pub(super) fn is_due(&self) -> bool {
        false
    }

    pub(super) fn on_due(&mut self, _: &mut Server<SocketTransport>) {}
}
