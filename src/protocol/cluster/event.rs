//! Events of one room that nodes tell each other: messages, and who is there.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that has happened in a room on one node. Texts are as clients typed them; each node
/// words its lines in its own language.
///
/// Nodes of different versions meet in one room: variants are only ever added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// A BROADCAST of a `command` client.
    Broadcast(#[serde(borrow)] Payload<'a>),
    /// A member's message to all others.
    Post {
        /// Its nickname.
        from: &'a str,
        /// The text.
        text: &'a str,
    },
    /// Somebody has become a member.
    Joined(&'a str),
    /// A member has left.
    Left(&'a str),
    /// All members of the node follow, as [`Present`](Self::Present).
    SnapshotBegins,
    /// Somebody is a member, and has been told of before or not.
    Present(&'a str),
    /// Members of the node from before the snapshot that were not present have gone.
    SnapshotEnds,
    /// A private message.
    Private {
        /// The incarnation of the recipient's node.
        to_node: u64,
        /// The recipient.
        to: &'a str,
        /// The sender.
        from: &'a str,
        /// The text.
        text: &'a str,
    },
    /// The recipient of a private message was not there any more.
    NoSuchUser {
        /// The incarnation of the sender's node.
        to_node: u64,
        /// The sender.
        to: &'a str,
        /// The recipient it had written to.
        name: &'a str,
    },
}

impl Event<'_> {
    /// Whether somebody has missed something who does not get it. Who is there can be asked for
    /// again.
    #[must_use]
    pub fn is_message(&self) -> bool {
        matches!(self, Event::Broadcast(_) | Event::Post { .. } | Event::Private { .. })
    }
}

/// Bytes that are written and read in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<'a>(pub &'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Payload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Payload)
    }
}
