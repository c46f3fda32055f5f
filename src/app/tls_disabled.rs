//! Stand-in for `tls` in a build without TLS.

use super::config::Config;
use crate::clock::Millis;
use crate::net::{EventLoop, Handle, SocketTransport};
use crate::server::Server;

pub(super) fn check(_: &Config) -> Result<Vec<String>, Vec<String>> {
    Ok(Vec::new())
}

pub(super) struct Certificates;

impl Certificates {
    pub(super) fn load(_: &Config) -> Result<Self, Vec<String>> {
        Ok(Certificates)
    }

    pub(super) fn start(&mut self, _: Handle) {}

    pub(super) fn attach(&mut self, _: usize, _: &mut EventLoop) {}

    pub(super) fn reload(&mut self) {}

    #[cfg(feature = "systemd")]
    pub(super) fn is_reloading(&self) -> bool {
        false
    }

    pub(super) fn on_wake(&mut self) {}

    pub(super) fn due_at(&self) -> Option<Millis> {
        None
    }

    pub(super) fn on_due(&mut self, _: &mut Server<SocketTransport>, _: Millis) {}
}
