//! Stand-in for `accounts` in a build without accounts.

use super::config::Config;
use crate::net::{Handle, SocketTransport};
use crate::server::Server;

pub(super) fn check(_: &Config) -> Result<(), String> {
    Ok(())
}

#[derive(Default, Clone)]
pub(super) struct AccountsInService {}

/// Accounts that cannot exist.
pub(super) enum ReadAccounts {}

pub(super) fn read(_: &Config, _: &AccountsInService) -> Result<Option<ReadAccounts>, String> {
    Ok(None)
}

impl ReadAccounts {
    pub(super) fn begin(&mut self, _: Handle) -> Result<(), String> {
        match *self {}
    }

    pub(super) fn warning(&self) -> Option<String> {
        match *self {}
    }
}

impl AccountsInService {
    pub(super) fn replace(
        &mut self,
        _: Option<ReadAccounts>,
        _: &Config,
        _: &mut Server<SocketTransport>,
    ) -> Option<String> {
        None
    }
}
