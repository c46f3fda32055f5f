//! Unfinished handshakes: how many there are of whom, and whose turn is next.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use crate::address::AddressKey;
use crate::conn_id::ConnId;

/// Connections whose handshake is not over, by address.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    /// Their slots, the oldest first.
    by_address: HashMap<AddressKey, VecDeque<u32>>,
    /// The addresses by how many they have: at the bound, each accept asks for the last of them.
    by_count: BTreeSet<(usize, AddressKey)>,
    count: usize,
}

impl Unopened {
    pub(super) fn insert(&mut self, address: AddressKey, index: u32) {
        let slots = self.by_address.entry(address).or_default();
        slots.push_back(index);
        self.count += 1;
        self.by_count.remove(&(slots.len() - 1, address));
        self.by_count.insert((slots.len(), address));
    }

    pub(super) fn remove(&mut self, address: AddressKey, index: u32) {
        let Some(slots) = self.by_address.get_mut(&address) else { return };
        let Some(at) = slots.iter().position(|&slot| slot == index) else { return };
        slots.remove(at);
        self.count -= 1;
        self.by_count.remove(&(slots.len() + 1, address));
        if slots.is_empty() {
            self.by_address.remove(&address);
        } else {
            self.by_count.insert((slots.len(), address));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The oldest of the address that has most.
    pub(super) fn first_to_go(&self) -> Option<u32> {
        let (_, address) = self.by_count.last()?;
        self.by_address.get(address)?.front().copied()
    }
}

/// Connections whose handshake can go on; those that were accepted first are first.
#[derive(Debug, Default)]
pub(super) struct HandshakeQueue(BinaryHeap<Reverse<(u32, u32)>>);

impl HandshakeQueue {
    pub(super) fn push(&mut self, id: ConnId) {
        self.0.push(Reverse((id.generation, id.index)));
    }

    pub(super) fn pop(&mut self) -> Option<ConnId> {
        const LOOKED_AT_MAX: usize = 64;
        let id = self.0.pop().map(|Reverse((generation, index))| ConnId { index, generation });
        // Nobody goes on while one that came earlier waits, and so nobody twice.
        debug_assert!(
            self.iter().take(LOOKED_AT_MAX).all(|other| id
                .is_some_and(|id| { (id.generation, id.index) < (other.generation, other.index) })),
            "{id:?} is not the first of those who wait"
        );
        id
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ConnId> {
        self.0.iter().map(|&Reverse((generation, index))| ConnId { index, generation })
    }

    /// Gives the memory of a crowd back once it has gone.
    pub(super) fn free_if_empty(&mut self) {
        const KEPT_MAX: usize = 1024;
        if self.0.is_empty() && self.0.capacity() > KEPT_MAX {
            self.0 = BinaryHeap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> AddressKey {
        AddressKey::V4(n)
    }

    #[test]
    fn oldest_of_the_address_that_has_most_goes_first() {
        let mut unopened = Unopened::default();
        for (from, index) in [(1, 10), (2, 20), (2, 21), (1, 11), (2, 22)] {
            unopened.insert(address(from), index);
        }
        assert_eq!((unopened.first_to_go(), unopened.len()), (Some(20), 5));
        unopened.remove(address(2), 20);
        unopened.remove(address(2), 22);
        assert_eq!(unopened.first_to_go(), Some(10));
        for (from, index) in [(1, 10), (1, 11), (2, 21), (2, 21)] {
            unopened.remove(address(from), index);
        }
        assert_eq!((unopened.first_to_go(), unopened.len()), (None, 0));
        assert!(unopened.by_address.is_empty() && unopened.by_count.is_empty());
    }

    #[test]
    fn handshakes_go_on_in_the_order_of_accepts() {
        let mut queue = HandshakeQueue::default();
        for (index, generation) in [(5, 30), (9, 10), (1, 20)] {
            queue.push(ConnId { index, generation });
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|id| id.index).collect();
        assert_eq!(order, [9, 1, 5]);
    }
}
