//! Carrying what one connection says to another.

use super::Server;
use super::connection::State;
use super::transport::Transport;
use crate::handler::{CloseReason, Mail};

impl<T: Transport> Server<T> {
    /// Hands over the mail the connection at hand has left. It comes behind what of the broadcast
    /// log was written before it, and in front of the rest.
    ///
    /// Who says something cannot be made to wait for one that does not read, so that one is cut
    /// when its send queue is full, as one is that falls off the broadcast log.
    pub(super) fn deliver_mail(&mut self, registry: &T::Registry) {
        if self.mail.is_empty() {
            return;
        }
        let mut mail = std::mem::take(&mut self.mail);
        // All of one recipient's letters go in one write: a write ends with the rest of the log, and
        // a letter that came behind it would be late. The sort is stable, so they keep their order.
        mail.sort_by_key(|letter| letter.to);
        for letters in mail.chunk_by(|a, b| a.to == b.to) {
            self.deliver(registry, letters);
        }
    }

    /// Delivers letters that are all for one connection, in one write.
    fn deliver(&mut self, registry: &T::Registry, letters: &[Mail]) {
        let id = letters[0].to;
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.state != State::Open {
            return;
        }
        let log = &self.listeners[usize::from(conn.listener)].room.log;
        for letter in letters {
            if conn.session.settle_to(letter.at, log, &mut self.out).is_err() {
                return self.close(id, CloseReason::SlowConsumer, None);
            }
            self.out.extend_from_slice(&letter.bytes);
        }
        self.flush_and_reschedule(registry, id);
        let max = self.limits.send_queue_bytes_max;
        if self.table.get_mut(id).is_some_and(|conn| conn.session.unsent().len() > max) {
            self.close(id, CloseReason::SlowConsumer, None);
        }
    }
}
