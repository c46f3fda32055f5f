//! Connections by address: how many are open, and how fast they come. Exact, and small: an address
//! with neither an open connection nor one in the last second is not in it.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use hashbrown::HashTable;

use crate::address::AddressKey;
use crate::clock::Millis;
use crate::close_reason::Refusal;

/// Places looked at for entries that are over, with each new connection: a table is gone through
/// before it can fill.
const SWEEP_PLACES: usize = 3;

/// Places that an empty table keeps, for a lone client that comes and goes.
const KEPT_MAX: usize = 64;

/// The bucket's length: a burst is what a second allows.
const WINDOW_MICROS: u32 = 1_000_000;

/// The reason a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressLimit {
    /// The address has as many open as it may.
    Open,
    /// Its connections come too fast.
    Rate,
    /// An operator has it refused.
    #[cfg(feature = "admin")]
    Banned,
}

impl AddressLimit {
    /// Whether the client is told of it, and the log: who is refused by an operator is not.
    pub(super) fn is_told(self) -> bool {
        match self {
            AddressLimit::Open | AddressLimit::Rate => true,
            #[cfg(feature = "admin")]
            AddressLimit::Banned => false,
        }
    }
}

impl From<AddressLimit> for Refusal {
    fn from(limit: AddressLimit) -> Self {
        match limit {
            AddressLimit::Open => Refusal::AddressConnections,
            AddressLimit::Rate => Refusal::ConnectRate,
            #[cfg(feature = "admin")]
            AddressLimit::Banned => Refusal::Banned,
        }
    }
}

/// Limits of one address; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressLimits {
    /// Most open connections.
    pub open_max: u32,
    /// Most new connections a second, and in a burst.
    pub rate_max: u32,
}

/// Where an address is counted, as long as a connection of it is open. Four bytes a connection are
/// enough to release it by, where asking the system for its address again may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressHandle(NonZeroU32);

impl AddressHandle {
    fn of(place: u32) -> Self {
        AddressHandle(NonZeroU32::MIN.saturating_add(place))
    }

    fn place(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The packed address; in a free place, the next free one.
    key: u64,
    /// Open connections; [`FREE`] marks a free place.
    open: u32,
    /// When the address's bucket is empty again, in microseconds that wrap (GCRA's theoretical
    /// arrival time; ATM Forum, Traffic Management 4.0, C.2.1).
    due_at: u32,
}

const FREE: u32 = u32::MAX;
const NO_PLACE: u64 = u64::MAX;

/// Entries in places that do not move, and a hash index of them.
#[derive(Debug)]
pub struct AddressTable {
    limits: AddressLimits,
    entries: Vec<Entry>,
    /// The first free place.
    free: u64,
    index: HashTable<u32>,
    swept_to: usize,
    hash: KeyHash,
}

impl AddressTable {
    /// An empty table, which owns no memory.
    #[must_use]
    pub fn new(limits: AddressLimits) -> Self {
        AddressTable {
            limits,
            entries: Vec::new(),
            free: NO_PLACE,
            index: HashTable::new(),
            swept_to: 0,
            hash: KeyHash::new(),
        }
    }

    /// Changes the limits of connections that come from now on.
    pub fn set_limits(&mut self, limits: AddressLimits) {
        self.limits = limits;
    }

    /// Open connections that are counted, of all addresses: for invariants.
    #[must_use]
    pub fn open_total(&self) -> u64 {
        let open = self.entries.iter().map(|entry| entry.open).filter(|open| *open != FREE);
        open.map(u64::from).sum()
    }

    /// Whether there is any limit. Without one nothing needs to be counted.
    #[must_use]
    pub fn is_limiting(&self) -> bool {
        self.limits != AddressLimits::default()
    }

    /// Addresses in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no address is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size()
    }

    /// Open connections of `address` that are counted.
    #[must_use]
    pub fn open_of(&self, address: AddressKey) -> u32 {
        let key = pack(address);
        self.find(key, self.hash.of(key)).map_or(0, |at| self.entries[at as usize].open)
    }

    /// A connection of `address` has come. It is counted as open if it is let in, and must then be
    /// [released](Self::release) once.
    ///
    /// # Errors
    ///
    /// The limit that it is refused by; it is not counted as open.
    pub fn admit(
        &mut self,
        address: AddressKey,
        now: Millis,
    ) -> Result<AddressHandle, AddressLimit> {
        let now = micros(now);
        self.sweep(now);
        let key = pack(address);
        let hash = self.hash.of(key);
        let at = self.find(key, hash);
        let wait = at.map_or(0, |at| self.entries[at as usize].wait(now));
        let AddressLimits { open_max, rate_max } = self.limits;
        if open_max > 0 && at.is_some_and(|at| self.entries[at as usize].open >= open_max) {
            return Err(AddressLimit::Open);
        }
        let mut due_at = now;
        if let Some(cost) = WINDOW_MICROS.checked_div(rate_max) {
            let cost = cost.max(1);
            if wait + cost > WINDOW_MICROS {
                return Err(AddressLimit::Rate);
            }
            due_at = now.wrapping_add(wait + cost);
        }
        let at = at.unwrap_or_else(|| self.insert(key, hash));
        let entry = &mut self.entries[at as usize];
        entry.open += 1;
        entry.due_at = due_at;
        Ok(AddressHandle::of(at))
    }

    /// A connection that was let in has gone.
    pub fn release(&mut self, handle: AddressHandle, now: Millis) {
        let at = handle.place();
        let entry = &mut self.entries[at as usize];
        debug_assert!(entry.open != FREE && entry.open > 0, "{handle:?} has none open");
        entry.open = entry.open.saturating_sub(1);
        if entry.is_over(micros(now)) {
            self.remove(at);
        }
    }

    fn find(&self, key: u64, hash: u64) -> Option<u32> {
        let is_it = |at: &u32| self.entries[*at as usize].key == key;
        self.index.find(hash, is_it).copied()
    }

    fn insert(&mut self, key: u64, hash: u64) -> u32 {
        let entry = Entry { key, open: 0, due_at: 0 };
        let at = match usize::try_from(self.free).ok().and_then(|at| self.entries.get_mut(at)) {
            Some(place) => {
                let at = self.free as u32;
                self.free = place.key;
                *place = entry;
                at
            }
            None => {
                if self.entries.len() == self.entries.capacity() {
                    // By a quarter and not to the double: an address shall cost little.
                    self.entries.reserve_exact((self.entries.len() / 4).max(64));
                }
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let AddressTable { entries, index, hash: keyed, .. } = self;
        index.insert_unique(hash, at, |at| keyed.of(entries[*at as usize].key));
        at
    }

    fn remove(&mut self, at: u32) {
        let AddressTable { entries, index, hash, .. } = self;
        let key = entries[at as usize].key;
        if let Ok(entry) = index.find_entry(hash.of(key), |other| *other == at) {
            entry.remove();
        }
        if index.is_empty() {
            if entries.len() > KEPT_MAX {
                // A crowd has gone.
                (*entries, *index) = (Vec::new(), HashTable::new());
            }
            entries.clear();
            self.free = NO_PLACE;
            return;
        }
        entries[at as usize] = Entry { key: self.free, open: FREE, due_at: 0 };
        self.free = u64::from(at);
    }

    /// Removes entries that are over, at the next few places.
    fn sweep(&mut self, now: u32) {
        for _ in 0..SWEEP_PLACES {
            self.swept_to += 1;
            if self.swept_to >= self.entries.len() {
                self.swept_to = 0;
            }
            let Some(entry) = self.entries.get(self.swept_to) else { return };
            if entry.is_over(now) {
                self.remove(self.swept_to as u32);
            }
        }
    }
}

impl Entry {
    /// How long until the bucket is empty. What is further away than a bucket can be is long past.
    fn wait(&self, now: u32) -> u32 {
        let wait = self.due_at.wrapping_sub(now);
        if wait > WINDOW_MICROS { 0 } else { wait }
    }

    /// Whether there is nothing to remember. A free place has been forgotten already.
    fn is_over(&self, now: u32) -> bool {
        self.open == 0 && self.wait(now) == 0
    }
}

/// A hash of numbers whose key is drawn at random, so that nobody can choose addresses that collide:
/// any two do for one key in 2^64 (multiply-shift; Dietzfelbinger, "Universal hashing and k-wise
/// independent random variables via integer arithmetic without primes", 1996). A tenth of SipHash,
/// which would be a sixth of an accept.
#[derive(Debug, Clone, Copy)]
struct KeyHash {
    factor: u128,
    summand: u128,
}

impl KeyHash {
    fn new() -> Self {
        // The standard library's keys come from the system.
        let random = RandomState::new();
        let draw = |n: u8| {
            let half = |n: u8| u128::from(random.hash_one(n));
            half(2 * n) << 64 | half(2 * n + 1)
        };
        KeyHash { factor: draw(0), summand: draw(1) }
    }

    #[inline]
    fn of(self, key: u64) -> u64 {
        (self.factor.wrapping_mul(u128::from(key)).wrapping_add(self.summand) >> 64) as u64
    }
}

/// The time in microseconds that wrap after an hour.
fn micros(now: Millis) -> u32 {
    now.0.wrapping_mul(1000) as u32
}

/// One number for each address. No IPv6 address that sends begins with 31 ones: it would be a
/// multicast one (RFC 4291, 2.7).
fn pack(address: AddressKey) -> u64 {
    match address {
        AddressKey::V4(bits) => (0xffff_ffff << 32) | u64::from(bits),
        AddressKey::V6(prefix) => prefix,
        #[cfg(feature = "unix")]
        AddressKey::Unix(uid) => (0xffff_fffe << 32) | u64::from(uid),
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
        let (mut table, mut handles) = (table(2, 0), Vec::new());
        for address in [A, B] {
            handles.push(table.admit(address, Millis(0)).unwrap());
            assert!(table.admit(address, Millis(0)).is_ok());
            assert_eq!(table.admit(address, Millis(0)), Err(AddressLimit::Open));
        }
        table.release(handles[0], Millis(1));
        assert!(table.admit(A, Millis(1)).is_ok());
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
            assert!(table.admit(B, Millis(5)).is_ok(), "another address");
            let half_a_second = let_in(&mut table, 505);
            assert!(half_a_second.abs_diff(rate / 2) <= 1, "{half_a_second} of {rate}");
            assert_eq!(let_in(&mut table, 5_000), rate, "a full bucket again");
        }
    }

    #[test]
    fn bucket_is_empty_after_its_clock_has_wrapped() {
        let mut table = table(0, 1);
        assert!(table.admit(A, Millis(0)).is_ok());
        assert_eq!(table.admit(A, Millis(1)), Err(AddressLimit::Rate));
        // Four wraps of 32 bits of microseconds, and every place between.
        for minute in 1..=300 {
            assert!(table.admit(A, Millis(minute * 60_000)).is_ok(), "minute {minute}");
        }
    }

    #[test]
    fn address_that_is_over_takes_no_place() {
        let mut table = table(5, 0);
        for n in 0..10_000 {
            let handle = table.admit(AddressKey::V4(n), Millis(0)).unwrap();
            table.release(handle, Millis(0));
        }
        assert_eq!(table.len(), 0);
        assert!(table.allocated() < 64 * 32, "{} bytes", table.allocated());
    }

    #[test]
    fn refused_addresses_are_swept_out() {
        let mut table = table(0, 1);
        for n in 0..100_000u32 {
            let now = Millis(u64::from(n) / 100);
            let handle = table.admit(AddressKey::V4(n), now).unwrap();
            table.release(handle, now);
        }
        // A hundred a millisecond are remembered for a second: all of them; and a second later none.
        let full = table.len();
        assert!(full >= 100_000 / 2, "{full}");
        for n in 0..100_000u32 {
            let now = Millis(3_000 + u64::from(n) / 10);
            let handle = table.admit(AddressKey::V6(u64::from(n)), now).unwrap();
            table.release(handle, now);
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
        let mut open: HashMap<AddressKey, Vec<AddressHandle>> = HashMap::new();
        for step in 0..200_000 {
            // The number of addresses goes up and down.
            let addresses = 1 + (step / 10_000) % 7 * 300;
            let address = match random(2) {
                0 => AddressKey::V4(random(addresses) as u32),
                _ => AddressKey::V6(random(addresses) << 32),
            };
            let handles = open.entry(address).or_default();
            if random(2) == 0 {
                let admitted = table.admit(address, Millis(step));
                assert_eq!(admitted.is_ok(), handles.len() < 3);
                handles.extend(admitted);
            } else if let Some(handle) = handles.pop() {
                table.release(handle, Millis(step));
            }
            assert_eq!(table.open_of(address), handles.len() as u32, "step {step}");
            if step % 1_000 == 0 {
                let tracked = open.values().filter(|handles| !handles.is_empty()).count();
                assert_eq!(table.len(), tracked, "step {step}");
                for (address, handles) in &open {
                    assert_eq!(table.open_of(*address), handles.len() as u32, "step {step}");
                }
            }
        }
    }
}
