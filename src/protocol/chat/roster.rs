//! The members that a room has on other nodes, as those have told: 64 bytes each at most.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::HashTable;
use slab::Slab;

use super::members::Members;
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
    by_nick: NickIndex,
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
    snapshot: u8,
    /// A snapshot that has not come to its end has it, and the room was not told.
    is_untold: bool,
}

/// As in `members`: half of the hash is kept.
#[derive(Debug, Clone, Copy)]
struct NickEntry {
    hash: u32,
    key: u32,
}

/// The index of nicknames, in parts by their hashes: a table that grows moves all of its entries at once,
/// which where there are a million takes longer than a turn may.
#[derive(Debug, Default)]
struct NickIndex {
    /// [`PARTS`](Self::PARTS) of them, or none while there is no entry.
    parts: Vec<HashTable<NickEntry>>,
}

/// Knowledge of one node's members.
#[derive(Debug, Default)]
struct NodeMembers {
    count: usize,
    /// It is not heard any more: its members are shown to nobody, and are on their way out.
    is_gone: bool,
    /// Its members have been told once, or it began after this node: those that are new have come.
    is_known: bool,
    /// Those that a snapshot confirms have this mark. A snapshot that has not come to its end leaves its
    /// own.
    snapshot: u8,
    /// The search for members that have gone, and for new ones.
    sweep: Option<Sweep>,
}

/// Members who have left a node, and come, as a search has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Those who have left.
    pub left: Group,
    /// Those who have come.
    pub joined: Group,
}

/// Some members who left, or came, together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub nicks: Vec<CompactString>,
}

impl Group {
    fn add(&mut self, nick: &CompactString) {
        self.count += 1;
        if self.nicks.len() < NAMED_MAX {
            self.nicks.push(nick.clone());
        }
    }
}

/// A search through the members of a node, as far as it has come.
#[derive(Debug, Default)]
struct Sweep {
    at: usize,
    swept: Swept,
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

    /// The member whose nickname equals `nick`, which may be any text, and its node: that of the
    /// lowest number where several have one.
    #[must_use]
    pub fn find(&self, nick: &str) -> Option<(NodeNumber, &str)> {
        let folded = Folded::of(nick)?;
        let found = self.entries(&folded).map(|key| &self.slots[key as usize]);
        let present = found.filter(|member| self.is_present(member.node));
        present.map(|member| (member.node, &*member.nick)).min_by_key(|(node, _)| *node)
    }

    /// Adds a member of a node, or confirms one. Returns whether the room was not told of it.
    pub fn insert(&mut self, node: NodeNumber, nickname: &Nickname<'_>) -> bool {
        self.put(node, nickname, false)
    }

    fn put(&mut self, node: NodeNumber, nickname: &Nickname<'_>, mut is_untold: bool) -> bool {
        let members = self.nodes.entry(node).or_default();
        // Whoever was hidden has been swept out.
        members.is_gone = false;
        let snapshot = members.snapshot;
        let mut was_untold = true;
        if let Some(key) = self.key_of(node, nickname.folded()) {
            let member = &mut self.slots[key as usize];
            was_untold = member.is_untold;
            is_untold &= was_untold;
            if member.nick == nickname.text() {
                (member.snapshot, member.is_untold) = (snapshot, is_untold);
                return was_untold;
            }
            // One who wrote it otherwise has left and come again, or made way, unheard.
            self.remove_key(key);
        }
        if self.slots.len() >= REMOTE_MEMBERS_MAX {
            return false;
        }
        let nick = CompactString::from(nickname.text());
        let key = self.slots.insert(RemoteMember { nick, node, snapshot, is_untold }) as u32;
        let entry = NickEntry { hash: self.hash(nickname.folded()), key };
        self.by_nick.insert(entry);
        let slots = &self.slots;
        self.sorted.insert(key, |other| order(slots, other, (nickname.text(), node)));
        self.nodes.entry(node).or_default().count += 1;
        self.is_changed = true;
        was_untold
    }

    /// Removes a member of a node. Returns whether it was there, as the room was told.
    pub fn remove(&mut self, node: NodeNumber, nick: &str) -> bool {
        let key = Folded::of(nick).and_then(|folded| self.key_of(node, &folded));
        key.is_some_and(|key| !self.remove_key(key).is_untold)
    }

    /// A node tells all its members: those it does not confirm have gone.
    ///
    /// Where this node `has_settled`, whoever is new in it has come; else they were there before.
    pub fn begin_snapshot(&mut self, node: NodeNumber, has_settled: bool) {
        let members = self.nodes.entry(node).or_default();
        members.is_known |= has_settled;
        members.snapshot = members.snapshot.wrapping_add(1);
        members.is_gone = false;
    }

    /// A member is confirmed by a snapshot. The room is told of one that is new at the snapshot's end,
    /// unless another one, `here` or on a third node, has its nickname; and not of those that were there
    /// before this node.
    pub fn confirm(&mut self, node: NodeNumber, nickname: &Nickname<'_>, here: &Members) {
        let folded = nickname.folded();
        let is_untold = self.nodes.get(&node).is_some_and(|members| members.is_known)
            && here.find_folded(folded).is_none()
            && !self.is_on_another(node, folded);
        self.put(node, nickname, is_untold);
    }

    /// A node has told all its members, and those that have gone were swept out.
    pub fn end_snapshot(&mut self, node: NodeNumber) {
        self.nodes.entry(node).or_default().is_known = true;
    }

    /// A node is not heard any more: its members are not there from now on.
    pub fn hide(&mut self, node: NodeNumber) {
        if let Some(members) = self.nodes.get_mut(&node)
            && !std::mem::replace(&mut members.is_gone, true)
        {
            members.snapshot = members.snapshot.wrapping_add(1);
            // Should it come back, so have they.
            members.is_known = true;
            // A search for those whom a snapshot has not confirmed may have been on its way.
            if let Some(sweep) = &mut members.sweep {
                sweep.at = 0;
            }
            self.is_changed = true;
        }
    }

    /// No node is heard any more. Returns those that are to be [swept](Self::sweep), in order.
    pub fn hide_all(&mut self) -> Vec<NodeNumber> {
        let mut nodes: Vec<NodeNumber> = self.nodes.keys().copied().collect();
        nodes.sort_unstable();
        nodes.iter().for_each(|node| self.hide(*node));
        nodes.retain(|node| {
            let members = &self.nodes[node];
            members.count > 0 || members.sweep.is_some()
        });
        nodes
    }

    /// Removes some of a node's members that no snapshot has confirmed. Returns of whom the room is to
    /// be told when it has looked at all; until then it is to be called again, and nothing else for that
    /// node. Nobody has left whose nickname another one has now, `here` or on a third node.
    pub fn sweep(&mut self, node: NodeNumber, here: &Members) -> Option<Swept> {
        let Some(members) = self.nodes.get_mut(&node) else { return Some(Swept::default()) };
        let snapshot = members.snapshot;
        let mut sweep = members.sweep.take().unwrap_or_default();
        let end = (sweep.at + SWEEP_STEP).min(self.slots.capacity());
        for key in sweep.at..end {
            let of_node = |member: &&mut RemoteMember| member.node == node;
            let Some(member) = self.slots.get_mut(key).filter(of_node) else { continue };
            if member.snapshot == snapshot {
                if std::mem::take(&mut member.is_untold) {
                    sweep.swept.joined.add(&member.nick);
                }
                continue;
            }
            let RemoteMember { nick, is_untold, .. } = self.remove_key(key as u32);
            if !is_untold && here.find(&nick).is_none() && self.find(&nick).is_none() {
                sweep.swept.left.add(&nick);
            }
        }
        sweep.at = end;
        if end < self.slots.capacity() {
            self.nodes.entry(node).or_default().sweep = Some(sweep);
            return None;
        }
        if self.slots.is_empty() {
            self.slots = Slab::new();
            self.by_nick = NickIndex::default();
            self.sorted = SortedKeys::default();
        }
        Some(sweep.swept)
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
            + self.by_nick.allocated()
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

    /// Whether a member of another node that is there has a nickname.
    fn is_on_another(&self, node: NodeNumber, folded: &Folded) -> bool {
        let mut nodes = self.entries(folded).map(|key| self.slots[key as usize].node);
        nodes.any(|other| other != node && self.is_present(other))
    }

    fn hash(&self, folded: &Folded) -> u32 {
        self.hasher.hash_one(folded.as_str()) as u32
    }

    /// The keys of members with a nickname, whatever their nodes.
    fn entries<'a>(&'a self, folded: &'a Folded) -> impl Iterator<Item = u32> + 'a {
        let wanted = NickEntry { hash: self.hash(folded), key: 0 };
        let found = self.by_nick.entries(wanted.table_hash());
        let is_equal = move |entry: &NickEntry| {
            let nick = &self.slots[entry.key as usize].nick;
            entry.hash == wanted.hash && Folded::of(nick).as_ref() == Some(folded)
        };
        found.filter(is_equal).map(|entry| entry.key)
    }

    fn key_of(&self, node: NodeNumber, folded: &Folded) -> Option<u32> {
        self.entries(folded).find(|key| self.slots[*key as usize].node == node)
    }

    fn remove_key(&mut self, key: u32) -> RemoteMember {
        let Roster { slots, by_nick, sorted, hasher, .. } = self;
        let RemoteMember { nick, node, .. } = &slots[key as usize];
        sorted.remove(|other| order(slots, other, (nick, *node)));
        let folded = Folded::of(nick).expect("members have valid nicknames");
        let entry = NickEntry { hash: hasher.hash_one(folded.as_str()) as u32, key };
        by_nick.remove(entry);
        let member = slots.remove(key as usize);
        if let Some(node) = self.nodes.get_mut(&member.node) {
            node.count -= 1;
        }
        self.is_changed = true;
        member
    }
}

/// Compares a member with another by nickname, and by node where two have one.
fn order(slots: &Slab<RemoteMember>, key: u32, (nick, node): (&str, NodeNumber)) -> Ordering {
    let member = &slots[key as usize];
    (*member.nick).cmp(nick).then(member.node.cmp(&node))
}

impl NickIndex {
    const PARTS: usize = 64;

    /// The part of a hash, by bits that its table does not use.
    fn part(hash: u64) -> usize {
        (hash >> 32) as usize % Self::PARTS
    }

    fn insert(&mut self, entry: NickEntry) {
        if self.parts.is_empty() {
            self.parts.resize_with(Self::PARTS, HashTable::new);
        }
        let hash = entry.table_hash();
        self.parts[Self::part(hash)].insert_unique(hash, entry, NickEntry::table_hash);
    }

    /// # Panics
    ///
    /// If it is not there.
    fn remove(&mut self, entry: NickEntry) {
        let hash = entry.table_hash();
        let found = self.parts[Self::part(hash)].find_entry(hash, |other| other.key == entry.key);
        found.expect("every slot is in the table").remove();
    }

    fn entries(&self, hash: u64) -> impl Iterator<Item = NickEntry> + '_ {
        self.parts
            .get(Self::part(hash))
            .into_iter()
            .flat_map(move |part| part.iter_hash(hash))
            .copied()
    }

    fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    fn allocated(&self) -> usize {
        let parts = self.parts.capacity() * size_of::<HashTable<NickEntry>>();
        parts + self.parts.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}

impl NickEntry {
    fn table_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn_id::ConnId;

    fn nickname(text: &str) -> Nickname<'_> {
        Nickname::parse(text).expect("a nickname")
    }

    fn insert(roster: &mut Roster, node: NodeNumber, nick: &str) -> bool {
        roster.insert(node, &nickname(nick))
    }

    fn confirm(roster: &mut Roster, node: NodeNumber, nick: &str) {
        roster.confirm(node, &nickname(nick), &Members::default());
    }

    fn swept(roster: &mut Roster, node: NodeNumber) -> Swept {
        loop {
            if let Some(swept) = roster.sweep(node, &Members::default()) {
                roster.assert_invariants();
                return swept;
            }
        }
    }

    /// A snapshot: who has left, and who has come.
    fn snapshot(roster: &mut Roster, node: NodeNumber, nicks: &[&str]) -> Swept {
        roster.begin_snapshot(node, false);
        nicks.iter().for_each(|nick| confirm(roster, node, nick));
        let swept = swept(roster, node);
        roster.end_snapshot(node);
        swept
    }

    fn group(nicks: &[&str]) -> Group {
        let nicks: Vec<CompactString> =
            nicks.iter().map(|nick| CompactString::from(*nick)).collect();
        Group { count: nicks.len(), nicks }
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
        assert!(insert(&mut roster, 1, "Ann"));
        assert_eq!(roster.find("bob"), Some((1, "BOB")), "not by the order in a hash table");
        assert_eq!(roster.find("ann"), Some((1, "Ann")));
        assert!(roster.remove(1, "Ann"));
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
        let Swept { left, .. } = swept(&mut roster, 1);
        assert_eq!((left.count, left.nicks.len()), (5_000, NAMED_MAX));
        assert_eq!(roster.nicks_of(1).count(), 0);
        roster.hide(2);
        swept(&mut roster, 2);
        assert_eq!((roster.allocated(), roster.len()), (0, 0));
    }

    #[test]
    fn snapshot_says_who_has_gone_and_who_is_new() {
        let mut roster = Roster::default();
        assert_eq!(snapshot(&mut roster, 1, &["ann", "bob"]), Swept::default(), "they were there");
        roster.begin_snapshot(1, false);
        confirm(&mut roster, 1, "bob");
        insert(&mut roster, 1, "joined");
        confirm(&mut roster, 1, "eve");
        let found = swept(&mut roster, 1);
        assert_eq!(found, Swept { left: group(&["ann"]), joined: group(&["eve"]) });
        assert_eq!(nicks(&roster), ["bob", "eve", "joined"]);
    }

    #[test]
    fn snapshot_says_how_a_nickname_is_written() {
        let mut roster = Roster::default();
        snapshot(&mut roster, 1, &["ann"]);
        assert_eq!(snapshot(&mut roster, 1, &["Ann"]), Swept::default(), "nobody is new");
        assert_eq!((nicks(&roster), roster.find("ann")), (vec!["Ann"], Some((1, "Ann"))));
    }

    #[test]
    fn snapshot_that_was_cut_short_tells_later() {
        let mut roster = Roster::default();
        snapshot(&mut roster, 1, &[]);
        roster.begin_snapshot(1, false);
        ["ann", "bob", "eve", "pat"].iter().for_each(|nick| confirm(&mut roster, 1, nick));
        assert!(!roster.remove(1, "bob"), "nobody knows that it was there");
        assert!(insert(&mut roster, 1, "pat"), "it has come again");
        let found = snapshot(&mut roster, 1, &["Ann", "pat"]);
        assert_eq!(found, Swept { left: group(&[]), joined: group(&["Ann"]) });
        assert_eq!(snapshot(&mut roster, 1, &["Ann", "pat"]), Swept::default());
    }

    #[test]
    fn snapshot_that_was_cut_short_confirms_nobody() {
        let mut roster = Roster::default();
        snapshot(&mut roster, 1, &["ann", "bob"]);
        roster.begin_snapshot(1, false);
        confirm(&mut roster, 1, "ann");
        assert_eq!(snapshot(&mut roster, 1, &["ann"]).left, group(&["bob"]));
    }

    #[test]
    fn search_that_was_cut_short_begins_anew() {
        let mut roster = Roster::default();
        let nicks: Vec<String> = (0..3 * SWEEP_STEP).map(|n| format!("nick{n}")).collect();
        assert!(nicks.iter().all(|nick| insert(&mut roster, 1, nick)));
        roster.begin_snapshot(1, false);
        nicks[1..].iter().for_each(|nick| confirm(&mut roster, 1, nick));
        assert_eq!(roster.sweep(1, &Members::default()), None);
        assert_eq!((roster.hide_all(), roster.len()), (vec![1], 0));
        assert_eq!(swept(&mut roster, 1).left.count, nicks.len());
        assert_eq!((roster.hide_all(), roster.allocated()), (vec![], 0));
    }

    #[test]
    fn nickname_that_others_have_neither_leaves_nor_joins() {
        let mut here = Members::default();
        here.insert(&nickname("Ann"), ConnId { index: 0, generation: 1 });
        let mut roster = Roster::default();
        snapshot(&mut roster, 1, &["ann", "bob", "eve"]);
        snapshot(&mut roster, 2, &[]);
        roster.begin_snapshot(2, false);
        ["ANN", "BOB", "pat"].iter().for_each(|nick| roster.confirm(2, &nickname(nick), &here));
        assert_eq!(roster.sweep(2, &here).expect("one step").joined, group(&["pat"]));
        roster.hide(1);
        assert_eq!(roster.sweep(1, &here).expect("one step").left, group(&["eve"]));
        assert_eq!(nicks(&roster), ["ANN", "BOB", "pat"]);
        // A node that is not heard any more has nobody.
        roster.hide(2);
        snapshot(&mut roster, 3, &[]);
        assert_eq!(snapshot(&mut roster, 3, &["pat"]).joined, group(&["pat"]));
    }

    #[test]
    fn members_of_a_node_that_began_later_have_come() {
        let mut roster = Roster::default();
        roster.begin_snapshot(1, true);
        confirm(&mut roster, 1, "ann");
        assert_eq!(swept(&mut roster, 1).joined, group(&["ann"]));
        // One that goes before its first snapshot is known to be gone.
        insert(&mut roster, 2, "bob");
        roster.hide(2);
        assert_eq!(swept(&mut roster, 2).left, group(&["bob"]));
        assert_eq!(snapshot(&mut roster, 2, &["bob"]).joined, group(&["bob"]));
    }

    #[test]
    fn node_that_comes_back_is_shown_again() {
        let mut roster = Roster::default();
        snapshot(&mut roster, 1, &["ann"]);
        roster.hide(1);
        assert_eq!(swept(&mut roster, 1).left, group(&["ann"]));
        assert_eq!(snapshot(&mut roster, 1, &["ann"]).joined, group(&["ann"]), "she had left");
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
