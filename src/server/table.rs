//! The connection table: slabs of connections in pages, each page one listener's.
//!
//! Pages instead of one growing slab, for three reasons. Growing never moves a connection and
//! never pauses to copy a million of them. Memory is in use to the page, not to the next power of
//! two. And the members of a listener are found page by page, in memory order, without a list
//! that would cost every connection eight bytes.

use slab::Slab;

use super::connection::Connection;
use super::timer_wheel::{LinkStore, TimerLinks};
use crate::conn_id::ConnId;

/// Connections a page holds. Their 56 bytes each fill a chunk of 16 KiB less what an allocator keeps in
/// it: musl's has sizes of 12.8 and 16 KiB and none between (mallocng, `size_classes`), so that 256, or any
/// power of two, would take 64 bytes each.
pub(super) const PAGE_LEN: usize = 292;
/// Lowest bits of an index, which are the slot in its page.
const SLOT_BITS: u32 = PAGE_LEN.next_power_of_two().ilog2();

/// The page of an index, and the slot in it.
pub(super) const fn place(index: u32) -> (usize, usize) {
    ((index >> SLOT_BITS) as usize, slot_of(index))
}

/// The slot of an index in its page.
const fn slot_of(index: u32) -> usize {
    (index & ((1 << SLOT_BITS) - 1)) as usize
}

/// The inverse of [`place`].
pub(super) const fn index_of(page: u32, slot: usize) -> u32 {
    (page << SLOT_BITS) | slot as u32
}

/// Every connection that has a socket, in any state.
#[derive(Debug)]
pub(super) struct Table<T> {
    pages: Vec<Page<T>>,
    /// Pages without a listener; they own no memory.
    free_pages: Vec<u32>,
    /// One entry a listener.
    listeners: Vec<ListenerPages>,
    /// Generation of the connection inserted last.
    last_generation: u32,
    len: usize,
}

/// Invariant: `has_vacancy` is true exactly when the page is in its listener's `vacant_pages`: it
/// has a listener and is not full.
#[derive(Debug)]
struct Page<T> {
    slots: Slab<Connection<T>>,
    listener: u16,
    has_vacancy: bool,
}

/// The pages of one listener.
#[derive(Debug, Default)]
struct ListenerPages {
    pages: Vec<u32>,
    /// Pages with vacancies, the one to fill next last.
    vacant_pages: Vec<u32>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Table {
            pages: Vec::new(),
            free_pages: Vec::new(),
            listeners: Vec::new(),
            last_generation: 0,
            len: 0,
        }
    }

    /// Adds an empty page list for one more listener. Listeners are numbered from 0 in this order.
    pub(super) fn add_listener(&mut self) {
        self.listeners.push(ListenerPages::default());
    }

    /// Listeners there have been at once, at most.
    pub(super) fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// Gives the pages of listener `from` to listener `to`, which has none.
    pub(super) fn move_pages(&mut self, from: usize, to: usize) {
        debug_assert!(self.listeners[to].pages.is_empty(), "listener {to} has pages");
        self.listeners.swap(from, to);
        for &number in &self.listeners[to].pages {
            self.pages[number as usize].listener = to as u16;
        }
    }

    /// Whether a listener has no connection. A page that keeps its memory may be left.
    pub(super) fn is_listener_empty(&self, listener: usize) -> bool {
        let pages = &self.listeners[listener].pages;
        pages.iter().all(|&number| self.pages[number as usize].slots.is_empty())
    }

    /// Frees the pages of a listener without connections.
    pub(super) fn free_pages(&mut self, listener: usize) {
        let ListenerPages { pages, .. } = std::mem::take(&mut self.listeners[listener]);
        for &number in &pages {
            let page = &mut self.pages[number as usize];
            debug_assert!(page.slots.is_empty(), "page {number} has connections");
            page.slots = Slab::new();
            page.has_vacancy = false;
        }
        self.free_pages.extend(pages);
    }

    /// Connections in the table.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated for pages.
    pub(super) fn allocated(&self) -> usize {
        let pages = self.pages.len() - self.free_pages.len();
        pages * PAGE_LEN * size_of::<Connection<T>>() + self.pages.capacity() * size_of::<Page<T>>()
    }

    /// Inserts the connection that `make` builds, for a listener.
    pub(super) fn insert(
        &mut self,
        listener: u16,
        make: impl FnOnce(ConnId) -> Connection<T>,
    ) -> ConnId {
        let number = match self.listeners[usize::from(listener)].vacant_pages.last() {
            Some(&number) => number,
            None => self.take_page(listener),
        };
        let page = &mut self.pages[number as usize];
        // Never 0, so that no live id equals an all-zero event.
        self.last_generation = self.last_generation.checked_add(1).unwrap_or(1);
        let index = index_of(number, page.slots.vacant_key());
        let id = ConnId { index, generation: self.last_generation };
        page.slots.insert(make(id));
        self.len += 1;
        if page.slots.len() == PAGE_LEN {
            page.has_vacancy = false;
            self.listeners[usize::from(listener)].vacant_pages.pop();
        }
        id
    }

    /// The connection `id` names, unless it has gone.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<T>> {
        let (number, slot) = place(id.index);
        let page = self.pages.get_mut(number)?;
        let conn = page.slots.get_mut(slot)?;
        (conn.session.generation() == id.generation).then_some(conn)
    }

    /// The connection `id` names, and the number of its listener.
    #[inline]
    pub(super) fn find(&mut self, id: ConnId) -> Option<(&mut Connection<T>, usize)> {
        let (number, slot) = place(id.index);
        let page = self.pages.get_mut(number)?;
        let conn = page.slots.get_mut(slot)?;
        let is_same = conn.session.generation() == id.generation;
        is_same.then_some((conn, usize::from(page.listener)))
    }

    /// The number of the listener of the connection at `index`.
    pub(super) fn listener_of(&self, index: u32) -> usize {
        usize::from(self.pages[place(index).0].listener)
    }

    /// The id of whatever connection is at `index`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn id_at(&self, index: u32) -> ConnId {
        let (number, slot) = place(index);
        ConnId { index, generation: self.pages[number].slots[slot].session.generation() }
    }

    /// Takes out the connection `id` names.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection<T>> {
        self.get_mut(id)?;
        let (at, slot) = place(id.index);
        let (number, page) = (at as u32, &mut self.pages[at]);
        let conn = page.slots.remove(slot);
        self.len -= 1;
        let listener = &mut self.listeners[usize::from(page.listener)];
        if !page.has_vacancy {
            page.has_vacancy = true;
            listener.vacant_pages.push(number);
        }
        // The last vacant page is kept, so that a lone client that comes and goes costs no page.
        if page.slots.is_empty() && listener.vacant_pages.len() > 1 {
            page.slots = Slab::new();
            page.has_vacancy = false;
            listener.vacant_pages.retain(|&other| other != number);
            // Only a running fan-out depends on page order; see `Fanout`.
            let at = listener.pages.iter().position(|&other| other == number);
            listener.pages.swap_remove(at.expect("a page stands in its listener's list"));
            self.free_pages.push(number);
        }
        Some(conn)
    }

    /// Pages, those that are free included.
    #[cfg(feature = "admin")]
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The listener of a page; `None` for one that is empty.
    #[cfg(feature = "admin")]
    pub(super) fn page_listener(&self, number: usize) -> Option<usize> {
        let page = &self.pages[number];
        (!page.slots.is_empty()).then_some(usize::from(page.listener))
    }

    /// The connections of a page, with their ids, by ascending index.
    #[cfg(feature = "admin")]
    pub(super) fn page(&self, number: usize) -> impl Iterator<Item = (ConnId, &Connection<T>)> {
        self.pages[number].slots.iter().map(move |(slot, conn)| {
            let index = index_of(number as u32, slot);
            (ConnId { index, generation: conn.session.generation() }, conn)
        })
    }

    /// How many pages `listener` has.
    pub(super) fn page_count(&self, listener: usize) -> usize {
        self.listeners[listener].pages.len()
    }

    /// Which page of the table is the `at`th of `listener`.
    pub(super) fn page_number(&self, listener: usize, at: usize) -> u32 {
        self.listeners[listener].pages[at]
    }

    /// Connections of a page.
    pub(super) fn page_len(&self, number: u32) -> usize {
        self.pages[number as usize].slots.len()
    }

    /// The connection in a slot of a page, and its id.
    pub(super) fn slot_mut(
        &mut self,
        number: u32,
        slot: usize,
    ) -> Option<(ConnId, &mut Connection<T>)> {
        let conn = self.pages[number as usize].slots.get_mut(slot)?;
        let generation = conn.session.generation();
        Some((ConnId { index: index_of(number, slot), generation }, conn))
    }

    /// The connections of the `at`th page of `listener`, with their ids, by ascending index.
    pub(super) fn page_mut(
        &mut self,
        listener: usize,
        at: usize,
    ) -> impl Iterator<Item = (ConnId, &mut Connection<T>)> {
        let number = self.listeners[listener].pages[at];
        self.pages[number as usize].slots.iter_mut().map(move |(slot, conn)| {
            let index = index_of(number, slot);
            (ConnId { index, generation: conn.session.generation() }, conn)
        })
    }

    /// The ids of one page.
    #[inline(never)]
    pub(super) fn page_ids(&mut self, listener: usize, at: usize) -> Vec<ConnId> {
        self.page_mut(listener, at).map(|(id, _)| id).collect()
    }

    /// All connections with their ids, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection<T>)> {
        self.pages.iter().enumerate().flat_map(|(number, page)| {
            page.slots.iter().map(move |(slot, conn)| {
                let index = index_of(number as u32, slot);
                (ConnId { index, generation: conn.session.generation() }, conn)
            })
        })
    }

    /// Mutable [`iter`](Self::iter).
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Connection<T>)> {
        self.pages.iter_mut().enumerate().flat_map(|(number, page)| {
            page.slots.iter_mut().map(move |(slot, conn)| {
                let index = index_of(number as u32, slot);
                (ConnId { index, generation: conn.session.generation() }, conn)
            })
        })
    }

    /// All ids, in no particular order.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.iter().map(|(id, _)| id).collect()
    }

    fn take_page(&mut self, listener: u16) -> u32 {
        let number = self.free_pages.pop().unwrap_or_else(|| {
            self.pages.push(Page { slots: Slab::new(), listener, has_vacancy: false });
            self.pages.len() as u32 - 1
        });
        let slots = Slab::with_capacity(PAGE_LEN);
        self.pages[number as usize] = Page { slots, listener, has_vacancy: true };
        let listener = &mut self.listeners[usize::from(listener)];
        listener.pages.push(number);
        listener.vacant_pages.push(number);
        number
    }
}

impl<T> LinkStore for Table<T> {
    fn links(&mut self, index: u32) -> &mut TimerLinks {
        let (number, slot) = place(index);
        &mut self.pages[number].slots[slot].timer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BroadcastLog;
    use crate::clock::Millis;
    use crate::protocol::PrefixedProtocol;
    use crate::session::Session;

    fn conn(id: ConnId) -> Connection<u32> {
        let log = BroadcastLog::new(0);
        let session = Session::new(id.generation, &PrefixedProtocol.into(), Millis(0), &log);
        Connection::new(0, session)
    }

    fn fill(table: &mut Table<u32>, listener: u16, n: usize) -> Vec<ConnId> {
        (0..n).map(|_| table.insert(listener, conn)).collect()
    }

    fn table(listeners: usize) -> Table<u32> {
        let mut table = Table::new();
        (0..listeners).for_each(|_| table.add_listener());
        table
    }

    #[test]
    fn reused_slot_rejects_the_old_id() {
        let mut table = table(1);
        let old = fill(&mut table, 0, 1)[0];
        table.remove(old);
        let new = fill(&mut table, 0, 1)[0];
        assert_eq!(old.index, new.index, "the slot is reused");
        assert!(table.get_mut(old).is_none());
        assert!(table.remove(old).is_none());
        assert!(table.get_mut(new).is_some());
    }

    #[test]
    fn generations_skip_zero_when_they_wrap() {
        let mut table = table(1);
        table.last_generation = u32::MAX;
        assert_eq!(fill(&mut table, 0, 1)[0].generation, 1);
    }

    #[test]
    fn each_listener_finds_its_own_members_page_by_page() {
        let mut table = table(2);
        let mut expected = [Vec::new(), Vec::new()];
        for round in 0..1000 {
            let listener = round % 3 % 2;
            expected[listener].extend(fill(&mut table, listener as u16, 1));
        }
        for (listener, expected) in expected.iter_mut().enumerate() {
            let mut found = Vec::new();
            for at in 0..table.page_count(listener) {
                found.extend(table.page_mut(listener, at).map(|(id, _)| id));
            }
            found.sort();
            expected.sort();
            assert_eq!(&found, expected);
        }
        assert_eq!(table.ids().len(), 1000);
    }

    #[test]
    fn empty_pages_give_their_memory_back() {
        let kept = allocation_counter::measure(|| {
            let mut table = table(1);
            for id in fill(&mut table, 0, 100 * PAGE_LEN) {
                table.remove(id);
            }
            assert_eq!((table.len(), table.page_count(0)), (0, 1));
            std::mem::forget(table);
        });
        let page = (PAGE_LEN * size_of::<Connection<u32>>()) as i64;
        assert!(kept.bytes_current < page + 16_384, "{} bytes kept", kept.bytes_current);
    }

    #[test]
    fn pages_freed_by_one_listener_serve_another() {
        let mut table = table(2);
        for id in fill(&mut table, 0, 4 * PAGE_LEN) {
            table.remove(id);
        }
        fill(&mut table, 1, 3 * PAGE_LEN);
        assert_eq!(table.pages.len(), 4);
    }

    #[test]
    fn page_fills_what_an_allocator_takes_for_it() {
        let (bytes, chunk) = (PAGE_LEN * size_of::<Connection<u32>>(), 16_368 - 4);
        assert!(bytes <= chunk && chunk - bytes < size_of::<Connection<u32>>(), "{bytes} bytes");
        assert_eq!(place(index_of(3, PAGE_LEN - 1)), (3, PAGE_LEN - 1));
    }

    /// The bar of docs/benchmarks.md: one cache line each, the table's own overhead included.
    #[test]
    fn idle_connection_costs_less_than_a_cache_line() {
        const N: usize = 19_000;
        let kept = allocation_counter::measure(|| {
            let mut table = table(1);
            fill(&mut table, 0, N);
            std::mem::forget(table);
        });
        let each = kept.bytes_current as f64 / N as f64;
        assert!(each <= 64.0, "{each} bytes a connection");
    }

    #[test]
    fn page_given_back_is_neither_filled_nor_walked() {
        let mut table = table(1);
        let ids = fill(&mut table, 0, 2 * PAGE_LEN);
        // One place on the first page, and all of the second.
        let (mut expected, gone) = (ids[..PAGE_LEN - 1].to_vec(), &ids[PAGE_LEN - 1..]);
        for &id in gone {
            table.remove(id);
        }
        expected.extend(fill(&mut table, 0, 1));
        assert_eq!(table.page_count(0), 1);
        let found: Vec<ConnId> = table.page_mut(0, 0).map(|(id, _)| id).collect();
        assert_eq!(found, expected);
    }
}
