//! The engine's client of a server: a stand-in until the server acts on what it hears.

use super::{Server, Transport};
use crate::clock::Millis;
use crate::cluster::Engine;

impl<T: Transport> Server<T> {
    /// Gives the server a client of an engine.
    pub fn set_cluster_engine(&mut self, mut engine: Engine) {
        engine.set_channels(vec![b"mynah:nodes".to_vec()]);
        self.cluster_engine = Some(Box::new(engine));
    }

    /// Takes what has come.
    pub(super) fn run_cluster(&mut self, now: Millis) {
        if let Some(engine) = &mut self.cluster_engine {
            while engine.next_event(now).is_some() {}
        }
    }

    /// The engine's client, if there is one.
    #[must_use]
    pub fn cluster_engine(&self) -> Option<&Engine> {
        self.cluster_engine.as_deref()
    }

    /// The engine's client, if there is one.
    pub fn cluster_engine_mut(&mut self) -> Option<&mut Engine> {
        self.cluster_engine.as_deref_mut()
    }
}
