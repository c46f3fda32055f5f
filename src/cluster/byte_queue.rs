//! Bytes that wait, added behind and taken in front, in one piece of memory.

/// Capacity that an empty queue keeps.
const KEPT_CAPACITY: usize = 1024 * 1024;

/// A queue of bytes. It grows with what is added, and moves a byte at most once for each that was
/// taken before it: a backlog costs no more, a byte, than a line.
#[derive(Default)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    /// Bytes in front that are taken.
    start: usize,
}

impl ByteQueue {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Bytes allocated.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to add bytes behind; what is there must stay.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        // The bytes that move are no more than those that were taken.
        if self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Takes up to `n` bytes.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.bytes.shrink_to(KEPT_CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order() {
        let mut queue = ByteQueue::default();
        let (mut added, mut taken) = (0u8, 0u8);
        for round in 0..200 {
            for _ in 0..round % 7 {
                queue.writer().push(added);
                added = added.wrapping_add(1);
            }
            let n = (round % 5).min(queue.len());
            for byte in &queue.as_slice()[..n] {
                assert_eq!(*byte, taken);
                taken = taken.wrapping_add(1);
            }
            queue.consume(n);
        }
        queue.consume(1000);
        assert!(queue.is_empty());
    }

    #[test]
    fn backlog_moves_each_byte_rarely() {
        let mut queue = ByteQueue::default();
        queue.writer().extend_from_slice(&vec![1; 1 << 20]);
        let mut moved = 0;
        for _ in 0..1 << 14 {
            queue.consume(64);
            let (before, len) = (queue.start, queue.len());
            queue.writer().extend_from_slice(&[2; 64]);
            moved += if queue.start < before { len } else { 0 };
        }
        assert!(moved <= 1 << 20, "{moved} bytes moved for {} taken", 1 << 20);
    }

    #[test]
    fn empty_queue_keeps_little_memory() {
        let mut queue = ByteQueue::default();
        queue.writer().extend_from_slice(&vec![0; 8 * KEPT_CAPACITY]);
        queue.consume(usize::MAX);
        assert!(queue.writer().capacity() <= KEPT_CAPACITY);
    }
}
