//! Large buffers on their way back to the system, a slice at a time: unmapping a gigabyte takes a
//! tenth of a second, in which nobody would be served.

use std::cell::RefCell;

/// Smallest allocation that is not freed at once, in bytes.
pub(super) const RETIRED_BYTES_MIN: usize = 8 << 20;

/// Bytes freed at a time: some two milliseconds.
const SLICE_BYTES: usize = 16 << 20;

thread_local! {
    // Of the thread, because a buffer is dropped in many places, and none of them should have to
    // think of this.
    static RETIRED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Takes over an allocation.
pub(super) fn retire(mut bytes: Vec<u8>) {
    bytes.clear();
    // While the thread ends, it is freed at once.
    let _ = RETIRED.try_with(|retired| retired.borrow_mut().push(bytes));
}

/// Whether anything waits to be freed.
#[must_use]
pub fn has_retired() -> bool {
    RETIRED.with_borrow(|retired| !retired.is_empty())
}

/// Frees a slice of what waits.
pub fn free_retired() {
    RETIRED.with_borrow_mut(|retired| {
        let Some(last) = retired.last_mut() else { return };
        let kept = last.capacity().saturating_sub(SLICE_BYTES);
        if kept == 0 {
            retired.pop();
        } else {
            // realloc(3) of so much is mremap(2): it cuts off the end, and copies nothing.
            last.shrink_to(kept);
        }
        if retired.is_empty() {
            *retired = Vec::new();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::RecvBuffer;
    use super::*;

    #[test]
    fn large_buffers_are_freed_in_slices_and_small_ones_at_once() {
        let freed_by = |bytes: usize| {
            let buffer = RecvBuffer::with_capacity(bytes).unwrap();
            drop(buffer);
            let mut slices = 0;
            while has_retired() {
                free_retired();
                slices += 1;
            }
            slices
        };
        assert_eq!(freed_by(RETIRED_BYTES_MIN - 1), 0);
        assert_eq!(freed_by(RETIRED_BYTES_MIN), 1);
        assert_eq!(freed_by(3 * SLICE_BYTES), 3);
        assert_eq!(freed_by(3 * SLICE_BYTES + 1), 4);
    }
}
