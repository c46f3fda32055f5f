//! Deadlines of connections: arms their timers, and acts on those that are due.

use super::Server;
use super::connection::Flags;
use super::timer_wheel::Step;
use super::transport::Transport;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::{TIMER_STEPS_PER_DEADLINE, TIMER_TURN_STEPS_MAX, turn_micros};

impl<T: Transport> Server<T> {
    /// Fires due timers until the budget is spent: a million connections may have come in the same
    /// second.
    pub(super) fn expire(&mut self, registry: &T::Registry) {
        let mut next = self.wheel.step(&mut self.table, self.shared.now);
        if next == Step::Done {
            return;
        }
        self.schedule.budget.begin(turn_micros::TIMERS);
        let mut steps = TIMER_TURN_STEPS_MAX;
        loop {
            steps = match next {
                Step::Due(index) => {
                    self.on_timer(registry, self.table.id_at(index));
                    steps.saturating_sub(TIMER_STEPS_PER_DEADLINE)
                }
                Step::Moved => steps.saturating_sub(1),
                Step::Done => return,
            };
            if steps == 0 || self.schedule.budget.is_spent() {
                return;
            }
            next = self.wheel.step(&mut self.table, self.shared.now);
        }
    }

    /// The timer of a connection fired. Timers are armed for the earliest deadline there was and
    /// not moved when it is put off, so most of the time there is nothing to do but arm it again.
    fn on_timer(&mut self, registry: &T::Registry, id: ConnId) {
        for is_late in [false, true] {
            let Some(mut visit) = self.visit(id) else { return };
            if !visit.is_due() {
                let timer_at = visit.reschedule();
                return self.arm_timer(id, timer_at);
            }
            let timer_at = if is_late {
                visit.process_deadline(registry)
            } else {
                // The loop may be late: read once more before closing.
                visit.conn.flags.set(Flags::READ_READY, true);
                visit.run(registry)
            };
            self.end_visit(registry, id, timer_at);
        }
    }

    /// Arms the timer of a connection, unless it is never to fire.
    #[inline]
    pub(super) fn arm_timer(&mut self, id: ConnId, at: Millis) {
        if at != Millis::NEVER {
            self.wheel.arm(&mut self.table, id.index, at);
        }
    }
}
