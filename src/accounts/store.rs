//! The accounts in memory, found by name as the chat finds nicknames.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;

use super::hash::{Cost, PasswordHash};
use crate::protocol::nickname::{Folded, Nickname, Scripts};

/// Most accounts of one file.
pub const ACCOUNTS_MAX: usize = 100_000;

/// State of the file: two that are equal have the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    /// Device and inode: a file that was replaced has another.
    pub inode: (u64, u64),
    /// Length in bytes.
    pub len: u64,
    /// Time of the last change, in nanoseconds.
    pub changed_at: i128,
}

/// The accounts of one file. Each has a slot, and two indexes find it, as a chat's
/// [`Members`](crate::protocol::chat::Members): by the folded name, which is equal for equal ones,
/// and by each skeleton, with the scripts that the names are written in.
#[derive(Debug, Default)]
pub struct Accounts {
    slots: Vec<Account>,
    by_name: HashTable<NameEntry>,
    by_skeleton: HashTable<SkeletonEntry>,
    /// The cost that most hashes have, if one has more than half, and by how many it leads.
    usual_cost: (Option<Cost>, usize),
    /// The state of the file that has these accounts and no others.
    version: Option<FileVersion>,
    /// Randomly seeded, so that nobody can choose names whose hashes collide.
    hasher: RandomState,
}

#[derive(Debug)]
struct Account {
    name: Arc<str>,
    hash: PasswordHash,
}

/// Half of the hash is kept, so that the table grows without folding every name again.
#[derive(Debug, Clone, Copy)]
struct NameEntry {
    hash: u32,
    slot: u32,
}

/// A skeleton in one set of scripts. Of the skeleton, a hash is kept: among 100,000 accounts one
/// name in 10^14 is refused as the look-alike of another that it does not look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SkeletonEntry {
    hash: u64,
    scripts: Scripts,
}

impl Accounts {
    /// The number of accounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no accounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The name, as it was registered, of the account whose name equals `name`, which may be any
    /// text. A look-alike does not find it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<str>> {
        self.find_account(&Folded::of(name)?).map(|account| &account.name)
    }

    /// The hash of the account whose name equals `name`.
    #[must_use]
    pub fn hash_of(&self, name: &str) -> Option<&PasswordHash> {
        self.find_account(&Folded::of(name)?).map(|account| &account.hash)
    }

    /// Whether an account's name is the same as this one: equal, or confusable.
    #[must_use]
    pub fn is_taken(&self, name: &Nickname<'_>) -> bool {
        if self.find_account(name.folded()).is_some() {
            return true;
        }
        self.skeletons_of(name).any(|wanted| {
            let mut alike = self.by_skeleton.iter_hash(wanted.hash);
            alike.any(|entry| entry.hash == wanted.hash && !entry.scripts.overlap(wanted.scripts))
        })
    }

    /// Adds an account if its name is not taken and there are fewer than [`ACCOUNTS_MAX`]. Returns
    /// its name.
    pub fn insert(&mut self, name: &Nickname<'_>, hash: PasswordHash) -> Option<Arc<str>> {
        if self.slots.len() >= ACCOUNTS_MAX || self.is_taken(name) {
            return None;
        }
        self.count_cost(hash.cost());
        let entry =
            NameEntry { hash: self.hash_name(name.folded()), slot: self.slots.len() as u32 };
        self.by_name.insert_unique(entry.table_hash(), entry, NameEntry::table_hash);
        let skeletons: Vec<SkeletonEntry> = self.skeletons_of(name).collect();
        for entry in skeletons {
            let is_there = |other: &SkeletonEntry| *other == entry;
            self.by_skeleton.entry(entry.hash, is_there, |other| other.hash).or_insert(entry);
        }
        let name: Arc<str> = name.text().into();
        self.slots.push(Account { name: Arc::clone(&name), hash });
        Some(name)
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots.iter().map(|account| &account.name)
    }

    /// The cost of most hashes, or of new ones: an attempt on an unknown name takes as long.
    #[must_use]
    pub fn usual_cost(&self) -> Cost {
        self.usual_cost.0.unwrap_or(Cost::NEW)
    }

    /// The state of the file that these are the accounts of.
    #[must_use]
    pub fn version(&self) -> Option<FileVersion> {
        self.version
    }

    /// Sets the state of the file.
    pub fn set_version(&mut self, version: Option<FileVersion>) {
        self.version = version;
    }

    /// Gives back memory that growing has left over.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink_to_fit();
    }

    /// Majority vote of Boyer and Moore.
    fn count_cost(&mut self, cost: Cost) {
        let (usual, lead) = &mut self.usual_cost;
        match lead {
            0 => (*usual, *lead) = (Some(cost), 1),
            _ if *usual == Some(cost) => *lead += 1,
            _ => *lead -= 1,
        }
    }

    fn find_account(&self, folded: &Folded) -> Option<&Account> {
        let wanted = NameEntry { hash: self.hash_name(folded), slot: 0 };
        let is_equal = |entry: &NameEntry| {
            let name = &self.slots[entry.slot as usize].name;
            entry.hash == wanted.hash && Folded::of(name).as_ref() == Some(folded)
        };
        let entry = self.by_name.find(wanted.table_hash(), is_equal)?;
        Some(&self.slots[entry.slot as usize])
    }

    fn hash_name(&self, folded: &Folded) -> u32 {
        self.hasher.hash_one(folded.as_str()) as u32
    }

    fn skeletons_of(&self, name: &Nickname<'_>) -> impl Iterator<Item = SkeletonEntry> {
        let scripts = name.scripts();
        name.skeletons()
            .map(move |skeleton| SkeletonEntry { hash: self.hasher.hash_one(skeleton), scripts })
    }
}

impl NameEntry {
    /// Spread over 64 bits: the table uses the lowest and the highest.
    fn table_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The accounts that loop and worker have in common. Neither holds the lock for longer than a
/// look-up or an insertion.
#[derive(Debug, Clone, Default)]
pub struct SharedAccounts(Arc<RwLock<Accounts>>);

/// The accounts there were when a reload began to read the file.
#[derive(Debug, Clone, Copy)]
pub struct ReloadToken {
    len: usize,
}

impl SharedAccounts {
    /// Shares accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        SharedAccounts(Arc::new(RwLock::new(accounts)))
    }

    /// The accounts, for as long as the guard lives: not for longer than a look-up.
    pub fn read(&self) -> RwLockReadGuard<'_, Accounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name, as it was registered, of the account whose name equals `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<str>> {
        self.read().find(name).cloned()
    }

    /// Whether an account's name is the same as this one: equal, or confusable.
    #[must_use]
    pub fn is_taken(&self, name: &Nickname<'_>) -> bool {
        self.read().is_taken(name)
    }

    /// To be called before the file is read anew; [`replace`](Self::replace) takes it.
    #[must_use]
    pub fn begin_reload(&self) -> ReloadToken {
        ReloadToken { len: self.read().len() }
    }

    /// Replaces all accounts by those that the file had. Accounts that clients have registered
    /// since the reload began stay: the file may have been read before they were in it. Returns the
    /// old ones: freeing a hundred thousand takes longer than the loop may wait.
    pub fn replace(&self, mut accounts: Accounts, token: ReloadToken) -> Accounts {
        let mut current = self.write();
        let added = token.len.min(current.len());
        for account in current.slots.drain(added..) {
            let Ok(name) = crate::protocol::login::parse_name(&account.name) else { continue };
            if accounts.insert(&name, account.hash).is_some() {
                accounts.version = None;
            }
        }
        std::mem::replace(&mut *current, accounts)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Accounts> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::accounts::hash::Hasher;
    use crate::protocol::login::Password;
    use crate::protocol::login::parse_name;

    pub(in crate::accounts) fn tiny_hash(password: &str) -> PasswordHash {
        let password = Password::new(password.into()).unwrap();
        Hasher::new(Cost::TINY).hash(&password).unwrap()
    }

    fn insert(accounts: &mut Accounts, name: &str) -> bool {
        accounts.insert(&parse_name(name).unwrap(), tiny_hash("password")).is_some()
    }

    #[test]
    fn account_is_found_by_equal_names() {
        let mut accounts = Accounts::default();
        assert!(insert(&mut accounts, "Straße") && insert(&mut accounts, "bob"));
        assert_eq!(accounts.find("STRASSE").map(|name| &**name), Some("Straße"));
        assert!(accounts.hash_of("ＢＯＢ").is_some());
        for other in ["", "bo", "bobb", "b\u{43e}b", "bob\0", &"b".repeat(999)] {
            assert!(accounts.find(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn look_alike_is_taken_but_not_found() {
        let mut accounts = Accounts::default();
        assert!(insert(&mut accounts, "paypal"));
        for taken in ["PayPal", "раураl", "ｐａｙｐａｌ"] {
            assert!(!insert(&mut accounts, taken), "{taken}");
        }
        assert!(accounts.find("раураl").is_none());
        assert!(insert(&mut accounts, "paypa1"), "one script");
        assert_eq!(accounts.len(), 2);
    }

    #[test]
    fn unknown_name_takes_the_cost_of_most() {
        let mut accounts = Accounts::default();
        assert_eq!(accounts.usual_cost(), Cost::NEW);
        let costly = "$argon2id$v=19$m=64,t=3,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8";
        for (name, is_costly) in [("aaa", false), ("bbb", true), ("ccc", true)] {
            let costly = PasswordHash::parse(costly).unwrap();
            let hash = if is_costly { costly } else { tiny_hash("password") };
            accounts.insert(&parse_name(name).unwrap(), hash);
        }
        assert_eq!(accounts.usual_cost().to_string(), "m=64,t=3,p=1");
    }

    #[test]
    fn registration_during_a_reload_is_kept() {
        let shared = SharedAccounts::default();
        insert(&mut shared.write(), "old");
        let token = shared.begin_reload();
        insert(&mut shared.write(), "new");
        let mut read = Accounts::default();
        insert(&mut read, "read");
        shared.replace(read, token);
        assert!(shared.find("new").is_some() && shared.find("read").is_some());
        assert!(shared.find("old").is_none(), "the file has it no more");
        shared.replace(Accounts::default(), shared.begin_reload());
        assert!(shared.read().is_empty());
    }

    #[test]
    fn accounts_are_100_000_in_20_megabytes() {
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
             CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        )
        .unwrap();
        let mut accounts = Accounts::default();
        let kept = allocation_counter::measure(|| {
            for n in 0..ACCOUNTS_MAX {
                let name = format!("Account-{n}");
                assert!(accounts.insert(&parse_name(&name).unwrap(), hash.clone()).is_some());
            }
            accounts.shrink();
        });
        assert!(kept.bytes_current < 20_000_000, "{} bytes", kept.bytes_current);
        assert!(!insert(&mut accounts, "one-more"), "100,000 is the limit");
    }
}
