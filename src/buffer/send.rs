//! Replies the socket did not take yet.

use std::ops::Deref;

use bytes::{Buf, BytesMut};

/// Unsent reply bytes of one connection, oldest first, in one piece.
///
/// Exists only while a socket is full; how much it may hold is decided by whoever fills it
/// (`Limits::send_queue_bytes_max`). Gives its memory back as soon as it is empty.
#[derive(Debug, Default)]
pub struct SendQueue {
    bytes: BytesMut,
}

impl SendQueue {
    /// Appends bytes to be sent after those already here.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the oldest `n` bytes: they have been sent.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, n: usize) {
        self.bytes.advance(n);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

impl Deref for SendQueue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_short_write_left_is_sent_next() {
        let mut queue = SendQueue::default();
        queue.push(b"first");
        queue.push(b"second");
        queue.consume(3);
        assert_eq!(&*queue, b"stsecond");
    }

    #[test]
    fn a_drained_queue_owns_no_memory() {
        let kept = allocation_counter::measure(|| {
            let mut queue = SendQueue::default();
            queue.push(&[0; 1 << 20]);
            queue.consume(1 << 20);
            std::mem::forget(queue);
        });
        assert_eq!(kept.bytes_current, 0);
    }
}
