//! Keys sorted by an order that the caller has, in chunks.

use std::cmp::Ordering;

/// Most keys of a chunk, and so the most that an insertion moves.
const CHUNK_LEN_MAX: usize = 512;

/// Keys in order. One vector would be simpler, but with a million keys of 4 bytes an insertion
/// would move 2 MB on average.
///
/// Invariants: no chunk is empty or longer than [`CHUNK_LEN_MAX`]; two neighbours have more than
/// half of that together.
#[derive(Debug)]
pub(super) struct SortedKeys<K> {
    chunks: Vec<Vec<K>>,
}

impl<K> Default for SortedKeys<K> {
    fn default() -> Self {
        SortedKeys { chunks: Vec::new() }
    }
}

impl<K: Copy> SortedKeys<K> {
    /// All keys in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = K> {
        self.chunks.iter().flatten().copied()
    }

    /// Bytes allocated.
    #[cfg(feature = "cluster")]
    pub(super) fn allocated(&self) -> usize {
        let keys: usize = self.chunks.iter().map(Vec::capacity).sum();
        keys * size_of::<K>() + self.chunks.capacity() * size_of::<Vec<K>>()
    }

    /// Inserts a key. `order` compares another key with it.
    pub(super) fn insert(&mut self, key: K, order: impl Fn(K) -> Ordering) {
        let mut at = self.chunk_of(&order);
        match self.chunks.get_mut(at) {
            None => self.chunks.push(Vec::new()),
            Some(chunk) if chunk.len() == CHUNK_LEN_MAX => {
                let upper = chunk.split_off(CHUNK_LEN_MAX / 2);
                chunk.shrink_to_fit();
                self.chunks.insert(at + 1, upper);
                at = self.chunk_of(&order);
            }
            Some(_) => {}
        }
        let chunk = &mut self.chunks[at];
        let place = chunk.partition_point(|other| order(*other).is_lt());
        chunk.insert(place, key);
    }

    /// Removes the key for which `order` is equal.
    ///
    /// # Panics
    ///
    /// If no key is.
    pub(super) fn remove(&mut self, order: impl Fn(K) -> Ordering) {
        let at = self.chunk_of(&order);
        let place = self.chunks[at].binary_search_by(|other| order(*other));
        self.chunks[at].remove(place.expect("the key was inserted"));
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
        }
        self.merge(at);
        self.merge(at.saturating_sub(1));
    }

    /// The last chunk whose first key is not after the one sought; otherwise the first chunk.
    fn chunk_of(&self, order: &impl Fn(K) -> Ordering) -> usize {
        self.chunks.partition_point(|chunk| order(chunk[0]).is_le()).saturating_sub(1)
    }

    /// Merges a chunk and the next one if they are small.
    fn merge(&mut self, at: usize) {
        let Some([first, second]) = self.chunks.get(at..).and_then(|rest| rest.first_chunk())
        else {
            return;
        };
        if first.len() + second.len() <= CHUNK_LEN_MAX / 2 {
            let mut second = self.chunks.remove(at + 1);
            self.chunks[at].append(&mut second);
            self.chunks[at].shrink_to_fit();
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    ///
    /// If they do not hold.
    pub(super) fn assert_invariants(&self) {
        assert!(self.chunks.iter().all(|chunk| (1..=CHUNK_LEN_MAX).contains(&chunk.len())));
        let is_large = |two: &[Vec<K>]| two[0].len() + two[1].len() > CHUNK_LEN_MAX / 2;
        assert!(self.chunks.windows(2).all(is_large), "two small chunks side by side");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inserts a key that is its own order.
    fn insert(keys: &mut SortedKeys<u32>, key: u32) {
        keys.insert(key, |other| other.cmp(&key));
        keys.assert_invariants();
    }

    fn remove(keys: &mut SortedKeys<u32>, key: u32) {
        keys.remove(|other| other.cmp(&key));
        keys.assert_invariants();
    }

    /// Each number below `count` once, shuffled.
    fn shuffled(count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(move |n| n * 7_919 % count)
    }

    #[test]
    fn keys_stay_sorted_in_any_order_of_calls() {
        const COUNT: u32 = 5_000;
        let orders: [Vec<u32>; 3] =
            [(0..COUNT).collect(), (0..COUNT).rev().collect(), shuffled(COUNT).collect()];
        for inserted in &orders {
            for removed in &orders {
                let mut keys = SortedKeys::default();
                inserted.iter().for_each(|key| insert(&mut keys, *key));
                assert!(keys.iter().eq(0..COUNT));
                let (first, rest) = removed.split_at(COUNT as usize * 9 / 10);
                first.iter().for_each(|key| remove(&mut keys, *key));
                let mut left = rest.to_vec();
                left.sort_unstable();
                assert!(keys.iter().eq(left));
                rest.iter().for_each(|key| remove(&mut keys, *key));
                assert!(keys.chunks.is_empty());
            }
        }
    }
}
