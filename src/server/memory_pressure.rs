//! Relief when memory gets tight: clients that do not read are not read from, then the connections
//! that hold most are cut.

use std::collections::{BinaryHeap, HashMap};

use super::Server;
use super::connection::{Connection, State};
use super::origins::Origins;
use super::transport::Transport;
use crate::address::AddressKey;
use crate::conn_id::ConnId;
use crate::protocol::CloseReason;

/// Pause after relief that did not help.
const RELIEF_PAUSE_MS: u64 = 10;

/// Memory held by the connections of one address.
#[derive(Debug, Default)]
struct Holder {
    total: usize,
    /// Each with what it holds.
    connections: BinaryHeap<(usize, ConnId)>,
}

impl<T: Transport> Server<T> {
    /// Enters tight mode or relieves memory. Call when no replies are at hand.
    #[inline]
    pub(super) fn check_memory(&mut self) {
        if self.shared.memory.is_tight() {
            self.on_tight_memory();
        }
    }

    #[cold]
    #[inline(never)]
    fn on_tight_memory(&mut self) {
        if !self.shared.is_tight {
            self.begin_tight_memory();
        }
        if self.shared.memory.is_over() && !self.is_relief_pointless() {
            self.relieve_memory();
        }
    }

    /// Closes connections of the address that holds most, its largest first, until the account is
    /// under 90 % again. Addresses that hold nothing are never closed.
    fn relieve_memory(&mut self) {
        let mut holders: HashMap<Option<AddressKey>, Holder> = HashMap::new();
        for (id, conn) in self.table.iter_mut() {
            let charged = conn.session.charged() + self.io.layers.charged_of(conn, id);
            if charged > 0 && conn.state != State::Closed {
                let address = address_of(id, conn, &self.io.origins);
                let holder = holders.entry(address).or_default();
                holder.total += charged;
                holder.connections.push((charged, id));
            }
        }
        let mut by_total: BinaryHeap<(usize, Option<AddressKey>)> = BinaryHeap::new();
        for (address, holder) in &holders {
            by_total.push((holder.total, *address));
        }
        while !self.shared.memory.is_relieved()
            && let Some((_, address)) = by_total.pop()
        {
            let Some(holder) = holders.get_mut(&address) else { continue };
            let Some((charged, id)) = holder.connections.pop() else { continue };
            // O(connections): skipped for large tables.
            debug_assert!(
                self.table.len() > 1_000 || self.holds_most(id),
                "{id} was cut for memory"
            );
            self.close(id, CloseReason::MemoryLimit);
            holder.total -= charged;
            if holder.total > 0 {
                by_total.push((holder.total, address));
            }
        }
        if !self.shared.memory.is_relieved() {
            self.relief_failed_at = Some(self.shared.now);
        }
    }

    /// Whether all connections with memory were cut a moment ago, and it was not enough: the table
    /// and the logs alone are most of the limit. Looking at everybody again would find next to
    /// nothing.
    pub(super) fn is_relief_pointless(&self) -> bool {
        self.relief_failed_at.is_some_and(|at| self.shared.now.since(at) < RELIEF_PAUSE_MS)
    }

    /// Memory is tight: those who are not read from for it have their frame clocks stopped.
    fn begin_tight_memory(&mut self) {
        self.shared.is_tight = true;
        for (_, conn) in self.table.iter_mut() {
            if conn.state == State::Open && conn.session.has_unsent() {
                conn.session.set_paused(true, self.shared.now);
            }
        }
    }

    /// Leaves tight mode and resumes the clients that were not read from. Paused time does not
    /// count as idle.
    pub(super) fn end_tight_memory(&mut self) {
        if !self.shared.is_tight || !self.shared.memory.is_ample() {
            return;
        }
        self.shared.is_tight = false;
        let mut waiting: Vec<ConnId> = Vec::new();
        for (id, conn) in self.table.iter_mut() {
            if conn.state == State::Open && conn.session.has_unsent() {
                conn.session.set_paused(false, self.shared.now);
                conn.session.mark_active(self.shared.now);
                waiting.push(id);
            }
        }
        for id in waiting {
            if let Some(mut visit) = self.visit(id) {
                visit.requeue();
            }
        }
    }
}

/// Where a connection that holds something comes from. The system is asked once as long as it does:
/// where thousands hold a little, asking for all of them each time would be most of the work.
fn address_of<T: Transport>(
    id: ConnId,
    conn: &mut Connection<T>,
    origins: &Origins,
) -> Option<AddressKey> {
    let known = conn.session.address();
    // One that has failed no longer knows its peer.
    let address = known.or_else(|| origins.peer_of(id, conn).ok().map(AddressKey::from));
    if let (None, Some(address)) = (known, address) {
        conn.session.set_address(address);
    }
    address
}
