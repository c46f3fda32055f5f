//! The engine, Redis or Valkey, as a node speaks with it over two connections.

use crate::clock::Millis;

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
}

/// How a node introduces itself to the engine, and what it bears.
#[derive(Debug, Clone)]
pub struct EngineConfig {
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
    /// Longest message that is heard.
    pub message_bytes_max: usize,
}

/// What a connection's owner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it goes on as it is.
    Nothing,
    /// A new connection.
    Connect,
    /// The end of the one there is: it is deaf, or speaks nonsense.
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

/// What has come from the engine.
#[derive(Debug, PartialEq)]
pub enum EngineEvent<'a> {
    /// The connection for commands can be used: scripts are loaded.
    CommandsReady,
    /// The subscriber hears all channels that were asked for.
    SubscriberReady,
    /// A connection has ended, and with it what was asked on it.
    Lost(Link),
    /// A message on a channel.
    Message {
        /// The channel.
        channel: &'a [u8],
        /// What was published.
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

/// The two connections to the engine.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
}

impl Engine {
    /// Neither connected yet. `seed` is for the jitter of the pauses between attempts.
    #[must_use]
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        let _ = seed;
        Engine { config }
    }

    /// What the owner of a connection shall do now.
    pub fn want(&mut self, link: Link, now: Millis) -> Want {
        let _ = (link, now, &self.config);
        Want::Nothing
    }
}
