//! Calls of the scripts that run in the engine: their keys and arguments, and what `claim.lua`
//! publishes. The scripts are the only authority on names; what their keys hold is said there.

use super::engine_types::Script;
use crate::protocol::nickname::Nickname;

/// How long a lease lasts, in milliseconds.
pub const LEASE_MS: u64 = 5_000;
/// Most names of one call.
pub const NAMES_MAX: usize = 64;
/// First byte of a [`Notice`].
const NOTICE_KIND: u8 = 2;

/// A call of a script, for [`Engine::call`](super::Engine::call).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCall {
    /// The script.
    pub script: Script,
    /// The keys it is given.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
}

/// A name to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The folded name.
    pub folded: String,
    /// For how long its member has been one.
    pub age_ms: u64,
    /// Its set of scripts, as the scripts compare them.
    pub scripts: String,
    /// Its skeleton, and perhaps a second one.
    pub skeletons: [String; 2],
}

impl Claim {
    /// The claim of a nickname.
    #[must_use]
    pub fn new(nickname: &Nickname<'_>, age_ms: u64) -> Self {
        let mut skeletons = nickname.skeletons().map(str::to_owned);
        let mut next = || skeletons.next().unwrap_or_default();
        Claim {
            folded: nickname.folded().as_str().to_owned(),
            age_ms,
            scripts: nickname.scripts().as_bits(),
            skeletons: [next(), next()],
        }
    }
}

/// The keys of one prefix, as one node uses them.
///
/// The prefix stands in braces, so that an engine that is a cluster of its own has all keys in one
/// place.
#[derive(Debug, Clone)]
pub struct Keys {
    base: String,
    incarnation: String,
}

impl Keys {
    /// The keys under `prefix`, of the node with this `incarnation`.
    #[must_use]
    pub fn new(prefix: &str, incarnation: u64) -> Self {
        Keys { base: format!("{{{prefix}}}:"), incarnation: format!("{incarnation:016x}") }
    }

    /// The channel of the nodes.
    #[must_use]
    pub fn nodes_channel(&self) -> Vec<u8> {
        self.key("nodes", b"")
    }

    /// The channel of a room, whose name has a colon.
    #[must_use]
    pub fn channel(&self, room: &str) -> Vec<u8> {
        let mut key = Vec::new();
        self.write_channel(room, &mut key);
        key
    }

    /// Writes it to `key`.
    pub(super) fn write_channel(&self, room: &str, key: &mut Vec<u8>) {
        key.extend_from_slice(self.base.as_bytes());
        key.extend_from_slice(room.as_bytes());
    }

    /// The name of a channel without its prefix.
    #[must_use]
    pub fn channel_name<'a>(&self, channel: &'a [u8]) -> Option<&'a str> {
        str::from_utf8(channel.strip_prefix(self.base.as_bytes())?).ok()
    }

    /// Renews the lease of the node called `name` for so long, or ends it; the answer is whether it
    /// was there before. `rooms` are those in which it has names.
    #[must_use]
    pub fn renew(&self, name: &str, lease_ms: u64, rooms: &[&[u8]]) -> ScriptCall {
        let mut keys = vec![self.lease(), self.key("nodes", b""), self.claims()];
        for room in rooms {
            keys.extend([self.key("names:", room), self.key("looks:", room)]);
        }
        let args = [&self.incarnation, &self.base, name, &lease_ms.to_string()];
        let args = args.map(|arg| arg.as_bytes().to_vec()).to_vec();
        ScriptCall { script: Script::Renew, keys, args }
    }

    /// Claims up to [`NAMES_MAX`] names in a room; the answer is for each whether it was granted.
    /// Where `is_forced`, each is, whoever has it.
    #[must_use]
    pub fn claim(&self, room: &[u8], is_forced: bool, names: &[Claim]) -> ScriptCall {
        debug_assert!(names.len() <= NAMES_MAX);
        let keys =
            vec![self.lease(), self.key("names:", room), self.key("looks:", room), self.claims()];
        let mut args: Vec<Vec<u8>> = vec![
            self.incarnation.clone().into(),
            self.base.clone().into(),
            room.to_vec(),
            self.nodes_channel(),
            if is_forced { b"1".to_vec() } else { b"0".to_vec() },
        ];
        for name in names {
            let [first, second] = &name.skeletons;
            let age = name.age_ms.to_string();
            args.extend(
                [&name.folded, &age, &name.scripts, first, second].map(|arg| arg.clone().into()),
            );
        }
        ScriptCall { script: Script::Claim, keys, args }
    }

    /// Releases up to [`NAMES_MAX`] folded names in a room; the answer is for each whether it was the
    /// node's.
    #[must_use]
    pub fn release(&self, room: &[u8], folded: &[&str]) -> ScriptCall {
        debug_assert!(folded.len() <= NAMES_MAX);
        let keys = vec![self.key("names:", room), self.key("looks:", room), self.claims()];
        let mut args = vec![self.incarnation.clone().into_bytes(), room.to_vec()];
        args.extend(folded.iter().map(|name| name.as_bytes().to_vec()));
        ScriptCall { script: Script::Release, keys, args }
    }

    fn lease(&self) -> Vec<u8> {
        self.key("lease:", self.incarnation.as_bytes())
    }

    fn claims(&self) -> Vec<u8> {
        self.key("claims:", self.incarnation.as_bytes())
    }

    fn key(&self, kind: &str, of: &[u8]) -> Vec<u8> {
        [self.base.as_bytes(), kind.as_bytes(), of].concat()
    }
}

/// Why a node has lost a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The member of another node has been one for longer.
    Older,
    /// Its account has logged in on another node.
    LoggedIn,
}

/// A notice that `claim.lua` publishes to the nodes when it takes a name from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The node that has lost it.
    pub loser: u64,
    /// Why.
    pub loss: Loss,
    /// The room.
    pub room: &'a [u8],
    /// The folded name.
    pub folded: &'a str,
}

impl<'a> Notice<'a> {
    /// Reads a message; `None` if it is not a notice.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let [NOTICE_KIND, loss, rest @ ..] = message else { return None };
        let loss = match loss {
            0 => Loss::Older,
            1 => Loss::LoggedIn,
            _ => return None,
        };
        let (loser, rest) = rest.split_at_checked(16)?;
        let is_hex = loser.iter().all(u8::is_ascii_hexdigit);
        let loser = str::from_utf8(loser).ok().filter(|_| is_hex)?;
        let loser = u64::from_str_radix(loser, 16).ok()?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let folded = str::from_utf8(&rest[end + 1..]).ok()?;
        Some(Notice { loser, loss, room: &rest[..end], folded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_is_read_as_the_script_writes_it() {
        let message = b"\x02\x0100000000000000ffthe room\0\xd1\x8f\xd0\xbd\xd0\xb0";
        let notice =
            Notice { loser: 255, loss: Loss::LoggedIn, room: b"the room", folded: "яна" };
        assert_eq!(Notice::parse(message), Some(notice));
        for bad in [
            &b""[..],
            b"\x02",
            b"\x01\x0100000000000000ffroom\0bob",
            b"\x02\x0200000000000000ffroom\0bob",
            b"\x02\x01000000000000+0ffroom\0bob",
            b"\x02\x0100000000000000ffroom",
            b"\x02\x0100000000000000ffroom\0\xff",
        ] {
            assert_eq!(Notice::parse(bad), None, "{}", bad.escape_ascii());
        }
    }
}
