//! What can be asked of a server, whether by an argument or by a line. Knows no sockets.

use std::fmt;

use crate::cli::ProtocolName;
use crate::codec::command::Command;
use crate::codec::prefixed::PAYLOAD_LEN_MAX;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Echo,
    Reverse,
    Broadcast,
    Status,
    /// A message over a protocol that knows no commands.
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

    pub(super) fn parse(word: &[u8]) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name().as_bytes() == word)
    }

    const fn name(self) -> &'static str {
        match self {
            Verb::Echo => "echo",
            Verb::Reverse => "rev",
            Verb::Broadcast => "broadcast",
            Verb::Status => "status",
            Verb::Send => "send",
        }
    }

    /// What it is called in the `command` protocol, if it is of that protocol.
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
            ProtocolName::Chat | ProtocolName::Plugin => false,
        }
    }

    /// The protocols it belongs to, in words.
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
    /// Cuts the text to what `protocol` can carry; returns how long it was if it was longer.
    pub(super) fn truncate_for(&mut self, protocol: ProtocolName) -> Option<usize> {
        let len = self.text.len();
        if protocol != ProtocolName::Prefixed || len <= PAYLOAD_LEN_MAX {
            return None;
        }
        self.text.truncate(boundary(&self.text, PAYLOAD_LEN_MAX));
        Some(len)
    }
}

/// The last place up to `at` that does not split a character of UTF-8; `at` itself where the bytes
/// around it are no UTF-8.
fn boundary(text: &[u8], at: usize) -> usize {
    // A character has four bytes at most, so one that `at` splits begins within the three before.
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
    fn every_verb_has_a_word_and_a_protocol() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.to_string().as_bytes()), Some(verb));
            let speakers = ProtocolName::ALL.into_iter().filter(|&p| verb.is_supported_by(p));
            assert_eq!(speakers.count(), if verb == Verb::Send { 2 } else { 1 });
        }
        assert_eq!(Verb::parse(b"ECHO"), None);
        assert_eq!(Verb::parse(b""), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (tail, cut) in
            [("", 252), ("é", 254), ("éé", 254), ("яяя", 254), ("€€", 255), ("🐦", 252)]
        {
            let text = format!("{}{tail}", "x".repeat(252));
            assert_eq!(boundary(text.as_bytes(), cut.min(text.len())), cut, "{tail}");
        }
        for (head, kept) in [(255, 255), (254, 254), (253, 253), (252, 252), (251, 255)] {
            let text = format!("{}🐦!", "x".repeat(head));
            assert_eq!(boundary(text.as_bytes(), 255), kept, "{head}");
        }
        let family = "👩\u{200d}👩".repeat(40);
        let cut = boundary(family.as_bytes(), 255);
        assert!(str::from_utf8(&family.as_bytes()[..cut]).is_ok_and(|cut| cut.len() > 251));
    }

    #[test]
    fn what_is_no_utf8_is_cut_where_it_must_be() {
        assert_eq!(boundary(&[0x80; 300], 255), 255);
        assert_eq!(boundary(&[0xff; 300], 255), 255);
        // The beginning of a character that never comes.
        assert_eq!(boundary(&[&[b'x'; 253][..], b"\xf0\x9f\x90xx"].concat(), 255), 255);
    }

    #[test]
    fn only_prefixed_cuts() {
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
