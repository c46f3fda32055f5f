//! Values that some connections have beside their slots, found by slot. Others cost nothing: a page
//! is made for the first connection of the table's page that has one, and freed with the last.

use super::table::{PAGE_LEN, place};

pub(super) struct SideTable<V> {
    /// By the number of the table's page.
    pages: Vec<Option<Page<V>>>,
    /// Pages that there are.
    page_count: usize,
}

struct Page<V> {
    slots: Box<[Option<V>]>,
    used: usize,
}

impl<V> SideTable<V> {
    pub(super) const fn new() -> Self {
        SideTable { pages: Vec::new(), page_count: 0 }
    }

    /// Bytes allocated.
    pub(super) fn allocated(&self) -> usize {
        self.page_count * PAGE_LEN * size_of::<Option<V>>()
            + self.pages.capacity() * size_of::<Option<Page<V>>>()
    }

    /// Adds the value of a connection that has none.
    pub(super) fn insert(&mut self, index: u32, value: V) {
        let (number, slot) = place(index);
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| {
            self.page_count += 1;
            Page { slots: (0..PAGE_LEN).map(|_| None).collect(), used: 0 }
        });
        debug_assert!(page.slots[slot].is_none(), "slot {index} has a value already");
        page.slots[slot] = Some(value);
        page.used += 1;
    }

    pub(super) fn get(&self, index: u32) -> Option<&V> {
        let (number, slot) = place(index);
        self.pages.get(number)?.as_ref()?.slots[slot].as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut V> {
        let (number, slot) = place(index);
        self.pages.get_mut(number)?.as_mut()?.slots[slot].as_mut()
    }

    /// Takes out the value of a connection, if it has one.
    pub(super) fn take(&mut self, index: u32) -> Option<V> {
        let (number, slot) = place(index);
        let page = self.pages.get_mut(number)?.as_mut()?;
        let value = page.slots[slot].take()?;
        page.used -= 1;
        if page.used == 0 {
            self.pages[number] = None;
            self.page_count -= 1;
        }
        Some(value)
    }

    /// Connections that have a value: for invariants.
    pub(super) fn len(&self) -> usize {
        self.pages.iter().flatten().map(|page| page.used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::index_of;
    use super::*;

    #[test]
    fn page_is_freed_with_its_last_value() {
        let mut table = SideTable::new();
        let far = index_of(3, 7);
        for (index, value) in [(0, 'a'), (far, 'b'), (far + 1, 'c')] {
            table.insert(index, value);
        }
        assert_eq!((table.get(far), table.get(1), table.len()), (Some(&'b'), None, 3));
        let with_two_pages = table.allocated();
        assert_eq!((table.take(far), table.take(far)), (Some('b'), None));
        assert_eq!(table.allocated(), with_two_pages);
        assert_eq!(table.take(far + 1), Some('c'));
        assert_eq!(with_two_pages - table.allocated(), PAGE_LEN * size_of::<Option<char>>());
        assert_eq!((table.get(0), table.len()), (Some(&'a'), 1));
    }
}
