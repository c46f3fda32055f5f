//! One connection to the engine: when to open and to close it, its handshake (HELLO, AUTH, CLIENT
//! SETNAME, SELECT), and the bytes of both directions. What the connection is for is its owner's.

use std::collections::VecDeque;
use std::ops::Range;

use super::byte_queue::ByteQueue;
use super::engine_types::{EngineConfig, Link, Want};
use super::resp::{
    Message, Protocol, Reply, RespError, Scanner, decode, message_len, push_command, read_integer,
    read_message,
};
use crate::clock::Millis;
use crate::escape::SanitizedExcerpt;
use crate::limits::DEAF_MS;

/// How long an attempt to connect may take, and after it a handshake.
pub(super) const ATTEMPT_MS: u64 = 5_000;
/// Shortest and longest pause between attempts: from the beginning of one to that of the next, where it has
/// found no engine.
const BACKOFF_MS: Range<u64> = 100..5_000;
/// A connection that was ready for so long was good: the next pause is the shortest. So long a node
/// waits before it calls itself deaf; an engine that ends each connection at once is asked less often.
const GOOD_MS: u64 = DEAF_MS;
/// Bytes of a frame beside the payload of a message, at most.
const FRAME_OVERHEAD: usize = 64 * 1024;
/// Most bytes of the engine's words that are repeated.
const WORDS_BYTES_MAX: usize = 200;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not connected until then.
    Waiting { until: Millis },
    /// An attempt is under way.
    Connecting { since: Millis },
    /// Connected; the handshake, and what its owner asks first.
    Handshake { since: Millis },
    /// It does what it is for.
    Ready { since: Millis },
    /// Its owner is to close it. The attempt has taken so long.
    Closing { attempt_ms: u64 },
}

impl State {
    /// How long an attempt has taken so far.
    fn attempt_ms(self, now: Millis) -> u64 {
        match self {
            State::Connecting { since } | State::Handshake { since } => now.since(since),
            State::Closing { attempt_ms } => attempt_ms,
            State::Waiting { .. } | State::Ready { .. } => 0,
        }
    }
}

/// A request of the handshake that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    SetName,
    Select,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The owner of the socket says so.
    Socket(String),
    /// It took too long.
    TimedOut,
    /// The engine answers with an error, in its words.
    Refused(String),
    /// The engine is another's replica, which takes no claims.
    Replica,
    /// The engine's bytes are no frame.
    Malformed(RespError),
    /// The engine answers something else than what was asked.
    Unexpected(&'static str),
    /// Publications are not heard.
    Deaf,
}

/// A frame at the start of the input.
pub(super) struct Frame {
    pub(super) len: usize,
    pub(super) reply: Reply,
}

/// A connection.
#[derive(Default)]
pub(super) struct Session {
    state: State,
    steps: VecDeque<Step>,
    protocol: Protocol,
    input: ByteQueue,
    /// Bytes to come of a message that is skipped.
    skipped: usize,
    scanner: Scanner,
    /// Bytes may have come that were not looked at.
    is_unread: bool,
    /// When bytes came last; or, until some do, when it was connected.
    heard_at: Millis,
    /// It has ended, and what came before that is yet to be read.
    is_draining: bool,
    /// Bytes for the engine.
    pub(super) output: ByteQueue,
    /// Attempts since the last good connection.
    attempts: u32,
    /// The last attempt ended before the connection was ready.
    has_failed_early: bool,
}

impl Default for State {
    fn default() -> Self {
        State::Waiting { until: Millis(0) }
    }
}

impl Session {
    /// Bytes allocated for what waits.
    pub(super) fn allocated(&self) -> usize {
        self.input.allocated() + self.output.allocated()
    }

    /// The next action of its owner. A connection that is to be closed has ended with that answer.
    pub(super) fn want(&mut self, random: &mut Xorshift, now: Millis) -> Want {
        match self.state {
            State::Waiting { until } if now >= until && !self.is_draining => Want::Connect,
            State::Closing { attempt_ms } => {
                self.wait(attempt_ms, random, now);
                Want::Close
            }
            _ => Want::Nothing,
        }
    }

    /// Whether the attempt or the handshake has taken too long.
    pub(super) fn is_overdue(&self, now: Millis) -> bool {
        match self.state {
            State::Connecting { since } | State::Handshake { since } => {
                now.since(since) >= ATTEMPT_MS
            }
            _ => false,
        }
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        match self.state {
            State::Waiting { until } => (!self.is_draining).then_some(until),
            State::Connecting { since } | State::Handshake { since } => {
                Some(since.after(ATTEMPT_MS))
            }
            State::Ready { .. } => None,
            State::Closing { .. } => Some(Millis(0)),
        }
    }

    pub(super) fn on_connecting(&mut self, now: Millis) {
        self.reset();
        self.state = State::Connecting { since: now };
    }

    /// Begins the handshake.
    pub(super) fn on_connected(&mut self, config: &EngineConfig, now: Millis) {
        self.reset();
        (self.state, self.heard_at) = (State::Handshake { since: now }, now);
        let name = client_name(config);
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if has_login(config) {
            let user = if config.username.is_empty() { "default" } else { &config.username };
            hello.extend([b"AUTH", user.as_bytes(), &config.password]);
        }
        hello.extend([&b"SETNAME"[..], name.as_bytes()]);
        push_command(self.output.writer(), &hello);
        self.steps.push_back(Step::Hello);
    }

    fn reset(&mut self) {
        let attempts = self.attempts;
        let (mut input, mut output) =
            (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        input.clear();
        output.clear();
        *self = Session { attempts, input, output, ..Session::default() };
    }

    /// The handshake and what was asked after it are done.
    pub(super) fn on_ready(&mut self, now: Millis) {
        self.state = State::Ready { since: now };
    }

    /// Ends the connection. Where its owner does not know yet, it is told to close it; where it
    /// does, what came before is read on if it was ready.
    pub(super) fn end(&mut self, is_closed: bool, random: &mut Xorshift, now: Millis) {
        if let State::Ready { since } = self.state
            && now.since(since) >= GOOD_MS
        {
            self.attempts = 0;
        }
        let is_draining = is_closed && self.is_ready();
        let has_failed_early = match self.state {
            State::Closing { .. } => self.has_failed_early,
            state => !matches!(state, State::Ready { .. }),
        };
        let attempt_ms = self.state.attempt_ms(now);
        if is_closed {
            self.wait(attempt_ms, random, now);
        } else {
            self.state = State::Closing { attempt_ms };
        }
        if is_draining {
            (self.is_draining, self.is_unread) = (true, true);
            self.output.clear();
        } else {
            let (state, attempts) = (self.state, self.attempts);
            self.reset();
            (self.state, self.attempts) = (state, attempts);
        }
        self.has_failed_early = has_failed_early;
    }

    /// All that came before the end has been read.
    pub(super) fn on_drained(&mut self) {
        let state = self.state;
        self.reset();
        self.state = state;
    }

    /// Pauses before the next attempt: twice as long each time, and a part of that by chance, so
    /// that nodes that were cut off together do not come back together. An attempt that has taken long was
    /// a pause itself.
    fn wait(&mut self, attempt_ms: u64, random: &mut Xorshift, now: Millis) {
        let most = (BACKOFF_MS.start << self.attempts.min(16)).min(BACKOFF_MS.end);
        let pause = most / 2 + random.below(most / 2 + 1);
        let pause = pause.saturating_sub(attempt_ms).max(BACKOFF_MS.start);
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Waiting { until: now.after(pause) };
    }

    /// The engine is there, as the other connection has found: if this one was never ready, it is
    /// tried at once. Where an engine ends connections that were, the pauses are kept.
    pub(super) fn end_pause(&mut self, now: Millis) {
        if let State::Waiting { until } = &mut self.state
            && std::mem::take(&mut self.has_failed_early)
        {
            *until = now.min(*until);
        }
    }

    /// Whether there is a connection that bytes go over.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Handshake { .. } | State::Ready { .. })
    }

    /// Whether there is a connection, an attempt at one, or one that is to be closed.
    pub(super) fn is_begun(&self) -> bool {
        !matches!(self.state, State::Waiting { .. })
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn may_read(&self) -> bool {
        self.is_connected() && !self.is_unread
    }

    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Millis) {
        self.heard_at = now;
        let skipped = self.skipped.min(bytes.len());
        let bytes = &bytes[skipped..];
        self.skipped -= skipped;
        if self.is_connected() && !bytes.is_empty() {
            self.input.writer().extend_from_slice(bytes);
            self.is_unread = true;
        }
    }

    /// For how long nothing has come.
    pub(super) fn silent_ms(&self, now: Millis) -> u64 {
        now.since(self.heard_at)
    }

    /// Bytes that have come and are not consumed.
    pub(super) fn input(&self) -> &[u8] {
        self.input.as_slice()
    }

    /// The frame at the start of the input, if it is whole; to be consumed before the next is
    /// looked for.
    pub(super) fn next_frame(
        &mut self,
        message_bytes_max: usize,
    ) -> Result<Option<Frame>, RespError> {
        if !self.is_unread || self.input.is_empty() {
            self.is_unread = false;
            return Ok(None);
        }
        if let Some((n, len)) = read_integer(self.input.as_slice()) {
            self.scanner.reset();
            return Ok(Some(Frame { len, reply: Reply::Integer(n) }));
        }
        let bytes_max = message_bytes_max.saturating_add(FRAME_OVERHEAD);
        match self.scanner.scan(self.input.as_slice(), bytes_max)? {
            Some(len) => {
                let reply = decode(&self.input.as_slice()[..len], self.protocol)?;
                Ok(Some(Frame { len, reply }))
            }
            None => {
                self.is_unread = false;
                Ok(None)
            }
        }
    }

    /// The message of a channel at the start of the input, if that is what is there: what
    /// [`next_frame`](Self::next_frame) would find in it, for less.
    pub(super) fn next_message(&mut self, message_bytes_max: usize) -> Option<Message> {
        if !self.is_unread || self.is_in_handshake() {
            return None;
        }
        let bytes_max = message_bytes_max.saturating_add(FRAME_OVERHEAD);
        let message = read_message(self.input.as_slice(), self.protocol, bytes_max)?;
        self.scanner.reset();
        Some(message)
    }

    /// Skips the message at the start of the input, which is over its limit, with what of it is yet to
    /// come. Returns false if something else is there.
    pub(super) fn skip_message(&mut self) -> bool {
        let Some(frame_len) = message_len(self.input.as_slice(), self.protocol) else {
            return false;
        };
        self.skipped = frame_len.saturating_sub(self.input.len());
        self.input.consume(frame_len);
        true
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.input.consume(len);
    }

    pub(super) fn is_in_handshake(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Takes the answer to a step of the handshake; says whether it was the last.
    pub(super) fn on_step(
        &mut self,
        link: Link,
        frame: &Frame,
        config: &EngineConfig,
    ) -> Result<bool, Failure> {
        if matches!(frame.reply, Reply::Push(_)) {
            return Ok(false);
        }
        let Some(step) = self.steps.pop_front() else { return Ok(false) };
        match (step, &frame.reply) {
            (Step::Hello, Reply::Map(map)) => {
                // A subscriber hears from a replica what its primary has.
                if link == Link::Commands && is_replica(map, self.input()) {
                    return Err(Failure::Replica);
                }
                self.select(config);
            }
            // A server that would not change answers a list.
            (Step::Hello, Reply::List(_)) => {
                self.protocol = Protocol::Two;
                self.select(config);
            }
            (Step::Hello, Reply::Error(words)) if !knows_hello(&self.input()[words.clone()]) => {
                self.begin_resp2(config);
            }
            (Step::SetName, Reply::Error(_))
            | (Step::Auth | Step::SetName | Step::Select, Reply::Text(_)) => {}
            (_, Reply::Error(words)) => {
                return Err(Failure::Refused(words_of(&self.input()[words.clone()], config)));
            }
            _ => return Err(Failure::Unexpected("an answer to another question")),
        }
        Ok(self.steps.is_empty())
    }

    /// The handshake of servers that do not know RESP3.
    fn begin_resp2(&mut self, config: &EngineConfig) {
        self.protocol = Protocol::Two;
        let name = client_name(config);
        let output = self.output.writer();
        if has_login(config) {
            if config.username.is_empty() {
                push_command(output, &[b"AUTH", &config.password]);
            } else {
                push_command(output, &[b"AUTH", config.username.as_bytes(), &config.password]);
            }
            self.steps.push_back(Step::Auth);
        }
        push_command(output, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
        self.steps.push_back(Step::SetName);
        self.select(config);
    }

    fn select(&mut self, config: &EngineConfig) {
        if config.database != 0 {
            let database = config.database.to_string();
            push_command(self.output.writer(), &[b"SELECT", database.as_bytes()]);
            self.steps.push_back(Step::Select);
        }
    }
}

fn has_login(config: &EngineConfig) -> bool {
    !config.username.is_empty() || !config.password.is_empty()
}

/// The name for CLIENT LIST, in which the engine takes no blanks.
fn client_name(config: &EngineConfig) -> String {
    config.client_name.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect()
}

/// Whether an error of HELLO is about something else than HELLO itself: a server that is too old
/// repeats what it does not know, the password too.
fn knows_hello(words: &[u8]) -> bool {
    let is_full = words.starts_with(b"ERR max number of clients");
    is_full || !(words.starts_with(b"ERR ") || words.starts_with(b"NOPROTO"))
}

/// Whether the answer to HELLO says that the server is a replica.
fn is_replica(map: &[(Reply, Reply)], frame: &[u8]) -> bool {
    let text = |reply: &Reply| match reply {
        Reply::Text(range) => frame.get(range.clone()).unwrap_or_default().to_vec(),
        _ => Vec::new(),
    };
    map.iter().any(|(key, value)| text(key) == b"role" && text(value) != b"master")
}

/// The engine's words for the log: one line, not endless, without the password.
pub(super) fn words_of(words: &[u8], config: &EngineConfig) -> String {
    let has =
        |part: &[u8]| !part.is_empty() && words.windows(part.len()).any(|window| window == part);
    if has(&config.password) {
        return "an error that has the password in it".to_owned();
    }
    SanitizedExcerpt { text: words, bytes_max: WORDS_BYTES_MAX }.to_string()
}

/// Marsaglia's xorshift64: enough to spread attempts.
#[derive(Debug)]
pub(super) struct Xorshift(u64);

impl Xorshift {
    pub(super) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Xorshift(seed.wrapping_mul(2) | 1)
    }

    /// A number below `n`, which must not be 0.
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
