//! In place of `tls_io`, in a build without TLS: there is no layer, so nothing here is called.

use std::io;

use super::super::plan::Plan;
use super::Engine;

/// No layer has this type.
pub(super) enum TlsLayer {}

impl TlsLayer {
    pub(super) fn new(_: &Plan) -> Option<Self> {
        None
    }

    pub(super) fn load_partial(&self, _: usize, _: &mut [u8]) -> usize {
        match *self {}
    }

    pub(super) fn close(&mut self, _: usize) {
        match *self {}
    }
}

impl Engine<'_> {
    pub(super) fn begin_handshake(&mut self, _: usize) {}

    pub(super) fn expire_handshake(&mut self, _: usize) {}

    pub(super) fn on_wire(&mut self, _: usize, _: usize) {}

    pub(super) fn on_wire_end(&mut self, _: usize, _: Option<&io::Error>) {}

    pub(super) fn flush_tls(&mut self, _: usize) {}

    pub(super) fn send_tls(&mut self, _: usize, _: &[u8]) {}

    pub(super) fn has_unsent_wire(&self, _: usize) -> bool {
        false
    }
}
