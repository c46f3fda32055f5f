//! Per-client protocol state in four bytes: subscription, member key, line state.

use super::chat::MemberKey;
use crate::codec::line::LineDecoder;

/// Four bytes of every session: whether broadcasts reach the client, and for a chat its member key
/// and how it ends its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientState(u32);

impl ClientState {
    const SUBSCRIBED: u32 = 1 << 31;
    const ENDS_LINES: u32 = 1 << 30;
    const DISCARDING: u32 = 1 << 29;
    const KEY: u32 = Self::DISCARDING - 1;

    /// Subscribed from connect.
    pub const SUBSCRIBER: ClientState = ClientState(Self::SUBSCRIBED);

    /// Not subscribed: the client has to join first.
    pub const UNREGISTERED: ClientState = ClientState(0);

    /// Whether broadcasts reach it.
    #[must_use]
    pub fn is_subscribed(self) -> bool {
        self.0 & Self::SUBSCRIBED != 0
    }

    /// Its member key while subscribed; meaningful in a chat only.
    #[must_use]
    pub fn member(self) -> Option<MemberKey> {
        self.is_subscribed().then_some(self.0 & Self::KEY)
    }

    /// Subscribes with `key`.
    ///
    /// # Panics
    ///
    /// If `key` exceeds 2²⁹ − 1.
    pub fn join(&mut self, key: MemberKey) {
        assert!(key <= Self::KEY, "too many members");
        self.0 = self.0 & !Self::KEY | Self::SUBSCRIBED | key;
    }

    /// Unsubscribes; returns the key.
    pub fn leave(&mut self) -> Option<MemberKey> {
        let key = self.member();
        self.0 &= !Self::SUBSCRIBED;
        key
    }

    /// Whether it has ended a message.
    #[must_use]
    pub fn ends_lines(self) -> bool {
        self.0 & Self::ENDS_LINES != 0
    }

    /// Whether the rest of a message is thrown away as it comes.
    #[must_use]
    pub fn is_discarding(self) -> bool {
        self.0 & Self::DISCARDING != 0
    }

    /// Remembers whether the rest of a message is thrown away.
    pub fn set_discarding(&mut self, discarding: bool) {
        self.set(Self::DISCARDING, discarding);
    }

    /// A decoder that goes on where the last one stopped.
    #[must_use]
    pub fn line_decoder(self) -> LineDecoder {
        LineDecoder { ends_lines: self.ends_lines(), discarding: self.is_discarding() }
    }

    /// Remembers where a decoder stopped.
    pub fn save_line_decoder(&mut self, decoder: LineDecoder) {
        self.set(Self::ENDS_LINES, decoder.ends_lines);
        self.set(Self::DISCARDING, decoder.discarding);
    }

    fn set(&mut self, bit: u32, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_and_line_ends_do_not_touch_each_other() {
        let mut tag = ClientState::UNREGISTERED;
        assert_eq!((tag.is_subscribed(), tag.member()), (false, None));
        let decoder = LineDecoder { ends_lines: true, discarding: true };
        tag.save_line_decoder(decoder);
        tag.join(ClientState::KEY);
        assert_eq!((tag.member(), tag.line_decoder()), (Some(ClientState::KEY), decoder));
        tag.save_line_decoder(LineDecoder { ends_lines: true, discarding: false });
        assert_eq!((tag.member(), tag.ends_lines()), (Some(ClientState::KEY), true));
        assert_eq!(tag.leave(), Some(ClientState::KEY));
        assert_eq!((tag.leave(), tag.is_subscribed(), tag.ends_lines()), (None, false, true));
        tag.join(3);
        assert_eq!(tag.member(), Some(3));
    }
}
