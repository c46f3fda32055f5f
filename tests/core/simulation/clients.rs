//! The clients: what each kind sends, and what it must be sent back. A new protocol adds its kind
//! here, and to [`Kind`].

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::accounts::{Request, Script};
use super::chat::ChatClient;
use super::plugin_clients::PluginClient;
use crate::support::rng::Rng;

/// Longest payload of a `command` listener in the simulation.
pub const FRAME_LEN_MAX: usize = 4096;

/// The kinds of listeners, each with its kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Command,
    Prefixed,
    Raw,
    Chat,
    Plugin,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Command, Kind::Prefixed, Kind::Raw, Kind::Chat, Kind::Plugin];

    /// Those this build has.
    pub fn all() -> &'static [Kind] {
        if HAS_PLUGINS { &Self::ALL } else { &Self::ALL[..4] }
    }

    /// Whether what one client says may reach others.
    pub fn has_broadcasts(self) -> bool {
        matches!(self, Kind::Command | Kind::Chat | Kind::Plugin)
    }

    /// Whether who is turned away is told so.
    pub fn says_full(self) -> bool {
        matches!(self, Kind::Command | Kind::Chat)
    }

    pub fn client(
        self,
        number: usize,
        broadcast_len_max: usize,
        has_plugins: bool,
        script: Option<Script>,
    ) -> Box<dyn Client> {
        match self {
            Kind::Command => {
                let client = CommandClient::new(number, broadcast_len_max, has_plugins);
                Box::new(CommandClient { script, ..client })
            }
            Kind::Prefixed => Box::new(PrefixedClient::default()),
            Kind::Raw => Box::new(RawClient::default()),
            Kind::Chat => Box::new(ChatClient::new(number)),
            Kind::Plugin => Box::new(PluginClient::new(number)),
        }
    }
}

/// Whether this build has plugins.
pub const HAS_PLUGINS: bool = cfg!(feature = "plugins");

/// How the last word to a client begins for whom there is no room.
const FULL: &[u8] = b"server is full: ";

/// How it begins to one whose address has too many connections.
const OVER_LIMIT: &[u8] = b"too many connections from ";

/// The text for clients that must log in first, and whose time for that is over.
const LOGIN_REQUIRED: &[u8] = b"login required";

/// Longest payload of a client that must log in first.
const OUTSIDE_LEN_MAX: usize = 512;

/// The prefix of a raw listener of the simulation before each answer.
pub const RAW_PREFIX: &[u8] = b"> ";

/// How a script comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client stays and says nothing more.
    Stay,
    /// It shuts its side.
    Shut,
    /// It resets the connection.
    Reset,
    /// It says goodbye in its protocol's way, if there is one.
    Goodbye,
    /// It breaks the protocol, if that is possible.
    Offence,
    /// It leaves a message unfinished.
    Unfinished,
    /// It sends a message a byte at a time, for ever.
    Trickle,
}

/// One broadcast: who sent it, and which of its own it was.
pub type Broadcast = (usize, u32);

/// A client's script and its memory.
pub trait Client {
    /// The next message to send.
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8>;

    /// The last thing to send; may be nothing.
    fn end(&mut self, ending: Ending, rng: &mut Rng) -> Vec<u8>;

    /// Whether it has something to say at this moment. `quiet` is that the server has had time to
    /// see that nothing came.
    fn is_ready(&self, quiet: bool) -> bool {
        let _ = quiet;
        true
    }

    /// Whether for all the server knows only time ends its messages, so that none may come in
    /// pieces.
    fn is_undivided(&self) -> bool {
        false
    }

    /// Bytes came; an error is a bug of the server's.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// Checks that all is answered that must be: the first `handed` bytes spoken have reached the
    /// server, which read them in pieces of `reads` bytes.
    fn check_answered(&self, handed: usize, reads: &[usize]) -> Result<(), String>;

    /// Whether the server said that it was full.
    fn was_refused(&self) -> bool {
        false
    }

    /// The address of which the server said that it had too many connections.
    fn over_limit(&self) -> Option<&str> {
        None
    }

    /// Tells it its address, for which it may ask.
    fn set_address(&mut self, address: SocketAddr) {
        let _ = address;
    }

    /// Has it say any bytes, where its protocol takes any: false where it does not.
    fn say_first(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Whether it must log in before all else, and does not know that it is.
    fn is_outside(&self) -> bool {
        false
    }

    /// Whether the server said that it had had time enough to log in.
    fn was_slow_to_log_in(&self) -> bool {
        false
    }

    /// Whether it has asked to log in and has no answer.
    fn waits_for_login(&self) -> bool {
        false
    }

    /// How often it has asked to log in and has no answer.
    fn logins_awaited(&self) -> usize {
        0
    }

    /// Whether the server said that a frame was late.
    fn was_late(&self) -> bool {
        false
    }

    /// Whether the server is to close once all is answered: a goodbye or an offence was handed
    /// over.
    fn expects_close(&self, handed: usize) -> bool {
        let _ = handed;
        false
    }

    /// Whether it is one of those that a broadcast reaches.
    fn is_member(&self) -> bool {
        true
    }

    /// Whether it was told that the server stops; `None` where nobody is.
    fn was_told_of_stop(&self) -> Option<bool> {
        None
    }

    /// The broadcasts that must have reached everyone else once `handed` bytes are with the server,
    /// beyond those with receipts.
    fn said(&self, handed: usize) -> Vec<u32> {
        let _ = handed;
        Vec::new()
    }

    /// Messages to one other alone that it was told had been sent.
    fn private_sent(&self) -> &[(usize, u32)] {
        &[]
    }

    /// Messages of others to it alone.
    fn overheard(&self) -> &[Broadcast] {
        &[]
    }

    /// The broadcasts heard, in order.
    fn heard(&self) -> &[Broadcast] {
        &[]
    }

    /// The broadcasts sent, with the number of receivers the server named.
    fn receipts(&self) -> &[(u32, usize)] {
        &[]
    }
}

/// Speaks the command protocol.
struct CommandClient {
    number: usize,
    broadcast_len_max: usize,
    /// Whether plugins answer their codes.
    has_plugins: bool,
    /// Its request to log in, where there are accounts.
    script: Option<Script>,
    /// Bytes spoken.
    spoken: usize,
    broadcasts: u32,
    expected: VecDeque<Expected>,
    /// Received, and not yet a whole frame.
    input: Vec<u8>,
    heard: Vec<Broadcast>,
    receipts: Vec<(u32, usize)>,
    refused: bool,
    over_limit: Option<String>,
    address: Option<SocketAddr>,
    late: bool,
    slow_to_log_in: bool,
    answered: bool,
    /// Bytes spoken up to and with what makes the server close.
    closes_at: Option<usize>,
}

/// A reply that must come.
struct Expected {
    /// Bytes spoken up to and with the request.
    asked_at: usize,
    reply: Reply,
}

enum Reply {
    Exactly(Vec<u8>),
    Receivers(u32),
    Status,
    Login(Request),
    TooLong(u32),
}

impl CommandClient {
    fn new(number: usize, broadcast_len_max: usize, has_plugins: bool) -> Self {
        CommandClient {
            number,
            broadcast_len_max,
            has_plugins,
            script: None,
            spoken: 0,
            broadcasts: 0,
            expected: VecDeque::new(),
            input: Vec::new(),
            heard: Vec::new(),
            receipts: Vec::new(),
            refused: false,
            over_limit: None,
            address: None,
            late: false,
            slow_to_log_in: false,
            answered: false,
            closes_at: None,
        }
    }

    fn ask(&mut self, request: Vec<u8>, reply: Reply) -> Vec<u8> {
        self.spoken += request.len();
        self.expected.push_back(Expected { asked_at: self.spoken, reply });
        request
    }

    /// Asks to log in, often with something behind that is not to be answered before.
    fn log_in(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        let script = self.script.as_ref().filter(|_| rng.one_in(2))?;
        let (code, payload, request) = script.speak(self.number, rng);
        let mut wire = self.ask(frame(code, &payload), Reply::Login(request));
        for _ in 0..rng.below(3) {
            let echo = frame(1, &rng.bytes(9));
            wire.extend(self.ask(echo.clone(), Reply::Exactly(echo)));
        }
        Some(wire)
    }

    fn broadcast(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.broadcasts += 1;
        let mut payload = format!("{}:{}:", self.number, self.broadcasts).into_bytes();
        let len_max = self.broadcast_len_max.min(FRAME_LEN_MAX);
        let most = if self.is_outside() { 100 } else { len_max - payload.len() };
        let filler = filler(self.broadcasts);
        payload.extend(std::iter::repeat_n(filler, rng.skewed(most)));
        let sequence = self.broadcasts;
        self.ask(frame(4, &payload), Reply::Receivers(sequence))
    }

    /// One in four clients is hostile at times: it asks for much in few bytes, or floods the log
    /// with broadcasts of a few bytes. Whether it reads is a matter of its pace.
    fn attack(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        if !rng.one_in(3) {
            return None;
        }
        let mut wire = Vec::new();
        match self.number % 8 {
            3 => (0..rng.between(20, 200)).for_each(|_| {
                self.broadcasts += 1;
                let payload = format!("{}:{}:", self.number, self.broadcasts);
                let sequence = self.broadcasts;
                wire.extend(self.ask(frame(4, payload.as_bytes()), Reply::Receivers(sequence)));
            }),
            6 => (0..rng.between(20, 200)).for_each(|_| {
                wire.extend(self.ask(frame(7, b""), Reply::Status));
            }),
            _ => return None,
        }
        Some(wire)
    }

    fn expected_nothing_yet(&self) -> bool {
        self.heard.is_empty() && self.receipts.is_empty() && !self.answered
    }

    fn hear_frame(&mut self, command: u8, payload: &[u8]) -> Result<(), String> {
        match command {
            4 => return self.hear_broadcast(payload),
            255 if payload.starts_with(FULL) => {
                self.refused = true;
                return Ok(());
            }
            255 if payload.starts_with(OVER_LIMIT) => {
                let address = String::from_utf8_lossy(&payload[OVER_LIMIT.len()..]);
                self.over_limit = Some(address.into_owned());
                return Ok(());
            }
            255 if payload.starts_with(b"frame incomplete after ") => {
                self.late = true;
                return Ok(());
            }
            _ => {}
        }
        let is_required = command == 255 && payload == LOGIN_REQUIRED && self.is_outside();
        if is_required && (self.expected.is_empty() || self.waits_for_login()) {
            self.slow_to_log_in = true;
            return Ok(());
        }
        let Some(expected) = self.expected.pop_front() else {
            return Err(format!("a reply to nothing: {command} {payload:?}"));
        };
        self.answered = true;
        let text = String::from_utf8_lossy(payload);
        match expected.reply {
            // It was on its way when the time to log in was over.
            Reply::TooLong(_) if is_required => {
                self.slow_to_log_in = true;
                Ok(())
            }
            Reply::TooLong(len) => {
                let most = if self.is_outside() { OUTSIDE_LEN_MAX } else { FRAME_LEN_MAX };
                let why = format!("frame of {len} bytes exceeds the limit of {most}");
                if (command, &*text) == (255, &*why) { Ok(()) } else { Err(format!("{text:?}")) }
            }
            Reply::Exactly(_) | Reply::Receivers(_) | Reply::Status if self.is_outside() => {
                let (code, len) = (command, payload.len());
                let why = || format!("{code} with {len} bytes came before a login");
                is_required.then_some(()).ok_or_else(why)
            }
            Reply::Exactly(reply) if reply == frame(command, payload) => Ok(()),
            Reply::Exactly(reply) => Err(format!(
                "expected {:?}, got {command} {text:?}",
                String::from_utf8_lossy(&reply)
            )),
            Reply::Receivers(sequence) => match text.parse() {
                Ok(receivers) if command == 1 => {
                    self.receipts.push((sequence, receivers));
                    Ok(())
                }
                _ => Err(format!("no number of receivers: {command} {text:?}")),
            },
            Reply::Status if command == 1 && is_status(&text) => Ok(()),
            Reply::Status => Err(format!("no status: {command} {text:?}")),
            Reply::Login(request) => {
                let from = self.address.map(|address| address.ip());
                let script = self.script.as_mut().ok_or("there are no accounts")?;
                script.hear(&request, from, command, &text)
            }
        }
    }

    fn hear_broadcast(&mut self, payload: &[u8]) -> Result<(), String> {
        if self.is_outside() {
            return Err("a broadcast came before a login".to_owned());
        }
        let torn = || format!("a torn broadcast: {:?}", String::from_utf8_lossy(payload));
        let mut parts = payload.splitn(3, |&byte| byte == b':');
        let mut number = || {
            let digits = parts.next().and_then(|part| std::str::from_utf8(part).ok());
            digits.and_then(|digits| digits.parse().ok())
        };
        let sender = number().ok_or_else(torn)?;
        let sequence = number().ok_or_else(torn)? as u32;
        let rest = parts.next().ok_or_else(torn)?;
        if sender == self.number || !rest.iter().all(|&byte| byte == filler(sequence)) {
            return Err(torn());
        }
        self.heard.push((sender, sequence));
        Ok(())
    }
}

impl Client for CommandClient {
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8> {
        if let Some(attack) = self.attack(rng) {
            return attack;
        }
        if let Some(login) = self.log_in(rng) {
            return login;
        }
        if let Some(address) = self.address.filter(|_| self.has_plugins && rng.one_in(8)) {
            let reply = frame(200, format!("= {address}\n").as_bytes());
            return self.ask(frame(200, b"whence me"), Reply::Exactly(reply));
        }
        let is_outside = self.is_outside();
        let long = rng.one_in(10) && !is_outside;
        let len = rng.skewed(if long { FRAME_LEN_MAX } else { 100 });
        match rng.below(if self.has_plugins { 26 } else { 24 }) {
            // Ten failures in a row would switch the plugin off.
            25 if !rng.one_in(4) => {
                let (request, reply) = (frame(201, b"echo ho"), frame(201, b"= ho\n"));
                self.ask(request, Reply::Exactly(reply))
            }
            24 => {
                let (request, reply) = (frame(200, b"echo hi"), frame(200, b"= hi\n"));
                self.ask(request, Reply::Exactly(reply))
            }
            25 => {
                let reply = Reply::Exactly(frame(255, b"plugin parrot failed"));
                self.ask(frame(254, b"fail now"), reply)
            }
            0..10 => {
                let payload = rng.bytes(len - 1);
                let request = frame(1, &payload);
                self.ask(request.clone(), Reply::Exactly(request))
            }
            10..13 => {
                let text: String =
                    (0..len).map(|_| ['a', 'é', '€', '𝄞'][rng.below(4)]).take(len / 4).collect();
                let reversed: String = text.chars().rev().collect();
                let reply = Reply::Exactly(frame(1, reversed.as_bytes()));
                self.ask(frame(2, text.as_bytes()), reply)
            }
            13 => {
                let why = b"REVERSE needs UTF-8: invalid byte at offset 2";
                self.ask(frame(2, b"ab\xff"), Reply::Exactly(frame(255, why)))
            }
            14..20 => self.broadcast(rng),
            20 if !is_outside => {
                let payload = vec![b'x'; self.broadcast_len_max + 1];
                let why = format!(
                    "broadcast of {} bytes exceeds the limit of {}",
                    payload.len(),
                    self.broadcast_len_max
                );
                self.ask(frame(4, &payload), Reply::Exactly(frame(255, why.as_bytes())))
            }
            20..=22 => self.ask(frame(7, b"ignored"), Reply::Status),
            _ => {
                // Nobody answers the plugins' codes either where none has an answer to `?`.
                let code = [0, 5, 6, 8, 127, 128, 254, 255][rng.below(8)];
                if let (5 | 6, Some(script)) = (code, &self.script) {
                    let request = script.nonsense(code);
                    return self.ask(frame(code, b"?"), Reply::Login(request));
                }
                let why = format!("unknown command {code}");
                self.ask(frame(code, b"?"), Reply::Exactly(frame(255, why.as_bytes())))
            }
        }
    }

    fn end(&mut self, ending: Ending, rng: &mut Rng) -> Vec<u8> {
        let after = frame(1, b"never answered");
        match ending {
            Ending::Stay | Ending::Shut | Ending::Reset => Vec::new(),
            Ending::Goodbye => {
                let quit = frame(3, b"bye");
                self.spoken += quit.len();
                self.closes_at = Some(self.spoken);
                if rng.one_in(2) { [quit, after].concat() } else { quit }
            }
            Ending::Offence => {
                let len = FRAME_LEN_MAX as u32 + 1;
                let header = [&[1][..], &len.to_be_bytes()].concat();
                let bad = self.ask(header, Reply::TooLong(len));
                self.closes_at = Some(self.spoken);
                if rng.one_in(2) { [bad, rng.bytes(3000)].concat() } else { bad }
            }
            Ending::Unfinished => {
                let cut = rng.between(1, after.len() - 1);
                after[..cut].to_vec()
            }
            Ending::Trickle if self.is_outside() => frame(1, &[b't'; OUTSIDE_LEN_MAX]),
            Ending::Trickle => frame(1, &vec![b't'; FRAME_LEN_MAX]),
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.extend(bytes);
        while let Some((header, rest)) = self.input.split_at_checked(5) {
            let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            if len > 2 * FRAME_LEN_MAX {
                return Err(format!("torn frames: a length of {len}"));
            }
            let Some(payload) = rest.get(..len) else { break };
            let (command, payload) = (header[0], payload.to_vec());
            self.input.drain(..5 + len);
            if self.refused || self.late || self.slow_to_log_in || self.over_limit.is_some() {
                return Err("something after the last word".to_owned());
            }
            self.hear_frame(command, &payload)?;
        }
        Ok(())
    }

    fn check_answered(&self, handed: usize, _: &[usize]) -> Result<(), String> {
        if !self.input.is_empty() {
            return Err(format!("a frame that was never finished: {} bytes", self.input.len()));
        }
        match self.expected.front() {
            Some(expected) if expected.asked_at <= handed => Err(format!(
                "no answer to what ended at byte {} of {handed}, and {} more",
                expected.asked_at,
                self.expected.len() - 1
            )),
            _ => Ok(()),
        }
    }

    /// Under a flood of those it turns away, the server may cut even its last word short.
    fn was_refused(&self) -> bool {
        let beginning = self.input.get(5..).unwrap_or_default();
        let beginning = FULL.starts_with(beginning) || beginning.starts_with(FULL);
        self.refused
            || (self.expected_nothing_yet() && self.input.first() == Some(&255) && beginning)
    }

    fn over_limit(&self) -> Option<&str> {
        self.over_limit.as_deref()
    }

    fn set_address(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    fn is_member(&self) -> bool {
        !self.is_outside()
    }

    fn is_outside(&self) -> bool {
        self.script.as_ref().is_some_and(Script::is_outside)
    }

    fn was_slow_to_log_in(&self) -> bool {
        self.slow_to_log_in
    }

    fn waits_for_login(&self) -> bool {
        let first = self.expected.front();
        matches!(first, Some(Expected { reply: Reply::Login(_), .. }))
    }

    fn logins_awaited(&self) -> usize {
        let is_login = |expected: &&Expected| matches!(expected.reply, Reply::Login(_));
        self.expected.iter().filter(is_login).count()
    }

    fn was_late(&self) -> bool {
        self.late
    }

    fn expects_close(&self, handed: usize) -> bool {
        self.closes_at.is_some_and(|at| at <= handed)
    }

    fn heard(&self) -> &[Broadcast] {
        &self.heard
    }

    fn receipts(&self) -> &[(u32, usize)] {
        &self.receipts
    }
}

/// Speaks the prefixed protocol.
#[derive(Default)]
struct PrefixedClient {
    spoken: usize,
    /// Bytes spoken up to and with each message, and the answer's last offset.
    asked: Vec<(usize, usize)>,
    expected: Vec<u8>,
    heard: usize,
}

impl Client for PrefixedClient {
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8> {
        let len = rng.skewed(256) - 1;
        let payload = rng.bytes(len);
        let message = [&[len as u8][..], &payload].concat();
        self.spoken += message.len();
        self.expected.push(len as u8);
        self.expected.extend(payload.iter().rev());
        self.asked.push((self.spoken, self.expected.len()));
        message
    }

    fn end(&mut self, ending: Ending, _: &mut Rng) -> Vec<u8> {
        match ending {
            Ending::Unfinished => b"\x05hal".to_vec(),
            Ending::Trickle => vec![255; 256],
            _ => Vec::new(),
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        let expected = self.expected.get(self.heard..self.heard + bytes.len());
        self.heard += bytes.len();
        if expected == Some(bytes) {
            Ok(())
        } else {
            Err(format!("wrong bytes before {}", self.heard))
        }
    }

    fn check_answered(&self, handed: usize, _: &[usize]) -> Result<(), String> {
        let due = self.asked.iter().take_while(|(asked_at, _)| *asked_at <= handed).last();
        let due = due.map_or(0, |(_, len)| *len);
        if self.heard >= due { Ok(()) } else { Err(format!("{} of {due} bytes came", self.heard)) }
    }
}

/// Speaks to a raw listener.
#[derive(Default)]
struct RawClient {
    spoken: Vec<u8>,
    heard: Vec<u8>,
}

impl Client for RawClient {
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8> {
        let len = rng.skewed(2000);
        let bytes = rng.bytes(len);
        self.spoken.extend(&bytes);
        bytes
    }

    fn end(&mut self, _: Ending, _: &mut Rng) -> Vec<u8> {
        Vec::new()
    }

    fn say_first(&mut self, bytes: &[u8]) -> bool {
        self.spoken.extend(bytes);
        true
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.heard.extend(bytes);
        Ok(())
    }

    fn check_answered(&self, _: usize, reads: &[usize]) -> Result<(), String> {
        let mut expected: Vec<u8> = Vec::new();
        let mut at = 0;
        for len in reads {
            expected.extend(RAW_PREFIX);
            expected.extend(&self.spoken[at..at + len]);
            at += len;
        }
        if self.heard == expected {
            Ok(())
        } else {
            Err(format!("{} bytes came of {}, or wrong ones", self.heard.len(), expected.len()))
        }
    }
}

fn frame(command: u8, payload: &[u8]) -> Vec<u8> {
    [&[command][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The filler of the `sequence`th broadcast of a client.
fn filler(sequence: u32) -> u8 {
    b'a' + (sequence % 26) as u8
}

fn is_status(text: &str) -> bool {
    text.starts_with("{\"version\":\"") && text.ends_with('}') && text.matches(':').count() == 10
}
