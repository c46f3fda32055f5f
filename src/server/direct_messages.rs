//! Delivers private messages to their recipients' send queues.

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
use super::visit::Visit;
use crate::conn_id::ConnId;
use crate::protocol::CloseReason;

impl<T: Transport> Server<T> {
    /// Queues the visit's private messages at their recipients, each after what the broadcast log
    /// held when it was written. They are sent when the recipients have their turn, so many of them
    /// cost this turn no writes.
    ///
    /// A sender does not wait for a slow recipient: one whose send queue is full and whose socket
    /// is blocked is closed, as one is that falls off the broadcast log. If the socket is writable
    /// it is flushed first, as the recipient has had no turn since the messages came.
    pub(super) fn deliver_direct(&mut self, registry: &T::Registry) {
        if self.shared.direct.is_empty() {
            return;
        }
        let mut direct = std::mem::take(&mut self.shared.direct);
        for message in direct.iter() {
            let Some(mut visit) = self.open_visit(message.to) else { continue };
            #[cfg(feature = "accounts")]
            let pushed = visit.push_direct(message, direct.is_closing(message.to));
            #[cfg(not(feature = "accounts"))]
            let pushed = visit.conn.session.push_message(message.log_head, message.bytes);
            visit.conn.session.update_charge(&mut visit.shared.memory);
            if pushed.is_err() {
                visit.close(CloseReason::MemoryLimit, None);
            }
        }
        // Only when all have their places: a write takes what of the log comes behind them as well.
        for message in direct.iter() {
            let Some(mut visit) = self.open_visit(message.to) else { continue };
            #[cfg(feature = "accounts")]
            if direct.is_closing(message.to) {
                visit.start_drain(CloseReason::LoggedInElsewhere);
                let timer_at = visit.flush_and_reschedule(registry);
                self.arm_timer(message.to, timer_at);
                continue;
            }
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
