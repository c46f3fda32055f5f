//! Requests, whether they come from an argument or from a line: their words, protocols and texts. Knows
//! no sockets.

use std::fmt;

use crate::codec::command::Command;
use crate::codec::prefixed::PAYLOAD_LEN_MAX;
use crate::protocol::ProtocolName;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Echo,
    Reverse,
    Broadcast,
    Status,
    /// A message over a protocol without commands.
    Send,
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    pub(super) text: Vec<u8>,
}

impl Verb {
    pub(super) const ALL: [Verb; 5] =
        [Verb::Echo, Verb::Reverse, Verb::Broadcast, Verb::Status, Verb::Send];

    /// The verb that is called `word`.
    pub(super) fn parse(word: &[u8]) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name().as_bytes() == word)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Verb::Echo => "echo",
            Verb::Reverse => "rev",
            Verb::Broadcast => "broadcast",
            Verb::Status => "status",
            Verb::Send => "send",
        }
    }

    /// Its command in the `command` protocol; `None` for [`Verb::Send`].
    pub(super) const fn command(self) -> Option<Command> {
        match self {
            Verb::Echo => Some(Command::Echo),
            Verb::Reverse => Some(Command::Reverse),
            Verb::Broadcast => Some(Command::Broadcast),
            Verb::Status => Some(Command::Status),
            Verb::Send => None,
        }
    }

    pub(super) const fn takes_text(self) -> bool {
        !matches!(self, Verb::Status)
    }

    pub(super) const fn is_supported_by(self, protocol: ProtocolName) -> bool {
        match protocol {
            ProtocolName::Command => self.command().is_some(),
            ProtocolName::Prefixed | ProtocolName::Raw => matches!(self, Verb::Send),
            _ => false,
        }
    }

    /// The names of the protocols that support it, as an error lists them.
    pub(super) const fn protocols(self) -> &'static str {
        match self.command() {
            Some(_) => "command",
            None => "prefixed or raw",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Request {
    /// Truncates the text to the longest that `protocol` can carry, between characters; returns the old
    /// length if that was longer.
    pub(super) fn truncate_for(&mut self, protocol: ProtocolName) -> Option<usize> {
        let len = self.text.len();
        if protocol != ProtocolName::Prefixed || len <= PAYLOAD_LEN_MAX {
            return None;
        }
        self.text.truncate(floor_char_boundary(&self.text, PAYLOAD_LEN_MAX));
        Some(len)
    }
}

/// The last index up to `at` that does not split a character, as `str::floor_char_boundary` has it; `at`
/// itself if the bytes around it are not UTF-8.
fn floor_char_boundary(text: &[u8], at: usize) -> usize {
    // A character has at most four bytes, so one that `at` splits begins in the three before it.
    (at.saturating_sub(3)..at)
        .find(|&start| {
            let longest = &text[start..text.len().min(start + 4)];
            let first = longest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
            first.is_some_and(|c| start + c.len_utf8() > at)
        })
        .unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verb_has_a_name_and_a_protocol() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.to_string().as_bytes()), Some(verb));
            let protocols = ProtocolName::ALL.iter().copied().filter(|&p| verb.is_supported_by(p));
            assert_eq!(protocols.count(), if verb == Verb::Send { 2 } else { 1 });
        }
        assert_eq!(Verb::parse(b"ECHO"), None);
        assert_eq!(Verb::parse(b""), None);
    }

    #[test]
    fn text_is_truncated_between_characters() {
        for (tail, cut) in
            [("", 252), ("é", 254), ("éé", 254), ("яяя", 254), ("€€", 255), ("🐦", 252)]
        {
            let text = format!("{}{tail}", "x".repeat(252));
            assert_eq!(floor_char_boundary(text.as_bytes(), cut.min(text.len())), cut, "{tail}");
        }
        for (head, kept) in [(255, 255), (254, 254), (253, 253), (252, 252), (251, 255)] {
            let text = format!("{}🐦!", "x".repeat(head));
            assert_eq!(floor_char_boundary(text.as_bytes(), 255), kept, "{head}");
        }
        let family = "👩\u{200d}👩".repeat(40);
        let cut = floor_char_boundary(family.as_bytes(), 255);
        assert!(str::from_utf8(&family.as_bytes()[..cut]).is_ok_and(|cut| cut.len() > 251));
    }

    #[test]
    fn invalid_utf8_is_truncated_at_the_limit() {
        assert_eq!(floor_char_boundary(&[0x80; 300], 255), 255);
        assert_eq!(floor_char_boundary(&[0xff; 300], 255), 255);
        // An incomplete character.
        assert_eq!(floor_char_boundary(&[&[b'x'; 253][..], b"\xf0\x9f\x90xx"].concat(), 255), 255);
    }

    #[test]
    fn only_prefixed_truncates() {
        let request = |len| Request { verb: Verb::Send, text: vec![b'x'; len] };
        for (protocol, len, left, was) in [
            (ProtocolName::Prefixed, 255, 255, None),
            (ProtocolName::Prefixed, 256, 255, Some(256)),
            (ProtocolName::Raw, 256, 256, None),
        ] {
            let mut request = request(len);
            assert_eq!(request.truncate_for(protocol), was);
            assert_eq!(request.text.len(), left);
        }
    }
}
