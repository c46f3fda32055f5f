//! What the model of the engine keeps, and what the scripts in `src/cluster/scripts` do with it, written
//! a second time. Of Redis it knows those types and commands that the scripts use. That it does the same
//! as they do in a real engine is tested by `tests/cluster/model.rs`.

use std::collections::{BTreeMap, BTreeSet};

use mynah::internal::cluster::Script;

use crate::support::rng::Rng;

/// How long keys of a room live after they were last used.
const TTL_MS: u64 = 3_600_000;
/// Most holders that one name is taken from, and most that are looked at for it.
const TAKEN_MAX: usize = 16;
const SEEN_MAX: usize = 64;
/// Claims of a node that is not there any more, removed in one renewal.
const REMOVED_MAX: usize = 200;

/// Keys with their values.
#[derive(Debug, Clone, Default)]
pub struct Store {
    keys: BTreeMap<Vec<u8>, Key>,
}

#[derive(Debug, Clone)]
struct Key {
    value: Value,
    expires_at: Option<u64>,
}

#[derive(Debug, Clone)]
enum Value {
    Text,
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A sorted set whose scores are all 0 is in the order of its members.
    Set(BTreeSet<Vec<u8>>),
}

/// A key, whether it expires, and what it holds.
pub type Content = (Vec<u8>, bool, Vec<Vec<u8>>);

/// A script's answer, and what it has published.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reply: Reply,
    pub published: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    One(i64),
    List(Vec<i64>),
}

/// A name in a room as its holder has claimed it.
#[derive(Debug, Clone)]
struct Holder {
    folded: Vec<u8>,
    incarnation: Vec<u8>,
    since: i64,
    scripts: Vec<u8>,
    skeletons: Vec<Vec<u8>>,
}

impl Store {
    /// Removes keys whose time is over.
    pub fn expire(&mut self, now: u64) {
        self.keys.retain(|_, key| key.expires_at.is_none_or(|at| at > now));
    }

    /// How many keys and members there are.
    pub fn len(&self) -> usize {
        let members = |key: &Key| match &key.value {
            Value::Text => 0,
            Value::Hash(hash) => hash.len(),
            Value::Set(set) => set.len(),
        };
        self.keys.values().map(|key| 1 + members(key)).sum()
    }

    /// The folded names, in all rooms, whose holders' leases have not run out.
    pub fn live_names(&self, prefix: &str) -> Vec<String> {
        let rooms = format!("{prefix}names:");
        let mut live = Vec::new();
        for (key, Key { value, .. }) in &self.keys {
            let (true, Value::Hash(names)) = (key.starts_with(rooms.as_bytes()), value) else {
                continue;
            };
            for folded in names.keys() {
                let holder = self.holder(key, folded).expect("a holder");
                let lease = [prefix.as_bytes(), b"lease:", &holder.incarnation].concat();
                if self.keys.contains_key(&lease) {
                    live.push(String::from_utf8(folded.clone()).expect("a nickname"));
                }
            }
        }
        live.sort_unstable();
        live
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// All keys, whether each has its time, and its fields, values and members in order.
    pub fn contents(&self) -> Vec<Content> {
        let content = |(name, key): (&Vec<u8>, &Key)| {
            let values = match &key.value {
                Value::Text => Vec::new(),
                Value::Hash(hash) => {
                    hash.iter().flat_map(|(field, value)| [field, value]).cloned().collect()
                }
                Value::Set(set) => set.iter().cloned().collect(),
            };
            (name.clone(), key.expires_at.is_some(), values)
        };
        self.keys.iter().map(content).collect()
    }

    pub fn run(
        &mut self,
        script: Script,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        now: u64,
        rng: &mut Rng,
    ) -> Outcome {
        self.expire(now);
        let mut published = Vec::new();
        let reply = match script {
            Script::Claim => Reply::List(self.claim(keys, args, now, &mut published)),
            Script::Release => Reply::List(self.release(keys, args)),
            Script::Renew => Reply::One(self.renew(keys, args, now, rng)),
        };
        Outcome { reply, published }
    }

    fn claim(
        &mut self,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        now: u64,
        published: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Vec<i64> {
        let [_, names, looks, claims] = keys else { panic!("claim.lua has four keys") };
        let [incarnation, prefix, room, channel, forced, rest @ ..] = args else {
            panic!("claim.lua has five arguments and names")
        };
        let call = ClaimCall { incarnation, prefix, room, channel, is_forced: forced == b"1" };
        let mut granted = Vec::new();
        for name in rest.chunks(5) {
            let [folded, age, scripts, first, second] = name else { panic!("five for each name") };
            let mut skeletons = vec![first.clone()];
            if !second.is_empty() {
                skeletons.push(second.clone());
            }
            let claim = Holder {
                folded: folded.clone(),
                incarnation: incarnation.clone(),
                since: if call.is_forced { 0 } else { (now as i64 - number(age)).max(1) },
                scripts: scripts.clone(),
                skeletons,
            };
            let is_granted = self.grant(claim, &call, [names, looks, claims], published);
            granted.push(i64::from(is_granted));
        }
        for key in [names, looks, claims] {
            self.expire_in(key, TTL_MS, now);
        }
        granted
    }

    fn grant(
        &mut self,
        mut claim: Holder,
        call: &ClaimCall<'_>,
        [names, looks, claims]: [&Vec<u8>; 3],
        published: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> bool {
        let own = self.holder(names, &claim.folded);
        let mut holders = BTreeMap::new();
        let is_own = own.as_ref().is_some_and(|own| own.incarnation == *call.incarnation);
        if let Some(own) = &own {
            if is_own {
                claim.since = claim.since.min(own.since);
            } else if self.is_alive(own, call) {
                holders.insert(claim.folded.clone(), own.clone());
            } else {
                self.remove(own, call, [names, looks]);
            }
        }
        for skeleton in &claim.skeletons {
            if !self.add_look_alikes(&claim, call, skeleton, [names, looks], &mut holders) {
                return false;
            }
        }
        if is_own {
            holders.remove(&claim.folded);
        }
        let mut losers = Vec::new();
        for holder in holders.into_values() {
            if claim.beats(&holder, call.is_forced) && losers.len() < TAKEN_MAX {
                losers.push(holder);
            } else {
                return false;
            }
        }
        for loser in losers {
            self.remove(&loser, call, [names, looks]);
            let reason = [2, u8::from(call.is_forced)];
            let notice =
                [&reason[..], &loser.incarnation, call.room, b"\0", &loser.folded].concat();
            published.push((call.channel.to_vec(), notice));
        }
        if let Some(own) = own.filter(|_| is_own) {
            self.remove(&own, call, [names, looks]);
        }
        self.hash(names).insert(claim.folded.clone(), claim.value());
        for entry in claim.looks() {
            self.set(looks).insert(entry);
        }
        self.set(claims).insert([call.room, b"\0", &claim.folded].concat());
        true
    }

    fn is_alive(&self, holder: &Holder, call: &ClaimCall<'_>) -> bool {
        let lease = [call.prefix, &b"lease:"[..], &holder.incarnation].concat();
        holder.incarnation == *call.incarnation || self.keys.contains_key(&lease)
    }

    /// Adds the live holders that have a skeleton of `claim` and none of its scripts; the others are
    /// removed.
    fn add_look_alikes(
        &mut self,
        claim: &Holder,
        call: &ClaimCall<'_>,
        skeleton: &[u8],
        [names, looks]: [&Vec<u8>; 2],
        holders: &mut BTreeMap<Vec<u8>, Holder>,
    ) -> bool {
        let mut from = ([skeleton, b"\0"].concat(), true);
        let to = [skeleton, b"\x01"].concat();
        for _ in 0..SEEN_MAX {
            let Some(found) = self.first_between(looks, &from, &to) else { return true };
            let parts: Vec<Vec<u8>> = split(&found);
            let (scripts, folded) = (&parts[1], &parts[2]);
            if overlap(scripts, &claim.scripts) {
                from = ([skeleton, b"\0", scripts, b"\x01"].concat(), true);
                continue;
            }
            from = (found.clone(), false);
            match self.holder(names, folded) {
                Some(holder) if holder.scripts == *scripts => {
                    if self.is_alive(&holder, call) {
                        holders.insert(folded.clone(), holder);
                    } else {
                        self.remove(&holder, call, [names, looks]);
                    }
                }
                _ => self.remove_member(looks, &found),
            }
        }
        false
    }

    fn first_between(
        &self,
        key: &[u8],
        (from, inclusive): &(Vec<u8>, bool),
        to: &Vec<u8>,
    ) -> Option<Vec<u8>> {
        let Some(Key { value: Value::Set(set), .. }) = self.keys.get(key) else { return None };
        let mut members = set.range(from.clone()..).filter(|member| *inclusive || *member != from);
        members.next().filter(|member| *member < to).cloned()
    }

    fn remove(&mut self, holder: &Holder, call: &ClaimCall<'_>, [names, looks]: [&Vec<u8>; 2]) {
        self.remove_field(names, &holder.folded);
        for entry in holder.looks() {
            self.remove_member(looks, &entry);
        }
        let claims = [call.prefix, b"claims:", &holder.incarnation].concat();
        self.remove_member(&claims, &[call.room, b"\0", &holder.folded].concat());
    }

    fn release(&mut self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Vec<i64> {
        let [names, looks, claims] = keys else { panic!("release.lua has three keys") };
        let [incarnation, room, rest @ ..] = args else { panic!("release.lua has two arguments") };
        let mut released = Vec::new();
        for folded in rest {
            let holder = self.holder(names, folded).filter(|h| h.incarnation == *incarnation);
            released.push(i64::from(holder.is_some()));
            if let Some(holder) = holder {
                self.remove_field(names, folded);
                for entry in holder.looks() {
                    self.remove_member(looks, &entry);
                }
            }
            self.remove_member(claims, &[room, &b"\0"[..], folded].concat());
        }
        released
    }

    fn renew(&mut self, keys: &[Vec<u8>], args: &[Vec<u8>], now: u64, rng: &mut Rng) -> i64 {
        let [incarnation, prefix, name, lease_ms] = args else { panic!("renew.lua has four") };
        let (lease, nodes) = (&keys[0], &keys[1]);
        let was_there = i64::from(self.keys.contains_key(lease));
        if lease_ms == b"0" {
            self.keys.remove(lease);
        } else {
            let expires_at = Some(now + number(lease_ms) as u64);
            self.keys.insert(lease.clone(), Key { value: Value::Text, expires_at });
        }
        self.hash(nodes).insert(incarnation.clone(), name.clone());
        for key in &keys[1..] {
            self.expire_in(key, TTL_MS, now);
        }
        let others: Vec<Vec<u8>> =
            self.hash(nodes).keys().filter(|other| *other != incarnation).cloned().collect();
        if others.is_empty() {
            return was_there;
        }
        let other = &others[rng.below(others.len())];
        if self.keys.contains_key(&[prefix, &b"lease:"[..], other].concat()) {
            return was_there;
        }
        let claims = [prefix, &b"claims:"[..], other].concat();
        let of_other: Vec<Vec<u8>> = self.set(&claims).iter().take(REMOVED_MAX).cloned().collect();
        for claim in of_other {
            self.remove_member(&claims, &claim);
            let parts = split(&claim);
            let names = [prefix, &b"names:"[..], &parts[0]].concat();
            let looks = [prefix, &b"looks:"[..], &parts[0]].concat();
            if let Some(holder) = self.holder(&names, &parts[1])
                && holder.incarnation == *other
            {
                self.remove_field(&names, &parts[1]);
                for entry in holder.looks() {
                    self.remove_member(&looks, &entry);
                }
            }
        }
        self.remove_if_empty(&claims);
        if self.keys.contains_key(&claims) {
            self.expire_in(&claims, TTL_MS, now);
        } else {
            self.remove_field(nodes, other);
        }
        was_there
    }

    fn holder(&self, names: &[u8], folded: &[u8]) -> Option<Holder> {
        let Some(Key { value: Value::Hash(hash), .. }) = self.keys.get(names) else { return None };
        let parts = split(hash.get(folded)?);
        Some(Holder {
            folded: folded.to_vec(),
            incarnation: parts[0].clone(),
            since: number(&parts[1]),
            scripts: parts[2].clone(),
            skeletons: parts[3..].to_vec(),
        })
    }

    fn hash(&mut self, key: &[u8]) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        let empty = || Key { value: Value::Hash(BTreeMap::new()), expires_at: None };
        match &mut self.keys.entry(key.to_vec()).or_insert_with(empty).value {
            Value::Hash(hash) => hash,
            other => panic!("{} is no hash: {other:?}", key.escape_ascii()),
        }
    }

    fn set(&mut self, key: &[u8]) -> &mut BTreeSet<Vec<u8>> {
        let empty = || Key { value: Value::Set(BTreeSet::new()), expires_at: None };
        match &mut self.keys.entry(key.to_vec()).or_insert_with(empty).value {
            Value::Set(set) => set,
            other => panic!("{} is no set: {other:?}", key.escape_ascii()),
        }
    }

    fn remove_field(&mut self, key: &[u8], field: &[u8]) {
        self.hash(key).remove(field);
        self.remove_if_empty(key);
    }

    fn remove_member(&mut self, key: &[u8], member: &[u8]) {
        self.set(key).remove(member);
        self.remove_if_empty(key);
    }

    fn remove_if_empty(&mut self, key: &[u8]) {
        let is_empty = self.keys.get(key).is_some_and(|key| match &key.value {
            Value::Text => false,
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
        });
        if is_empty {
            self.keys.remove(key);
        }
    }

    fn expire_in(&mut self, key: &[u8], ms: u64, now: u64) {
        self.remove_if_empty(key);
        if let Some(key) = self.keys.get_mut(key) {
            key.expires_at = Some(now + ms);
        }
    }
}

struct ClaimCall<'a> {
    incarnation: &'a [u8],
    prefix: &'a [u8],
    room: &'a [u8],
    channel: &'a [u8],
    is_forced: bool,
}

impl Holder {
    fn beats(&self, other: &Holder, is_forced: bool) -> bool {
        is_forced || (self.since, &self.incarnation) < (other.since, &other.incarnation)
    }

    fn value(&self) -> Vec<u8> {
        let since = self.since.to_string();
        let mut parts: Vec<&[u8]> = vec![&self.incarnation, since.as_bytes(), &self.scripts];
        parts.extend(self.skeletons.iter().map(Vec::as_slice));
        parts.join(&0)
    }

    fn looks(&self) -> Vec<Vec<u8>> {
        let entry = |skeleton: &Vec<u8>| [&**skeleton, &self.scripts, &self.folded].join(&0);
        self.skeletons.iter().map(entry).collect()
    }
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn number(bytes: &[u8]) -> i64 {
    str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// Whether two sets of scripts have one in common.
pub fn overlap(a: &[u8], b: &[u8]) -> bool {
    if a == b"0" || b == b"0" {
        return false;
    }
    if a == b"*" || b == b"*" || a == b {
        return true;
    }
    if a[0] == b's' || b[0] == b's' {
        return false;
    }
    let digit = |byte: &u8| (*byte as char).to_digit(16).expect("hexadecimal digits");
    a.iter().rev().zip(b.iter().rev()).any(|(a, b)| digit(a) & digit(b) != 0)
}
