//! Fan-out of broadcasts, a slice a turn. A member that fell off the log is closed at the end of
//! its visit (`visit.rs`), where the flush fails with a [`LagError`](crate::buffer::LagError).

use std::collections::VecDeque;

use super::Server;
use super::admission_check::AdmissionCheck;
use super::connection::State;
use super::table::PAGE_LEN;
use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::limits::{FANOUT_SLICE_MEMBERS, VISIT_COST_BYTES, turn_micros};
use crate::protocol::{Handler, dispatch};

/// A pass of the fan-out over all members of a room, a slice a turn.
///
/// The pass walks the listener's pages from the last to the first. When a page is given back, the
/// last page takes its place: seen from a descending walk that is a page that has been visited
/// already. So no connection is missed; a second visit sends nothing. Pages added on the way hold
/// only connections that joined after the pass began.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    /// A pass is on its way. While none is, every member has everything or is counted as lagging.
    pub(super) active: bool,
    /// The log's head when the pass began: what everyone has been offered when it ends.
    pub(super) target: u64,
    /// Pages still to be visited: those before this position, or all there are if there are fewer.
    pub(super) pages_left: usize,
    /// A page that was left in the middle: its number in the table, and the first slot that has not
    /// been visited.
    pub(super) partial: Option<(u32, usize)>,
    /// The smallest cursor seen: bytes below it are needed no more.
    pub(super) cursor_min: u64,
    /// Connections that have been offered broadcasts and could not take everything.
    pub(super) laggards: usize,
    /// Senders that wait for space in the log. FIFO.
    pub(super) waiting: VecDeque<ConnId>,
    /// The log has space, and waiting senders are being admitted.
    pub(super) is_admitting: bool,
    /// Checks the order in which they are admitted.
    pub(super) admission_check: AdmissionCheck,
}

impl Fanout {
    /// Begins a pass over all pages that brings everyone up to `head`.
    pub(super) fn start(&mut self, head: u64) {
        self.active = true;
        self.target = head;
        self.pages_left = usize::MAX;
        self.partial = None;
        self.cursor_min = head;
    }
}

impl<T: Transport> Server<T> {
    /// Runs one slice of each active pass, within the budget.
    pub(super) fn fan_out(&mut self, registry: &T::Registry) {
        let count = self.listeners.len();
        if !self.listeners.iter().any(|listener| listener.fanout.active) {
            return;
        }
        self.schedule.budget.begin(turn_micros::FANOUT);
        // Each listener begins every so many turns, so none has to be content with what the others
        // leave.
        self.schedule.first_fanout = (self.schedule.first_fanout + 1) % count;
        for at in 0..count {
            let listener = (self.schedule.first_fanout + at) % count;
            if self.listeners[listener].fanout.active
                && (at == 0 || !self.schedule.budget.is_spent())
            {
                self.fan_out_slice(registry, listener);
            }
        }
    }

    fn fan_out_slice(&mut self, registry: &T::Registry, number: usize) {
        // Walking a page costs something even if it has no members: 32 of them are a slice.
        const SPARSE_PAGE_COST: usize = FANOUT_SLICE_MEMBERS / 32;
        let mut members = FANOUT_SLICE_MEMBERS;
        while members > 0 && !self.schedule.budget.is_spent() {
            // Pages may have been given back since the last slice.
            let page_count = self.table.page_count(number);
            let fanout = &mut self.listeners[number].fanout;
            fanout.pages_left = fanout.pages_left.min(page_count);
            let Some(page) = fanout.pages_left.checked_sub(1) else { return self.end_pass(number) };
            let visited = self.visit_page(registry, number, page);
            members = members.saturating_sub(visited.max(SPARSE_PAGE_COST));
        }
    }

    /// Visits lagging connections of one page until the budget is spent. Returns how many were
    /// visited; a blocked socket is visited, not written.
    fn visit_page(&mut self, registry: &T::Registry, number: usize, page: usize) -> usize {
        let page_number = self.table.page_number(number, page);
        // Another page may have taken the place of one that was left in the middle.
        let first_slot = match self.listeners[number].fanout.partial.take() {
            Some((partial, slot)) if partial == page_number => slot,
            _ => 0,
        };
        let mut left = self.table.page_len(page_number);
        let mut visited = 0;
        for slot in first_slot..PAGE_LEN {
            if left == 0 {
                break;
            }
            let Some((id, conn)) = self.table.slot_mut(page_number, slot) else { continue };
            left -= 1;
            // An unsubscribed client lags only by what it is still due.
            if conn.session.lag(&self.listeners[number].room.log) == 0 {
                continue;
            }
            if visited > 0 && self.schedule.budget.is_spent() {
                self.listeners[number].fanout.partial = Some((page_number, slot));
                return visited;
            }
            visited += 1;
            let Some(mut visit) = self.visit(id) else { continue };
            let timer_at = visit.flush_and_reschedule(registry);
            // The write has noted its bytes.
            visit.schedule.budget.charge(VISIT_COST_BYTES);
            if visit.conn.state != State::Closed {
                let fanout = &mut visit.listener.fanout;
                fanout.cursor_min = fanout.cursor_min.min(visit.conn.session.cursor());
            }
            self.end_visit(registry, id, timer_at);
        }
        self.listeners[number].fanout.pages_left = page;
        visited
    }

    /// Everyone has been offered what the log held when the pass began.
    fn end_pass(&mut self, number: usize) {
        #[cfg(feature = "cluster")]
        self.note_log_vacancy();
        let listener = &mut self.listeners[number];
        listener.fanout.active = false;
        listener.room.log.set_offered(listener.fanout.target);
        // A laggard may have caught up since its visit.
        let Fanout { laggards, target, cursor_min, .. } = listener.fanout;
        listener.room.log.release_below(if laggards == 0 { target } else { cursor_min });
        let room = &mut listener.room;
        dispatch!(&mut listener.protocol, handler => handler.on_fanout_end(room));
        self.append_pending(number);
        let listener = &mut self.listeners[number];
        listener.update_charge(&mut self.shared.memory);
        listener.fanout.is_admitting = !listener.fanout.waiting.is_empty();
        listener.start_pass_if_needed(&mut self.shared.memory);
    }
}
