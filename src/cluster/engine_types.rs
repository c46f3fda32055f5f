//! Settings, commands and events of the client of the engine.

use std::fmt;

/// One of a node's two connections to the engine: a subscriber of RESP2 can ask for nothing else,
/// and one whose output buffer overflows is cut by the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Publishes, and runs scripts.
    Commands,
    /// Hears what is published.
    Subscriber,
}

impl Link {
    /// Both.
    pub const ALL: [Link; 2] = [Link::Commands, Link::Subscriber];

    pub(super) fn other(self) -> Link {
        match self {
            Link::Commands => Link::Subscriber,
            Link::Subscriber => Link::Commands,
        }
    }
}

/// How a node introduces itself to the engine, and what it bears.
#[derive(Clone)]
pub struct EngineConfig {
    /// The engine as the log names it: without the password.
    pub url: String,
    /// The user of an access control list; empty for the default one.
    pub username: String,
    /// The password; empty for none.
    pub password: Vec<u8>,
    /// The database number.
    pub database: u32,
    /// The name that CLIENT LIST shows.
    pub client_name: String,
    /// Most bytes that wait to be published; more are refused.
    pub unsent_bytes_max: usize,
    /// Longest message that is heard; longer ones are skipped.
    pub message_bytes_max: usize,
}

#[cfg(test)]
impl EngineConfig {
    /// An engine without login, and bounds that no test reaches.
    pub(super) fn for_tests() -> Self {
        EngineConfig {
            url: String::new(),
            username: String::new(),
            password: Vec::new(),
            database: 0,
            client_name: String::new(),
            unsent_bytes_max: 1 << 20,
            message_bytes_max: 1 << 20,
        }
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A request to a connection's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it goes on as it is.
    Nothing,
    /// A new connection.
    Connect,
    /// The end of the one there is, or of the attempt at one: it takes too long, is deaf, or what it
    /// says is not understood. It is asked for once, and for the engine's client it has ended with
    /// that: nothing more is to be reported of it.
    Close,
}

/// A script that runs in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Claims names.
    Claim,
    /// Releases names.
    Release,
    /// Renews the lease of a node.
    Renew,
}

impl Script {
    /// All of them.
    pub const ALL: [Script; 3] = [Script::Claim, Script::Release, Script::Renew];

    /// As the log names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Script::Claim => "claim.lua",
            Script::Release => "release.lua",
            Script::Renew => "renew.lua",
        }
    }

    /// Its text.
    #[must_use]
    pub fn source(self) -> &'static [u8] {
        match self {
            Script::Claim => include_bytes!("scripts/claim.lua"),
            Script::Release => include_bytes!("scripts/release.lua"),
            Script::Renew => include_bytes!("scripts/renew.lua"),
        }
    }
}

/// An event from the engine.
#[derive(Debug, PartialEq)]
pub enum EngineEvent<'a> {
    /// The connection for commands can be used: scripts are loaded.
    CommandsReady,
    /// The subscriber hears all channels that were asked for; again when it does so after
    /// [`Engine::set_channels`](super::Engine::set_channels) has added some.
    SubscriberReady,
    /// A connection that was ready has ended, and with it what was asked on it: no answer will come.
    Lost(Link),
    /// A message on a channel.
    Message {
        /// The channel.
        channel: &'a [u8],
        /// The published bytes.
        payload: &'a [u8],
    },
    /// A script's answer: integers, or the engine's words of why it failed.
    Answer {
        /// As it was called with.
        tag: u64,
        /// The answer.
        result: Result<Vec<i64>, String>,
    },
}
