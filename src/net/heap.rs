//! Return of the heap's freed pages to the system after a burst: when, and by which call. Knows
//! nothing of the allocations.

use log::debug;

use crate::clock::Millis;

/// Freed bytes from which on a trim is worth its time.
const FREED_BYTES_MIN: u64 = 1 << 20;

/// Fall of the held bytes that causes a trim at once: returning a gigabyte in one call takes 0.2 s.
const FALL_BYTES_MAX: usize = 32 << 20;

/// Shortest time between other trims. A trim costs time in proportion to the pages it returns, and
/// so does allocating them again.
const PERIOD_MS: u64 = 1_000;

/// Decides when to trim the heap: once a second while much is freed and allocated again, at once
/// after a large fall of the held bytes, never while nothing happens.
///
/// glibc returns freed memory to the system only from the end of its heap, so one block that lives
/// on keeps everything below it resident (mallopt(3), `M_TRIM_THRESHOLD`); malloc_trim(3) returns
/// the pages in between.
#[derive(Debug, Default)]
pub(super) struct HeapTrimmer {
    /// [`MemoryAccount::freed_total`](crate::memory::MemoryAccount::freed_total) when the heap was
    /// last trimmed.
    trimmed: u64,
    /// Most bytes held since then.
    held_max: usize,
    due_at: Option<Millis>,
}

impl HeapTrimmer {
    /// Time of the next [`poll`](Self::poll) that is needed without other events.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due_at
    }

    /// Returns true if the heap is to be [trimmed](trim) now. Called after each turn, with the
    /// bytes allocated and the bytes ever freed.
    pub(super) fn poll(&mut self, held: usize, freed_total: u64, now: Millis) -> bool {
        if self.due_at.is_none() && freed_total.saturating_sub(self.trimmed) >= FREED_BYTES_MIN {
            // The frees of the next second are trimmed along.
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

/// Returns the allocator's freed pages to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim() {
    #[expect(unsafe_code, reason = "malloc_trim(3) has no safe wrapper in any crate")]
    // SAFETY: malloc_trim(3) takes a number and the allocator's own locks; it has no precondition
    // and moves nothing that is in use.
    let released = unsafe { libc::malloc_trim(0) } != 0;
    debug!("heap trimmed, pages released: {released}");
}

/// Does nothing: other allocators have no such call; musl's returns pages as it frees.
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
