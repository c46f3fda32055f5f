//! Fan-out of broadcasts, a slice a turn, and admission of senders that wait for space in a log.

use super::Server;
use super::connection::{Connection, State};
use super::listener::{Fanout, Listener};
use super::table::PAGE_LEN;
use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::limits::{FANOUT_SLICE_MEMBERS, VISIT_COST_BYTES, turn_micros};
use crate::protocol::{Handler, dispatch};

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
        // Walking a page costs something even where it holds nobody.
        const SPARSE_PAGE_COST: usize = PAGE_LEN / 8;
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
        let mut lagging = [ConnId { index: 0, generation: 0 }; PAGE_LEN];
        let mut count = 0;
        let log = &self.listeners[number].room.log;
        for (id, conn) in self.table.page_mut(number, page) {
            // An unsubscribed client lags only by what it is still due.
            let is_left = id.index as usize % PAGE_LEN >= first_slot as usize;
            if conn.session.lag(log) > 0 && is_left {
                lagging[count] = id;
                count += 1;
            }
        }
        for (at, &id) in lagging[..count].iter().enumerate() {
            if at > 0 && self.schedule.budget.is_spent() {
                let slot = id.index % PAGE_LEN as u32;
                self.listeners[number].fanout.partial = Some((page_number, slot));
                return at;
            }
            let Some(mut visit) = self.visit(id) else { continue };
            let sent = visit.shared.stats.bytes_out_total;
            let timer_at = visit.flush_and_reschedule(registry);
            let sent = visit.shared.stats.bytes_out_total - sent;
            let sent = usize::try_from(sent).unwrap_or(usize::MAX);
            visit.schedule.budget.charge(VISIT_COST_BYTES + sent);
            if visit.conn.state != State::Closed {
                let fanout = &mut visit.listener.fanout;
                fanout.cursor_min = fanout.cursor_min.min(visit.conn.session.cursor());
            }
            self.end_visit(registry, id, timer_at);
        }
        self.listeners[number].fanout.pages_left = page;
        count
    }

    /// Everyone has been offered what the log held when the pass began.
    fn end_pass(&mut self, number: usize) {
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

    /// Admits senders that wait for space in a log, one after the other.
    pub(super) fn admit_senders(&mut self, registry: &T::Registry) {
        let mut has_begun = false;
        for number in 0..self.listeners.len() {
            if self.listeners[number].fanout.is_admitting {
                if !has_begun {
                    self.schedule.budget.begin(turn_micros::ADMIT);
                    has_begun = true;
                }
                self.admit_some(registry, number);
            }
        }
    }

    /// Admits waiting senders in order: each appends up to its share, at least one broadcast, then
    /// goes to the end. If the log is full, the first that did not fit stays first.
    fn admit_some(&mut self, registry: &T::Registry, number: usize) {
        let Listener { protocol, fanout, .. } = &self.listeners[number];
        let (waiting, limits) = (fanout.waiting.len(), &self.shared.limits);
        let (log_bytes_max, cost_max) = dispatch!(protocol, handler => {
            (handler.log_bytes_max(limits), handler.broadcast_cost_max(limits))
        });
        let share = log_bytes_max / waiting.max(1);
        // What begins within the share may overshoot.
        let most = (share.max(1) + cost_max) as u64;
        for at in 0..waiting {
            if at > 0 && self.schedule.budget.is_spent() {
                return;
            }
            let Listener { room, fanout, .. } = &mut self.listeners[number];
            let Some(id) = fanout.waiting.pop_front() else { break };
            let conn = self.table.get_mut(id);
            let waits = |conn: &&mut Connection<T>| {
                conn.state == State::Open && conn.session.waits_for_fanout()
            };
            let Some(conn) = conn.filter(waits) else {
                fanout.rota.on_visit(id, 0, most, false);
                continue;
            };
            let (head, frames) = (room.log.head(), self.shared.stats.frames_in_total);
            // With replies unsent, a stall is the client's fault.
            let had_unsent = conn.session.has_unsent();
            conn.session.on_log_vacancy();
            // Waiting does not count as idle.
            conn.session.mark_active(self.shared.now);
            self.schedule.admitted_share = Some(share.max(1));
            self.serve(registry, id);
            self.schedule.admitted_share = None;
            let Listener { room, fanout, .. } = &mut self.listeners[number];
            let (added, still_waits) = (room.log.head() - head, fanout.waiting.back() == Some(&id));
            fanout.rota.on_visit(id, added, most, still_waits);
            let may_lose = added > 0 || still_waits || had_unsent;
            debug_assert!(
                may_lose || self.shared.stats.frames_in_total > frames || !self.is_held_up(id),
                "{id} lost its place among those who wait"
            );
            let fanout = &mut self.listeners[number].fanout;
            if added == 0 && still_waits {
                fanout.waiting.rotate_right(1);
                fanout.is_admitting = false;
                return;
            }
        }
        let fanout = &mut self.listeners[number].fanout;
        fanout.is_admitting = !fanout.waiting.is_empty();
    }
}
