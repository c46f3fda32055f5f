//! Requests, whether they come from an argument or from a line: their words, protocols and texts. Knows
//! no sockets.

use std::fmt;

use crate::cli::suggest::nearest;
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
    /// A command by its code.
    Call(u8),
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    pub(super) text: Vec<u8>,
}

/// Words that other programs have for a command.
const SYNONYMS: [(&str, &str); 20] = [
    ("ping", "echo"),
    ("say", "echo"),
    ("tac", "rev"),
    ("publish", "broadcast"),
    ("wall", "broadcast"),
    ("subscribe", "listen"),
    ("monitor", "listen"),
    ("info", "status"),
    ("stat", "status"),
    ("stats", "status"),
    ("msg", "send"),
    ("join", "chat"),
    ("list", "clients"),
    ("connections", "clients"),
    ("who", "clients"),
    ("ps", "clients"),
    ("kill", "kick"),
    ("disconnect", "kick"),
    ("hup", "reload"),
    ("htop", "top"),
];

/// The one of `known` that `word` is most likely to stand for.
pub(super) fn nearest_command(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let synonym = SYNONYMS.iter().find(|(synonym, _)| word.eq_ignore_ascii_case(synonym));
    let synonym = synonym.map(|(_, command)| *command).filter(|command| known.contains(command));
    synonym.or_else(|| nearest(word, known.iter().copied()))
}

impl Verb {
    /// Those that a word alone names; [`Verb::Call`] needs its code.
    pub(super) const ALL: [Verb; 5] =
        [Verb::Echo, Verb::Reverse, Verb::Broadcast, Verb::Status, Verb::Send];

    /// The verb that is called `word`, in upper or lower case.
    pub(super) fn parse(word: &str) -> Option<Verb> {
        if word.eq_ignore_ascii_case("reverse") {
            return Some(Verb::Reverse);
        }
        Verb::ALL.into_iter().find(|verb| word.eq_ignore_ascii_case(verb.name()))
    }

    /// The verb of `call CODE`; `None` if that is not a number from 0 to 255.
    pub(super) fn parse_call(code: &str) -> Option<Verb> {
        code.bytes().all(|byte| byte.is_ascii_digit()).then(|| code.parse().ok())?.map(Verb::Call)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Verb::Echo => "echo",
            Verb::Reverse => "rev",
            Verb::Broadcast => "broadcast",
            Verb::Status => "status",
            Verb::Send => "send",
            Verb::Call(_) => "call",
        }
    }

    /// Its command in the `command` protocol; `None` for [`Verb::Send`].
    pub(super) fn command(self) -> Option<Command> {
        match self {
            Verb::Echo => Some(Command::Echo),
            Verb::Reverse => Some(Command::Reverse),
            Verb::Broadcast => Some(Command::Broadcast),
            Verb::Status => Some(Command::Status),
            Verb::Send => None,
            Verb::Call(code) => Some(Command::from(code)),
        }
    }

    pub(super) const fn takes_text(self) -> bool {
        !matches!(self, Verb::Status)
    }

    pub(super) fn is_supported_by(self, protocol: ProtocolName) -> bool {
        match protocol {
            ProtocolName::Command => self != Verb::Send,
            ProtocolName::Chat => false,
            _ => self == Verb::Send,
        }
    }

    /// The names of the protocols that support it, as an error lists them.
    pub(super) const fn protocols(self) -> &'static str {
        match self {
            Verb::Send => "prefixed, raw or plugin",
            _ => "command",
        }
    }
}

/// The command to use over `protocol`, as an error recommends it.
pub(super) const fn command_over(protocol: ProtocolName) -> &'static str {
    match protocol {
        ProtocolName::Command => "echo",
        ProtocolName::Chat => "chat",
        _ => "send",
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
        for verb in Verb::ALL.into_iter().chain([Verb::Call(128)]) {
            let protocols = ProtocolName::ALL.iter().copied().filter(|&p| verb.is_supported_by(p));
            let others = ProtocolName::ALL.len() - 2;
            assert_eq!(protocols.count(), if verb == Verb::Send { others } else { 1 });
        }
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.name()), Some(verb));
            assert_eq!(Verb::parse(&verb.name().to_uppercase()), Some(verb));
        }
        assert_eq!(Verb::parse("Reverse"), Some(Verb::Reverse));
        assert_eq!(Verb::parse("call"), None);
        assert_eq!(Verb::parse(""), None);
    }

    #[test]
    fn call_takes_a_code() {
        assert_eq!(Verb::parse_call("128"), Some(Verb::Call(128)));
        assert_eq!(Verb::parse_call("0"), Some(Verb::Call(0)));
        for code in ["", "256", "-1", "+1", "0x80", "x"] {
            assert_eq!(Verb::parse_call(code), None, "{code}");
        }
    }

    #[test]
    fn synonym_or_misspelt_word_has_a_nearest_command() {
        let known = ["echo", "rev", "status"];
        for (word, command) in [
            ("ping", Some("echo")),
            ("INFO", Some("status")),
            ("ecoh", Some("echo")),
            ("satus", Some("status")),
            ("publish", None),
            ("zzzzzz", None),
        ] {
            assert_eq!(nearest_command(word, &known), command, "{word}");
        }
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
