//! Output of a session: the place of replies among the broadcasts, and what is written next.

use super::Session;
use crate::buffer::{BroadcastLog, LagError, Pieces, SendQueue};
use crate::memory::AllocError;
use crate::protocol::Room;
use crate::protocol::chat::MemberKey;

impl Session {
    /// Places the next replies after log offset `until`; later log bytes are the client's own and
    /// are skipped.
    #[inline]
    pub(super) fn place_replies(&mut self, until: u64, room: &Room) -> Result<(), AllocError> {
        let head = room.log.head();
        if !self.client.is_subscribed() {
            return Ok(());
        }
        if self.cursor == until && self.buffers.is_none() {
            self.cursor = head;
            return Ok(());
        }
        self.push_log(until, head)
    }

    #[cold]
    fn push_log(&mut self, until: u64, resume_at: u64) -> Result<(), AllocError> {
        let send = &mut self.buffers.get_or_insert_default().send;
        // A long frame that was answered in between has noted a part already.
        let until = until.max(send.log_end(self.cursor)).min(resume_at);
        if let Some(cursor) = send.push_log(self.cursor, until, resume_at)? {
            self.cursor = cursor;
        }
        Ok(())
    }

    /// Queues a private message after the log bytes below `log_head`.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn push_message(&mut self, log_head: u64, message: &[u8]) -> Result<(), AllocError> {
        if self.client.is_subscribed() && (self.cursor < log_head || self.buffers.is_some()) {
            self.push_log(log_head, log_head)?;
        }
        self.queue(message)
    }

    /// Queues the last message of a client that closes behind it, after the log bytes below
    /// `log_head`; those above it are not sent.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    #[cfg(any(feature = "accounts", feature = "cluster"))]
    pub fn push_last_message(
        &mut self,
        log_head: u64,
        message: &[u8],
        room: &Room,
    ) -> Result<(), AllocError> {
        self.place_replies(log_head, room)?;
        self.queue(message)
    }

    /// Ends the subscription: the client is sent what the log holds at this moment, and nothing
    /// that comes behind it. Returns its number among the members of a chat.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn unsubscribe(&mut self, log: &BroadcastLog) -> Result<Option<MemberKey>, AllocError> {
        let result = match self.client.is_subscribed() && self.cursor < log.head() {
            true => self.push_log(log.head(), log.head()),
            false => Ok(()),
        };
        let member = self.client.leave();
        result.map(|()| member)
    }

    /// The offset up to which the client is sent the log.
    #[inline]
    fn log_end(&self, log: &BroadcastLog) -> u64 {
        match &self.buffers {
            _ if self.client.is_subscribed() => log.head(),
            Some(buffers) => buffers.send.log_end(self.cursor),
            None => self.cursor,
        }
    }

    /// How many bytes of the log the client is still to be sent.
    #[inline]
    #[must_use]
    pub fn lag(&self, log: &BroadcastLog) -> u64 {
        if self.buffers.is_none() {
            return if self.client.is_subscribed() {
                log.head().saturating_sub(self.cursor)
            } else {
                0
            };
        }
        let skipped = self.buffers.as_ref().map_or(0, |buffers| buffers.send.skipped());
        self.log_end(log).saturating_sub(self.cursor).saturating_sub(skipped)
    }

    /// Bytes that wait for the client: its send queue, and what it is still to be sent of the log.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn unsent_bytes(&self, log: &BroadcastLog) -> u64 {
        let queued = self.buffers.as_ref().map_or(0, |buffers| buffers.send.len() as u64);
        self.lag(log).saturating_add(queued)
    }

    /// Lag up to `log.offered()`.
    #[inline]
    pub(super) fn lag_of_offered(&self, log: &BroadcastLog) -> u64 {
        let offered = log.offered();
        if self.buffers.is_none() {
            let is_subscribed = self.client.is_subscribed();
            return if is_subscribed { offered.saturating_sub(self.cursor) } else { 0 };
        }
        let skipped =
            self.buffers.as_ref().map_or(0, |buffers| buffers.send.skipped_below(offered));
        let end = self.log_end(log).min(offered);
        end.saturating_sub(self.cursor).saturating_sub(skipped)
    }

    /// Collects what is to be written next, in order: queued replies with what of the log comes
    /// between them, the replies at hand, and the rest of the log.
    ///
    /// # Errors
    ///
    /// [`LagError`] when the log no longer has what the client is to be sent.
    pub fn gather<'a>(
        &'a self,
        out: &'a [u8],
        log: &'a BroadcastLog,
        pieces: &mut Pieces<'a>,
    ) -> Result<(), LagError> {
        let mut cursor = self.cursor;
        if let Some(buffers) = &self.buffers {
            match buffers.send.gather(cursor, log, pieces)? {
                Some(behind) => cursor = behind,
                None => return Ok(()),
            }
        }
        if pieces.push(out) && self.client.is_subscribed() {
            let [front, back] = log.range(cursor, log.head()).ok_or(LagError)?;
            let _ = pieces.push(front) && pieces.push(back);
        }
        Ok(())
    }

    /// The socket took the first `n` of the bytes that [`gather`](Self::gather) collects, where
    /// `out_len` replies were at hand. Returns how many of those it took.
    pub fn advance(&mut self, n: usize, out_len: usize) -> usize {
        let n = match &mut self.buffers {
            Some(buffers) => buffers.send.advance(n, &mut self.cursor),
            None => n,
        };
        let from_out = n.min(out_len);
        self.cursor += (n - from_out) as u64;
        from_out
    }

    /// The part of the log to be written behind the replies at hand, where nothing is queued and
    /// the log still has it.
    #[inline]
    #[must_use]
    pub fn unsent_broadcasts<'a>(&self, log: &'a BroadcastLog) -> Option<[&'a [u8]; 2]> {
        if self.buffers.is_some() {
            None
        } else if !self.client.is_subscribed() || self.cursor == log.head() {
            Some([&[], &[]])
        } else {
            log.since(self.cursor)
        }
    }

    /// Whether anything waits in the send queue.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| !buffers.send.is_empty())
    }

    /// Reply bytes the socket has not taken.
    #[must_use]
    pub fn unsent_len(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.send.len())
    }

    /// Cost of the send queue: its bytes, and its places.
    #[must_use]
    pub fn unsent_cost(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.send.cost())
    }

    /// The send queue, where there is one: for tests and fuzzing.
    #[must_use]
    pub fn send_queue(&self) -> Option<&SendQueue> {
        self.buffers.as_ref().map(|buffers| &buffers.send)
    }

    /// Keeps replies until the socket takes them.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub fn queue(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.buffers.get_or_insert_default().send.push(bytes)
    }
}
