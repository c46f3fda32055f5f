//! Input that cannot be acted on yet: the beginning of a frame, or whole frames that wait until
//! their replies have room. Knows nothing of what the bytes mean.

use std::ops::Deref;

use bytes::{Buf, BytesMut};

use crate::clock::Millis;
use crate::limits::FRAME_BYTES_PER_SEC_MIN;

/// Received bytes that wait, oldest first.
///
/// Grows with the bytes that have arrived, never with a length that was declared, so a header that
/// promises a gigabyte costs five bytes. Gives its memory back as soon as it is empty.
#[derive(Debug, Default)]
pub struct RecvBuffer {
    bytes: BytesMut,
}

impl RecvBuffer {
    /// Appends bytes that came after those already here.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the oldest `n` bytes.
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

impl Deref for RecvBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How long an unfinished frame has been on its way.
///
/// It is late when no byte of it has come for the frame timeout, or when it is older than the
/// timeout and has averaged under [`FRAME_BYTES_PER_SEC_MIN`] since its first byte: the second
/// rule ends the client that sends one byte now and then for ever (slowloris).
#[derive(Debug, Clone, Copy)]
pub struct FrameClock {
    started_at: Millis,
    last_byte_at: Millis,
    bytes: u64,
    /// Since when the server has not been reading. The time until it reads again is not held
    /// against the client.
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

    /// When the frame will be late if nothing more of it comes; `None` while the server is not
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

    /// When nothing will have come for `quiet_ms`; `None` while the server is not reading.
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
        buffer.extend(b"abc");
        buffer.consume(2);
        buffer.extend(b"de");
        assert_eq!(&*buffer, b"cde");
    }

    #[test]
    fn an_empty_buffer_owns_no_memory() {
        let kept = allocation_counter::measure(|| {
            let mut buffer = RecvBuffer::default();
            buffer.extend(&[0; 100_000]);
            buffer.consume(100_000);
            std::mem::forget(buffer);
        });
        assert_eq!(kept.bytes_current, 0);
    }

    #[test]
    fn a_frame_is_late_when_nothing_came_for_the_timeout() {
        let mut clock = FrameClock::start(Millis(1_000), 1_000_000);
        clock.progress(Millis(5_000), 2_000_000);
        assert_eq!(clock.late_at(F), Some(Millis(35_000)));
    }

    #[test]
    fn a_trickle_does_not_keep_a_frame_alive() {
        let mut clock = FrameClock::start(Millis(0), 1);
        for second in 1..30 {
            clock.progress(Millis(second * 1000), second as usize + 1);
        }
        assert_eq!(clock.late_at(F), Some(Millis(30_000)));
    }

    #[test]
    fn a_frame_that_averages_the_minimum_rate_lives_past_the_timeout() {
        let mut clock = FrameClock::start(Millis(0), 240);
        clock.progress(Millis(40_000), 240 * 45);
        assert_eq!(clock.late_at(F), Some(Millis(45_000)), "45 seconds are paid for");
    }

    #[test]
    fn time_in_which_the_server_did_not_read_does_not_count() {
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
