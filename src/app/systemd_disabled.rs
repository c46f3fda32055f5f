//! Stand-in for `systemd` in a build without it.

use log::Level;

use super::config::Config;
use crate::cli::ListenerSpec;
use crate::net::{Program, SocketAcceptor, SocketOptions};

pub(super) struct ConsoleFormat;

impl ConsoleFormat {
    pub(super) fn new(_: &Config) -> Self {
        ConsoleFormat
    }

    pub(super) fn push_plain(&self, _: &mut Vec<u8>, _: Level, _: &str) -> bool {
        false
    }
}

#[derive(Default)]
pub(super) struct PassedSockets {}

impl PassedSockets {
    pub(super) fn receive(_: &[ListenerSpec], _: SocketOptions) -> Result<Self, String> {
        Ok(PassedSockets {})
    }

    pub(super) fn log(&self) {}

    pub(super) fn take(&mut self, _: usize) -> Option<SocketAcceptor> {
        None
    }
}

pub(super) fn supervise<P: Program>(program: P) -> P {
    program
}
