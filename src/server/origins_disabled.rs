//! Stand-in for `origins` in a build without the feature `admission`: every connection is let in,
//! and comes from its peer.

use std::convert::Infallible;
use std::io;

use super::connection::Connection;
use super::transport::Transport;
use crate::address::Peer;
use crate::clock::Millis;
use crate::conn_id::ConnId;

pub(super) type Admitted = ();

pub(super) struct Origins;

impl Origins {
    pub(super) fn new() -> Self {
        Origins
    }

    pub(super) fn allocated(&self) -> usize {
        0
    }

    #[inline]
    pub(super) fn peer_of<T: Transport>(
        &self,
        _: ConnId,
        conn: &Connection<T>,
    ) -> io::Result<Peer> {
        conn.stream.peer()
    }

    #[inline]
    pub(super) fn admit(&mut self, _: Peer, _: Millis) -> Result<(), Infallible> {
        Ok(())
    }

    pub(super) fn hold(&mut self, _: u32, (): ()) {}

    pub(super) fn give_up(&mut self, (): (), _: Millis) {}

    pub(super) fn release(&mut self, _: u32, _: Millis) {}
}
