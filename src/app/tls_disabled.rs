//! Stand-in for `tls` in a build without TLS.

use super::config::Config;
use crate::clock::Millis;
use crate::net::SocketTransport;
use crate::server::Server;

pub(super) fn check(_: &Config) -> Result<Vec<String>, Vec<String>> {
    Ok(Vec::new())
}

#[derive(Default)]
pub(super) struct Certificates {}

impl Certificates {
    pub(super) fn read(_: &Config) -> Result<Self, Vec<String>> {
        Ok(Certificates {})
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    pub(super) fn replace(&mut self, _: Certificates) -> Option<String> {
        None
    }

    pub(super) fn attach(&self, _: usize, _: usize, _: &mut Server<SocketTransport>) {}

    pub(super) fn due_at(&self) -> Option<Millis> {
        None
    }

    pub(super) fn on_due(&mut self, _: Millis) {}
}
