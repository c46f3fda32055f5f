//! Messages between nodes: batches of events in the channels of rooms, and heartbeats.

use serde::{Deserialize, Serialize};

use crate::protocol::cluster::Position;

/// The version of all this. What has another is not understood, and not acted on.
const VERSION: u8 = 1;

/// First byte of a heartbeat in the nodes' channel, in which scripts publish, too.
const HEARTBEAT: u8 = 1;

/// The header before the events of a batch.
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

    /// Most bytes of one: that of the version, and three numbers of up to ten.
    pub(super) const LEN_MAX: usize = 31;

    /// Writes the header to `buffer`, and returns it.
    pub(super) fn write(self, buffer: &mut [u8; Header::LEN_MAX]) -> &[u8] {
        postcard::to_slice(&self, buffer).expect("the longest header fits")
    }

    /// The header of a batch, and its events.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, events): (Header, _) = postcard::take_from_bytes(bytes).ok()?;
        (header.version == VERSION).then_some((header, events))
    }
}

/// The message that a node publishes each second.
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
    /// Most bytes of one: the longest that a node publishes fits.
    const LEN_MAX: usize = 256 * 1024;

    /// Most of its channels, and of what it asks for; the next asks for the rest.
    pub(super) const CHANNELS_MAX: usize = 2_048;
    pub(super) const WANTS_MAX: usize = 512;

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

impl<'a> Heartbeat<'a> {
    /// Reads a message of the nodes' channel; `None` if it is not a heartbeat.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > Self::LEN_MAX {
            return None;
        }
        let heartbeat: Heartbeat<'_> =
            postcard::from_bytes(bytes.strip_prefix(&[HEARTBEAT])?).ok()?;
        (heartbeat.version == VERSION).then_some(heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LISTENER_NAME_LEN_MAX;

    #[test]
    fn batch_is_read_as_it_was_written() {
        let header = Header::new(u64::MAX, 7, 3);
        let mut bytes = header.write(&mut [0; Header::LEN_MAX]).to_vec();
        bytes.extend(b"events");
        assert_eq!(Header::parse(&bytes), Some((header, &b"events"[..])));
        bytes[0] = VERSION + 1;
        assert_eq!(Header::parse(&bytes), None, "of another version");
        assert_eq!(Header::parse(&bytes[..3]), None);
        let longest = Header::new(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(longest.write(&mut [0; Header::LEN_MAX]).len(), Header::LEN_MAX);
    }

    #[test]
    fn heartbeat_is_read_as_it_was_written() {
        let mut heartbeat = Heartbeat::new(5, "anna", false);
        heartbeat.channels =
            vec![ChannelBeat { name: "chat:chat", next: 9, messages: 4, receivers: 2 }];
        heartbeat.wants = vec![(6, "chat:chat")];
        let bytes = heartbeat.to_bytes();
        assert_eq!(Heartbeat::parse(&bytes), Some(heartbeat));
        assert!((0..bytes.len()).all(|len| Heartbeat::parse(&bytes[..len]).is_none()));
    }

    #[test]
    fn longest_heartbeat_fits() {
        let name = format!("command:{}", "x".repeat(LISTENER_NAME_LEN_MAX));
        let mut heartbeat = Heartbeat::new(u64::MAX, &name, false);
        let (next, messages, receivers) = (u64::MAX, u64::MAX, u32::MAX);
        let beat = ChannelBeat { name: &name, next, messages, receivers };
        heartbeat.channels = vec![beat; Heartbeat::CHANNELS_MAX];
        heartbeat.wants = vec![(u64::MAX, &*name); Heartbeat::WANTS_MAX];
        assert!(Heartbeat::parse(&heartbeat.to_bytes()).is_some());
        heartbeat.channels.extend([beat; Heartbeat::CHANNELS_MAX]);
        assert!(Heartbeat::parse(&heartbeat.to_bytes()).is_none(), "no node publishes that");
    }
}
