//! Carrying broadcasts from the log to the members of a room, a slice a turn.

use super::Server;
use super::connection::State;
use super::listener::{Fanout, Listener};
use super::table::PAGE_LEN;
use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::handler::chat;
use crate::limits::FANOUT_SLICE_MEMBERS;
use crate::session::Protocol;

impl<T: Transport> Server<T> {
    /// Gives every pass that is on its way one slice.
    pub(super) fn fan_out(&mut self, registry: &T::Registry) {
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].fanout.active {
                self.fan_out_slice(registry, listener);
            }
        }
    }

    /// Begins a pass if there is something not everyone has been offered.
    pub(super) fn start_pass_if_needed(&mut self, number: usize) {
        let Listener { room, fanout, .. } = &mut self.listeners[number];
        if !fanout.active && room.log.head() > room.log.offered() {
            fanout.start(room.log.head(), self.table.page_count(number));
        }
    }

    fn fan_out_slice(&mut self, registry: &T::Registry, number: usize) {
        // Walking a page costs something even where it holds nobody.
        const SPARSE_PAGE_COST: usize = PAGE_LEN / 8;
        let mut budget = FANOUT_SLICE_MEMBERS;
        while budget > 0 {
            // Pages may have been given back since the last slice.
            let page_count = self.table.page_count(number);
            let fanout = &mut self.listeners[number].fanout;
            fanout.pages_left = fanout.pages_left.min(page_count);
            let Some(page) = fanout.pages_left.checked_sub(1) else { return self.end_pass(number) };
            fanout.pages_left = page;
            let visited = self.visit_page(registry, number, page);
            budget = budget.saturating_sub(visited.max(SPARSE_PAGE_COST));
        }
    }

    /// Offers every member on a page what the log holds for it. Returns how many were written to.
    fn visit_page(&mut self, registry: &T::Registry, number: usize, page: usize) -> usize {
        let mut owed = [ConnId { index: 0, generation: 0 }; PAGE_LEN];
        let mut count = 0;
        let log = &self.listeners[number].room.log;
        for (id, conn) in self.table.page_mut(number, page) {
            if conn.state == State::Open && conn.session.lag(log) > 0 {
                owed[count] = id;
                count += 1;
            }
        }
        for &id in &owed[..count] {
            self.flush_and_reschedule(registry, id);
            let Some(conn) = self.table.get_mut(id) else { continue };
            if conn.state == State::Open {
                let fanout = &mut self.listeners[number].fanout;
                fanout.cursor_min = fanout.cursor_min.min(conn.session.cursor());
            }
        }
        count
    }

    /// Everyone has been offered what the log held when the pass began.
    fn end_pass(&mut self, number: usize) {
        let listener = &mut self.listeners[number];
        listener.fanout.active = false;
        listener.room.log.set_offered(listener.fanout.target);
        // Who lagged when it was visited may have caught up since.
        let Fanout { laggards, target, cursor_min, .. } = listener.fanout;
        listener.room.log.release_below(if laggards == 0 { target } else { cursor_min });
        if let Protocol::Chat { lang } = listener.config.protocol {
            // Where the log is full again, there is another pass, and it ends here too.
            let _ = chat::tell_leavers(&mut listener.room, lang);
        }
        self.spread_pending(number);
        self.start_pass_if_needed(number);
        for id in std::mem::take(&mut self.listeners[number].fanout.waiting) {
            if let Some(conn) = self.table.get_mut(id) {
                conn.session.on_fanout_done();
                self.requeue(id);
            }
        }
    }
}
