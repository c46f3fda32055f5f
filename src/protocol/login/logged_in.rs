//! The names that connections are logged in under, each once and counted, so that a connection
//! keeps no more than a key of 28 bits.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

/// The key of a name, from 1. A connection without a login has 0.
pub type LoginKey = u32;

/// The names, each with its connections.
#[derive(Debug, Default)]
pub(super) struct LoggedIn {
    names: Slab<CountedName>,
    by_name: HashMap<Arc<str>, LoginKey>,
}

#[derive(Debug)]
struct CountedName {
    name: Arc<str>,
    connections: u32,
}

impl LoggedIn {
    /// Counts one more connection of a name, and returns the name's key.
    pub(super) fn add(&mut self, name: Arc<str>) -> LoginKey {
        if let Some(&key) = self.by_name.get(&name) {
            self.names[key as usize - 1].connections += 1;
            return key;
        }
        let slot = self.names.insert(CountedName { name: Arc::clone(&name), connections: 1 });
        let key = slot as LoginKey + 1;
        self.by_name.insert(name, key);
        key
    }

    /// One connection less has the name.
    ///
    /// # Panics
    ///
    /// If no connection has the key.
    pub(super) fn remove(&mut self, key: LoginKey) {
        let slot = key as usize - 1;
        self.names[slot].connections -= 1;
        if self.names[slot].connections == 0 {
            self.by_name.remove(&self.names.remove(slot).name);
        }
        if self.names.is_empty() {
            *self = LoggedIn::default();
        }
    }

    /// The name of a key.
    pub(super) fn get(&self, key: LoginKey) -> Option<&Arc<str>> {
        self.names.get((key as usize).checked_sub(1)?).map(|counted| &counted.name)
    }

    /// The keys with their numbers of connections.
    pub(super) fn counts(&self) -> impl Iterator<Item = (LoginKey, u32)> {
        self.names.iter().map(|(slot, counted)| (slot as LoginKey + 1, counted.connections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_kept_once_for_all_its_connections() {
        let mut logged_in = LoggedIn::default();
        let bob: Arc<str> = "bob".into();
        let key = logged_in.add(Arc::clone(&bob));
        assert_eq!(logged_in.add("bob".into()), key, "a reload has made the name anew");
        let ann = logged_in.add("ann".into());
        assert_ne!((key, ann), (0, key));
        assert_eq!(logged_in.get(key), Some(&bob));
        assert_eq!(logged_in.counts().collect::<Vec<_>>(), [(key, 2), (ann, 1)]);
        logged_in.remove(key);
        assert_eq!(logged_in.get(key), Some(&bob));
        logged_in.remove(key);
        assert_eq!((logged_in.get(key), logged_in.get(0)), (None, None));
        assert_eq!(Arc::strong_count(&bob), 1);
    }
}
