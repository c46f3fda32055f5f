//! The members that a room has on other nodes, as those have told: 64 bytes each at most.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::HashTable;
use slab::Slab;

use super::sorted_keys::SortedKeys;
use crate::limits::REMOTE_MEMBERS_MAX;
use crate::protocol::cluster::NodeNumber;
use crate::protocol::nickname::{Folded, Nickname};

/// Most members who leave or come together and are named one by one.
pub(super) const NAMED_MAX: usize = 20;

/// Members looked at in one step of a sweep: to remove them all takes half a millisecond or so.
const SWEEP_STEP: usize = 512;

/// The members of one room on other nodes.
///
/// Invariants: each member is in both indexes once; a node has no two of one nickname; each node's
/// count is that of its members.
#[derive(Debug, Default)]
pub struct Roster {
    slots: Slab<RemoteMember>,
    by_nick: HashTable<NickEntry>,
    sorted: SortedKeys<u32>,
    nodes: HashMap<NodeNumber, NodeMembers>,
    /// Something has changed since [`take_changed`](Self::take_changed).
    is_changed: bool,
    hasher: RandomState,
}

#[derive(Debug)]
struct RemoteMember {
    nick: CompactString,
    node: NodeNumber,
    /// The snapshot of its node that it was in.
    snapshot: bool,
}

/// As in `members`: half of the hash is kept.
#[derive(Debug, Clone, Copy)]
struct NickEntry {
    hash: u32,
    key: u32,
}

/// Knowledge of one node's members.
#[derive(Debug, Default)]
struct NodeMembers {
    count: usize,
    /// It is not heard any more: its members are shown to nobody, and are on their way out.
    is_gone: bool,
    /// All its members have been told once.
    is_known: bool,
    /// Those that a snapshot confirms have this mark.
    snapshot: bool,
    /// Members that a snapshot has told and nobody knew.
    fresh: Departed,
    /// The search for members that have gone.
    sweep: Option<Sweep>,
}

/// Some members who left, or came, together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub nicks: Vec<CompactString>,
}

impl Departed {
    fn add(&mut self, nick: &CompactString) {
        self.count += 1;
        if self.nicks.len() < NAMED_MAX {
            self.nicks.push(nick.clone());
        }
    }
}

/// A search for the members of a node that have gone, as far as it has come.
#[derive(Debug, Default)]
struct Sweep {
    at: usize,
    left: Departed,
}

impl Roster {
    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let present = self.nodes.values().filter(|node| !node.is_gone);
        present.map(|node| node.count).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members one node has.
    #[must_use]
    pub fn len_of(&self, node: NodeNumber) -> usize {
        self.nodes.get(&node).filter(|node| !node.is_gone).map_or(0, |node| node.count)
    }

    /// Whether members have come or gone since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// The member whose nickname equals `nick`, which may be any text, and its node.
    #[must_use]
    pub fn find(&self, nick: &str) -> Option<(NodeNumber, &str)> {
        let folded = Folded::of(nick)?;
        let found = self.entries(&folded).map(|key| &self.slots[key as usize]);
        found.filter(|member| self.is_present(member.node)).map(|m| (m.node, &*m.nick)).next()
    }

    /// Adds a member of a node, or confirms one. Returns whether it is new.
    pub fn insert(&mut self, node: NodeNumber, nickname: &Nickname<'_>) -> bool {
        let members = self.nodes.entry(node).or_default();
        // Whoever was hidden has been swept out.
        members.is_gone = false;
        let snapshot = members.snapshot;
        let known = self.key_of(node, nickname.folded());
        if let Some(key) = known {
            let member = &mut self.slots[key as usize];
            if member.nick == nickname.text() {
                member.snapshot = snapshot;
                return false;
            }
            // One who wrote it otherwise has left and come again, or made way, unheard.
            self.remove_key(key);
        }
        if self.slots.len() >= REMOTE_MEMBERS_MAX {
            return false;
        }
        let nick = CompactString::from(nickname.text());
        let key = self.slots.insert(RemoteMember { nick, node, snapshot }) as u32;
        let entry = NickEntry { hash: self.hash(nickname.folded()), key };
        self.by_nick.insert_unique(entry.table_hash(), entry, NickEntry::table_hash);
        let slots = &self.slots;
        self.sorted.insert(key, |other| order(slots, other, (nickname.text(), node)));
        self.nodes.entry(node).or_default().count += 1;
        self.is_changed = true;
        known.is_none()
    }

    /// Removes a member of a node. Returns whether it was there.
    pub fn remove(&mut self, node: NodeNumber, nick: &str) -> bool {
        let key = Folded::of(nick).and_then(|folded| self.key_of(node, &folded));
        key.inspect(|key| self.remove_key(*key)).is_some()
    }

    /// A node tells all its members: those it does not confirm have gone.
    pub fn begin_snapshot(&mut self, node: NodeNumber) {
        let members = self.nodes.entry(node).or_default();
        members.snapshot = !members.snapshot;
        members.fresh = Departed::default();
        members.is_gone = false;
    }

    /// A member is confirmed by a snapshot.
    pub fn confirm(&mut self, node: NodeNumber, nickname: &Nickname<'_>) {
        if self.insert(node, nickname)
            && let Some(members) = self.nodes.get_mut(&node)
            && members.is_known
        {
            members.fresh.add(&CompactString::from(nickname.text()));
        }
    }

    /// A node has told all its members. Returns those that nobody knew, once; nobody is to be told
    /// of those that were there before this node.
    pub fn end_snapshot(&mut self, node: NodeNumber) -> Departed {
        let members = self.nodes.entry(node).or_default();
        members.is_known = true;
        std::mem::take(&mut members.fresh)
    }

    /// A node is not heard any more: its members are not there from now on.
    pub fn hide(&mut self, node: NodeNumber) {
        if let Some(members) = self.nodes.get_mut(&node)
            && !std::mem::replace(&mut members.is_gone, true)
        {
            members.snapshot = !members.snapshot;
            self.is_changed = true;
        }
    }

    /// Removes some of a node's members that no snapshot has confirmed. Returns them when it has
    /// looked at all; until then it is to be called again, and nothing else for that node.
    pub fn sweep(&mut self, node: NodeNumber) -> Option<Departed> {
        let Some(members) = self.nodes.get_mut(&node) else { return Some(Departed::default()) };
        let snapshot = members.snapshot;
        let mut sweep = members.sweep.take().unwrap_or_default();
        let end = (sweep.at + SWEEP_STEP).min(self.slots.capacity());
        for key in sweep.at..end {
            let has_gone =
                |member: &&RemoteMember| member.node == node && member.snapshot != snapshot;
            if let Some(member) = self.slots.get(key).filter(has_gone) {
                sweep.left.add(&member.nick);
                self.remove_key(key as u32);
            }
        }
        sweep.at = end;
        if end < self.slots.capacity() {
            self.nodes.entry(node).or_default().sweep = Some(sweep);
            return None;
        }
        if self.slots.is_empty() {
            self.slots = Slab::new();
            self.by_nick = HashTable::new();
            self.sorted = SortedKeys::default();
        }
        Some(sweep.left)
    }

    /// A number stands for another node from now on, whose members nobody knows.
    pub fn forget(&mut self, node: NodeNumber) {
        if self.len_of(node) == 0 {
            self.nodes.remove(&node);
        }
    }

    /// The nicknames of the members in order.
    pub fn nicks(&self) -> impl Iterator<Item = &str> {
        let members = self.sorted.iter().map(|key| &self.slots[key as usize]);
        members.filter(|member| self.is_present(member.node)).map(|member| &*member.nick)
    }

    /// The nicknames of one node's members.
    pub fn nicks_of(&self, node: NodeNumber) -> impl Iterator<Item = &str> {
        let members = self.slots.iter().map(|(_, member)| member);
        members.filter(move |member| member.node == node).map(|member| &*member.nick)
    }

    /// Bytes allocated, less the nicknames of more than 24 bytes.
    #[must_use]
    pub fn allocated(&self) -> usize {
        // A slot has its key while it is vacant.
        self.slots.capacity() * size_of::<RemoteMember>()
            + self.by_nick.allocation_size()
            + self.sorted.allocated()
    }

    /// Checks the invariants.
    ///
    /// # Panics
    ///
    /// If they do not hold.
    pub fn assert_invariants(&self) {
        assert_eq!(self.by_nick.len(), self.slots.len());
        self.sorted.assert_invariants();
        let sorted: Vec<_> = self.sorted.iter().map(|key| &self.slots[key as usize]).collect();
        assert_eq!(sorted.len(), self.slots.len());
        assert!(sorted.is_sorted_by_key(|member| (&member.nick, member.node)));
        for (number, node) in &self.nodes {
            assert_eq!(self.nicks_of(*number).count(), node.count, "members of node {number}");
        }
        for (key, member) in &self.slots {
            let folded = Folded::of(&member.nick).expect("members have valid nicknames");
            assert_eq!(self.key_of(member.node, &folded), Some(key as u32), "{}", member.nick);
        }
    }

    fn is_present(&self, node: NodeNumber) -> bool {
        self.nodes.get(&node).is_some_and(|node| !node.is_gone)
    }

    fn hash(&self, folded: &Folded) -> u32 {
        self.hasher.hash_one(folded.as_str()) as u32
    }

    /// The keys of members with a nickname, whatever their nodes.
    fn entries<'a>(&'a self, folded: &'a Folded) -> impl Iterator<Item = u32> + 'a {
        let wanted = NickEntry { hash: self.hash(folded), key: 0 };
        let found = self.by_nick.iter_hash(wanted.table_hash()).copied();
        let is_equal = move |entry: &NickEntry| {
            let nick = &self.slots[entry.key as usize].nick;
            entry.hash == wanted.hash && Folded::of(nick).as_ref() == Some(folded)
        };
        found.filter(is_equal).map(|entry| entry.key)
    }

    fn key_of(&self, node: NodeNumber, folded: &Folded) -> Option<u32> {
        self.entries(folded).find(|key| self.slots[*key as usize].node == node)
    }

    fn remove_key(&mut self, key: u32) {
        let Roster { slots, by_nick, sorted, hasher, .. } = self;
        let RemoteMember { nick, node, .. } = &slots[key as usize];
        sorted.remove(|other| order(slots, other, (nick, *node)));
        let folded = Folded::of(nick).expect("members have valid nicknames");
        let entry = NickEntry { hash: hasher.hash_one(folded.as_str()) as u32, key };
        let entry = by_nick.find_entry(entry.table_hash(), |other| other.key == key);
        entry.expect("every slot is in the table").remove();
        let member = slots.remove(key as usize);
        if let Some(node) = self.nodes.get_mut(&member.node) {
            node.count -= 1;
        }
        self.is_changed = true;
    }
}

/// Compares a member with another by nickname, and by node where two have one.
fn order(slots: &Slab<RemoteMember>, key: u32, (nick, node): (&str, NodeNumber)) -> Ordering {
    let member = &slots[key as usize];
    (*member.nick).cmp(nick).then(member.node.cmp(&node))
}

impl NickEntry {
    fn table_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nickname(text: &str) -> Nickname<'_> {
        Nickname::parse(text).expect("a nickname")
    }

    fn insert(roster: &mut Roster, node: NodeNumber, nick: &str) -> bool {
        roster.insert(node, &nickname(nick))
    }

    fn swept(roster: &mut Roster, node: NodeNumber) -> Departed {
        loop {
            if let Some(left) = roster.sweep(node) {
                roster.assert_invariants();
                return left;
            }
        }
    }

    fn nicks(roster: &Roster) -> Vec<&str> {
        roster.nicks().collect()
    }

    #[test]
    fn members_are_found_and_listed_across_nodes() {
        let mut roster = Roster::default();
        assert!(insert(&mut roster, 1, "Bob"));
        assert!(insert(&mut roster, 2, "ann"));
        assert!(!insert(&mut roster, 1, "BOB"), "once");
        assert!(insert(&mut roster, 2, "bob"), "two nodes may have one for a moment");
        roster.assert_invariants();
        assert_eq!(nicks(&roster), ["BOB", "ann", "bob"], "as it was written last");
        assert_eq!(roster.find("ANN"), Some((2, "ann")));
        assert!(roster.remove(1, "bOb") && !roster.remove(1, "Bob"));
        assert_eq!((roster.find("Bob"), roster.len()), (Some((2, "bob")), 2));
        roster.assert_invariants();
    }

    #[test]
    fn hidden_node_is_swept_out() {
        let mut roster = Roster::default();
        for number in 0..10_000 {
            insert(&mut roster, 1 + number % 2, &format!("nick{number}"));
        }
        roster.hide(1);
        assert_eq!((roster.len(), roster.find("nick0"), roster.len_of(1)), (5_000, None, 0));
        let left = swept(&mut roster, 1);
        assert_eq!((left.count, left.nicks.len()), (5_000, NAMED_MAX));
        assert_eq!(roster.nicks_of(1).count(), 0);
        roster.hide(2);
        swept(&mut roster, 2);
        assert_eq!((roster.allocated(), roster.len()), (0, 0));
    }

    #[test]
    fn snapshot_says_who_has_gone_and_who_is_new() {
        let mut roster = Roster::default();
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("ann"));
        roster.confirm(1, &nickname("bob"));
        assert_eq!(roster.end_snapshot(1), Departed::default(), "they were there before");
        assert_eq!(swept(&mut roster, 1), Departed::default());
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("bob"));
        insert(&mut roster, 1, "joined");
        roster.confirm(1, &nickname("eve"));
        let fresh = roster.end_snapshot(1);
        assert_eq!((fresh.count, &*fresh.nicks[0]), (1, "eve"));
        let left = swept(&mut roster, 1);
        assert_eq!((left.count, &*left.nicks[0]), (1, "ann"));
        assert_eq!(nicks(&roster), ["bob", "eve", "joined"]);
    }

    #[test]
    fn snapshot_says_how_a_nickname_is_written() {
        let mut roster = Roster::default();
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("ann"));
        roster.end_snapshot(1);
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("Ann"));
        assert_eq!(roster.end_snapshot(1), Departed::default(), "nobody is new");
        assert_eq!(swept(&mut roster, 1), Departed::default());
        assert_eq!((nicks(&roster), roster.find("ann")), (vec!["Ann"], Some((1, "Ann"))));
    }

    #[test]
    fn node_that_comes_back_is_shown_again() {
        let mut roster = Roster::default();
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("ann"));
        roster.end_snapshot(1);
        roster.hide(1);
        assert_eq!(swept(&mut roster, 1).count, 1);
        roster.begin_snapshot(1);
        roster.confirm(1, &nickname("ann"));
        assert_eq!(roster.end_snapshot(1).count, 1, "she had left");
        assert_eq!(nicks(&roster), ["ann"]);
    }

    #[test]
    fn remote_member_takes_64_bytes_at_most() {
        let mut roster = Roster::default();
        for number in 0..1_000_000 {
            insert(&mut roster, number as u16 % 10, &format!("member-{number:07}"));
        }
        let each = roster.allocated() as f64 / 1e6;
        assert!(each <= 64.0, "{each}");
    }
}
