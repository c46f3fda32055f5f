//! Who is in a chat, by number and by nickname.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;
use slab::Slab;

use super::nickname;
use crate::conn_id::ConnId;

/// A member's number: what its connection remembers.
pub type MemberKey = u32;

/// The members of one room. Each is a slot with its nickname, and one entry in a table that finds
/// the slot by nickname: the nickname itself is kept once.
///
/// Invariant: the table holds the number of every slot, under its nickname without case, and no two
/// of those are equal.
#[derive(Debug, Default)]
pub struct Members {
    slots: Slab<Member>,
    by_nick: HashTable<MemberKey>,
    /// Seeded, so that nobody can choose nicknames that collide.
    hasher: RandomState,
}

/// One member.
#[derive(Debug)]
pub struct Member {
    /// The nickname as it was given.
    pub nick: Box<str>,
    /// Whose it is.
    pub id: ConnId,
}

impl Members {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The member with that number.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn get(&self, key: MemberKey) -> &Member {
        &self.slots[key as usize]
    }

    /// The member with that nickname, in whatever case.
    #[must_use]
    pub fn find(&self, nick: &str) -> Option<&Member> {
        let same = |key: &MemberKey| nickname::same(&self.slots[*key as usize].nick, nick);
        self.by_nick.find(self.hash(nick), same).map(|key| self.get(*key))
    }

    /// Adds a member under a nickname nobody has, and returns its number.
    pub fn insert(&mut self, nick: &str, id: ConnId) -> MemberKey {
        debug_assert!(self.find(nick).is_none(), "a nickname is given once");
        let key = self.slots.insert(Member { nick: nick.into(), id }) as MemberKey;
        let hash = self.hash(nick);
        let Members { slots, by_nick, hasher } = self;
        by_nick.insert_unique(hash, key, |key| hash_with(hasher, &slots[*key as usize].nick));
        key
    }

    /// Takes out the member with that number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn remove(&mut self, key: MemberKey) -> Member {
        let member = self.slots.remove(key as usize);
        let hash = self.hash(&member.nick);
        let entry = self.by_nick.find_entry(hash, |other| *other == key);
        entry.expect("every slot stands in the table").remove();
        if self.slots.is_empty() {
            self.slots = Slab::new();
            self.by_nick = HashTable::new();
        }
        member
    }

    /// All members, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().map(|(_, member)| member)
    }

    /// Checks the invariant.
    ///
    /// # Panics
    ///
    /// If it does not hold.
    pub fn assert_invariants(&self) {
        assert_eq!(self.by_nick.len(), self.slots.len());
        for (key, member) in &self.slots {
            let found = self.find(&member.nick).expect("every nickname finds its member");
            assert_eq!(found.id, member.id, "two are called {}", member.nick);
            assert!(nickname::check(&member.nick).is_ok());
            assert_eq!(self.get(key as MemberKey).id, member.id);
        }
    }

    fn hash(&self, nick: &str) -> u64 {
        hash_with(&self.hasher, nick)
    }
}

fn hash_with(hasher: &RandomState, nick: &str) -> u64 {
    let mut state = hasher.build_hasher();
    nickname::folded(nick).for_each(|c| c.hash(&mut state));
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ConnId {
        ConnId { index, generation: 1 }
    }

    #[test]
    fn a_nickname_finds_its_member_in_any_case_until_it_leaves() {
        let mut members = Members::default();
        let keys: Vec<MemberKey> =
            (0..1000).map(|n| members.insert(&format!("Nick{n}"), id(n))).collect();
        members.assert_invariants();
        for n in 0..1000 {
            assert_eq!(members.find(&format!("nICK{n}")).map(|member| member.id), Some(id(n)));
        }
        for n in (0..1000).step_by(2) {
            let member = members.remove(keys[n as usize]);
            assert_eq!((&*member.nick, member.id), (format!("Nick{n}").as_str(), id(n)));
        }
        members.assert_invariants();
        assert!(members.find("nick0").is_none());
        assert_eq!(members.find("nick1").map(|member| member.id), Some(id(1)));
    }

    #[test]
    fn a_room_that_everyone_has_left_owns_no_memory() {
        let kept = allocation_counter::measure(|| {
            let mut members = Members::default();
            let keys: Vec<MemberKey> =
                (0..100).map(|n| members.insert(&format!("nick{n}"), id(n))).collect();
            for key in keys {
                members.remove(key);
            }
            std::mem::forget(members);
        });
        assert_eq!(kept.bytes_current, 0);
    }
}
