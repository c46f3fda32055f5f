//! Stand-ins for a build without plugins. The types are empty, so no value of them exists and the
//! compiler drops all code that has one.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::types::{Client, HookResult, Notice};

/// A host that cannot exist.
pub enum PluginHost {}

#[allow(missing_docs, reason = "none of these can be called")]
impl PluginHost {
    pub fn spent(&self) -> Duration {
        match *self {}
    }

    pub fn wants_clients(&self) -> bool {
        match *self {}
    }

    pub fn notify(&mut self, _: &Notice<'_>, _: Range<usize>) -> Option<usize> {
        match *self {}
    }

    pub fn server_stopping(&mut self) {
        match *self {}
    }

    pub fn log_due_in_ms(&self) -> Option<u64> {
        match *self {}
    }

    pub fn write_due_log(&self) {
        match *self {}
    }

    pub fn flush_log(&self) {
        match *self {}
    }

    pub fn drop_one(&mut self) -> bool {
        match *self {}
    }

    pub fn ask(&mut self, _: &[u8], _: &Client, _: &mut Vec<u8>) -> HookResult<'_> {
        match *self {}
    }

    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        match *self {}
        #[allow(unreachable_code, reason = "it gives the return type")]
        std::iter::empty()
    }
}

/// A reload that cannot exist.
pub enum Reload {}

#[allow(missing_docs, reason = "none of these can be called")]
impl Reload {
    pub fn begin(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub fn poll(&mut self) {
        match *self {}
    }

    pub fn is_ready(&self) -> bool {
        match *self {}
    }

    pub fn spent(&self) -> Duration {
        match *self {}
    }

    pub fn step(&mut self) -> ReloadStep {
        match *self {}
    }
}

/// The result of a step of a reload.
#[allow(missing_docs, reason = "no value of it exists")]
pub enum ReloadStep {
    Pending,
    Replace(PluginHost),
    Keep(Option<PluginHost>),
}
