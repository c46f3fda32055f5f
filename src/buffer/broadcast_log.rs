//! The broadcast log: bytes for all of a listener's subscribers, kept once.

use std::collections::VecDeque;

use crate::limits::LOG_KEPT_BYTES_MAX;

/// Smallest memory worth asking for.
const GROWTH_BYTES_MIN: usize = 4096;

/// Encoded broadcasts in a bounded window over an endless stream of bytes.
///
/// Every byte has an absolute offset, and a subscriber is nothing but a cursor: the offset of the
/// first byte it has not been sent. Sending to it is one write of what lies between its cursor and
/// [`head`](Self::head), however many broadcasts that is.
///
/// ```text
///      start           offered             head
///        |                |                  |
/// …......[================|==================)
///   gone   may be dropped    not yet offered
///          for new bytes     to everyone: kept
/// ```
///
/// Invariants: `start <= offered <= head`, and `head - start` is the length of the window, at most
/// the capacity unless that has been lowered. A cursor below `start` has fallen off: its subscriber is too slow. Because bytes
/// above `offered` are never dropped, a subscriber is offered bytes before it can fall off them.
#[derive(Debug)]
pub struct BroadcastLog {
    window: VecDeque<u8>,
    /// Offset of the first byte of the window.
    start: u64,
    /// Every subscriber has been offered everything below this offset.
    offered: u64,
    /// Most bytes the window may hold.
    capacity: usize,
}

/// The log is full of bytes that have not been offered to everyone yet. The broadcast has to wait
/// until the fan-out has come round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFullError;

impl BroadcastLog {
    /// An empty log that will hold at most `capacity` bytes, and none until it is used.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        BroadcastLog { window: VecDeque::new(), start: 0, offered: 0, capacity }
    }

    /// Has it hold at most `capacity` bytes from now on. What it holds stays until it is dropped for
    /// new bytes, or nobody needs it.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Most bytes of one broadcast: a longer one never fits.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Offset behind the last byte: the cursor of a subscriber that has everything.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.start + self.window.len() as u64
    }

    /// Offset of the oldest byte kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset below which everyone has been offered everything.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Appends `parts` as one broadcast, and drops the oldest bytes where space is needed.
    ///
    /// # Errors
    ///
    /// [`LogFullError`], and nothing is changed, if bytes that have not been offered to everyone
    /// would have to be dropped. A broadcast longer than the capacity never fits.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<(), LogFullError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let excess = (self.window.len() + len).saturating_sub(self.capacity);
        if excess as u64 > self.offered - self.start {
            return Err(LogFullError);
        }
        self.drop_oldest(excess);
        self.grow_for(len);
        for part in parts {
            self.window.extend(*part);
        }
        debug_assert!(self.window.len() <= self.capacity);
        self.debug_assert_invariants();
        Ok(())
    }

    /// Bytes from `cursor` to the head, in at most two pieces, the second only if there is a first;
    /// `None` if the cursor has fallen off.
    ///
    /// # Panics
    ///
    /// If the cursor lies beyond the head.
    #[must_use]
    pub fn since(&self, cursor: u64) -> Option<[&[u8]; 2]> {
        let skip = usize::try_from(cursor.checked_sub(self.start)?).ok()?;
        let (front, back) = self.window.as_slices();
        Some(match front.get(skip..) {
            Some(front) if !front.is_empty() => [front, back],
            _ => [&back[skip - front.len()..], &[]],
        })
    }

    /// Bytes between two offsets, in at most two pieces; `None` if some of them have been dropped.
    /// There are none if `until` is not beyond `cursor`.
    #[must_use]
    pub fn range(&self, cursor: u64, until: u64) -> Option<[&[u8]; 2]> {
        if until <= cursor {
            return Some([&[], &[]]);
        }
        let [front, back] = self.since(cursor)?;
        // Bytes in memory can be counted by a `usize`.
        let len = (until - cursor) as usize;
        let (front, rest) = (&front[..len.min(front.len())], len.saturating_sub(front.len()));
        Some([front, &back[..rest.min(back.len())]])
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.window.capacity()
    }

    /// Every subscriber has now been offered everything below `offset`.
    pub fn set_offered(&mut self, offset: u64) {
        self.offered = self.offered.max(offset.min(self.head()));
    }

    /// Drops the bytes below `offset`: no cursor is there any more.
    pub fn release_below(&mut self, offset: u64) {
        self.set_offered(offset);
        let n = offset.min(self.head()).saturating_sub(self.start);
        // `n` is at most the window's length, which is a `usize`.
        self.drop_oldest(n as usize);
        if self.window.is_empty() && self.window.capacity() > LOG_KEPT_BYTES_MAX {
            self.window = VecDeque::new();
        }
        self.debug_assert_invariants();
    }

    fn drop_oldest(&mut self, n: usize) {
        if n == self.window.len() {
            // Unlike `drain`, `clear` starts again at the front, so the next bytes are one piece.
            self.window.clear();
        } else {
            self.window.drain(..n);
        }
        self.start += n as u64;
    }

    /// Doubles as a `Vec` would, but never past the capacity.
    fn grow_for(&mut self, len: usize) {
        let needed = self.window.len() + len;
        if needed > self.window.capacity() {
            let doubled = (self.window.capacity() * 2).max(GROWTH_BYTES_MIN).min(self.capacity);
            self.window.reserve_exact(doubled.max(needed) - self.window.len());
        }
    }

    fn debug_assert_invariants(&self) {
        debug_assert!(self.start <= self.offered, "{} > {}", self.start, self.offered);
        debug_assert!(self.offered <= self.head(), "{} > {}", self.offered, self.head());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &BroadcastLog, cursor: u64) -> Option<Vec<u8>> {
        log.since(cursor).map(|parts| parts.concat())
    }

    #[test]
    fn cursor_reads_what_was_appended_behind_it() {
        let mut log = BroadcastLog::new(100);
        log.append(&[b"ab", b"c"]).unwrap();
        let cursor = log.head();
        log.append(&[b"def"]).unwrap();
        assert_eq!(read(&log, 0).unwrap(), b"abcdef");
        assert_eq!(read(&log, 1).unwrap(), b"bcdef");
        assert_eq!(read(&log, cursor).unwrap(), b"def");
        assert_eq!(read(&log, log.head()).unwrap(), b"");
    }

    #[test]
    fn bytes_not_offered_to_everyone_are_never_dropped() {
        let mut log = BroadcastLog::new(8);
        log.append(&[b"12345678"]).unwrap();
        assert_eq!(log.append(&[b"9"]), Err(LogFullError));
        assert_eq!(read(&log, 0).unwrap(), b"12345678", "a refusal changes nothing");
        log.set_offered(2);
        assert_eq!(log.append(&[b"9ab"]), Err(LogFullError));
        log.append(&[b"9a"]).unwrap();
        assert_eq!(read(&log, 2).unwrap(), b"3456789a");
    }

    #[test]
    fn cursor_that_fell_off_reads_nothing() {
        let mut log = BroadcastLog::new(4);
        log.append(&[b"1234"]).unwrap();
        log.set_offered(4);
        log.append(&[b"56"]).unwrap();
        assert_eq!(read(&log, 1), None);
        assert_eq!(read(&log, 2).unwrap(), b"3456");
    }

    #[test]
    fn what_nobody_needs_is_released_and_so_is_the_memory() {
        let mut log = BroadcastLog::new(1 << 20);
        log.append(&[&[7; 1 << 20]]).unwrap();
        log.release_below(10);
        assert_eq!(log.start(), 10);
        log.release_below(u64::MAX);
        assert_eq!((log.start(), log.head()), (1 << 20, 1 << 20));
        assert_eq!(log.window.capacity(), 0);
    }

    #[test]
    fn memory_never_exceeds_the_capacity() {
        let mut log = BroadcastLog::new(10_000);
        for _ in 0..1000 {
            log.append(&[&[1; 999]]).unwrap();
            log.set_offered(log.head());
            assert!(log.window.capacity() <= 10_000);
        }
    }

    #[test]
    fn offsets_stay_right_while_the_ring_turns_over() {
        let mut log = BroadcastLog::new(50);
        let mut all = Vec::new();
        for round in 0..500u32 {
            let piece = round.to_string().repeat(round as usize % 5);
            log.append(&[piece.as_bytes()]).unwrap();
            log.set_offered(log.head());
            all.extend_from_slice(piece.as_bytes());
            for cursor in log.start()..=log.head() {
                assert_eq!(read(&log, cursor).unwrap(), all[cursor as usize..]);
                let [front, back] = log.since(cursor).unwrap();
                assert!(!front.is_empty() || back.is_empty(), "the first piece comes first");
            }
        }
    }

    #[test]
    fn log_memory_doubles_from_4_kib_to_capacity() {
        let mut log = BroadcastLog::new(10_000);
        let held = [4_095, 1, 1, 4_000, 2_000].map(|len| {
            log.append(&[&vec![1; len]]).unwrap();
            log.set_offered(log.head());
            log.window.capacity()
        });
        assert_eq!(held, [4_096, 4_096, 8_192, 8_192, 10_000]);
    }

    #[test]
    fn empty_log_keeps_no_more_memory_than_allowed() {
        for (len, kept) in [(LOG_KEPT_BYTES_MAX, LOG_KEPT_BYTES_MAX), (LOG_KEPT_BYTES_MAX + 1, 0)] {
            let mut log = BroadcastLog::new(len);
            log.append(&[&vec![1; len]]).unwrap();
            log.release_below(log.head());
            assert_eq!(log.window.capacity(), kept);
        }
    }
}
