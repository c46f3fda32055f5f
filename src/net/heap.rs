//! Giving the heap's freed pages back to the system after a burst. Knows when, and how to ask the
//! allocator; what was allocated is none of its business.

use log::debug;

use crate::clock::Millis;

/// How many bytes must have been kept for connections before it is worth asking.
const CHURN_BYTES_MIN: u64 = 1 << 20;

/// How long no connection may have needed memory of its own before the allocator is asked. Asking
/// in the middle of things would give back pages that are wanted again at once.
const QUIET_MS: u64 = 1_000;

/// Decides when the allocator is asked for its freed pages: once after each burst, never while
/// nothing happens.
///
/// glibc returns freed memory to the system only from the end of its heap, so one block that lives
/// on keeps everything below it resident (mallopt(3), `M_TRIM_THRESHOLD`); malloc_trim(3) returns
/// the pages in between.
#[derive(Debug, Default)]
pub(super) struct HeapTrimmer {
    /// [`Stats::kept_bytes_total`](crate::stats::Stats::kept_bytes_total) when last looked at, and
    /// when the heap was last trimmed.
    seen: u64,
    trimmed: u64,
    due_at: Option<Millis>,
}

impl HeapTrimmer {
    /// When [`poll`](Self::poll) has something to do if nothing happens until then.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due_at
    }

    /// A round of the loop is over; `kept_total` bytes have ever been kept for connections. Whether
    /// this is the moment to [`give_back`].
    pub(super) fn poll(&mut self, kept_total: u64, now: Millis) -> bool {
        if kept_total != self.seen {
            self.seen = kept_total;
            let churned = kept_total - self.trimmed >= CHURN_BYTES_MIN;
            self.due_at = churned.then(|| now.after(QUIET_MS));
        }
        let due = self.due_at.is_some_and(|at| at <= now);
        if due {
            self.due_at = None;
            self.trimmed = kept_total;
        }
        due
    }
}

/// Asks the allocator for its freed pages.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_back() {
    #[expect(unsafe_code, reason = "the C library has no other door, and no crate is a safe one")]
    // SAFETY: malloc_trim(3) takes a number and the allocator's own locks; it has no precondition
    // and moves nothing that is in use.
    let released = unsafe { libc::malloc_trim(0) } != 0;
    debug!("heap trimmed, pages released: {released}");
}

/// Other allocators have no such call; musl's gives pages back as it frees.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {
    debug!("this allocator trims its heap itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_trimmed_once_a_second_after_a_burst() {
        let mut trimmer = HeapTrimmer::default();
        assert!(!trimmer.poll(5 << 20, Millis(100)));
        assert!(!trimmer.poll(9 << 20, Millis(900)));
        assert!(!trimmer.poll(9 << 20, Millis(1_899)), "not while it goes on");
        assert_eq!(trimmer.due_at(), Some(Millis(1_900)));
        assert!(trimmer.poll(9 << 20, Millis(1_900)));
        assert!(!trimmer.poll(9 << 20, Millis(60_000)), "once");
        assert_eq!(trimmer.due_at(), None, "an idle loop is not woken");
    }

    #[test]
    fn a_few_kept_bytes_are_not_worth_a_trim_until_they_add_up() {
        let mut trimmer = HeapTrimmer::default();
        assert!(!trimmer.poll(CHURN_BYTES_MIN - 1, Millis(0)));
        assert_eq!(trimmer.due_at(), None);
        assert!(!trimmer.poll(CHURN_BYTES_MIN, Millis(10_000)));
        assert!(trimmer.poll(CHURN_BYTES_MIN, Millis(11_000)));
        assert!(!trimmer.poll(CHURN_BYTES_MIN + 1, Millis(12_000)));
        assert_eq!(trimmer.due_at(), None);
    }
}
