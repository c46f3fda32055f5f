//! Looking through all connections, a few pages a turn.

use super::Server;
use super::connection::State;
use super::stop::Phase;
use super::table::Table;
use super::transport::Transport;

/// Pages of the table that a turn looks through at most.
pub(super) const SWEEP_PAGES_MAX: usize = 4;

/// A walk over the pages of every listener, from the last of each to its first. A page that is given
/// back meanwhile is replaced by the last one, which has been looked through. Pages that are added
/// meanwhile may be passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    listener: usize,
    /// Pages still to be looked through: those before this position.
    pages_left: usize,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Sweep { listener: 0, pages_left: usize::MAX }
    }

    /// The next page: its listener, and its place among the listener's. `None` behind the last.
    pub(super) fn next_page<T>(&mut self, table: &Table<T>) -> Option<(usize, usize)> {
        while self.listener < table.listener_count() {
            let pages = self.pages_left.min(table.page_count(self.listener));
            if let Some(page) = pages.checked_sub(1) {
                self.pages_left = page;
                return Some((self.listener, page));
            }
            *self = Sweep { listener: self.listener + 1, pages_left: usize::MAX };
        }
        None
    }
}

impl<T: Transport> Server<T> {
    /// Has every connection's timer armed for the deadlines there are now, in the next turns. To be
    /// called when timeouts or rates have changed: an idle connection has a timer for the timeout
    /// there was when it was served last, or none.
    pub fn rearm_deadlines(&mut self) {
        if !self.schedule.phase.is_stopping() {
            self.deadline_sweep = Some(Sweep::new());
            self.schedule.phase = Phase::Changing { due_at: self.shared.now };
        }
    }

    /// Arms the timers of some pages. Returns whether there are more.
    #[inline(never)]
    pub(super) fn sweep_deadlines(&mut self) -> bool {
        let Some(mut sweep) = self.deadline_sweep.take() else { return false };
        for _ in 0..SWEEP_PAGES_MAX {
            let Some((listener, page)) = sweep.next_page(&self.table) else { return false };
            for id in self.table.page_ids(listener, page) {
                let Some(mut visit) = self.visit(id) else { continue };
                if visit.conn.state == State::Closed {
                    continue;
                }
                #[cfg(feature = "admission")]
                visit.end_wait_without_rates();
                let timer_at = visit.reschedule_busy();
                self.arm_timer(id, timer_at);
            }
        }
        self.deadline_sweep = Some(sweep);
        true
    }
}
