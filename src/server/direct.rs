//! Carrying what one connection says to another alone.

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
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
        if self.direct.is_empty() {
            return;
        }
        let mut direct = std::mem::take(&mut self.direct);
        for message in direct.iter() {
            let Some(conn) = self.table.get_mut(message.to) else { continue };
            if conn.state != State::Open {
                continue;
            }
            let pushed = conn.session.push_message(message.log_head, message.bytes);
            conn.session.update_charge(&mut self.memory);
            if pushed.is_err() {
                self.close(message.to, CloseReason::MemoryLimit, None);
            }
        }
        // Only when all have their places: a write takes what of the log comes behind them as well.
        for message in direct.iter() {
            let Some(conn) = self.table.get_mut(message.to) else { continue };
            if conn.state != State::Open {
                continue;
            }
            let is_blocked = conn.flags.has(Flags::WRITE_BLOCKED);
            let is_full = conn.session.unsent_cost() > self.limits.send_queue_bytes_max;
            if is_full && is_blocked {
                self.close(message.to, CloseReason::SlowConsumer, None);
            } else if is_full {
                self.flush_and_reschedule(registry, message.to);
            } else if !is_blocked {
                self.requeue(message.to);
            }
        }
        direct.clear();
        self.direct = direct;
        self.check_memory();
    }
}
