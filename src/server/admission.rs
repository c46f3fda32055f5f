//! Admission of senders that wait for space in a log, in turn.

use super::Server;
use super::connection::{Connection, State};
use super::listener::Listener;
use super::transport::Transport;
use crate::limits::turn_micros;
use crate::protocol::{Handler, dispatch};

impl<T: Transport> Server<T> {
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
                fanout.admission_check.on_visit(id, 0, most, false);
                continue;
            };
            let (head, frames) = (room.log.head(), room.frames_in);
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
            fanout.admission_check.on_visit(id, added, most, still_waits);
            let may_lose = added > 0 || still_waits || had_unsent;
            debug_assert!(
                may_lose || room.frames_in > frames || !self.is_held_up(id),
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
