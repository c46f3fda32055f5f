//! What stands in for the plugins in a build without them: a host that cannot be, so that nothing
//! that has to do with one is compiled in.

use std::net::SocketAddr;
use std::time::Duration;

use crate::conn_id::ConnId;

/// There is none.
pub enum PluginHost {}

/// Who a package is from.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a>(std::marker::PhantomData<&'a ()>);

#[allow(missing_docs, reason = "as in a build with plugins")]
impl Client<'_> {
    pub fn new(_: ConnId) -> Self {
        Client(std::marker::PhantomData)
    }

    #[must_use]
    pub fn at(self, _: Option<SocketAddr>) -> Self {
        self
    }

    #[must_use]
    pub fn framed(self, _: u8) -> Self {
        self
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// A plugin answered.
    Answered,
    /// None did.
    Nobody,
    /// One failed.
    Failed {
        /// Its name.
        plugin: &'a str,
    },
}

#[allow(missing_docs, reason = "none of these can ever be called")]
impl PluginHost {
    pub fn spent(&self) -> Duration {
        match *self {}
    }

    pub fn wants_clients(&self) -> bool {
        match *self {}
    }

    pub fn client_connected(&mut self, _: &Client<'_>) {
        match *self {}
    }

    pub fn client_disconnected(&mut self, _: &Client<'_>, _: &str) {
        match *self {}
    }

    pub fn server_started(&mut self) {
        match *self {}
    }

    pub fn server_stopping(&mut self) {
        match *self {}
    }

    pub fn ask(&mut self, _: &[u8], _: &Client<'_>, _: &mut Vec<u8>) -> Verdict<'_> {
        match *self {}
    }

    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        match *self {}
        #[allow(unreachable_code, reason = "it names the type")]
        std::iter::empty()
    }
}
