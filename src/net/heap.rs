//! Giving the heap's freed pages back to the system after a burst. Knows when, and how to ask the
//! allocator; what was allocated is none of its business.

use log::debug;

use crate::clock::Millis;

/// How many bytes must have been freed before it is worth asking.
const FREED_BYTES_MIN: u64 = 1 << 20;

/// By how much what is held may fall before the allocator is asked at once: giving back a gigabyte in
/// one go takes two tenths of a second.
const FALL_BYTES_MAX: usize = 32 << 20;

/// How long it takes otherwise from one time to the next: asking costs time in proportion to what is
/// given back, and what is given back has to be asked for again.
const PERIOD_MS: u64 = 1_000;

/// Decides when the allocator is asked for its freed pages: once a second while much is being freed
/// and allocated again, at once when what is held has fallen by much, and never while nothing
/// happens.
///
/// glibc returns freed memory to the system only from the end of its heap, so one block that lives
/// on keeps everything below it resident (mallopt(3), `M_TRIM_THRESHOLD`); malloc_trim(3) returns
/// the pages in between.
#[derive(Debug, Default)]
pub(super) struct HeapTrimmer {
    /// [`MemoryAccount::freed_total`](crate::memory::MemoryAccount::freed_total) when the heap was
    /// last trimmed.
    trimmed: u64,
    /// The most that has been held since.
    held_max: usize,
    due_at: Option<Millis>,
}

impl HeapTrimmer {
    /// When [`poll`](Self::poll) has something to do if nothing happens until then.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due_at
    }

    /// A round of the loop is over; `held` bytes are allocated, `freed_total` have ever been freed.
    /// Whether this is the moment to [`trim`].
    pub(super) fn poll(&mut self, held: usize, freed_total: u64, now: Millis) -> bool {
        if self.due_at.is_none() && freed_total.saturating_sub(self.trimmed) >= FREED_BYTES_MIN {
            // What is freed next is worth waiting for.
            self.due_at = Some(now.after(PERIOD_MS));
        }
        self.held_max = self.held_max.max(held);
        let has_fallen = self.held_max - held >= FALL_BYTES_MAX;
        let is_due = has_fallen || self.due_at.is_some_and(|at| at <= now);
        if is_due {
            self.due_at = None;
            self.trimmed = freed_total;
            self.held_max = held;
        }
        is_due
    }
}

/// Asks the allocator for its freed pages.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim() {
    #[expect(unsafe_code, reason = "the C library has no other door, and no crate is a safe one")]
    // SAFETY: malloc_trim(3) takes a number and the allocator's own locks; it has no precondition
    // and moves nothing that is in use.
    let released = unsafe { libc::malloc_trim(0) } != 0;
    debug!("heap trimmed, pages released: {released}");
}

/// Other allocators have no such call; musl's gives pages back as it frees.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() {
    debug!("this allocator trims its heap itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_is_trimmed_a_second_after_the_first_frees() {
        let mut trimmer = HeapTrimmer::default();
        assert!(!trimmer.poll(0, 5 << 20, Millis(100)));
        assert!(!trimmer.poll(0, 9 << 20, Millis(900)));
        assert_eq!(trimmer.due_at(), Some(Millis(1_100)));
        assert!(trimmer.poll(0, 30 << 20, Millis(1_100)));
        assert!(!trimmer.poll(0, 40 << 20, Millis(1_110)));
        assert!(!trimmer.poll(0, 50 << 20, Millis(2_109)), "once a second");
        assert!(trimmer.poll(0, 50 << 20, Millis(2_110)));
        assert!(!trimmer.poll(0, 50 << 20, Millis(60_000)));
        assert_eq!(trimmer.due_at(), None, "an idle loop is not woken");
    }

    #[test]
    fn few_freed_bytes_trim_nothing_until_they_add_up() {
        let mut trimmer = HeapTrimmer::default();
        assert!(!trimmer.poll(0, FREED_BYTES_MIN - 1, Millis(0)));
        assert_eq!(trimmer.due_at(), None);
        assert!(!trimmer.poll(0, FREED_BYTES_MIN, Millis(10_000)));
        assert!(trimmer.poll(0, FREED_BYTES_MIN, Millis(11_000)));
        assert!(!trimmer.poll(0, FREED_BYTES_MIN + 1, Millis(12_000)));
        assert_eq!(trimmer.due_at(), None);
    }

    #[test]
    fn heap_is_trimmed_at_once_after_a_large_fall() {
        let mut trimmer = HeapTrimmer::default();
        let held = 10 * FALL_BYTES_MAX;
        assert!(!trimmer.poll(held, 0, Millis(0)));
        assert!(!trimmer.poll(held - FALL_BYTES_MAX + 1, 0, Millis(1)));
        assert!(trimmer.poll(held - FALL_BYTES_MAX, 0, Millis(2)));
        assert!(!trimmer.poll(held - FALL_BYTES_MAX, 0, Millis(3)));
        assert!(!trimmer.poll(held, 0, Millis(4)));
        assert!(trimmer.poll(held - FALL_BYTES_MAX, 0, Millis(5)));
    }
}
