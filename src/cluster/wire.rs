//! What nodes publish: batches of events in the channels of rooms, and heartbeats.

use serde::{Deserialize, Serialize};

use crate::protocol::cluster::Position;

/// The version of all this. What has another is not understood, and not acted on.
const VERSION: u8 = 1;

/// First byte of a heartbeat in the nodes' channel.
const HEARTBEAT: u8 = 1;
/// First byte of the notice that a name has been lost, which a script publishes.
const NAME_LOST: u8 = 2;

/// What stands before the events of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    version: u8,
    /// The node that publishes.
    pub(super) incarnation: u64,
    /// The number of the first event.
    pub(super) first: u64,
    /// How many messages the stream had before.
    pub(super) messages_before: u64,
}

impl Header {
    pub(super) fn new(incarnation: u64, first: u64, messages_before: u64) -> Self {
        Header { version: VERSION, incarnation, first, messages_before }
    }

    /// Writes the header to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        // A `Vec` takes all that is written.
        let _ = postcard::to_io(&self, out);
    }

    /// The header of a batch, and its events.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, events): (Header, _) = postcard::take_from_bytes(bytes).ok()?;
        (header.version == VERSION).then_some((header, events))
    }
}

/// What a node says each second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat<'a> {
    version: u8,
    pub(super) incarnation: u64,
    /// The node's name.
    pub(super) name: &'a str,
    /// It is the last: the node stops.
    pub(super) is_last: bool,
    /// Its channels.
    #[serde(borrow)]
    pub(super) channels: Vec<ChannelBeat<'a>>,
    /// Nodes, by incarnation, whose members it asks for, and in which channels.
    pub(super) wants: Vec<(u64, &'a str)>,
}

/// A channel in a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChannelBeat<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Number of the next event that the node will publish.
    pub(super) next: u64,
    /// Messages it has published.
    pub(super) messages: u64,
    /// Clients that a broadcast reaches there.
    pub(super) receivers: u32,
}

impl ChannelBeat<'_> {
    pub(super) fn end(&self) -> Position {
        Position { next: self.next, messages: self.messages }
    }
}

impl<'a> Heartbeat<'a> {
    pub(super) fn new(incarnation: u64, name: &'a str, is_last: bool) -> Self {
        Heartbeat {
            version: VERSION,
            incarnation,
            name,
            is_last,
            channels: Vec::new(),
            wants: Vec::new(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![HEARTBEAT];
        // A `Vec` takes all that is written.
        let _ = postcard::to_io(self, &mut bytes);
        bytes
    }
}

/// A message in the nodes' channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice<'a> {
    /// A node is there.
    Heartbeat(Heartbeat<'a>),
    /// A member has lost its name.
    NameLost {
        /// The incarnation of the member's node.
        incarnation: u64,
        /// Its account is logged in to on another node; else somebody has had the name longer.
        is_login: bool,
        /// The name of its room's channel.
        channel: &'a str,
        /// The folded nickname.
        folded: &'a str,
    },
}

impl<'a> Notice<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&HEARTBEAT, rest) => {
                let heartbeat: Heartbeat<'_> = postcard::from_bytes(rest).ok()?;
                (heartbeat.version == VERSION).then_some(Notice::Heartbeat(heartbeat))
            }
            (&NAME_LOST, rest) => {
                let (reason, rest) = rest.split_first()?;
                let (incarnation, rest) = str::from_utf8(rest).ok()?.split_at_checked(16)?;
                let (channel, folded) = rest.split_once('\0')?;
                let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
                Some(Notice::NameLost { incarnation, is_login: *reason == 1, channel, folded })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_is_read_as_it_was_written() {
        let header = Header::new(u64::MAX, 7, 3);
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend(b"events");
        assert_eq!(Header::parse(&bytes), Some((header, &b"events"[..])));
        bytes[0] = VERSION + 1;
        assert_eq!(Header::parse(&bytes), None, "of another version");
        assert_eq!(Header::parse(&bytes[..3]), None);
    }

    #[test]
    fn heartbeat_is_read_as_it_was_written() {
        let mut heartbeat = Heartbeat::new(5, "anna", false);
        heartbeat.channels =
            vec![ChannelBeat { name: "chat:chat", next: 9, messages: 4, receivers: 2 }];
        heartbeat.wants = vec![(6, "chat:chat")];
        let bytes = heartbeat.to_bytes();
        assert_eq!(Notice::parse(&bytes), Some(Notice::Heartbeat(heartbeat)));
        assert!((0..bytes.len()).all(|len| Notice::parse(&bytes[..len]).is_none()));
    }

    #[test]
    fn lost_name_is_read_as_scripts_write_it() {
        let expected = Notice::NameLost {
            incarnation: 255,
            is_login: true,
            channel: "chat:lobby",
            folded: "anna",
        };
        assert_eq!(Notice::parse(b"\x02\x0100000000000000ffchat:lobby\0anna"), Some(expected));
        assert_eq!(Notice::parse(b"\x02\x010000000000000"), None);
        assert_eq!(Notice::parse(b"\x031"), None);
    }
}
