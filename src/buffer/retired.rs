//! Large buffers that are freed a slice at a time: unmapping a gigabyte takes a tenth of a second,
//! in which no client would be served.

use std::cell::{Cell, RefCell};

/// Smallest allocation that is not freed at once, in bytes.
pub(super) const RETIRED_BYTES_MIN: usize = 8 << 20;

/// Bytes freed at a time: some two milliseconds.
const SLICE_BYTES: usize = 16 << 20;

/// Cost of a block besides its bytes: there may be a hundred thousand short ones.
const BLOCK_BYTES: usize = 512;

thread_local! {
    // Thread-local, because buffers are dropped in many places, none of which has a queue at hand.
    static RETIRED: RefCell<Retired> = const { RefCell::new(Retired::NOTHING) };
    /// Whether anything waits, and how many bytes. Apart from the queue, because they are read each
    /// turn.
    static WAITS: Cell<bool> = const { Cell::new(false) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Buffers that wait to be freed.
struct Retired {
    buffers: Vec<Vec<u8>>,
    /// Block queues. A large block that one yields joins `buffers`.
    queues: Vec<Box<dyn Iterator<Item = Vec<u8>>>>,
}

impl Retired {
    const NOTHING: Retired = Retired { buffers: Vec::new(), queues: Vec::new() };

    /// Frees a slice of the last buffer. False if there is none.
    fn free_slice_of_buffer(&mut self) -> bool {
        let Some(last) = self.buffers.last_mut() else { return false };
        let before = last.capacity();
        let kept = before.saturating_sub(SLICE_BYTES);
        if kept == 0 {
            self.buffers.pop();
            credit(before);
        } else {
            // realloc(3) of so much is mremap(2): it cuts off the end, and copies nothing.
            last.shrink_to(kept);
            credit(before - last.capacity());
        }
        true
    }

    fn pop_block(&mut self) -> Option<Vec<u8>> {
        loop {
            let queue = self.queues.last_mut()?;
            let block = queue.next();
            if queue.size_hint().1 == Some(0) {
                self.queues.pop();
            }
            if block.is_some() {
                return block;
            }
        }
    }
}

fn credit(bytes: usize) {
    BYTES.set(BYTES.get() - bytes);
}

/// Takes over an allocation.
pub(super) fn retire(mut bytes: Vec<u8>) {
    bytes.clear();
    // While the thread ends, it is freed at once.
    let _ = RETIRED.try_with(|retired| {
        let mut retired = retired.borrow_mut();
        WAITS.set(true);
        BYTES.set(BYTES.get() + bytes.capacity());
        retired.buffers.push(bytes);
    });
}

/// The same for a queue of blocks, which have so many `bytes` in all.
pub(super) fn retire_queue(blocks: impl Iterator<Item = Vec<u8>> + 'static, bytes: usize) {
    let _ = RETIRED.try_with(|retired| {
        let mut retired = retired.borrow_mut();
        WAITS.set(true);
        BYTES.set(BYTES.get() + bytes);
        retired.queues.push(Box::new(blocks));
    });
}

/// Whether anything waits to be freed.
#[must_use]
pub fn has_retired() -> bool {
    WAITS.get()
}

/// Bytes that wait to be freed.
#[must_use]
pub fn retired_bytes() -> usize {
    BYTES.get()
}

/// Frees a slice of what waits.
pub fn free_retired() {
    if !has_retired() {
        return;
    }
    let mut freed =
        if RETIRED.with_borrow_mut(Retired::free_slice_of_buffer) { SLICE_BYTES } else { 0 };
    while freed < SLICE_BYTES
        && let Some(block) = RETIRED.with_borrow_mut(Retired::pop_block)
    {
        let bytes = block.capacity();
        credit(bytes);
        freed += bytes + BLOCK_BYTES;
        if bytes >= RETIRED_BYTES_MIN {
            retire(block);
        }
    }
    RETIRED.with_borrow_mut(|retired| {
        if retired.buffers.is_empty() && retired.queues.is_empty() {
            *retired = Retired::NOTHING;
            WAITS.set(false);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{RecvBuffer, SendQueue};
    use super::*;

    #[test]
    fn large_buffer_is_freed_in_slices() {
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

    #[test]
    fn large_queue_is_freed_in_slices() {
        let freed_by = |bytes: usize| {
            let mut queue = SendQueue::default();
            queue.push(&vec![7; bytes]).unwrap();
            let held = queue.allocated_for_blocks();
            queue.retire();
            let is_retired = has_retired();
            assert_eq!(retired_bytes(), if is_retired { held } else { 0 });
            let mut slices = 0;
            while has_retired() {
                free_retired();
                slices += 1;
            }
            assert_eq!(retired_bytes(), 0);
            slices
        };
        assert_eq!(freed_by(100_000), 0);
        assert_eq!(freed_by(1 << 20), 1);
        assert_eq!(freed_by(3 * SLICE_BYTES), 4, "its blocks count a little more");
    }

    #[test]
    fn buffer_within_a_queue_is_freed_in_slices() {
        let mut buffer = RecvBuffer::with_capacity(3 * SLICE_BYTES).unwrap();
        buffer.extend(b"x", 0).unwrap();
        let mut queue = SendQueue::default();
        queue.push_buffer(buffer).unwrap();
        queue.retire();
        let mut slices = 0;
        while has_retired() {
            free_retired();
            slices += 1;
        }
        assert_eq!((slices, retired_bytes()), (4, 0));
    }
}
