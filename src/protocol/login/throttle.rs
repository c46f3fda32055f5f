//! Failed attempts by address: how long an address must wait before the next. Time is an argument.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::clock::Millis;

/// Failures without a delay.
const FREE_FAILURES: u8 = 5;
/// Longest delay in seconds.
const DELAY_SECS_MAX: u64 = 60;
/// A record is forgotten so long after its last failure.
const FORGET_MS: u64 = 15 * 60 * 1000;

/// The failed attempts of each address: the sixth and each further one makes it wait, 1 s doubling
/// to 60 s; after 15 minutes without a failure they are forgotten.
///
/// At most [`ADDRESSES_MAX`](Self::ADDRESSES_MAX) addresses are kept, in at most 32 bytes each once
/// there are so many; one more makes the eighth that failed longest ago forgotten.
#[derive(Debug)]
pub struct Throttle<A> {
    records: HashTable<Record<A>>,
    /// Randomly seeded, so that nobody can choose addresses whose hashes collide.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Record<A> {
    address: A,
    /// Time of the last failure in 1/16 s, which fits 8 years.
    failed_at: u32,
    /// Counted up to the failure whose delay is the longest.
    failures: u8,
}

impl<A> Default for Throttle<A> {
    fn default() -> Self {
        Throttle { records: HashTable::new(), hasher: RandomState::new() }
    }
}

impl<A: Copy + Eq + Hash> Throttle<A> {
    /// Most addresses that are kept: what a table of 32,768 places holds.
    pub const ADDRESSES_MAX: usize = (1 << 15) / 8 * 7;

    /// Checks whether `address` may try at `now`.
    ///
    /// # Errors
    ///
    /// The seconds to wait, rounded up.
    pub fn check(&self, address: A, now: Millis) -> Result<(), u64> {
        let hash = self.hasher.hash_one(address);
        let Some(record) = self.records.find(hash, |record| record.address == address) else {
            return Ok(());
        };
        let since = record.since_failure_ms(now);
        let left = (record.delay_secs() * 1000).saturating_sub(since);
        if left == 0 || since >= FORGET_MS { Ok(()) } else { Err(left.div_ceil(1000)) }
    }

    /// Records a failed attempt. Costs time in proportion to all addresses where there are as many
    /// as there may be, which is little beside the hash that a failure has cost.
    pub fn record_failure(&mut self, address: A, now: Millis) {
        let hash = self.hasher.hash_one(address);
        let failed_at = (now.0 / 64) as u32;
        if let Some(record) = self.records.find_mut(hash, |record| record.address == address) {
            let is_forgotten = record.since_failure_ms(now) >= FORGET_MS;
            let failures = if is_forgotten { 0 } else { record.failures };
            record.failures = failures.saturating_add(1).min(FREE_FAILURES + 7);
            record.failed_at = failed_at;
            return;
        }
        self.make_space(now);
        let Throttle { records, hasher } = self;
        let record = Record { address, failed_at, failures: 1 };
        records.insert_unique(hash, record, |record| hasher.hash_one(record.address));
    }

    /// The number of addresses that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no address is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Before the table would grow, drops what is forgotten; where it may not grow, also the oldest
    /// eighth. The table is made anew: with records removed one by one it would grow all the same.
    fn make_space(&mut self, now: Millis) {
        if self.records.len() < self.records.capacity() {
            return;
        }
        let all = self.records.drain();
        let mut kept: Vec<Record<A>> =
            all.filter(|record| record.since_failure_ms(now) < FORGET_MS).collect();
        if kept.len() >= Self::ADDRESSES_MAX {
            let oldest = Self::ADDRESSES_MAX / 8;
            kept.select_nth_unstable_by_key(oldest, |record| record.failed_at);
            kept.drain(..oldest);
        }
        let Throttle { records, hasher } = self;
        *records = HashTable::with_capacity((2 * kept.len()).clamp(4, Self::ADDRESSES_MAX));
        for record in kept {
            let hash = hasher.hash_one(record.address);
            records.insert_unique(hash, record, |record| hasher.hash_one(record.address));
        }
    }
}

impl<A> Record<A> {
    fn since_failure_ms(&self, now: Millis) -> u64 {
        now.0.saturating_sub(u64::from(self.failed_at) * 64)
    }

    fn delay_secs(&self) -> u64 {
        match self.failures.checked_sub(FREE_FAILURES + 1) {
            Some(doublings) => (1 << doublings).min(DELAY_SECS_MAX),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressKey;

    fn secs(secs: u64) -> Millis {
        Millis(secs * 1000)
    }

    #[test]
    fn delay_begins_with_the_sixth_failure_and_doubles() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.record_failure(1, secs(100));
            assert_eq!(throttle.check(1, secs(100)), Ok(()));
        }
        let mut now = 100;
        for delay in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            throttle.record_failure(1, secs(now));
            assert_eq!(throttle.check(1, secs(now)), Err(delay));
            // The time of a failure is kept to a 16th of a second.
            assert_eq!(throttle.check(1, Millis(now * 1000 + delay * 1000 - 100)), Err(1));
            now += delay;
            assert_eq!(throttle.check(1, secs(now)), Ok(()), "after {delay} s");
        }
        assert_eq!(throttle.check(2, secs(now)), Ok(()), "another address");
    }

    #[test]
    fn failures_are_forgotten_15_minutes_after_the_last() {
        let mut throttle = Throttle::default();
        (0..20).for_each(|_| throttle.record_failure(1, secs(0)));
        throttle.record_failure(1, secs(899));
        assert_eq!(throttle.check(1, secs(899)), Err(60));
        throttle.record_failure(1, secs(899 + 900));
        assert_eq!(throttle.check(1, secs(899 + 900)), Ok(()), "the first again");
    }

    #[test]
    fn oldest_address_makes_way_when_there_are_too_many() {
        let max = Throttle::<u32>::ADDRESSES_MAX as u32;
        let mut throttle = Throttle::default();
        for address in 0..max {
            (0..6).for_each(|_| throttle.record_failure(address, secs(u64::from(address) / 100)));
        }
        assert_eq!(throttle.len(), max as usize);
        let now = secs(u64::from(max) / 100);
        throttle.record_failure(max, now);
        assert_eq!(throttle.len(), (max - max / 8 + 1) as usize);
        assert_eq!(throttle.check(0, now), Ok(()));
        let oldest = throttle.records.iter().map(|record| record.address).min();
        assert!(oldest >= Some(max / 8 - 100), "times are kept in steps: {oldest:?}");
        throttle.record_failure(max + 1, now);
        assert_eq!(throttle.check(max - 1, now), Err(1));
    }

    #[test]
    fn forgotten_address_makes_space_first() {
        let mut throttle = Throttle::default();
        for address in 0..10_000_u32 {
            throttle.record_failure(address, secs(u64::from(address)));
        }
        assert!(throttle.len() < 2_000, "{} of the last 900 s", throttle.len());
    }

    #[test]
    fn address_takes_at_most_32_bytes() {
        let max = Throttle::<AddressKey>::ADDRESSES_MAX;
        let mut throttle = Throttle::default();
        let kept = allocation_counter::measure(|| {
            for n in 0..3 * max as u64 {
                throttle.record_failure(AddressKey::V6(n), secs(0));
            }
        });
        assert!((max / 8 * 7..=max).contains(&throttle.len()));
        assert!(kept.bytes_current <= 32 * max as i64, "{} bytes", kept.bytes_current);
    }
}
