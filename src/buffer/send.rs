//! Replies the socket has not taken yet, and their places among the broadcasts.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use super::retired::retire_queue;
use super::{BroadcastLog, RecvBuffer};
use crate::memory::AllocError;

/// Smallest and largest block that replies are copied into, in bytes.
const BLOCK_BYTES_MIN: usize = 64;
const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// Cost of a segment besides its bytes: its place in the queue, and the allocator's share.
const SEGMENT_COST_BYTES: usize = 64;

/// Smallest queue that is not freed at once where nothing more is sent, in bytes.
const RETIRED_QUEUE_BYTES_MIN: usize = 256 * 1024;

/// Pieces handed to one write. One writev(2) takes 1,024; past a dozen there is little to save.
const WRITE_PIECES_MAX: usize = 16;

/// Unsent output of a connection, oldest first: reply bytes, and in front of them the part of the
/// broadcast log that comes earlier.
///
/// Nothing of the log is copied. A segment says up to which offset it is sent at this point; the
/// bytes stay in the log, once for all subscribers. So a reply or a private message to a subscriber
/// that lags costs its own bytes and one segment.
///
/// Exists only while something waits. The caller bounds how much that may be. Blocks are freed one
/// by one as they are sent.
///
/// Invariants: no block is empty; `len` is the sum of the blocks' bytes; `log_end` is the
/// `resume_at` of the last log segment, `None` where there is none; `skipped` is the sum of what
/// the log segments jump over.
#[derive(Debug, Default)]
pub struct SendQueue {
    segments: VecDeque<Segment>,
    len: usize,
    /// Bytes allocated for blocks.
    allocated: usize,
    log_end: Option<u64>,
    skipped: u64,
}

#[derive(Debug)]
enum Segment {
    /// Reply bytes.
    Block(RecvBuffer),
    /// The broadcast log from the cursor up to `until`; the cursor then goes on at `resume_at`.
    /// Bytes in between are the client's own.
    Log { until: u64, resume_at: u64 },
}

/// The cursor has fallen off the broadcast log: the client is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagError;

impl SendQueue {
    /// Bytes of replies that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits: neither replies nor a piece of the log that comes before one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Pieces of the queue: blocks, and places where the log goes on.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes that wait, and a fixed cost for each segment: millions of short messages would
    /// otherwise cost many times their length.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.len + self.segments.len() * SEGMENT_COST_BYTES
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocated + self.segments.capacity() * size_of::<Segment>()
    }

    /// Bytes allocated for blocks.
    #[cfg(test)]
    pub(super) fn allocated_for_blocks(&self) -> usize {
        self.allocated
    }

    /// Drops all that waits: a large queue later, a slice at a time.
    pub fn retire(&mut self) {
        let SendQueue { segments, allocated, .. } = mem::take(self);
        if allocated >= RETIRED_QUEUE_BYTES_MIN {
            let blocks = segments.into_iter().filter_map(|segment| match segment {
                Segment::Block(block) => Some(block.into_bytes()),
                Segment::Log { .. } => None,
            });
            retire_queue(blocks, allocated);
        }
    }

    /// Offset at which the log goes on behind all that is queued; `cursor` if none of the log is.
    #[must_use]
    pub fn log_end(&self, cursor: u64) -> u64 {
        self.log_end.unwrap_or(cursor)
    }

    /// Bytes between the cursor and [`log_end`](Self::log_end) that will not be sent.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The same of those below `offset`.
    #[must_use]
    pub fn skipped_below(&self, offset: u64) -> u64 {
        if self.skipped == 0 || self.log_end.is_none_or(|end| end <= offset) {
            return self.skipped;
        }
        // Segments beyond the offset are at the end of the queue.
        let mut beyond = 0;
        for segment in self.segments.iter().rev() {
            match segment {
                Segment::Log { resume_at, .. } if *resume_at <= offset => break,
                Segment::Log { until, resume_at } => beyond += resume_at - offset.max(*until),
                Segment::Block(_) => {}
            }
        }
        self.skipped - beyond
    }

    /// Appends reply bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; a part may have been appended.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), AllocError> {
        while !bytes.is_empty() {
            let room = match self.segments.back() {
                Some(Segment::Block(block)) => block.room(),
                _ => 0,
            };
            if room == 0 {
                self.push_block(bytes.len())?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(Segment::Block(block)) = self.segments.back_mut() {
                block.extend(now, 0)?;
            }
            self.len += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// Appends an empty block: where it continues another, twice as large as that.
    fn push_block(&mut self, wanted: usize) -> Result<(), AllocError> {
        let doubled = match self.segments.back() {
            Some(Segment::Block(block)) => block.allocated().saturating_mul(2),
            _ => 0,
        };
        let bytes = wanted.max(doubled).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
        let block = RecvBuffer::with_capacity(bytes)?;
        self.segments.try_reserve(1)?;
        self.allocated += block.allocated();
        self.segments.push_back(Segment::Block(block));
        Ok(())
    }

    /// Appends a whole buffer, without a copy.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and the buffer is dropped.
    pub fn push_buffer(&mut self, buffer: RecvBuffer) -> Result<(), AllocError> {
        if !buffer.is_empty() {
            self.segments.try_reserve(1)?;
            self.len += buffer.len();
            self.allocated += buffer.allocated();
            self.segments.push_back(Segment::Block(buffer));
        }
        Ok(())
    }

    /// Places output that is pushed from here on behind the log's bytes below `until`; the log then
    /// goes on at `resume_at`. Returns the cursor after that if nothing had to be queued for it.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing is changed.
    pub fn push_log(
        &mut self,
        cursor: u64,
        until: u64,
        resume_at: u64,
    ) -> Result<Option<u64>, AllocError> {
        let end = self.log_end(cursor);
        debug_assert!(end <= until && until <= resume_at, "{end} {until} {resume_at}");
        if end == until && self.log_end.is_none() {
            return Ok(Some(resume_at));
        }
        if let Some(Segment::Log { resume_at: last, .. }) = self.segments.back_mut()
            && *last == until
        {
            *last = resume_at;
        } else if end < resume_at {
            self.segments.try_reserve(1)?;
            self.segments.push_back(Segment::Log { until, resume_at });
        } else {
            return Ok(None);
        }
        self.skipped += resume_at - until;
        self.log_end = Some(resume_at);
        Ok(None)
    }

    /// Collects what is to be written next: as many pieces and bytes as `pieces` takes. Returns the
    /// cursor behind all of them, or `None` if more is queued than they take.
    ///
    /// # Errors
    ///
    /// [`LagError`] when a piece of the log is wanted that it no longer has.
    pub fn gather<'a>(
        &'a self,
        mut cursor: u64,
        log: &'a BroadcastLog,
        pieces: &mut Pieces<'a>,
    ) -> Result<Option<u64>, LagError> {
        for segment in &self.segments {
            let is_whole = match segment {
                Segment::Block(block) => pieces.push(block),
                Segment::Log { until, resume_at } => {
                    let [front, back] = log.range(cursor, *until).ok_or(LagError)?;
                    cursor = *resume_at;
                    pieces.push(front) && pieces.push(back)
                }
            };
            if !is_whole {
                return Ok(None);
            }
        }
        Ok(Some(cursor))
    }

    /// Drops the first `n` bytes that wait, or fewer if fewer wait: they have been sent. Returns
    /// how many are left of `n`, and moves the cursor.
    pub fn advance(&mut self, mut n: usize, cursor: &mut u64) -> usize {
        while let Some(segment) = self.segments.front_mut() {
            match segment {
                Segment::Block(block) => {
                    let sent = n.min(block.len());
                    if sent == 0 {
                        return n;
                    }
                    let allocated = block.allocated();
                    let is_over = sent == block.len();
                    block.consume(sent);
                    self.len -= sent;
                    n -= sent;
                    if !is_over {
                        return n;
                    }
                    self.allocated -= allocated;
                }
                Segment::Log { until, resume_at } => {
                    // The log's range was handed out, so it is in memory and fits.
                    let wanted = until.saturating_sub(*cursor);
                    let sent = wanted.min(n as u64);
                    *cursor += sent;
                    n -= sent as usize;
                    if sent < wanted {
                        return n;
                    }
                    self.skipped -= *resume_at - *until;
                    *cursor = *resume_at;
                    if self.log_end == Some(*resume_at) {
                        self.log_end = None;
                    }
                }
            }
            self.segments.pop_front();
        }
        self.segments = VecDeque::new();
        n
    }

    /// Checks the invariants.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn assert_invariants(&self) {
        let (mut len, mut allocated, mut skipped, mut log_end) = (0, 0, 0, None);
        for segment in &self.segments {
            match segment {
                Segment::Block(block) => {
                    assert!(!block.is_empty(), "an empty block is queued");
                    len += block.len();
                    allocated += block.allocated();
                }
                Segment::Log { until, resume_at } => {
                    assert!(until <= resume_at && log_end.is_none_or(|end| end <= *until));
                    skipped += resume_at - until;
                    log_end = Some(*resume_at);
                }
            }
        }
        let found = (self.len, self.allocated, self.skipped, self.log_end);
        assert_eq!(found, (len, allocated, skipped, log_end));
    }

    /// Everything that waits, whole: for tests and fuzzing.
    ///
    /// # Errors
    ///
    /// As [`gather`](Self::gather).
    pub fn contents(&self, mut cursor: u64, log: &BroadcastLog) -> Result<Vec<u8>, LagError> {
        let mut all = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Block(block) => all.extend_from_slice(block),
                Segment::Log { until, resume_at } => {
                    all.extend(log.range(cursor, *until).ok_or(LagError)?.concat());
                    cursor = *resume_at;
                }
            }
        }
        Ok(all)
    }
}

/// The pieces of one write.
#[derive(Debug)]
pub struct Pieces<'a> {
    slices: [IoSlice<'a>; WRITE_PIECES_MAX],
    count: usize,
    bytes: usize,
    bytes_max: usize,
}

impl<'a> Pieces<'a> {
    /// No pieces yet, of at most `bytes_max` in all.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let slices = [IoSlice::new(&[]); WRITE_PIECES_MAX];
        Pieces { slices, count: 0, bytes: 0, bytes_max }
    }

    /// Appends a piece, or the beginning of it that fits; true if all of it did.
    #[inline]
    pub fn push(&mut self, piece: &'a [u8]) -> bool {
        if piece.is_empty() {
            return true;
        }
        let len = piece.len().min(self.bytes_max - self.bytes);
        if len == 0 || self.count == WRITE_PIECES_MAX {
            return false;
        }
        self.slices[self.count] = IoSlice::new(&piece[..len]);
        self.count += 1;
        self.bytes += len;
        len == piece.len()
    }

    /// Bytes of all pieces together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces, none of them empty.
    #[must_use]
    pub fn as_slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that has held `0123456789` ten times over, all of it still there.
    fn log() -> BroadcastLog {
        let mut log = BroadcastLog::new(1_000);
        log.append(&[&b"0123456789".repeat(10)]).unwrap();
        log
    }

    /// Takes everything out in writes of `n` bytes.
    fn drain(queue: &mut SendQueue, cursor: &mut u64, log: &BroadcastLog, n: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while !queue.is_empty() {
            let mut pieces = Pieces::new(n);
            queue.gather(*cursor, log, &mut pieces).unwrap();
            sent.extend(pieces.as_slices().iter().flat_map(|piece| piece.iter().copied()));
            assert_eq!(queue.advance(pieces.bytes(), cursor), 0);
            queue.assert_invariants();
        }
        sent
    }

    #[test]
    fn queue_sends_next_what_a_short_write_left() {
        let (mut queue, mut cursor) = (SendQueue::default(), 100);
        queue.push(b"first").unwrap();
        queue.push(b"second").unwrap();
        assert_eq!(queue.advance(3, &mut cursor), 0);
        assert_eq!(queue.contents(cursor, &log()).unwrap(), b"stsecond");
        assert_eq!(queue.len(), 8);
    }

    #[test]
    fn reply_is_queued_behind_earlier_log_bytes() {
        for n in 1..40 {
            let (mut queue, mut cursor) = (SendQueue::default(), 3);
            queue.push(b"a").unwrap();
            assert_eq!(queue.push_log(cursor, 6, 6), Ok(None));
            queue.push(b"b").unwrap();
            queue.push(b"c").unwrap();
            // What it has sent itself lies from 8 to 11.
            assert_eq!(queue.push_log(cursor, 8, 11), Ok(None));
            queue.push(b"d").unwrap();
            assert_eq!((queue.len(), queue.log_end(cursor), queue.skipped()), (4, 11, 3));
            assert_eq!(queue.contents(cursor, &log()).unwrap(), b"a345bc67d");
            assert_eq!(drain(&mut queue, &mut cursor, &log(), n), b"a345bc67d");
            assert_eq!((cursor, queue.allocated()), (11, 0));
        }
    }

    #[test]
    fn reply_moves_the_cursor_when_nothing_lags() {
        let mut queue = SendQueue::default();
        assert_eq!(queue.push_log(7, 7, 9), Ok(Some(9)));
        queue.push(b"a").unwrap();
        assert_eq!(queue.push_log(9, 9, 9), Ok(Some(9)));
        assert_eq!(queue.push_log(9, 12, 12), Ok(None));
        // A broadcast of its own behind that is one segment with it.
        assert_eq!(queue.push_log(9, 12, 15), Ok(None));
        assert_eq!(queue.segments.len(), 2);
        // Nothing new: no segment.
        queue.push(b"b").unwrap();
        assert_eq!(queue.push_log(9, 15, 15), Ok(None));
        assert_eq!(queue.segments.len(), 3);
        queue.assert_invariants();
    }

    #[test]
    fn queue_of_one_that_fell_off_the_log_says_so() {
        let mut log = log();
        let mut queue = SendQueue::default();
        queue.push_log(3, 6, 6).unwrap();
        queue.push(b"a").unwrap();
        log.release_below(4);
        assert_eq!(queue.gather(3, &log, &mut Pieces::new(100)), Err(LagError));
        // What lies before its cursor and behind the jump is nobody's business.
        let mut queue = SendQueue::default();
        queue.push_log(3, 4, 6).unwrap();
        assert_eq!(queue.gather(4, &log, &mut Pieces::new(100)), Ok(Some(6)));
    }

    #[test]
    fn queue_takes_a_buffer_over_without_a_copy() {
        let mut buffer = RecvBuffer::default();
        buffer.extend(&[7; 100_000], 0).unwrap();
        let mut queue = SendQueue::default();
        queue.push(b"before").unwrap();
        let cost = allocation_counter::measure(|| queue.push_buffer(buffer).unwrap());
        assert_eq!(cost.bytes_total, 0);
        queue.push(b"behind").unwrap();
        let (mut cursor, expected) = (0, [&b"before"[..], &[7; 100_000], b"behind"].concat());
        assert_eq!(drain(&mut queue, &mut cursor, &log(), 1 << 20), expected);
    }

    #[test]
    fn queue_gives_its_blocks_back_as_they_are_sent() {
        let mut queue = SendQueue::default();
        queue.push(&[7; 1 << 20]).unwrap();
        let mut cursor = 0;
        for left in (0..16).rev() {
            queue.advance(64 * 1024, &mut cursor);
            let blocks = queue.allocated() / (64 * 1024);
            assert_eq!(blocks, left);
        }
        assert_eq!(queue.allocated(), 0);
    }

    #[test]
    fn queue_costs_little_where_replies_are_short() {
        let mut queue = SendQueue::default();
        for n in 1..=1_000 {
            queue.push(b"0123456789").unwrap();
            assert!(queue.allocated() <= 3 * queue.len() + 300, "{n}: {}", queue.allocated());
        }
        // A private message each behind its own piece of the log.
        let mut queue = SendQueue::default();
        for n in 1..=1_000 {
            queue.push_log(0, n, n).unwrap();
            queue.push(b"0123456789").unwrap();
        }
        assert!(queue.allocated() <= 1_000 * (64 + 4 * 32), "{}", queue.allocated());
    }

    #[test]
    fn pieces_are_bounded_in_number_and_bytes() {
        let mut pieces = Pieces::new(10);
        assert!(pieces.push(b"") && pieces.push(b"0123") && !pieces.push(b"0123456"));
        assert_eq!((pieces.bytes(), pieces.as_slices().len()), (10, 2));
        assert!(!pieces.push(b"x"));
        let mut pieces = Pieces::new(usize::MAX);
        assert!((0..WRITE_PIECES_MAX).all(|_| pieces.push(b"x")));
        assert!(!pieces.push(b"x"));
    }
}
