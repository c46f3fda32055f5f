//! The clients of a chat: half of them end their messages, the others leave that to time.

use std::collections::{BTreeMap, VecDeque};

use super::clients::{Broadcast, Client, Ending};
use crate::support::rng::Rng;

/// Longest message.
const LINE_LEN_MAX: usize = 4096;

/// How the last word to a client begins for whom there is no room.
const FULL: &str = "[ERROR] server is full: ";

/// How it begins to one whose address has too many connections.
const OVER_LIMIT: &str = "[ERROR] too many connections from ";

/// Lines of a room about a member are heard like something the member said first, or last.
pub const JOINED: u32 = 0;
pub const LEFT: u32 = u32::MAX;

/// Speaks in a chat as `userN`. What it says is one or more of `<SEQUENCE:filler>`, so that
/// messages that time has not parted can still be told apart.
pub struct ChatClient {
    number: usize,
    ends_messages: bool,
    /// Bytes spoken.
    spoken: usize,
    sequence: u32,
    named: bool,
    member: bool,
    expected: VecDeque<Expected>,
    /// Bytes spoken up to and with each message to everyone.
    said: Vec<(usize, u32)>,
    private_sent: Vec<(usize, u32)>,
    /// Received, and not yet a whole line.
    input: Vec<u8>,
    heard: Vec<Broadcast>,
    overheard: Vec<Broadcast>,
    /// The last of what each other said, to everyone or to this one.
    last_of: BTreeMap<usize, u32>,
    lines: usize,
    refused: bool,
    over_limit: Option<String>,
    told_of_stop: bool,
    closes_at: Option<usize>,
}

/// An answer that must come.
struct Expected {
    /// Bytes spoken up to and with the message.
    asked_at: usize,
    answer: Answer,
}

enum Answer {
    Welcome,
    Exactly(String),
    Help,
    Online,
    PrivateSent { to: usize, sequence: u32, text: String },
}

impl ChatClient {
    pub fn new(number: usize) -> Self {
        ChatClient {
            number,
            ends_messages: number.is_multiple_of(2),
            spoken: 0,
            sequence: 0,
            named: false,
            member: false,
            expected: VecDeque::new(),
            said: Vec::new(),
            private_sent: Vec::new(),
            input: Vec::new(),
            heard: Vec::new(),
            overheard: Vec::new(),
            last_of: BTreeMap::new(),
            lines: 0,
            refused: false,
            over_limit: None,
            told_of_stop: false,
            closes_at: None,
        }
    }

    /// A message as it goes over the wire.
    fn wire(&mut self, text: &[u8], rng: &mut Rng) -> Vec<u8> {
        let end: &[u8] = match self.ends_messages {
            false => b"",
            true if rng.one_in(3) => b"\r\n",
            true => b"\n",
        };
        let wire = [text, end].concat();
        self.spoken += wire.len();
        wire
    }

    fn ask(&mut self, text: &[u8], answer: Answer, rng: &mut Rng) -> Vec<u8> {
        let wire = self.wire(text, rng);
        self.expected.push_back(Expected { asked_at: self.spoken, answer });
        wire
    }

    fn refusal(&mut self, text: &[u8], why: &str, rng: &mut Rng) -> Vec<u8> {
        self.ask(text, Answer::Exactly(format!("[ERROR] {why}")), rng)
    }

    fn next_text(&mut self, rng: &mut Rng) -> String {
        self.sequence += 1;
        // Some fill the log of their room within one turn.
        let long = rng.one_in(if self.number % 8 == 4 { 2 } else { 10 });
        let len = rng.skewed(if long { LINE_LEN_MAX - 20 } else { 60 });
        let filler = filler(self.sequence);
        format!("<{}:{}>", self.sequence, filler.repeat(len / filler.len()))
    }

    fn speak_to_all(&mut self, rng: &mut Rng) -> Vec<u8> {
        let text = self.next_text(rng);
        let wire = self.wire(text.as_bytes(), rng);
        self.said.push((self.spoken, self.sequence));
        wire
    }

    /// A nickname, at last, or something that is none.
    fn introduce(&mut self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(10) {
            0 => self.refusal(b"me", "a nickname has 3 to 16 characters", rng),
            1 => self.refusal(b"a b c", "a nickname has no blanks or control characters", rng),
            2 => self.refusal(b"Server", "Server is taken, choose another", rng),
            3 => self.refusal("INF\u{41e}".as_bytes(), "INF\u{41e} is taken, choose another", rng),
            4 => self.refusal(b"/msg user1 hello", "choose a nickname first", rng),
            _ => {
                self.named = true;
                let nick = format!("user{}", self.number);
                self.ask(nick.as_bytes(), Answer::Welcome, rng)
            }
        }
    }

    fn private_message(&mut self, rng: &mut Rng) -> Vec<u8> {
        // Mostly to one of two, so that letters to both lie in one turn.
        let to = match rng.below(4) {
            0 => rng.below(30),
            friend => (self.number + friend.min(2)) % 30,
        };
        let text = self.next_text(rng);
        let request = format!("/msg USER{to} {text}");
        if request.len() > LINE_LEN_MAX {
            return self.refusal(request.as_bytes(), "message over 4096 bytes", rng);
        }
        let sequence = self.sequence;
        self.ask(request.as_bytes(), Answer::PrivateSent { to, sequence, text }, rng)
    }

    fn hear_line(&mut self, line: &str) -> Result<(), String> {
        if self.refused || self.told_of_stop || self.over_limit.is_some() {
            return Err(format!("something after the last word: {line:?}"));
        }
        self.lines += 1;
        if line.starts_with(FULL) {
            self.refused = true;
            return Ok(());
        }
        if let Some(address) = line.strip_prefix(OVER_LIMIT) {
            self.over_limit = Some(address.to_owned());
            return Ok(());
        }
        if line == "[INFO] The server has shut down" {
            self.told_of_stop = true;
            return Ok(());
        }
        let heard = self.hear_room(line)?;
        if heard && !self.member {
            return Err(format!("heard without a nickname: {line:?}"));
        }
        if heard { Ok(()) } else { self.hear_answer(line) }
    }

    /// True if the line is something of the room's.
    fn hear_room(&mut self, line: &str) -> Result<bool, String> {
        if let Some(rest) = line.strip_prefix("[SERVER] ") {
            let (nick, what) = rest.split_once(' ').ok_or("a torn notice")?;
            let event = match what {
                "joined" => JOINED,
                "left" => LEFT,
                _ => return Err(format!("a torn notice: {line:?}")),
            };
            self.heard.push((self.somebody(nick)?, event));
            return Ok(true);
        }
        if let Some(rest) = line.strip_prefix("[PM] ") {
            let (nick, text) = rest.split_once(": ").ok_or("a torn private message")?;
            let (sender, sequences) = (self.user(nick)?, sequences(text)?);
            for sequence in sequences {
                self.overheard.push((sender, sequence));
                if sender != self.number {
                    self.note_order(sender, sequence)?;
                }
            }
            return Ok(true);
        }
        if let Some((nick, text)) = line.strip_prefix("[user").and_then(|l| l.split_once("]: ")) {
            let sender = self.somebody(&format!("user{nick}"))?;
            for sequence in sequences(text)? {
                self.heard.push((sender, sequence));
                self.note_order(sender, sequence)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn hear_answer(&mut self, line: &str) -> Result<(), String> {
        if let Some(Expected { answer: Answer::Help, .. }) = self.expected.front() {
            if line.starts_with("/exit") {
                self.expected.pop_front();
            }
            return if line.starts_with('/') { Ok(()) } else { Err(format!("no help: {line:?}")) };
        }
        let Some(expected) = self.expected.pop_front() else {
            return Err(format!("an answer to nothing: {line:?}"));
        };
        let welcome = format!("[INFO] Welcome, user{}!", self.number);
        let matches = match expected.answer {
            Answer::Welcome => {
                self.member = true;
                line == welcome
            }
            Answer::Exactly(answer) => line == answer,
            Answer::Help => false,
            Answer::Online => self.is_list(line),
            Answer::PrivateSent { to, sequence, text } => {
                if line == format!("[PM to user{to}]: {text}") {
                    self.private_sent.push((to, sequence));
                    true
                } else {
                    line == format!("[ERROR] no such user: USER{to}")
                }
            }
        };
        if matches { Ok(()) } else { Err(format!("the wrong answer: {line:?}")) }
    }

    fn is_list(&self, line: &str) -> bool {
        let Some(list) = line.strip_prefix("Online: ") else { return false };
        let nicks: Vec<&str> = list.split(", ").collect();
        nicks.is_sorted() && nicks.contains(&format!("user{}", self.number).as_str())
    }

    fn user(&self, nick: &str) -> Result<usize, String> {
        let number = nick.strip_prefix("user").and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| format!("a torn nickname: {nick:?}"))
    }

    /// A user, but not oneself.
    fn somebody(&self, nick: &str) -> Result<usize, String> {
        let number = self.user(nick)?;
        if number == self.number { Err("heard itself".to_owned()) } else { Ok(number) }
    }

    /// Messages of one arrive in the order they were said in, to everyone or not.
    fn note_order(&mut self, sender: usize, sequence: u32) -> Result<(), String> {
        let last = self.last_of.insert(sender, sequence).unwrap_or(0);
        let late = format!("{sequence} of {sender} came after {last}");
        if last < sequence { Ok(()) } else { Err(late) }
    }
}

impl Client for ChatClient {
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8> {
        if !self.named {
            return self.introduce(rng);
        }
        if !self.ends_messages {
            return self.speak_to_all(rng);
        }
        // One in four of them storms at times: private messages, or questions with long answers.
        let storms = rng.one_in(3);
        if storms && self.number % 8 == 2 {
            return (0..rng.between(10, 60)).flat_map(|_| self.private_message(rng)).collect();
        }
        if storms && self.number % 8 == 6 {
            return (0..rng.between(10, 100))
                .flat_map(|_| self.ask(b"/who", Answer::Online, rng))
                .collect();
        }
        match rng.below(20) {
            0 => self.ask(b"/who", Answer::Online, rng),
            1 => self.ask(b"/help", Answer::Help, rng),
            2 => self.refusal(b"/dance now", "unknown command /dance, try /help", rng),
            3 => self.refusal(b"/msg user1", "usage: /msg USER TEXT", rng),
            4 => self.refusal(&[b'x'; LINE_LEN_MAX + 1], "message over 4096 bytes", rng),
            5 => self.refusal(b"a\xffb", "message is not UTF-8", rng),
            6 => self.wire(b"  ", rng),
            7..10 => self.private_message(rng),
            _ => self.speak_to_all(rng),
        }
    }

    fn end(&mut self, ending: Ending, rng: &mut Rng) -> Vec<u8> {
        match ending {
            _ if !self.ends_messages || !self.named => Vec::new(),
            Ending::Goodbye => {
                let goodbye = [&b"exit"[..], b"/exit", b" /exit now ", b"/quit"][rng.below(4)];
                let wire = self.wire(goodbye, rng);
                self.closes_at = Some(self.spoken);
                wire
            }
            // Nobody waits for the rest of a line, but a stop.
            Ending::Unfinished => self.next_text(rng).into_bytes(),
            _ => Vec::new(),
        }
    }

    fn is_ready(&self, quiet: bool) -> bool {
        self.ends_messages || (quiet && self.expected.is_empty())
    }

    fn is_undivided(&self) -> bool {
        !self.ends_messages || self.lines == 0
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.extend(bytes);
        while let Some(at) = self.input.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=at).collect();
            let line = str::from_utf8(&line[..at]).map_err(|_| "torn UTF-8".to_owned())?;
            self.hear_line(line)?;
        }
        Ok(())
    }

    fn check_answered(&self, handed: usize, _: &[usize]) -> Result<(), String> {
        if !self.input.is_empty() {
            return Err(format!("a line that was never finished: {} bytes", self.input.len()));
        }
        match self.expected.front() {
            Some(expected) if expected.asked_at <= handed => {
                Err(format!("no answer to what ended at byte {} of {handed}", expected.asked_at))
            }
            _ => Ok(()),
        }
    }

    fn was_refused(&self) -> bool {
        let beginning = self.input.as_slice();
        let is_cut =
            FULL.as_bytes().starts_with(beginning) || beginning.starts_with(FULL.as_bytes());
        self.refused || (self.lines == 0 && !beginning.is_empty() && is_cut)
    }

    fn over_limit(&self) -> Option<&str> {
        self.over_limit.as_deref()
    }

    fn expects_close(&self, handed: usize) -> bool {
        self.closes_at.is_some_and(|at| at <= handed)
    }

    fn is_member(&self) -> bool {
        self.member
    }

    fn was_told_of_stop(&self) -> Option<bool> {
        Some(self.told_of_stop)
    }

    fn said(&self, handed: usize) -> Vec<u32> {
        let said = self.said.iter().take_while(|(at, _)| *at <= handed);
        said.map(|(_, sequence)| *sequence).collect()
    }

    fn private_sent(&self) -> &[(usize, u32)] {
        &self.private_sent
    }

    fn overheard(&self) -> &[Broadcast] {
        &self.overheard
    }

    fn heard(&self) -> &[Broadcast] {
        &self.heard
    }
}

/// The sequence numbers in what somebody said, each with its filler and nothing else.
fn sequences(text: &str) -> Result<Vec<u32>, String> {
    let torn = || format!("a torn message: {text:?}");
    let mut found = Vec::new();
    for piece in text.split_inclusive('>') {
        let inner = piece.strip_prefix('<').and_then(|p| p.strip_suffix('>')).ok_or_else(torn)?;
        let (digits, fill) = inner.split_once(':').ok_or_else(torn)?;
        let sequence: u32 = digits.parse().map_err(|_| torn())?;
        let filler = filler(sequence);
        if fill.len() % filler.len() != 0 || fill != filler.repeat(fill.len() / filler.len()) {
            return Err(torn());
        }
        found.push(sequence);
    }
    if found.is_empty() { Err(torn()) } else { Ok(found) }
}

/// The filler of a message, characters of every length among it.
fn filler(sequence: u32) -> &'static str {
    ["a", "é", "€", "𝄞", "- "][sequence as usize % 5]
}
