//! The members of a chat room, indexed by key, by nickname, by skeleton, and in order.

use std::cmp::Ordering;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use slab::Slab;

use super::messages::Message;
use super::sorted_keys::SortedKeys;
use crate::conn_id::ConnId;
use crate::protocol::lang::Lang;
use crate::protocol::nickname::{Folded, Nickname, Scripts};

/// The key of a member, which its connection keeps.
pub type MemberKey = u32;

/// Most nicknames that `/who` lists.
const ONLINE_NICKS_MAX: usize = 1_000;

/// The members of one room. Each has a slot with its nickname, and three indexes find it; the time
/// a look-up takes does not grow with what nicknames have in common:
///
/// - by the folded nickname, which is equal for equal ones;
/// - by each skeleton: how many members have it, for each set of scripts they are written in.
///   Members with one skeleton are never confusable, so their scripts overlap, and there are few
///   such sets: a thousand look-alikes of one script are one entry;
/// - by the nickname as typed, for `/who`.
///
/// Invariants: each index has each member once, and no two members' nicknames are the same
/// ([`Nickname::is_same`]).
#[derive(Debug, Default)]
pub struct Members {
    slots: Slab<Member>,
    by_nick: HashTable<NickEntry>,
    by_skeleton: HashTable<SkeletonEntry>,
    sorted: SortedKeys<MemberKey>,
    /// The answer to `/who`, cached until somebody joins or leaves.
    online: Option<(Lang, Box<str>)>,
    /// Randomly seeded, so that nobody can choose nicknames whose hashes collide.
    hasher: RandomState,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    /// The nickname as typed.
    pub nick: Box<str>,
    /// The connection.
    pub id: ConnId,
}

/// A member in the index of nicknames. Half of the hash is kept, so that the table grows without
/// folding every nickname again.
#[derive(Debug, Clone, Copy)]
struct NickEntry {
    hash: u32,
    key: MemberKey,
}

/// The number of members that have one skeleton in one set of scripts. Of the skeleton, 48 bits of
/// a hash are kept: among a million members, one nickname in 300 million is refused as the
/// look-alike of another that it does not look like.
#[derive(Debug, Clone, Copy)]
struct SkeletonEntry {
    hash: [u16; 3],
    scripts: u16,
    count: u32,
}

impl Members {
    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the room has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The member with this key.
    ///
    /// # Panics
    ///
    /// If no member has it.
    #[must_use]
    pub fn get(&self, key: MemberKey) -> &Member {
        &self.slots[key as usize]
    }

    /// The member whose nickname equals `nick`, which may be any text. A look-alike does not find
    /// it.
    #[must_use]
    pub fn find(&self, nick: &str) -> Option<&Member> {
        self.find_folded(&Folded::of(nick)?)
    }

    /// Whether a member's nickname is the same as this one: equal, or confusable.
    #[must_use]
    pub fn is_taken(&self, nickname: &Nickname<'_>) -> bool {
        if self.find_folded(nickname.folded()).is_some() {
            return true;
        }
        SkeletonEntry::each(&self.hasher, nickname).any(|wanted| {
            self.by_skeleton.iter_hash(wanted.table_hash()).any(|entry| {
                let scripts = Scripts::from_number(entry.scripts);
                entry.hash == wanted.hash && !scripts.overlap(nickname.scripts())
            })
        })
    }

    /// The members whose nicknames are the same as this one: one that is equal, or look-alikes,
    /// which may be several of one script. `None` where there are too many to look through.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn same_as(&self, nickname: &Nickname<'_>) -> Option<Vec<MemberKey>> {
        /// A nickname takes a microsecond or two.
        const LOOKED_AT_MAX: usize = 2_000;
        if !self.is_taken(nickname) {
            return Some(Vec::new());
        }
        // Of ASCII's letters there is one script, so no two of ASCII are look-alikes.
        let is_ascii = nickname.text().is_ascii();
        let may_be_alike = |member: &Member| !is_ascii || !member.nick.is_ascii();
        let equal = self.find_folded(nickname.folded()).map(|member| member.id);
        let (mut found, mut looked_at) = (Vec::new(), 0);
        for (key, member) in &self.slots {
            let is_same = if Some(member.id) == equal {
                true
            } else if may_be_alike(member) {
                looked_at += 1;
                let other = Nickname::parse(&member.nick);
                other.is_ok_and(|other| nickname.is_same(&other))
            } else {
                false
            };
            if is_same {
                found.push(key as MemberKey);
            }
            if looked_at == LOOKED_AT_MAX {
                return None;
            }
        }
        Some(found)
    }

    /// Whether the member with this key is there and belongs to a connection.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn is_of(&self, key: MemberKey, id: ConnId) -> bool {
        self.slots.get(key as usize).is_some_and(|member| member.id == id)
    }

    /// Adds a member under a nickname that is not taken, and returns its key.
    pub fn insert(&mut self, nickname: &Nickname<'_>, id: ConnId) -> MemberKey {
        debug_assert!(!self.is_taken(nickname), "a nickname is taken once");
        let nick = nickname.text();
        let key = self.slots.insert(Member { nick: nick.into(), id }) as MemberKey;
        let Members { slots, by_nick, by_skeleton, sorted, online, hasher } = self;
        *online = None;
        let entry = NickEntry { hash: nick_hash(hasher, nickname.folded()), key };
        by_nick.insert_unique(entry.table_hash(), entry, NickEntry::table_hash);
        sorted.insert(key, |other| order(slots, other, nick));
        for entry in SkeletonEntry::each(hasher, nickname) {
            let is_alike = |other: &SkeletonEntry| other.is_alike(&entry);
            by_skeleton
                .entry(entry.table_hash(), is_alike, SkeletonEntry::table_hash)
                .or_insert(entry)
                .get_mut()
                .count += 1;
        }
        key
    }

    /// Removes the member with this key.
    ///
    /// # Panics
    ///
    /// If no member has it.
    pub fn remove(&mut self, key: MemberKey) -> Member {
        let Members { slots, by_nick, by_skeleton, sorted, online, hasher } = self;
        *online = None;
        sorted.remove(|other| order(slots, other, &slots[key as usize].nick));
        let member = slots.remove(key as usize);
        let nickname = Nickname::parse(&member.nick).expect("members have valid nicknames");
        let entry = NickEntry { hash: nick_hash(hasher, nickname.folded()), key };
        let entry = by_nick.find_entry(entry.table_hash(), |other| other.key == key);
        entry.expect("every slot is in the table").remove();
        for entry in SkeletonEntry::each(hasher, &nickname) {
            let mut entry = by_skeleton
                .find_entry(entry.table_hash(), |other| other.is_alike(&entry))
                .expect("every skeleton is counted");
            entry.get_mut().count -= 1;
            if entry.get().count == 0 {
                entry.remove();
            }
        }
        if self.slots.is_empty() {
            self.slots = Slab::new();
            self.by_nick = HashTable::new();
            self.by_skeleton = HashTable::new();
            self.sorted = SortedKeys::default();
        }
        member
    }

    /// All members, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().map(|(_, member)| member)
    }

    /// The answer to `/who` in a room that has members on other nodes, too: `elsewhere` are their
    /// nicknames in order, `count` of them, which may have `changed` since the last answer.
    #[cfg(feature = "cluster")]
    pub fn online_with<'a>(
        &mut self,
        elsewhere: impl Iterator<Item = &'a str>,
        count: usize,
        changed: bool,
        lang: Lang,
    ) -> &str {
        let is_kept = self.online.as_ref().is_some_and(|(kept, _)| *kept == lang);
        if changed || !is_kept {
            let Members { slots, sorted, online, .. } = self;
            let mut here = sorted.iter().map(|key| &*slots[key as usize].nick).peekable();
            let mut elsewhere = elsewhere.peekable();
            let in_order = std::iter::from_fn(|| {
                let is_elsewhere = match (here.peek(), elsewhere.peek()) {
                    (Some(here), Some(elsewhere)) => here > elsewhere,
                    (here, _) => here.is_none(),
                };
                if is_elsewhere { elsewhere.next() } else { here.next() }
            });
            let nicks: Vec<&str> = in_order.take(ONLINE_NICKS_MAX).collect();
            let more = slots.len() + count - nicks.len();
            let line = Message::Online { nicks: &nicks, more }.in_lang(lang).to_string();
            *online = Some((lang, line.into_boxed_str()));
        }
        self.online.as_ref().map_or("", |(_, line)| line)
    }

    /// Up to `max` members whose keys are `from` or more, and the key behind them; `None` behind the
    /// last.
    #[cfg(feature = "cluster")]
    pub fn page(&self, from: MemberKey, max: usize) -> (Vec<MemberKey>, Option<MemberKey>) {
        let end = (from as usize + max).min(self.slots.capacity());
        let keys = (from as usize..end).filter(|key| self.slots.contains(*key));
        let next = (end < self.slots.capacity()).then_some(end as MemberKey);
        (keys.map(|key| key as MemberKey).collect(), next)
    }

    /// The answer to `/who`, without the line's end. It is cached until somebody joins or leaves.
    pub fn online(&mut self, lang: Lang) -> &str {
        let Members { slots, sorted, online, .. } = self;
        if online.as_ref().is_some_and(|(kept, _)| *kept != lang) {
            *online = None;
        }
        let (_, line) = online.get_or_insert_with(|| {
            let nicks = sorted.iter().map(|key| &*slots[key as usize].nick);
            let nicks: Vec<&str> = nicks.take(ONLINE_NICKS_MAX).collect();
            let more = slots.len() - nicks.len();
            let message = Message::Online { nicks: &nicks, more };
            (lang, message.in_lang(lang).to_string().into_boxed_str())
        });
        line
    }

    /// Checks the invariants.
    ///
    /// # Panics
    ///
    /// If they do not hold.
    pub fn assert_invariants(&self) {
        assert_eq!(self.by_nick.len(), self.slots.len());
        self.sorted.assert_invariants();
        let sorted: Vec<&str> =
            self.sorted.iter().map(|key| &*self.slots[key as usize].nick).collect();
        assert_eq!(sorted.len(), self.slots.len());
        assert!(sorted.is_sorted());
        let mut skeletons = 0;
        for (key, member) in &self.slots {
            let found = self.find(&member.nick).expect("every nickname finds its member");
            assert_eq!(found.id, member.id, "two are called {}", member.nick);
            assert_eq!(self.get(key as MemberKey).id, member.id);
            let nickname = Nickname::parse(&member.nick).expect("members have valid nicknames");
            for entry in SkeletonEntry::each(&self.hasher, &nickname) {
                skeletons += 1;
                let alike = self.by_skeleton.iter_hash(entry.table_hash());
                let alike: Vec<_> = alike.filter(|other| other.hash == entry.hash).collect();
                assert!(alike.iter().any(|other| other.is_alike(&entry)));
                let is_apart = |other: &SkeletonEntry| {
                    !Scripts::from_number(other.scripts).overlap(nickname.scripts())
                };
                let is_alone = alike.len() == 1 && alike[0].count == 1;
                assert!(is_alone || !alike.into_iter().any(is_apart), "{} is taken", member.nick);
            }
        }
        let counts = self.by_skeleton.iter().map(|entry| entry.count as usize);
        assert_eq!(counts.sum::<usize>(), skeletons);
    }

    /// The member whose nickname has this folded form.
    pub(super) fn find_folded(&self, folded: &Folded) -> Option<&Member> {
        let wanted = NickEntry { hash: nick_hash(&self.hasher, folded), key: 0 };
        let is_equal = |entry: &NickEntry| {
            let nick = &self.slots[entry.key as usize].nick;
            entry.hash == wanted.hash && Folded::of(nick).as_ref() == Some(folded)
        };
        let entry = self.by_nick.find(wanted.table_hash(), is_equal)?;
        Some(self.get(entry.key))
    }
}

/// Compares a member's nickname with another by code points, which is the order of UTF-8's bytes.
fn order(slots: &Slab<Member>, key: MemberKey, nick: &str) -> Ordering {
    (*slots[key as usize].nick).cmp(nick)
}

fn nick_hash(hasher: &RandomState, folded: &Folded) -> u32 {
    hasher.hash_one(folded.as_str()) as u32
}

impl NickEntry {
    fn table_hash(&self) -> u64 {
        spread(self.hash.into())
    }
}

impl SkeletonEntry {
    /// An entry for each skeleton of a nickname, with a count of 0.
    fn each(hasher: &RandomState, nickname: &Nickname<'_>) -> impl Iterator<Item = Self> {
        nickname.skeletons().map(|skeleton| {
            let hash = hasher.hash_one(skeleton);
            let hash = [hash as u16, (hash >> 16) as u16, (hash >> 32) as u16];
            SkeletonEntry { hash, scripts: nickname.scripts().number(), count: 0 }
        })
    }

    /// Whether both count the same skeleton in the same scripts.
    fn is_alike(&self, other: &Self) -> bool {
        self.hash == other.hash && self.scripts == other.scripts
    }

    fn table_hash(&self) -> u64 {
        let [low, middle, high] = self.hash.map(u64::from);
        spread(high << 32 | middle << 16 | low)
    }
}

/// Spreads a short hash over 64 bits: the table uses the lowest and the highest.
fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ConnId {
        ConnId { index, generation: 1 }
    }

    fn nickname(text: &str) -> Nickname<'_> {
        Nickname::parse(text).expect("a nickname")
    }

    /// Adds a member if its nickname is not taken.
    fn try_insert(members: &mut Members, nick: &str) -> Option<MemberKey> {
        let nickname = nickname(nick);
        let key = (!members.is_taken(&nickname)).then(|| members.insert(&nickname, id(0)));
        members.assert_invariants();
        key
    }

    #[test]
    fn find_ignores_case_and_forgets_who_left() {
        let mut members = Members::default();
        let keys: Vec<MemberKey> =
            (0..1000).map(|n| members.insert(&nickname(&format!("Nick{n}")), id(n))).collect();
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
    fn look_alike_is_taken_but_not_found() {
        let mut members = Members::default();
        let key = members.insert(&nickname("paypal"), id(7));
        assert!(members.is_taken(&nickname("раураl")) && members.is_taken(&nickname("PAYPAL")));
        assert!(members.find("раураl").is_none());
        assert_eq!(members.find("ＰＡＹＰＡＬ").map(|member| member.id), Some(id(7)));
        members.remove(key);
        assert!(!members.is_taken(&nickname("раураl")));
    }

    #[test]
    fn invalid_nickname_finds_no_member() {
        let mut members = Members::default();
        members.insert(&nickname("aaa"), id(0));
        for other in ["", "a", "aa", "a\u{200b}aa", "[aaa]", &"a".repeat(4_000), &"я".repeat(99)] {
            assert!(members.find(other).is_none(), "{other:?}");
        }
    }

    /// Digits belong to every script, so they are look-alikes neither of Latin nor of Cyrillic;
    /// these two are look-alikes of each other.
    #[test]
    fn skeleton_is_counted_for_each_set_of_scripts() {
        let mut members = Members::default();
        let digits = try_insert(&mut members, "111").expect("the room is empty");
        let latin = try_insert(&mut members, "lll").expect("digits are of every script");
        assert_eq!(try_insert(&mut members, "ӏӏӏ"), None, "Cyrillic, and Latin is there");
        members.remove(latin);
        let cyrillic = try_insert(&mut members, "ӏӏӏ").expect("only digits are there");
        assert_eq!(try_insert(&mut members, "lll"), None, "Latin, and Cyrillic is there");
        assert_eq!(try_insert(&mut members, "lӏ1"), None, "of no script");
        members.remove(cyrillic);
        members.remove(digits);
        let mixed = try_insert(&mut members, "lӏ1").expect("the room is empty");
        for other in ["ӏl1", "111", "lll", "ӏӏӏ"] {
            assert_eq!(try_insert(&mut members, other), None, "{other}");
        }
        members.remove(mixed);
        assert!(try_insert(&mut members, "ӏl1").is_some());
    }

    #[test]
    fn thousands_of_look_alikes_are_one_entry() {
        let mut members = Members::default();
        let nicks = (0..6_561_usize).map(|number| {
            (0..8_u32).map(|digit| ['1', 'l', '|'][number / 3_usize.pow(digit) % 3]).collect()
        });
        let nicks: Vec<String> = nicks.collect();
        let latin = nicks.iter().filter(|nick| nick.contains('l'));
        let keys: Vec<MemberKey> =
            latin.map(|nick| members.insert(&nickname(nick), id(0))).collect();
        assert_eq!(keys.len(), 6_561 - 256);
        assert_eq!(members.by_skeleton.len(), 1);
        assert!(members.is_taken(&nickname("ӏӏӏӏӏӏӏӏ")));
        keys.into_iter().for_each(|key| drop(members.remove(key)));
        assert!(!members.is_taken(&nickname("ӏӏӏӏӏӏӏӏ")));
    }

    #[test]
    fn online_lists_a_thousand_and_counts_the_rest() {
        let mut members = Members::default();
        let nick = |n: u32| format!("n{:04}", n * 7 % 1_000);
        let keys: Vec<MemberKey> =
            (0..1_000).map(|n| members.insert(&nickname(&nick(n)), id(n))).collect();
        let all: Vec<String> = (0..1_000).map(|n| format!("n{n:04}")).collect();
        assert_eq!(members.online(Lang::En), format!("Online: {}", all.join(", ")));
        members.insert(&nickname("яна"), id(1));
        assert_eq!(members.online(Lang::En), format!("Online: {}, … and 1 more", all.join(", ")));
        assert_eq!(members.online(Lang::Ru), format!("В сети: {}, … и ещё 1", all.join(", ")));
        members.insert(&nickname("a b".replace(' ', "").repeat(2).as_str()), id(1));
        let first = members.online(Lang::En).split(", ").next().map(str::to_owned);
        assert_eq!(first.as_deref(), Some("Online: abab"));
        assert!(members.online(Lang::En).ends_with(", n0998, … and 2 more"));
        members.remove(keys[0]);
        assert!(members.online(Lang::En).starts_with("Online: abab, n0001, "));
        assert!(members.online(Lang::En).ends_with(", n0999, … and 1 more"));
    }

    /// Upper case sorts before lower case.
    #[test]
    fn online_is_sorted_by_code_points() {
        let mut members = Members::default();
        for nick in ["яна", "dan", "Zoe", "ann", "éva", "🦜🦜🦜", "ＢＯＢ"] {
            members.insert(&nickname(nick), id(0));
        }
        assert_eq!(members.online(Lang::En), "Online: Zoe, ann, dan, éva, яна, ＢＯＢ, 🦜🦜🦜");
    }

    #[test]
    fn online_is_cached_until_members_change() {
        let mut members = Members::default();
        let allocations = |members: &mut Members| {
            allocation_counter::measure(|| assert!(!members.online(Lang::En).is_empty()))
                .count_total
        };
        for nick in ["ann", "bob", "eve"] {
            let key = members.insert(&nickname(nick), id(0));
            assert_ne!(allocations(&mut members), 0);
            assert_eq!(allocations(&mut members), 0);
            members.remove(key);
            members.insert(&nickname(nick), id(0));
        }
    }

    #[test]
    fn empty_room_owns_no_memory() {
        let kept = allocation_counter::measure(|| {
            let mut members = Members::default();
            let keys: Vec<MemberKey> =
                (0..2_000).map(|n| members.insert(&nickname(&format!("nick{n}")), id(n))).collect();
            assert!(!members.online(Lang::En).is_empty());
            for key in keys {
                members.remove(key);
            }
            std::mem::forget(members);
        });
        assert_eq!(kept.bytes_current, 0);
    }
}
