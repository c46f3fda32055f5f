//! Carrying what one connection says to another alone.

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
use super::visit::Visit;
use crate::conn_id::ConnId;
use crate::protocol::CloseReason;

impl<T: Transport> Server<T> {
    /// Puts the messages that the connection at hand has for single others into their send queues:
    /// behind what of the broadcast log was written before them, and in front of the rest. They are
    /// written when the recipients have their turn, so a storm of them costs this turn no writes.
    ///
    /// Their sender cannot be made to wait for a recipient that does not read, so that one is cut
    /// when messages have filled its send queue, as one is that falls off the broadcast log. One
    /// whose stream has room is written to first: it has had no turn since they came.
    pub(super) fn deliver_direct(&mut self, registry: &T::Registry) {
        if self.shared.direct.is_empty() {
            return;
        }
        let mut direct = std::mem::take(&mut self.shared.direct);
        for message in direct.iter() {
            let Some(mut visit) = self.open_visit(message.to) else { continue };
            let pushed = visit.conn.session.push_message(message.log_head, message.bytes);
            visit.conn.session.update_charge(&mut visit.shared.memory);
            if pushed.is_err() {
                visit.close(CloseReason::MemoryLimit, None);
            }
        }
        // Only when all have their places: a write takes what of the log comes behind them as well.
        for message in direct.iter() {
            let Some(mut visit) = self.open_visit(message.to) else { continue };
            let is_blocked = visit.conn.flags.has(Flags::WRITE_BLOCKED);
            let queue_max = visit.shared.limits.send_queue_bytes_max;
            let is_full = visit.conn.session.unsent_cost() > queue_max;
            if is_full && is_blocked {
                visit.close(CloseReason::SlowConsumer, None);
            } else if is_full {
                let timer_at = visit.flush_and_reschedule(registry);
                self.arm_timer(message.to, timer_at);
            } else if !is_blocked {
                visit.requeue();
            }
        }
        direct.clear();
        self.shared.direct = direct;
    }

    fn open_visit(&mut self, id: ConnId) -> Option<Visit<'_, T>> {
        self.visit(id).filter(|visit| visit.conn.state == State::Open)
    }
}
