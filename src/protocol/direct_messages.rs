//! Private messages of one visit, until queued for their recipients.

use crate::conn_id::ConnId;

/// A message to one other connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectMessage<'a> {
    /// Its recipient.
    pub to: ConnId,
    /// The head of the broadcast log when it was written: what lies below it comes first.
    pub log_head: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// The messages of one visit, in the order they were written, their bytes in one buffer.
#[derive(Debug, Default)]
pub struct DirectMessages {
    bytes: Vec<u8>,
    /// Recipient, head of the log, and where in `bytes` the message ends.
    messages: Vec<(ConnId, u64, usize)>,
    /// Recipients whose last message is the last they get, and then close.
    #[cfg(feature = "accounts")]
    closing: Vec<ConnId>,
}

impl DirectMessages {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Appends a message that `write` puts at the end of the buffer it is given.
    pub fn push(&mut self, to: ConnId, log_head: u64, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.messages.push((to, log_head, self.bytes.len()));
    }

    /// Appends a message to a connection that closes behind it, because another has logged in to
    /// its account. Of the log, it is sent what lies below `log_head`.
    #[cfg(feature = "accounts")]
    pub fn push_last(&mut self, to: ConnId, log_head: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.push(to, log_head, write);
        self.closing.push(to);
    }

    /// Whether a connection closes behind its messages.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn is_closing(&self, to: ConnId) -> bool {
        self.closing.contains(&to)
    }

    /// All messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = DirectMessage<'_>> {
        let mut start = 0;
        self.messages.iter().map(move |&(to, log_head, end)| {
            let bytes = &self.bytes[start..end];
            start = end;
            DirectMessage { to, log_head, bytes }
        })
    }

    /// Forgets them all. Keeps their memory for the next, unless it is much.
    pub fn clear(&mut self) {
        const KEPT_BYTES_MAX: usize = 64 * 1024;
        self.bytes.clear();
        self.messages.clear();
        #[cfg(feature = "accounts")]
        self.closing.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            *self = DirectMessages::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_were_pushed() {
        let to = |index| ConnId { index, generation: 1 };
        let mut direct = DirectMessages::default();
        direct.push(to(1), 5, |bytes| bytes.extend(b"one"));
        direct.push(to(2), 5, |_| {});
        direct.push(to(1), 9, |bytes| bytes.extend(b"three"));
        let found: Vec<(u32, u64, &[u8])> =
            direct.iter().map(|m| (m.to.index, m.log_head, m.bytes)).collect();
        assert_eq!(found, [(1, 5, &b"one"[..]), (2, 5, b""), (1, 9, b"three")]);
        direct.clear();
        assert!(direct.is_empty() && direct.iter().next().is_none());
    }
}
