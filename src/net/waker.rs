//! Wakes the loop from other threads.

use std::io;
use std::sync::Arc;

use mio::Registry;

use super::tcp::token;
use crate::conn_id::ConnId;

/// The id of its events. Generation 0 names no connection, and no listener has this number.
pub(super) const WAKER: ConnId = ConnId { index: u32::MAX - 1, generation: 0 };

/// A handle by which other threads end the loop's wait: for those that have left something where the
/// next turn looks.
#[derive(Debug, Clone)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        mio::Waker::new(registry, token(WAKER)).map(|waker| Waker(Arc::new(waker)))
    }

    /// Ends the loop's wait, or the next one.
    pub fn wake(&self) {
        // The counter behind it cannot be full: mio empties it then (eventfd(2)).
        let _ = self.0.wake();
    }
}
