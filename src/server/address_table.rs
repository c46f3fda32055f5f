//! Connections by address: how many are open, and how fast they come. Exact, and small: an address
//! with neither an open connection nor one in the last second is not in it.

use std::hash::{BuildHasher, RandomState};

use crate::address::AddressKey;
use crate::clock::Millis;

/// Share of the places that may be taken, in percent. Beyond, the table grows by half: at least 56 %
/// are taken then, so an entry of 16 bytes costs 28 at most.
const LOAD_MAX_PERCENT: usize = 84;

/// Fewest places.
const PLACES_MIN: usize = 64;

/// Places looked at for entries that are over, with each new connection: a table is gone through
/// before it can fill.
const SWEEP_PLACES: usize = 4;

/// The bucket's length: a burst is what a second allows.
const WINDOW_MICROS: u32 = 1_000_000;

/// The reason a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressLimit {
    /// The address has as many open as it may.
    Open,
    /// Its connections come too fast.
    Rate,
}

/// What an address may have; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressLimits {
    /// Most open connections.
    pub open_max: u32,
    /// Most new connections a second, and in a burst.
    pub rate_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: u64,
    open: u32,
    /// When the address's bucket is empty again, in microseconds that wrap (GCRA's theoretical
    /// arrival time; ATM Forum, Traffic Management 4.0, C.2.1).
    due_at: u32,
}

/// No address: 255.255.255.255 sends nothing.
const VACANT: u64 = u64::MAX;
const VACANT_ENTRY: Entry = Entry { key: VACANT, open: 0, due_at: 0 };

/// An open-addressed table with linear probing. Its hash is keyed, so nobody can choose addresses
/// that collide.
#[derive(Debug, Default)]
pub struct AddressTable {
    limits: AddressLimits,
    entries: Vec<Entry>,
    len: usize,
    swept_to: usize,
    hasher: RandomState,
}

impl AddressTable {
    /// An empty table, which owns no memory.
    #[must_use]
    pub fn new(limits: AddressLimits) -> Self {
        AddressTable { limits, ..AddressTable::default() }
    }

    /// Whether there is any limit. Without one nothing needs to be counted.
    #[must_use]
    pub fn is_limiting(&self) -> bool {
        self.limits != AddressLimits::default()
    }

    /// Addresses in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no address is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Open connections of `address` that are counted.
    #[must_use]
    pub fn open_of(&self, address: AddressKey) -> u32 {
        let key = pack(address);
        self.find(key).map_or(0, |at| self.entries[at].open)
    }

    /// A connection of `address` has come. It is counted as open if it is let in, and must then be
    /// [released](Self::release) once.
    ///
    /// # Errors
    ///
    /// The limit that it is refused by; it is not counted as open.
    pub fn admit(&mut self, address: AddressKey, now: Millis) -> Result<(), AddressLimit> {
        let now = micros(now);
        self.sweep(now);
        let at = self.find_or_insert(pack(address), now);
        let AddressLimits { open_max, rate_max } = self.limits;
        let entry = &mut self.entries[at];
        if open_max > 0 && entry.open >= open_max {
            return Err(AddressLimit::Open);
        }
        if rate_max > 0 {
            let wait = entry.wait(now);
            let cost = (WINDOW_MICROS / rate_max).max(1);
            if wait + cost > WINDOW_MICROS {
                return Err(AddressLimit::Rate);
            }
            entry.due_at = now.wrapping_add(wait + cost);
        }
        entry.open += 1;
        Ok(())
    }

    /// A connection that was let in has gone.
    ///
    /// # Panics
    ///
    /// In a debug build, if none of the address is open.
    pub fn release(&mut self, address: AddressKey, now: Millis) {
        let Some(at) = self.find(pack(address)) else {
            debug_assert!(false, "{address:?} is not counted");
            return;
        };
        let entry = &mut self.entries[at];
        debug_assert!(entry.open > 0, "{address:?} has none open");
        entry.open = entry.open.saturating_sub(1);
        if entry.is_over(micros(now)) {
            self.remove(at);
        }
    }

    fn find(&self, key: u64) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let mut at = self.ideal(key);
        loop {
            match self.entries[at].key {
                found if found == key => return Some(at),
                VACANT => return None,
                _ => at = self.next(at),
            }
        }
    }

    fn find_or_insert(&mut self, key: u64, now: u32) -> usize {
        if (self.len + 1) * 100 > self.entries.len() * LOAD_MAX_PERCENT {
            self.grow();
        }
        let mut at = self.ideal(key);
        while self.entries[at].key != VACANT {
            if self.entries[at].key == key {
                return at;
            }
            at = self.next(at);
        }
        self.entries[at] = Entry { key, open: 0, due_at: now };
        self.len += 1;
        at
    }

    fn grow(&mut self) {
        let places = (self.entries.len() + self.entries.len() / 2).max(PLACES_MIN);
        let mut entries = Vec::with_capacity(places);
        entries.resize(places, VACANT_ENTRY);
        let old = std::mem::replace(&mut self.entries, entries);
        self.swept_to = 0;
        for entry in old.into_iter().filter(|entry| entry.key != VACANT) {
            let mut at = self.ideal(entry.key);
            while self.entries[at].key != VACANT {
                at = self.next(at);
            }
            self.entries[at] = entry;
        }
    }

    /// Removes an entry, and moves those back that stand behind it only because it was in their way.
    fn remove(&mut self, mut hole: usize) {
        let places = self.entries.len();
        let mut at = hole;
        loop {
            at = self.next(at);
            let entry = self.entries[at];
            if entry.key == VACANT {
                break;
            }
            // How far the entry stands from where it would be best, and from the hole.
            let distance = |from: usize| (at + places - from) % places;
            if distance(self.ideal(entry.key)) >= distance(hole) {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = VACANT_ENTRY;
        self.len -= 1;
        if self.len == 0 {
            // A crowd has gone.
            *self = AddressTable { limits: self.limits, ..AddressTable::default() };
        }
    }

    /// Removes entries that are over, at the next few places.
    fn sweep(&mut self, now: u32) {
        for _ in 0..SWEEP_PLACES {
            if self.entries.is_empty() {
                return;
            }
            self.swept_to = self.next(self.swept_to);
            let entry = self.entries[self.swept_to];
            if entry.key != VACANT && entry.is_over(now) {
                self.remove(self.swept_to);
            }
        }
    }

    fn ideal(&self, key: u64) -> usize {
        // The high half of a product spreads a hash over any number of places (Lemire, 2018).
        ((u128::from(self.hasher.hash_one(key)) * self.entries.len() as u128) >> 64) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
    }
}

impl Entry {
    /// How long until the bucket is empty. What is further away than a bucket can be is long past.
    fn wait(&self, now: u32) -> u32 {
        let wait = self.due_at.wrapping_sub(now);
        if wait > WINDOW_MICROS { 0 } else { wait }
    }

    /// Whether there is nothing to remember.
    fn is_over(&self, now: u32) -> bool {
        self.open == 0 && self.wait(now) == 0
    }
}

/// The time in microseconds that wrap after an hour.
fn micros(now: Millis) -> u32 {
    now.0.wrapping_mul(1000) as u32
}

/// One number for each address. The upper half of all ones is that of no IPv6 address that sends:
/// it would be a multicast one (RFC 4291, 2.7).
fn pack(address: AddressKey) -> u64 {
    match address {
        AddressKey::V4(bits) => (0xffff_ffff << 32) | u64::from(bits),
        AddressKey::V6(prefix) => prefix,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const A: AddressKey = AddressKey::V4(0x0a00_0001);
    const B: AddressKey = AddressKey::V6(1);

    fn table(open_max: u32, rate_max: u32) -> AddressTable {
        AddressTable::new(AddressLimits { open_max, rate_max })
    }

    #[test]
    fn address_has_as_many_open_as_it_may() {
        let mut table = table(2, 0);
        for address in [A, B] {
            assert_eq!(table.admit(address, Millis(0)), Ok(()));
            assert_eq!(table.admit(address, Millis(0)), Ok(()));
            assert_eq!(table.admit(address, Millis(0)), Err(AddressLimit::Open));
        }
        table.release(A, Millis(1));
        assert_eq!(table.admit(A, Millis(1)), Ok(()));
        assert_eq!((table.open_of(A), table.open_of(B)), (2, 2));
    }

    #[test]
    fn rate_allows_a_burst_of_a_second_and_then_one_at_a_time() {
        for rate in [1, 3, 1000, 50_000] {
            let mut table = table(0, rate);
            let let_in = |table: &mut AddressTable, ms| {
                (0..2 * rate).filter(|_| table.admit(A, Millis(ms)).is_ok()).count() as u32
            };
            assert_eq!(let_in(&mut table, 5), rate, "a burst of {rate}");
            assert_eq!(table.admit(A, Millis(5)), Err(AddressLimit::Rate));
            assert_eq!(table.admit(B, Millis(5)), Ok(()), "another address");
            let half_a_second = let_in(&mut table, 505);
            assert!(half_a_second.abs_diff(rate / 2) <= 1, "{half_a_second} of {rate}");
            assert_eq!(let_in(&mut table, 5_000), rate, "a full bucket again");
        }
    }

    #[test]
    fn bucket_is_empty_after_its_clock_has_wrapped() {
        let mut table = table(0, 1);
        assert_eq!(table.admit(A, Millis(0)), Ok(()));
        assert_eq!(table.admit(A, Millis(1)), Err(AddressLimit::Rate));
        // Four wraps of 32 bits of microseconds, and every place between.
        for minute in 1..=300 {
            assert_eq!(table.admit(A, Millis(minute * 60_000)), Ok(()), "minute {minute}");
        }
    }

    #[test]
    fn address_that_is_over_takes_no_place() {
        let mut table = table(5, 0);
        for n in 0..10_000 {
            table.admit(AddressKey::V4(n), Millis(0)).unwrap();
            table.release(AddressKey::V4(n), Millis(0));
        }
        assert_eq!((table.len(), table.allocated()), (0, 0));
    }

    #[test]
    fn refused_addresses_are_swept_out() {
        let mut table = table(0, 1);
        for n in 0..100_000u32 {
            let now = Millis(u64::from(n) / 100);
            let _ = table.admit(AddressKey::V4(n), now);
            table.release(AddressKey::V4(n), now);
        }
        // A hundred a millisecond are remembered for a second: all of them; and a second later none.
        let full = table.len();
        assert!(full >= 100_000 / 2, "{full}");
        for n in 0..100_000u32 {
            let now = Millis(3_000 + u64::from(n) / 10);
            table.admit(AddressKey::V6(u64::from(n)), now).unwrap();
            table.release(AddressKey::V6(u64::from(n)), now);
        }
        assert!(table.len() < full / 2, "{} are left", table.len());
    }

    #[test]
    fn address_costs_at_most_32_bytes() {
        let mut table = table(1, 0);
        for n in 1..=200_000 {
            table.admit(AddressKey::V4(n), Millis(0)).unwrap();
            if n > 1_000 {
                assert!(table.allocated() <= 32 * table.len(), "{n}: {}", table.allocated());
            }
        }
    }

    #[test]
    fn table_agrees_with_a_map_in_random_walks() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut table = table(3, 0);
        let mut open: HashMap<AddressKey, u32> = HashMap::new();
        for step in 0..200_000 {
            // The number of addresses goes up and down.
            let addresses = 1 + (step / 10_000) % 7 * 300;
            let address = match random(2) {
                0 => AddressKey::V4(random(addresses) as u32),
                _ => AddressKey::V6(random(addresses) << 32),
            };
            let count = open.entry(address).or_default();
            if random(2) == 0 {
                let expected = if *count < 3 { Ok(()) } else { Err(AddressLimit::Open) };
                assert_eq!(table.admit(address, Millis(step)), expected);
                *count += u32::from(expected.is_ok());
            } else if *count > 0 {
                table.release(address, Millis(step));
                *count -= 1;
            }
            assert_eq!(table.open_of(address), *count, "step {step}");
            if step % 1_000 == 0 {
                let tracked = open.values().filter(|count| **count > 0).count();
                assert!(table.len() >= tracked && table.len() <= tracked + 1, "step {step}");
                for (address, count) in &open {
                    assert_eq!(table.open_of(*address), *count, "step {step}");
                }
            }
        }
    }
}
