//! Input that cannot be acted on yet: the beginning of a frame, or whole frames that wait for space
//! for their replies. Knows nothing of what the bytes mean.

use std::mem;
use std::ops::{Deref, DerefMut};

use super::retired::{RETIRED_BYTES_MIN, retire};
use crate::clock::Millis;
use crate::limits::FRAME_BYTES_PER_SEC_MIN;
use crate::memory::AllocError;

/// Smallest allocation, in bytes, unless fewer are wanted.
const ALLOC_BYTES_MIN: usize = 64;

/// Received bytes that wait, oldest first, in one piece.
///
/// Grows with the bytes that have arrived, never with a length that was declared, so a header that
/// promises a gigabyte costs five bytes. Gives its memory back as soon as it is empty. A frame that
/// is its own reply leaves as a whole, without a copy ([`SendQueue::push_buffer`]).
///
/// Invariant: `start` is at most the length of `bytes`, and 0 where that is 0.
///
/// [`SendQueue::push_buffer`]: super::SendQueue::push_buffer
#[derive(Debug, Default)]
pub struct RecvBuffer {
    bytes: Vec<u8>,
    /// Bytes at the front that have been consumed.
    start: usize,
}

impl RecvBuffer {
    /// An empty buffer for exactly so many bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn with_capacity(capacity: usize) -> Result<Self, AllocError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity)?;
        Ok(RecvBuffer { bytes, start: 0 })
    }

    /// Bytes that can be appended without an allocation.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Appends bytes that came after those already here. `wanted` more are expected: capacity
    /// doubles, but not past what they need.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing is appended.
    pub fn extend(&mut self, bytes: &[u8], wanted: usize) -> Result<(), AllocError> {
        if self.room() < bytes.len() {
            self.grow(bytes.len(), wanted)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    #[cold]
    fn grow(&mut self, more: usize, wanted: usize) -> Result<(), AllocError> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let needed = self.bytes.len().saturating_add(more);
        if needed > self.bytes.capacity() {
            let enough = needed.saturating_add(wanted);
            let doubled = self.bytes.capacity().saturating_mul(2).max(ALLOC_BYTES_MIN);
            let capacity = doubled.min(enough).max(needed);
            self.bytes.try_reserve_exact(capacity - self.bytes.len())?;
        }
        Ok(())
    }

    /// Forgets the oldest `n` bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "{n} bytes consumed of {}", self.len());
        self.start += n;
        if self.start == self.bytes.len() {
            *self = RecvBuffer::default();
        }
    }

    /// Takes out the bytes behind the first `at`.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing is taken out.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn split_off(&mut self, at: usize) -> Result<Self, AllocError> {
        let mut behind = RecvBuffer::with_capacity(self.len() - at)?;
        behind.bytes.extend_from_slice(&self[at..]);
        self.bytes.truncate(self.start + at);
        if at == 0 {
            *self = RecvBuffer::default();
        }
        Ok(behind)
    }

    /// The allocation, with whatever it holds.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }

    /// Whether there are none: by the invariant, without looking at `start`.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A large allocation is freed later, a slice at a time.
impl Drop for RecvBuffer {
    #[inline]
    fn drop(&mut self) {
        if self.bytes.capacity() >= RETIRED_BYTES_MIN {
            retire(mem::take(&mut self.bytes));
        }
    }
}

impl Deref for RecvBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl DerefMut for RecvBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// Clock of an unfinished frame: its age, and how much of it has come.
///
/// It is late when no byte of it has come for the frame timeout, or when it is older than the
/// timeout and has averaged under [`FRAME_BYTES_PER_SEC_MIN`] since its first byte: the second
/// rule ends the client that sends one byte now and then for ever (slowloris).
#[derive(Debug, Clone, Copy)]
pub struct FrameClock {
    started_at: Millis,
    last_byte_at: Millis,
    bytes: u64,
    /// Start of the pause in which the server does not read. The time until it reads again does not
    /// count against the client.
    paused_at: Option<Millis>,
}

impl FrameClock {
    /// A frame of which `bytes` bytes have come, the first of them now.
    #[must_use]
    pub fn start(now: Millis, bytes: usize) -> Self {
        FrameClock { started_at: now, last_byte_at: now, bytes: bytes as u64, paused_at: None }
    }

    /// More of the frame has come: `bytes` in all.
    pub fn progress(&mut self, now: Millis, bytes: usize) {
        self.last_byte_at = now;
        self.bytes = bytes as u64;
    }

    /// The server stops reading, or reads again.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        match (paused, self.paused_at) {
            (true, None) => self.paused_at = Some(now),
            (false, Some(since)) => {
                let pause_ms = now.since(since);
                self.started_at = self.started_at.after(pause_ms);
                self.last_byte_at = self.last_byte_at.after(pause_ms);
                self.paused_at = None;
            }
            _ => {}
        }
    }

    /// Time at which the frame is late if nothing more of it comes; `None` while the server is not
    /// reading.
    #[must_use]
    pub fn late_at(&self, frame_timeout_ms: u64) -> Option<Millis> {
        if self.paused_at.is_some() {
            return None;
        }
        let earned_ms = self.bytes.saturating_mul(1000) / FRAME_BYTES_PER_SEC_MIN;
        let stalled = self.last_byte_at.after(frame_timeout_ms);
        let too_slow = self.started_at.after(frame_timeout_ms.max(earned_ms));
        Some(stalled.min(too_slow))
    }

    /// Time at which nothing will have come for `quiet_ms`; `None` while the server is not reading.
    #[must_use]
    pub fn quiet_at(&self, quiet_ms: u64) -> Option<Millis> {
        self.paused_at.is_none().then(|| self.last_byte_at.after(quiet_ms))
    }

    /// Age in whole seconds.
    #[must_use]
    pub fn age_secs(&self, now: Millis) -> u64 {
        now.since(self.started_at) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: u64 = 30_000;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut buffer = RecvBuffer::default();
        buffer.extend(b"abc", 0).unwrap();
        buffer.consume(2);
        buffer.extend(b"de", 0).unwrap();
        assert_eq!(&*buffer, b"cde");
    }

    #[test]
    fn what_lies_behind_can_be_taken_out() {
        let mut buffer = RecvBuffer::default();
        buffer.extend(b"abcdef", 0).unwrap();
        buffer.consume(1);
        assert_eq!(&*buffer.split_off(2).unwrap(), b"def");
        assert_eq!(&*buffer, b"bc");
        let nothing = buffer.split_off(2).unwrap();
        assert_eq!((nothing.is_empty(), nothing.allocated()), (true, 0));
        assert_eq!(&*buffer.split_off(0).unwrap(), b"bc");
        assert_eq!((buffer.is_empty(), buffer.allocated()), (true, 0));
    }

    #[test]
    fn buffer_doubles_up_to_what_its_frame_needs() {
        let mut buffer = RecvBuffer::default();
        let mut arrived = 0;
        let held = [5, 60, 100, 900, 3_000, 6_000].map(|len| {
            arrived += len;
            buffer.extend(&vec![7; len], 10_065 - arrived).unwrap();
            buffer.allocated()
        });
        assert_eq!(held, [64, 128, 256, 1_065, 4_065, 10_065]);
    }

    #[test]
    fn buffer_refuses_what_the_address_space_cannot_hold() {
        let mut buffer = RecvBuffer::default();
        buffer.extend(b"abc", 0).unwrap();
        assert_eq!(buffer.grow(isize::MAX as usize, 0), Err(AllocError));
        assert_eq!(&*buffer, b"abc");
    }

    #[test]
    fn empty_buffer_owns_no_memory() {
        let kept = allocation_counter::measure(|| {
            let mut buffer = RecvBuffer::default();
            buffer.extend(&[0; 100_000], 0).unwrap();
            buffer.consume(100_000);
            std::mem::forget(buffer);
        });
        assert_eq!(kept.bytes_current, 0);
    }

    #[test]
    fn frame_is_late_when_nothing_came_for_the_timeout() {
        let mut clock = FrameClock::start(Millis(1_000), 1_000_000);
        clock.progress(Millis(5_000), 2_000_000);
        assert_eq!(clock.late_at(F), Some(Millis(35_000)));
    }

    #[test]
    fn trickle_does_not_keep_a_frame_alive() {
        let mut clock = FrameClock::start(Millis(0), 1);
        for second in 1..30 {
            clock.progress(Millis(second * 1000), second as usize + 1);
        }
        assert_eq!(clock.late_at(F), Some(Millis(30_000)));
    }

    #[test]
    fn frame_at_the_minimum_rate_outlives_the_timeout() {
        let mut clock = FrameClock::start(Millis(0), 240);
        clock.progress(Millis(40_000), 240 * 45);
        assert_eq!(clock.late_at(F), Some(Millis(45_000)), "45 seconds are paid for");
    }

    #[test]
    fn frame_clock_stops_while_the_server_does_not_read() {
        let mut clock = FrameClock::start(Millis(0), 1);
        clock.set_paused(true, Millis(10_000));
        clock.set_paused(true, Millis(12_000));
        assert_eq!(clock.late_at(F), None);
        clock.set_paused(false, Millis(110_000));
        assert_eq!(clock.late_at(F), Some(Millis(130_000)));
        assert_eq!(clock.age_secs(Millis(130_000)), 30);
    }

    #[test]
    fn clocks_that_jump_saturate() {
        let mut clock = FrameClock::start(Millis(50), usize::MAX);
        clock.set_paused(true, Millis(40));
        clock.set_paused(false, Millis(0));
        assert_eq!(clock.age_secs(Millis(0)), 0);
        assert_eq!(clock.late_at(u64::MAX), Some(Millis::NEVER));
    }
}
