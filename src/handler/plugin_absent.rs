//! What stands in for the plugins in a build without them: a host that cannot be, so that nothing
//! that has to do with one is compiled in.

use std::time::Duration;

pub use super::plugin_question::{Client, Verdict};

/// There is none.
pub enum PluginHost {}

#[allow(missing_docs, reason = "none of these can ever be called")]
impl PluginHost {
    pub fn spent(&self) -> Duration {
        match *self {}
    }

    pub fn wants_clients(&self) -> bool {
        match *self {}
    }

    pub fn client_connected(&mut self, _: &Client) {
        match *self {}
    }

    pub fn client_disconnected(&mut self, _: &Client, _: &str) {
        match *self {}
    }

    pub fn server_started(&mut self) {
        match *self {}
    }

    pub fn server_stopping(&mut self) {
        match *self {}
    }

    pub fn ask(&mut self, _: &[u8], _: &Client, _: &mut Vec<u8>) -> Verdict<'_> {
        match *self {}
    }

    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        match *self {}
        #[allow(unreachable_code, reason = "it names the type")]
        std::iter::empty()
    }
}
